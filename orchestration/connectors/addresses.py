"""Which addresses may be spoken to: encrypted ones, and those on this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_safe(url: str) -> bool:
    """Whether a URL is https, or http on the loopback interface."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


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
