"""Receipts: what was sent and what became of it, for good.

A receipt is a row of ``archive/<kind>/*.parquet``, outside the warehouse, so that a rebuild meets
it again. While a run sends, its receipts go line by line into a journal beside them, which is
folded into one Parquet file at its end: a run that is killed leaves its journal, and whoever comes
next folds it. So a receipt is durable from the moment it is written, and a hundred thousand of
them are one file.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from orchestration.settings import Settings
from orchestration.store.files import flush, make_folder, remove
from orchestration.store.locks import owners_lock
from orchestration.store.tables import put_table

# To fold a journal takes seconds.
_PATIENCE_SECONDS = 600

Row = Mapping[str, Any]


class Outcome(StrEnum):
    """What became of something that was sent."""

    DELIVERED = "delivered"
    """The receiver took it: never sent again."""
    REFUSED = "refused"
    """The receiver said that it is wrong, and did not act on it."""
    UNANSWERED = "unanswered"
    """No answer, or one that says nothing: it may have been acted on, so it is sent again."""
    SETTLED = "settled"
    """A person saw to it: never sent again."""


_OUTCOME = [
    ("outcome", pa.string()),
    ("detail", pa.string()),
    ("sent_at", pa.timestamp("us")),
]
ACTIONS = pa.schema(
    [
        ("action_id", pa.string()),
        ("alert_id", pa.string()),
        ("customer_id", pa.string()),
        ("action", pa.string()),
        ("effective_on", pa.date32()),
        ("payload", pa.string()),
        *_OUTCOME,
    ]
)
ALERTS = pa.schema(
    [("alert_id", pa.string()), ("receiver", pa.string()), ("customer_id", pa.string()), *_OUTCOME]
)


class DamagedJournal(RuntimeError):
    """A journal cannot be read; the message names the line and what to do."""


class Receipts:
    """The receipts of one kind.

    Args:
        folder: where they lie, below the archive.
        schema: of a receipt.
        key: the columns that name what was sent.
    """

    def __init__(self, folder: Path, schema: pa.Schema, key: tuple[str, ...]) -> None:
        self.folder = folder
        self.schema = schema
        self.key = key

    def prepare(self) -> None:
        """Fold what journals hold, those of a run under way too, and leave a file to be read."""
        self._fold(finished=False)
        if not any(self.folder.glob("*.parquet")):
            put_table(self.schema.empty_table(), self.folder / "none.parquet")

    def rows(self) -> list[dict[str, Any]]:
        """Every receipt, in the order of sending."""
        self.prepare()
        table = ds.dataset(
            sorted(map(str, self.folder.glob("*.parquet"))), schema=self.schema, format="parquet"
        ).to_table()
        rows: list[dict[str, Any]] = table.sort_by(
            [("sent_at", "ascending"), *((name, "ascending") for name in self.key)]
        ).to_pylist()
        return rows

    @contextmanager
    def journal(self, last_day: date) -> Iterator[Journal]:
        """A journal for one run, folded at its end, also when the run ends with an error.

        Args:
            last_day: of the publication that is delivered; names the file, with the time.

        Only one run at a time may have one (see ``one_at_a_time``): those that are left from
        earlier runs are folded and removed.
        """
        self._fold(finished=True)
        make_folder(self.folder)
        name = f"{last_day}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        journal = Journal(self.folder / f"{name}.jsonl", self.schema)
        try:
            yield journal
        finally:
            journal.close()
            self._fold(finished=True)

    def _fold(self, *, finished: bool) -> None:
        """Write each journal as Parquet of the same name; remove it if its run has finished.

        The lock keeps a slow reader of a journal from replacing the file that its run has since
        written whole.
        """
        if not any(self.folder.glob("*.jsonl")):
            return
        with owners_lock(self.folder / ".lock", _PATIENCE_SECONDS):
            for path in sorted(self.folder.glob("*.jsonl")):
                last = {tuple(row[name] for name in self.key): row for row in _read(path)}
                if last:
                    table = pa.Table.from_pylist(list(last.values()), self.schema)
                    put_table(table, path.with_suffix(".parquet"))
                if finished:
                    remove(path)


class Journal:
    """The receipts of a run under way; safe to write from several threads."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._broken = False
        flush(path.parent)

    def write(self, row: Row, outcome: Outcome, detail: str) -> None:
        """Write what became of one thing that was sent; when this returns, it is on the disk.

        Before it is sent it is written as unanswered. That line need not survive a power cut (the
        receipt would be missing either way, and the thing is sent again), so it is not waited for.

        Raises:
            OSError: the disk is full or gone. What was sent last is sent again by the next run.
        """
        receipt = {
            **{name: row[name] for name in self._schema.names if name in row},
            "outcome": outcome.value,
            "detail": detail,
            "sent_at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
        }
        line = (json.dumps(receipt, default=_plain) + "\n").encode()
        with self._lock:
            if self._broken:
                raise OSError("The journal of receipts could not be written")
            # Half a line must stay the last one.
            self._broken = True
            if os.write(self._file, line) != len(line):
                raise OSError("The journal of receipts could not be written: the disk is full")
            if outcome is not Outcome.UNANSWERED:
                os.fsync(self._file)
            self._broken = False

    def close(self) -> None:
        """Flush and close."""
        os.fsync(self._file)
        os.close(self._file)


def action_receipts(settings: Settings) -> Receipts:
    """The receipts of policy actions."""
    return Receipts(settings.archive_dir / "delivered_actions", ACTIONS, ("action_id",))


def alert_receipts(settings: Settings) -> Receipts:
    """The receipts of alerts, by receiver."""
    return Receipts(settings.archive_dir / "delivered_alerts", ALERTS, ("alert_id", "receiver"))


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in a receipt")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The receipts of a journal; what a killed run left of its last line was never a receipt."""
    *lines, _unfinished = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            for name, type_ in (("effective_on", date), ("sent_at", datetime)):
                if name in row:
                    row[name] = type_.fromisoformat(row[name])
        except (ValueError, TypeError):
            raise DamagedJournal(
                f"{path}, line {number}: not a receipt. Take the line out if nothing can be read "
                "from it (what it stood for is then sent again, under the same key), and run again"
            ) from None
        yield row
