"""Which addresses may be spoken to: encrypted ones, and those on this machine."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Apprise's names for a POST to any address; with an "s" behind it, it is encrypted.
_PLAIN_HTTP = ("json", "xml", "form")


def is_safe(url: str) -> bool:
    """Whether a URL is https, or http on the loopback interface."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def is_on_this_machine(url: str) -> bool:
    """Whether a URL names this machine itself; no proxy stands between it and us."""
    return is_loopback(urlsplit(url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def spare_this_machine() -> None:
    """Tell libraries that read the environment's proxies to use none for this machine."""
    for name in ("no_proxy", "NO_PROXY"):
        listed = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        # The small name wins where both are there; a lone * is all hosts already.
        if listed != ["*"] and (listed or name == "NO_PROXY"):
            missing = [h for h in (*LOOPBACK, "127.0.0.0/8") if h not in listed]
            os.environ[name] = ",".join([*listed, *missing])


def problem_with(url: str) -> str | None:
    """What is wrong with a URL that someone set, without repeating it; None if nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises when it is no port
    except ValueError:
        return "it is not a URL"
    if not parts.hostname:
        return "it is not a URL; it needs a scheme and a host, such as https://usage.example.com"
    if not is_safe(url):
        return "only https is spoken, and http to this machine"
    if parts.username or parts.password or parts.fragment:
        return "it holds a user, a password or a fragment"
    return None


def services(urls: SecretStr) -> list[Any]:
    """The services that NOTIFY_URLS names, as Apprise understands them.

    Raises:
        ValueError: says which of the URLs is wrong by its number, never by its text.
    """
    # Imported late: nobody who does not use it waits for it.
    import apprise

    # It logs the URLs that it cannot reach.
    talkative = logging.getLogger("apprise")
    talkative.propagate = False
    talkative.handlers = [logging.NullHandler()]

    found = []
    for number, url in enumerate(urls.get_secret_value().split(), start=1):
        service = apprise.Apprise.instantiate(url)
        if service is None:
            raise ValueError(f"URL {number} is none that Apprise understands")
        parts = urlsplit(url)
        if parts.scheme in _PLAIN_HTTP and parts.hostname not in LOOPBACK:
            raise ValueError(f"URL {number} is not encrypted: write {parts.scheme}s://")
        found.append(service)
    return found
