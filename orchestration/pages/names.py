"""The key of the pages: names that nobody can guess, and the secret that signs portal sessions.

A name that can't be guessed keeps a page from being stumbled upon. It does not say who may see it;
the portal does (see ``portal``).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from orchestration.errors import PlainError
from orchestration.settings import Settings
from orchestration.store.files import put_first

_KEY_BYTES = 32


class WrongKey(PlainError, RuntimeError):
    """The key file does not hold a key; the message names it and the cure."""


def page_name(settings: Settings, customer_id: str) -> str:
    """The folder of a customer's page: the same every night, and only to be had with the key."""
    return _derived(settings, f"page/{customer_id}")[:32]


def session_secret(settings: Settings) -> str:
    """What signs portal sessions: PORTAL_SECRET, or a secret made from the key."""
    if settings.portal_secret is not None:
        return settings.portal_secret.get_secret_value()
    return _derived(settings, "sessions")


def _derived(settings: Settings, purpose: str) -> str:
    key = _key(settings.portal_dir / "key")
    return hmac.new(key, purpose.encode("utf-8"), hashlib.sha256).hexdigest()


def _key(path: Path) -> bytes:
    """The key in a file that only its owner may read; made when it isn't there.

    Raises:
        WrongKey: the file holds something else.
    """
    if not path.exists():
        put_first(secrets.token_bytes(_KEY_BYTES), path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise WrongKey(
            f"{path} is not a key of {_KEY_BYTES} bytes: restore it, or remove it and run again; "
            "then every page gets another name"
        )
    return key
