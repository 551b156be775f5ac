"""What the setting USAGE_URL says: which UsageBox engine is asked for usage."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from orchestration.addresses import problem_with

_PREFIX = "usagebox+"
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def engine_address(setting: str) -> str:
    """The address that all questions start with, without a slash at its end.

    ``usagebox+https://host[:port][/base]``; ``usagebox+http://`` only for an engine on this machine.

    Raises:
        ValueError: says what is wrong, without the URL: someone may have put a password into it.
    """
    if not setting.startswith(_PREFIX):
        raise ValueError(f"expected {_PREFIX}https://host or {_PREFIX}https://host/base")
    address = setting.removeprefix(_PREFIX)
    if problem := problem_with(address):
        raise ValueError(f"{problem}; a token goes into USAGEBOX_API_KEY")
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"expected {_PREFIX}https://host/base, and nothing behind it")
    return address.rstrip("/")


def folder_name(address: str) -> str:
    """A name for the engine's folder under DATA_DIR: engines do not share what they delivered."""
    parts = urlsplit(address)
    return re.sub(r"[^A-Za-z0-9.-]+", "_", parts.netloc.strip("[") + parts.path)
