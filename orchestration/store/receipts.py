"""Receipts: what was sent and what became of it, for good.

They stand in ``archive/receipts.sqlite``, outside the warehouse, so that a rebuild meets them again.
Each is a transaction of its own: once it is said to be written it survives a power cut. Their order is
that of sending, by number: a clock may be set back. The models read a copy in Parquet, which every billing
and every run that sends makes anew.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration.errors import NotDone
from orchestration.store.earlier_receipts import (
    earlier_files,
    no_earlier_run,
    put_aside,
    read_earlier,
)
from orchestration.store.files import make_folder, put, remove
from orchestration.store.locks import owners_lock
from orchestration.store.tables import put_table

FILE = "receipts.sqlite"
"""Below the archive; while a run sends, or after one was killed, ``receipts.sqlite-wal`` is part of it."""
COPY = "receipts.parquet"
"""The same as Parquet, in a folder of the kind's name."""

# Kept in the file; another one means another release.
_LAYOUT = 1
# Another run writes a receipt in milliseconds, and takes over those of the release before in seconds.
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


class DamagedReceipts(NotDone, RuntimeError):
    """The receipts cannot be read, so nothing may be sent; the message names the file and the cure."""


@dataclass(frozen=True)
class ReceiptKind:
    """A table of receipts."""

    name: str
    schema: pa.Schema
    """Its columns; all are texts in the file, dates and times as ISO 8601 spells them."""
    key: tuple[str, ...]
    """The columns that name what was sent."""

    @classmethod
    def of(
        cls, name: str, key: tuple[str, ...], columns: list[tuple[str, pa.DataType]]
    ) -> ReceiptKind:
        """A kind with the columns that every receipt has after its own."""
        outcome = [
            ("outcome", pa.string()),
            ("detail", pa.string()),
            ("sent_at", pa.timestamp("us")),
        ]
        return cls(name, pa.schema([*columns, *outcome]), key)


ACTIONS = ReceiptKind.of(
    "delivered_actions",
    ("action_id",),
    [
        ("action_id", pa.string()),
        ("alert_id", pa.string()),
        ("customer_id", pa.string()),
        ("action", pa.string()),
        ("effective_on", pa.date32()),
        ("payload", pa.string()),
    ],
)
ALERTS = ReceiptKind.of(
    "delivered_alerts",
    ("alert_id", "receiver"),
    [(name, pa.string()) for name in ("alert_id", "receiver", "customer_id")],
)


class Receipts:
    """The receipts of one kind.

    Args:
        archive: the folder that holds the file.
        kind: which of its tables.
    """

    def __init__(self, archive: Path, kind: ReceiptKind) -> None:
        self._archive = archive
        self._kind = kind

    def rows(self) -> list[dict[str, Any]]:
        """Every receipt, in the order of sending, by ``receipt_number``.

        Raises:
            DamagedReceipts: they cannot be read.
        """
        with _opened(self._archive) as connection:
            return self._read(connection)

    def copy(self) -> None:
        """Write all of them as Parquet, for the models, and for a release that knows nothing else.

        Raises:
            DamagedReceipts: they cannot be read.
        """
        with _opened(self._archive) as connection:
            self._copy(connection)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """What one run writes its receipts with, copied at its end; only one run at a time may send.

        Raises:
            DamagedReceipts: the earlier ones cannot be read.
        """
        with _opened(self._archive) as connection:
            try:
                yield Journal(connection, self._kind)
            finally:
                self._copy(connection)

    def _copy(self, connection: sqlite3.Connection) -> None:
        schema = self._kind.schema.append(pa.field("receipt_number", pa.int64()))
        # Or an earlier copy could replace a later one.
        with _alone(self._archive):
            table = pa.Table.from_pylist(self._read(connection), schema)
            put_table(table, self._archive / self._kind.name / COPY)

    def _read(self, connection: sqlite3.Connection) -> list[dict[str, Any]]:
        names = ["receipt_number", *self._kind.schema.names]
        found = connection.execute(
            f"select {', '.join(names)} from {self._kind.name} order by receipt_number"
        )
        try:
            return [self._typed(dict(zip(names, values, strict=True))) for values in found]
        except (TypeError, ValueError) as wrong:
            raise _damaged(self._archive / FILE, wrong) from None

    def _typed(self, row: dict[str, Any]) -> dict[str, Any]:
        for column in self._kind.schema:
            if pa.types.is_date(column.type):
                row[column.name] = date.fromisoformat(row[column.name])
            elif pa.types.is_timestamp(column.type):
                row[column.name] = datetime.fromisoformat(row[column.name])
        return row


class Journal:
    """The receipts of a run under way; safe to write from several threads."""

    def __init__(self, connection: sqlite3.Connection, kind: ReceiptKind) -> None:
        self._connection = connection
        self._kind = kind
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._lock = threading.Lock()

    def write(self, row: Row, outcome: Outcome, detail: str) -> None:
        """Write what became of one thing that was sent; when this returns, it is on the disk.

        Before it is sent it is written as unanswered; what is known of it later in the run replaces
        that, in its place.

        Raises:
            OSError: the disk is full or gone. What was sent last is sent again by the next run.
        """
        key = tuple(row[name] for name in self._kind.key)
        receipt = {
            **{name: _spelled(row[name]) for name in self._kind.schema.names if name in row},
            "outcome": outcome.value,
            "detail": detail,
            "sent_at": datetime.now(UTC).replace(tzinfo=None).isoformat(),
        }
        with self._lock:
            try:
                if key in self._numbers:
                    self._connection.execute(
                        f"update {self._kind.name} set outcome = :outcome, detail = :detail, "
                        "sent_at = :sent_at where receipt_number = :receipt_number",
                        {**receipt, "receipt_number": self._numbers[key]},
                    )
                else:
                    self._numbers[key] = _insert(self._connection, self._kind, receipt)
            except sqlite3.Error as error:
                raise OSError(f"A receipt could not be written: {error}") from None


