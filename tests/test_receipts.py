"""Receipts: none is lost, none counts twice, and what cannot be read is said."""

from __future__ import annotations

import json
import sqlite3
import stat
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from receiver import action

from orchestration.store import receipts as store
from orchestration.store.earlier_receipts import ASIDE
from orchestration.store.locks import LockBusy, owners_lock
from orchestration.store.receipts import (
    ACTIONS,
    COPY,
    FILE,
    DamagedReceipts,
    Outcome,
    action_receipts,
    alert_receipts,
)
from orchestration.store.tables import put_table

A, B, C = (action(customer, "cap_usage", "2026-01-21") for customer in "abc")


def outcomes(archive: Path) -> list[tuple[str, str]]:
    rows = action_receipts(archive).rows()
    assert [row["receipt_number"] for row in rows] == sorted({r["receipt_number"] for r in rows})
    return [(row["customer_id"], row["outcome"]) for row in rows]


def write(archive: Path, *rows: dict[str, Any], outcome: Outcome = Outcome.DELIVERED) -> None:
    with action_receipts(archive).journal() as journal:
        for row in rows:
            journal.write(row, outcome, "status 200")


def test_receipts_are_in_the_order_of_sending_whatever_the_clock_says(tmp_path, monkeypatch):
    class Backwards(datetime):
        turns = 0

        @classmethod
        def now(cls, tz=None):
            cls.turns += 1
            return datetime(2026, 1, 22, tzinfo=UTC) - timedelta(hours=cls.turns)

    monkeypatch.setattr(store, "datetime", Backwards)
    with action_receipts(tmp_path).journal() as journal:
        journal.write(C, Outcome.UNANSWERED, "sent, no answer yet")
        journal.write(A, Outcome.UNANSWERED, "sent, no answer yet")
        journal.write(C, Outcome.REFUSED, "status 422")
    write(tmp_path, C)
    assert outcomes(tmp_path) == [("c", "refused"), ("a", "unanswered"), ("c", "delivered")]


def test_what_is_written_is_read_and_copied_at_the_end_of_the_run(tmp_path):
    odd = {**A, "customer_id": "Zoë'; drop table\x00\n", "payload": "😀" * 1000}
    write(tmp_path, odd)
    [row] = action_receipts(tmp_path).rows()
    assert {name: row[name] for name in ACTIONS.schema.names[:6]} == {
        name: odd[name] for name in ACTIONS.schema.names[:6]
    }
    table = pq.read_table(tmp_path / ACTIONS.name / COPY)
    assert table.to_pylist() == [row]
    assert table.select(ACTIONS.schema.names).schema.equals(ACTIONS.schema)


def test_alerts_are_told_apart_by_their_receiver(tmp_path):
    alert = {"alert_id": "x", "customer_id": "a"}
    with alert_receipts(tmp_path).journal() as journal:
        for receiver in ("one", "two"):
            journal.write({**alert, "receiver": receiver}, Outcome.DELIVERED, "")
    assert [row["receiver"] for row in alert_receipts(tmp_path).rows()] == ["one", "two"]
    assert action_receipts(tmp_path).rows() == []


def test_a_receipt_is_on_the_disk_and_its_owners_alone(tmp_path):
    """FULL: SQLite waits for the disk at each transaction, also with a log that is written ahead."""
    with action_receipts(tmp_path).journal() as journal:
        journal.write(A, Outcome.DELIVERED, "")
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2)):
            assert journal._connection.execute(f"pragma {pragma}").fetchall() == [(value,)]
        assert not journal._connection.in_transaction
        files = [path for path in tmp_path.iterdir() if path.name.startswith(FILE)]
        assert len(files) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        # What a power cut would leave: the files as they are now.
        cut = tmp_path / "cut"
        cut.mkdir()
        for path in files:
            if not path.name.endswith("-shm"):
                (cut / path.name).write_bytes(path.read_bytes())
    assert outcomes(cut) == outcomes(tmp_path) == [("a", "delivered")]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(FILE)] == [FILE]


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path):
    with action_receipts(tmp_path).journal() as journal:
        journal.write(A, Outcome.DELIVERED, "")
        [(pages,)] = journal._connection.execute("pragma page_count")
        journal._connection.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(OSError, match="could not be written: database or disk is full"):
            journal.write({**B, "payload": "x" * 100_000}, Outcome.DELIVERED, "")
        journal.write(C, Outcome.DELIVERED, "")
    assert outcomes(tmp_path) == [("a", "delivered"), ("c", "delivered")]


