"""What delivery reads: the current publication, and the day from which on it is delivered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from orchestration.errors import NotDone, PlainError
from orchestration.settings import Settings
from orchestration.store.files import make_folder, put_text
from orchestration.store.locks import LockBusy, owners_lock

PATIENCE_SECONDS = 600
"""Another delivery is let finish for this long before a run gives up."""


class DeliveryBusy(NotDone, RuntimeError):
    """Another delivery of the same kind is under way."""


class NothingPublished(PlainError, RuntimeError):
    """There is no publication to deliver from."""


@dataclass(frozen=True)
class Published:
    """One publication, whatever is published meanwhile."""

    folder: Path
    last_day: date
    """The day as of whose end it is."""

    @classmethod
    def current(cls, settings: Settings) -> Published:
        """The publication that readers see now.

        Raises:
            NothingPublished: there is none.
        """
        folder = (settings.published_dir / "current").resolve()
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NothingPublished(
                f"Nothing is published in {settings.published_dir} to be delivered: bill a day first"
            ) from None
        return cls(folder, date.fromisoformat(manifest["last_delivery_day"]))

    def rows(self, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given columns of a published table, a row at a time."""
        published = ds.dataset(self.folder / table, format="parquet")
        rows: list[dict[str, Any]] = published.to_table(columns=list(columns)).to_pylist()
        return rows


@contextmanager
def one_at_a_time(settings: Settings, kind: str) -> Iterator[None]:
    """Let one run at a time deliver; the operating system frees it if that run dies.

    Raises:
        DeliveryBusy: another run still delivers after ten minutes, or the lock's file is not this
            user's alone.
    """
    make_folder(settings.delivery_dir)
    with ExitStack() as held:
        try:
            held.enter_context(
                owners_lock(settings.delivery_dir / f"{kind}.lock", PATIENCE_SECONDS)
            )
        except LockBusy as busy:
            raise DeliveryBusy(
                f"{kind} cannot be delivered: {busy}. If it is another run, wait for it to end"
            ) from None
        yield


def first_day(
    settings: Settings, kind: str, receiver: str, published: Published, *, is_on: bool
) -> date:
    """The first day whose actions or alerts a receiver gets.

    ``DELIVERY_FROM``, or else the last day of the books when delivery to the receiver was first
    on: switching it on must not send what is long past. That day is written down by the first run
    that is on, before it sends anything. Call it inside ``one_at_a_time``.
    """
    path = settings.archive_dir / f"{kind}_began.json"
    began = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if receiver not in began and is_on:
        began[receiver] = published.last_day.isoformat()
        put_text(json.dumps(began, indent=1, sort_keys=True), path)
    if settings.delivery_from:
        return settings.delivery_from
    return date.fromisoformat(began.get(receiver, published.last_day.isoformat()))
