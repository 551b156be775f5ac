"""Whose turn it is to send, and from which day on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date

from orchestration.errors import NotDone
from orchestration.publication.current import CurrentPublication
from orchestration.renamed import remove_old_lists
from orchestration.settings import Settings
from orchestration.store.files import make_folder, put_text
from orchestration.store.locks import LockBusy, owners_lock

PATIENCE_SECONDS = 600
"""Another run is let finish for this long before one gives up."""


class OutboxBusy(NotDone, RuntimeError):
    """Another run sends what this one would."""


@contextmanager
def one_at_a_time(settings: Settings, kind: str) -> Iterator[None]:
    """Let one run at a time send; the operating system frees it if that run dies.

    Raises:
        OutboxBusy: another run still sends after ten minutes, or the lock's file is not this user's
            alone.
    """
    make_folder(settings.outbox_dir)
    with ExitStack() as held:
        try:
            held.enter_context(owners_lock(settings.outbox_dir / f"{kind}.lock", PATIENCE_SECONDS))
            remove_old_lists(settings.data_dir, kind, PATIENCE_SECONDS)
        except LockBusy as busy:
            raise OutboxBusy(
                f"{kind} cannot be sent: {busy}. If it is another run, wait for it to end"
            ) from None
        yield


def first_day(
    settings: Settings, kind: str, receiver: str, published: CurrentPublication, *, is_on: bool
) -> date:
    """The first day whose actions or alerts a receiver gets.

    ``OUTBOX_FROM``, or else the last day of the books when sending to the receiver was first on:
    switching it on must not send what is long past. That day is written down by the first run that
    is on, before it sends anything. Call it inside ``one_at_a_time``.
    """
    path = settings.archive_dir / f"{kind}_began.json"
    began = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if receiver not in began and is_on:
        began[receiver] = published.last_day.isoformat()
        put_text(json.dumps(began, indent=1, sort_keys=True), path)
    if settings.outbox_from:
        return settings.outbox_from
    return date.fromisoformat(began.get(receiver, published.last_day.isoformat()))