def flipped(content: bytes) -> bytes:
    """A byte of the second page, where the first table begins, is another one."""
    return content[:4096] + b"\xff" + content[4097:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "its layout is 0"),
        (lambda content: content[:5000], "malformed"),
        (lambda content: b"x" * len(content), "not a database"),
        (flipped, ""),
        (lambda content: content[:60] + b"\0\0\0\2" + content[64:], "its layout is 2"),
    ],
    ids=["empty", "cut off", "something else", "a byte", "a later release"],
)
def test_a_damaged_file_is_named_with_its_cure(tmp_path, damage, said):
    write(tmp_path, A)
    path = tmp_path / FILE
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    for attempt in (action_receipts(tmp_path).rows, lambda: write(tmp_path, B)):
        with pytest.raises(DamagedReceipts, match=rf"{FILE} cannot be read .*{said}.*backup"):
            attempt()
    assert path.read_bytes() == before


def test_a_file_that_is_gone_while_its_log_is_there_is_not_begun_anew(tmp_path):
    write(tmp_path, A)
    (tmp_path / FILE).rename(tmp_path / f"{FILE}-wal")
    with pytest.raises(DamagedReceipts, match="it is gone"):
        outcomes(tmp_path)


def test_a_file_that_was_not_finished_is_made_again(tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, A)
    assert not (tmp_path / FILE).exists()
    write(tmp_path, A)
    assert outcomes(tmp_path) == [("a", "delivered")]


# The release before: Parquet, and a journal for each run.

HOUR = datetime(2026, 1, 22, 3)


def receipt(row: dict[str, Any], outcome: str, hour: int) -> dict[str, Any]:
    columns = {name: row[name] for name in ACTIONS.schema.names if name in row}
    return {**columns, "outcome": outcome, "detail": "", "sent_at": HOUR + timedelta(hours=hour)}


def folded(archive: Path, name: str, *rows: dict[str, Any]) -> None:
    table = store.pa.Table.from_pylist(list(rows), ACTIONS.schema)
    put_table(table, archive / ACTIONS.name / f"{name}.parquet")


