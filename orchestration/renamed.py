"""Names of the release before, for one release: what they stood for still works, and says its new name.

The words: a *delivery* comes in, the *outbox* goes out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from orchestration.store.durable import remove
from orchestration.store.locks import owners_lock

SETTINGS = {"DELIVERY_FROM": "OUTBOX_FROM", "POLICY_DELIVERY": "SEND_POLICY_ACTIONS"}


class SetTwice(ValueError):
    """A setting is given under its old and its new name; the message names both."""


def under_new_names(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that an environment gives under old names, as fields of today; each says so once.

    Raises:
        SetTwice: one is given under both names.
    """
    given = {name.upper(): value for name, value in environment.items() if value}
    old_names = [name for name in SETTINGS if name in given]
    if twice := [name for name in old_names if SETTINGS[name] in given]:
        raise SetTwice(
            "; ".join(f"{name} is called {SETTINGS[name]} now, and both are set" for name in twice)
            + ": take the old one out"
        )
    for name in old_names:
        say_once(f"The setting {name} is called {SETTINGS[name]} now; the old name goes next.")
    return {SETTINGS[name].lower(): given[name] for name in old_names}


def remove_old_lists(data_dir: Path, kind: str, patience: float) -> None:
    """Remove the lists of a kind that the release before left: nobody is to take them for today's.

    Raises:
        LockBusy: a run of the release before still writes one.
    """
    folder = data_dir / "delivery"
    if not folder.exists():
        return
    with owners_lock(folder / f"{kind}.lock", patience):
        for ending in ("json", "parquet", "lock"):
            remove(folder / f"{kind}.{ending}")
    with suppress(OSError):  # The other kind's are still there.
        folder.rmdir()


@cache
def say_once(text: str) -> None:
    """Warn of something, once in a process however often the settings are read."""
    logging.getLogger(__name__).warning(text)