def action_receipts(archive: Path) -> Receipts:
    """The receipts of policy actions."""
    return Receipts(archive, ACTIONS)


def alert_receipts(archive: Path) -> Receipts:
    """The receipts of alerts, by receiver."""
    return Receipts(archive, ALERTS)


def _insert(connection: sqlite3.Connection, kind: ReceiptKind, receipt: Mapping[str, str]) -> int:
    """Add a receipt after all others; its number."""
    names = kind.schema.names
    added = connection.execute(
        f"insert into {kind.name} ({', '.join(names)}) values (:{', :'.join(names)})", receipt
    )
    return int(added.lastrowid or 0)


def _alone(archive: Path) -> AbstractContextManager[None]:
    return owners_lock(archive / f".{FILE}.lock", _PATIENCE_SECONDS)


@contextmanager
def _opened(archive: Path) -> Iterator[sqlite3.Connection]:
    """The file, made if there is none, with what the release before left taken over."""
    path = archive / FILE
    make_folder(archive)
    with _alone(archive):
        if not path.exists():
            _make(path)
        connection = _checked(path)
        try:
            _take_over(archive, connection)
        except BaseException:
            connection.close()
            raise
    with closing(connection):
        yield connection


def _make(path: Path) -> None:
    """Make the file, whole or not at all, and for its owner alone, as SQLite then makes those beside it."""
    if _log_of(path).exists():
        raise _damaged(path, f"it is gone, and {_log_of(path).name} is there")
    staged = path.with_name(f".{path.name}.part")
    for left_over in (staged, _log_of(staged), staged.with_name(f"{staged.name}-shm")):
        remove(left_over)
    os.close(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connected(staged)) as connection:
        connection.execute("pragma journal_mode = wal")
        with connection:
            connection.execute("begin")
            for kind in (ACTIONS, ALERTS):
                columns = ", ".join(f"{name} text not null" for name in kind.schema.names)
                connection.execute(
                    f"create table {kind.name} (receipt_number integer primary key, {columns})"
                )
            connection.execute("create table taken_over (file text primary key)")
            connection.execute(f"pragma user_version = {_LAYOUT}")
    put(staged, path)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_PATIENCE_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    # With a log that is written ahead, less would lose the last receipts in a power cut.
    connection.execute("pragma synchronous = full")
    return connection


def _checked(path: Path) -> sqlite3.Connection:
    """Open the file.

    Raises:
        DamagedReceipts: it cannot be read, a page of it is not as SQLite wrote it, or it is another's.
    """
    try:
        connection = _connected(path)
        [(found,), *_] = connection.execute("pragma quick_check(1)")
        [(layout,)] = connection.execute("pragma user_version")
    except sqlite3.Error as error:
        raise _damaged(path, error) from None
    if layout != _LAYOUT:
        found = f"its layout is {layout}, and this release knows {_LAYOUT}"
    if found != "ok":
        connection.close()
        raise _damaged(path, found)
    return connection


def _take_over(archive: Path, connection: sqlite3.Connection) -> None:
    """Take in what the release before left, all in one transaction, and put its files aside.

    A run that dies between the two leaves them noted, so that none is taken in twice.
    """
    found = {kind: earlier_files(archive / kind.name, but=COPY) for kind in (ACTIONS, ALERTS)}
    if not any(found.values()):
        return
    with no_earlier_run(archive), connection:
        connection.execute("begin immediate")
        known = {file for (file,) in connection.execute("select file from taken_over")}
        for kind, files in found.items():
            new = [path for path in files if f"{kind.name}/{path.name}" not in known]
            try:
                rows = read_earlier(new, kind.schema, kind.key)
            except ValueError as wrong:
                raise DamagedReceipts(str(wrong)) from None
            for row in rows:
                _insert(connection, kind, {name: _spelled(row[name]) for name in row})
            connection.executemany(
                "insert into taken_over values (?)", [(f"{kind.name}/{path.name}",) for path in new]
            )
    for files in found.values():
        put_aside(archive, files)


def _spelled(value: Any) -> str:
    return str(value.isoformat()) if isinstance(value, date) else str(value)


def _log_of(path: Path) -> Path:
    """What SQLite writes ahead, and takes into the file when nobody has it open any more."""
    return path.with_name(f"{path.name}-wal")


def _damaged(path: Path, why: object) -> DamagedReceipts:
    return DamagedReceipts(
        f"{path} cannot be read as the receipts of what was sent: {' '.join(str(why).split())}. Nothing "
        f"is sent until it can be: move it and {_log_of(path).name} away and put both back as your "
        "backup has them. Without a backup, move them away, set OUTBOX_FROM to the first day that is to "
        "be sent, and run again: what receivers had since that day is sent once more, under the same keys"
    )