def journal(archive: Path, name: str, *rows: dict[str, Any], end: str = "") -> None:
    lines = [json.dumps(row, default=lambda value: value.isoformat()) + "\n" for row in rows]
    path = archive / ACTIONS.name / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines) + end, encoding="utf-8")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run that was folded, one that was killed after half a line, one killed while it was folded."""
    archive = tmp_path / "archive"
    folded(archive, "none")
    folded(archive, "2026-01-22", receipt(B, "delivered", 2), receipt(A, "refused", 1))
    journal(
        archive,
        "2026-01-23",
        receipt(A, "unanswered", 3),
        receipt(C, "unanswered", 4),
        receipt(A, "delivered", 5),
        end='{"action_id": "half',
    )
    folded(archive, "2026-01-24", receipt(C, "unanswered", 6))
    journal(archive, "2026-01-24", receipt(C, "unanswered", 6), receipt(C, "delivered", 7))
    alerts = {"alert_id": "x", "receiver": "one", "customer_id": "a", "outcome": "delivered"}
    put_table(
        store.pa.Table.from_pylist(
            [{**alerts, "detail": "", "sent_at": HOUR}], store.ALERTS.schema
        ),
        archive / store.ALERTS.name / "2026-01-22.parquet",
    )
    for kind in (ACTIONS, store.ALERTS):
        (archive / kind.name / ".lock").touch()
    return archive


TAKEN = [
    ("a", "refused"),
    ("b", "delivered"),
    ("c", "unanswered"),
    ("a", "delivered"),
    ("c", "delivered"),
]
FILES = ["2026-01-22.parquet", "2026-01-23.jsonl", "2026-01-24.jsonl", "2026-01-24.parquet"]


def aside(archive: Path) -> list[str]:
    return sorted(path.name for path in (archive / ASIDE / ACTIONS.name).glob("*"))


def test_what_the_release_before_left_is_taken_over_once(earlier):
    assert outcomes(earlier) == TAKEN
    assert len(alert_receipts(earlier).rows()) == 1
    assert aside(earlier) == [*FILES, "none.parquet"]
    assert not (earlier / ACTIONS.name).exists()
    assert not (earlier / store.ALERTS.name).exists()
    write(earlier, B)
    assert outcomes(earlier) == [*TAKEN, ("b", "delivered")]


def test_a_kill_while_it_is_taken_over_is_harmless(earlier, monkeypatch):
    """Before the transaction ends nothing is taken over; after it, all of it, and once."""
    insert, count = store._insert, 0

    def dying(*arguments: Any) -> int:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return insert(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_insert", dying)
        with pytest.raises(KeyboardInterrupt):
            outcomes(earlier)
    with sqlite3.connect(earlier / FILE) as connection:
        assert connection.execute(f"select count(*) from {ACTIONS.name}").fetchall() == [(0,)]
    connection.close()
    assert not (earlier / ASIDE).exists()

    moved, put = [], store.put_aside.__globals__["put"]

    def moves_one(staged: Path, path: Path) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(path)
        put(staged, path)

    with monkeypatch.context() as patch:
        patch.setitem(store.put_aside.__globals__, "put", moves_one)
        with pytest.raises(KeyboardInterrupt):
            outcomes(earlier)
    assert len(moved) == 1
    assert outcomes(earlier) == TAKEN
    assert aside(earlier) == [*FILES, "none.parquet"]


def test_a_release_that_was_rolled_back_in_between_loses_nothing(earlier):
    """It reads the copy, and leaves files of its own, which are taken over as well."""
    write(earlier, C)
    assert pq.read_table(earlier / ACTIONS.name / COPY, schema=ACTIONS.schema).num_rows == 6
    folded(earlier, "2026-01-25", receipt(B, "settled", 9))
    assert outcomes(earlier) == [*TAKEN, ("c", "delivered"), ("b", "settled")]


def test_a_line_that_is_no_receipt_is_named_and_nothing_is_taken_over(earlier):
    path = earlier / ACTIONS.name / "2026-01-23.jsonl"
    path.write_text(path.read_text("utf-8").replace('"a', "a", 1), encoding="utf-8")
    with pytest.raises(DamagedReceipts, match=r"2026-01-23\.jsonl, line 1: not a receipt"):
        outcomes(earlier)
    assert not (earlier / ASIDE).exists()
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[1:]), encoding="utf-8")
    assert outcomes(earlier) == TAKEN


def test_a_parquet_file_that_is_none_is_named(earlier):
    (earlier / ACTIONS.name / "2026-01-22.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedReceipts, match=r"2026-01-22\.parquet: not the receipts of a run"):
        outcomes(earlier)


def test_a_run_of_the_release_before_is_waited_for(earlier, monkeypatch):
    lock = earlier.parent / "delivery" / "alerts.lock"
    lock.parent.mkdir()
    monkeypatch.setattr("orchestration.store.earlier_receipts._PATIENCE_SECONDS", 0.1)
    with owners_lock(lock, 0), pytest.raises(LockBusy):
        outcomes(earlier)
    assert outcomes(earlier) == TAKEN
    assert action_receipts(earlier).rows()[0]["effective_on"] == date(2026, 1, 21)
