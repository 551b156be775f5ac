"""Landing usage: one delivery day's file becomes one Parquet file per usage day it holds.

Landing a day again replaces everything that it landed before; a delivery that cannot be used
leaves it as it was. What a row must look like is the business of ``events``.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.landing import files, withdrawals
from orchestration.landing.event_lines import NOT_ALONE
from orchestration.landing.events import EventParser
from orchestration.landing.files import Delivery, of_delivery, usage_part
from orchestration.landing.foreign import not_json_lines
from orchestration.landing.lines import MAX_LINE_BYTES, Lines, read_lines
from orchestration.sources.folder import (
    MAX_UNPACKED_BYTES,
    DeliveredStream,
    FeedFile,
    FeedProblem,
    Source,
    content_sha256,
)
from orchestration.store.duck import connect
from orchestration.store.files import put, remove
from orchestration.store.tables import TableWriter, write_table

FEED = "usage"
_AS_LINES = Path(__file__).resolve().parents[1] / "bin" / "parquet_as_lines.py"
_PARQUET_ROWS = 50_000
_PARQUET_BYTES = 4 << 30
# Rows wait in memory for their usage day's file, so that it isn't cut into many row groups.
_PENDING_BYTES = 96 << 20
_AGAIN = "Deliver the whole file again, then land the day again"
_NO_ROWS = _AGAIN + '; if nothing ran on the day, deliver the one line {"kind": "no_usage"}'


def land_usage(
    source: Source,
    day: date,
    landing: Path,
    *,
    conflict_days: int = 7,
    max_bytes: int = MAX_UNPACKED_BYTES,
) -> Delivery:
    """Land the usage delivery of a day, replacing an earlier landing of the same day.

    Args:
        source: where the delivery is found.
        day: the delivery day (UTC).
        landing: the folder that holds everything landed.
        conflict_days: how many days apart two usage days of one ``event_id`` may lie for the id
            to be recorded as a collision.
        max_bytes: how many bytes a delivery may hold, unpacked.

    Returns:
        What is landed now. A file that is missing, empty, truncated, unreadable or too large, or
        that lacks what it had before, is no exception but the delivery's ``problem``; then the
        earlier landing stands.
    """
    with files.staging(landing, f"{FEED}-{day.isoformat()}") as stage:
        staged = _Staged(day, stage, max_bytes)
        file: FeedFile | None = None
        try:
            file = source.usage(day)
            staged.read(file)
        except FeedProblem as problem:
            sha256 = content_sha256([file] if file else [])
            withdrawals.release(landing, day)
            return files.record_problem(landing, stage, problem, day, sha256)
        finally:
            staged.close()
        if withdrawal := _withdrawn(staged, landing):
            # Without a record, a landing that had begun was cut off: what it replaced is kept.
            is_begun = files.landed_delivery(landing, FEED, day) is None
            if not withdrawals.is_accepted(withdrawal, landing, whatever_ids=is_begun):
                withdrawals.hold(withdrawal, landing)
                held = withdrawal.problem(file.name)
                return files.record_problem(landing, stage, held, day, withdrawal.content_sha256)
            if not is_begun:
                withdrawals.keep_replaced(landing, day)
        return _replace_landed(staged, file, landing, conflict_days)


def interrupted_usage(landing: Path) -> set[date]:
    """The delivery days whose landing was cut off, by a kill or a full disk; land them again."""
    return {date.fromisoformat(day) for day in files.interrupted(landing, FEED)}


class _Staged:
    """A delivery on its way: its rows in staged files, one for every usage day."""

    def __init__(self, day: date, stage: Path, max_bytes: int) -> None:
        self.day = day
        self.stage = stage
        self.max_bytes = max_bytes
        self.parts: dict[date, TableWriter] = {}
        self.rejects = TableWriter(stage / "rejected.parquet", files.REJECTED)
        self.rejected_by_reason: Counter[str] = Counter()
        self.bare_no_usage = 0
        self.pending: dict[date, list[pa.Table]] = {}
        self.pending_bytes = 0
        self.content = hashlib.sha256()

    @property
    def landed_rows(self) -> int:
        return sum(part.rows for part in self.parts.values())

    def read(self, file: FeedFile) -> None:
        """Read a delivered file to its end, or raise FeedProblem."""
        with (
            connect(self.stage) as connection,
            closing(file.open(self.content, max_bytes=self.max_bytes)) as stream,
        ):
            parser = EventParser(connection, self.day)
            for rows in parser.parse(self._pieces(file, stream)):
                self._add(rows)
        self._flush()
        if self.landed_rows + self.rejects.rows == 0:
            raise FeedProblem(FEED, file.name, "it is empty, it has no rows", _NO_ROWS)
        if self.landed_rows:
            return
        if self.rejects.rows == self.bare_no_usage == 1:
            # The line that says that there is no row is none itself.
            self.rejects.close()
            self.rejects = TableWriter(self.rejects.path, files.REJECTED)
            self.rejected_by_reason.clear()
            return
        is_no_json = self.rejected_by_reason.keys() == {"malformed"} and not file.is_parquet
        if is_no_json and (foreign := not_json_lines(stream.head)):
            raise FeedProblem(FEED, file.name, foreign.what, foreign.cure)

    def close(self) -> None:
        """Finish the staged files."""
        for part in [*self.parts.values(), self.rejects]:
            part.close()

    def _pieces(self, file: FeedFile, stream: DeliveredStream) -> Iterator[Lines]:
        if file.is_parquet:
            with closing(self._parquet_rows(file, stream)) as rows:
                yield from read_lines(rows)
            return
        for lines in read_lines(stream):
            if lines.unended is not None and lines.unended.strip():
                _check_complete(file, lines.unended, stream.head)
            yield lines

    def _parquet_rows(self, file: FeedFile, stream: DeliveredStream) -> _ParquetRows:
        copy = self.stage / "delivered.parquet"
        with copy.open("wb") as local:
            shutil.copyfileobj(stream, local, 1 << 20)
        if copy.stat().st_size == 0:
            raise FeedProblem(FEED, file.name, "it is empty, it has no rows", _NO_ROWS)
        return _ParquetRows(file, copy, self.max_bytes)

    def _add(self, rows: pa.Table) -> None:
        """Part judged rows, sorted by usage day, into those days; the rejected ones have none."""
        start = 0
        for found in pc.value_counts(rows["usage_day"]).to_pylist():
            day, part = found["values"], rows.slice(start, found["counts"])
            start += part.num_rows
            if day is None:
                self._reject(part)
            else:
                part = part.select(files.USAGE.names)
                self.pending.setdefault(day, []).append(part)
        self.pending_bytes += rows.nbytes
        if self.pending_bytes > _PENDING_BYTES:
            self._flush()

    def _reject(self, rows: pa.Table) -> None:
        self.rejects.write(_as_rejected(rows))
        self.bare_no_usage += pc.sum(pc.equal(rows["detail"], NOT_ALONE)).as_py() or 0
        for reason in pc.value_counts(rows["rule"]).to_pylist():
            self.rejected_by_reason[reason["values"]] += reason["counts"]

    def _flush(self) -> None:
        """Write the rows that wait, one row group for every usage day."""
        for day, tables in sorted(self.pending.items()):
            if day not in self.parts:
                path = self.stage / f"usage_day={day.isoformat()}.parquet"
                self.parts[day] = TableWriter(path, files.USAGE)
            self.parts[day].write(pa.concat_tables(tables))
        self.pending = {}
        self.pending_bytes = 0


def _as_rejected(rows: pa.Table) -> pa.Table:
    return pa.table(
        {
            "feed": pa.repeat(FEED, rows.num_rows),
            "delivery_date": rows["delivery_day"],
            "line_number": rows["line_number"],
            "reason": rows["rule"],
            "detail": rows["detail"],
            "raw": rows["raw"],
        },
        schema=files.REJECTED,
    )


def _check_complete(file: FeedFile, last_line: bytes, head: bytes) -> None:
    """A last line without a line end is whole only if it is JSON."""
    try:
        if len(last_line) > MAX_LINE_BYTES:
            raise ValueError("too long to be looked at")
        # However many digits a number has, it is one.
        json.loads(last_line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        if foreign := not_json_lines(head):
            raise FeedProblem(FEED, file.name, foreign.what, foreign.cure) from None
        raise FeedProblem(
            FEED, file.name, "it is half-written: its last line stops in the middle", _AGAIN
        ) from None


class _ParquetRows(io.RawIOBase):
    """The rows of a Parquet file as JSON lines, as a process of its own spells them."""

    def __init__(self, file: FeedFile, copy: Path, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self._bytes = 0
        self._said = copy.with_suffix(".said").open("w+", encoding="utf-8")
        # Without an environment: what reads foreign bytes must not know any secret.
        self._process = subprocess.Popen(
            [sys.executable, "-I", _AS_LINES, copy, str(_PARQUET_ROWS), str(_PARQUET_BYTES)],
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={},
        )

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes; fewer only at the end.

        Raises:
            FeedProblem: the file cannot be read, or holds too much.
        """
        assert self._process.stdout
        piece = self._process.stdout.read(size)
        self._bytes += len(piece)
        if self._bytes > self._max_bytes:
            raise self._file.too_large(self._max_bytes)
        if not piece and (ended := self._process.wait()):
            self._said.seek(0)
            wrong = (
                self._said.read()
                if ended == 1
                else f"its reader ended with status {ended}: it is damaged, or needs more than "
                f"{_PARQUET_BYTES >> 20:,} MB of memory"
            )
            raise FeedProblem(FEED, self._file.name, wrong, _AGAIN)
        return piece

    def close(self) -> None:
        """End the process."""
        if not self.closed:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()  # type: ignore[union-attr]
            self._said.close()
        super().close()


def _withdrawn(staged: _Staged, landing: Path) -> withdrawals.Withdrawal | None:
    """What a staged delivery no longer has that is landed of it; None if it was never landed."""
    earlier = _landed_parts(landing, staged.day).values()
    standing = files.landed_delivery(landing, FEED, staged.day)
    sha256 = staged.content.hexdigest()
    is_the_same = (
        standing is not None
        and standing.problem is None
        and (standing.content_sha256, standing.landed_rows) == (sha256, staged.landed_rows)
    )
    if not earlier or is_the_same:
        return None
    now = [part.path for part in staged.parts.values()]
    return withdrawals.find_withdrawal(landing, staged.day, earlier, now, sha256, staged.stage)


def _replace_landed(staged: _Staged, file: FeedFile, landing: Path, conflict_days: int) -> Delivery:
    """Move a staged delivery into place. The record goes first and comes back last."""
    day, stage = staged.day, staged.stage
    earlier = _landed_parts(landing, day)
    ids, collided_days = _collisions(staged, landing, conflict_days)
    touched = sorted({*staged.parts, *earlier, *collided_days, *files.touched_days(landing, day)})
    delivery = Delivery(
        feed=FEED,
        delivery_day=day,
        file_name=file.name,
        delivered_rows=staged.landed_rows + staged.rejects.rows,
        landed_rows=staged.landed_rows,
        rejected_rows=staged.rejects.rows,
        content_sha256=staged.content.hexdigest(),
        rejected_by_reason=dict(sorted(staged.rejected_by_reason.items())),
        touched_days=tuple(touched),
    )
    small = {
        "touched": pa.table([[day] * len(touched), touched], schema=files.TOUCHED),
        "collisions": pa.table([[day] * len(ids), ids], schema=files.COLLISIONS),
        "deliveries": delivery.record(),
    }
    for kind, table in small.items():
        write_table(table, stage / f"{kind}.parquet")

    remove(of_delivery(landing, "deliveries", FEED, day))
    withdrawals.release(landing, day)
    remove(of_delivery(landing, "standing", FEED, day))
    # The touched days go first: after a crash below they still tell what has to be rebuilt.
    put(stage / "touched.parquet", of_delivery(landing, "touched", FEED, day))
    for usage_day, part in sorted(staged.parts.items()):
        put(part.path, usage_part(landing, usage_day, day))
    for usage_day, path in sorted(earlier.items()):
        if usage_day not in staged.parts:
            remove(path)
            with suppress(OSError):  # Other deliveries may still lie under that usage day.
                path.parent.rmdir()
                path.parent.parent.rmdir()
    put(stage / "rejected.parquet", of_delivery(landing, "rejected", FEED, day))
    put(stage / "collisions.parquet", of_delivery(landing, "collisions", FEED, day))
    put(stage / "deliveries.parquet", of_delivery(landing, "deliveries", FEED, day))
    return delivery


def _landed_parts(landing: Path, delivery_day: date) -> dict[date, Path]:
    """The files that hold a delivery's landed rows, by usage day."""
    return {
        _day_of(path.parent.parent): path
        for path in landing.glob(
            f"usage/usage_day=*/delivery_day={delivery_day.isoformat()}/part.parquet"
        )
    }


def _day_of(partition: Path) -> date:
    return date.fromisoformat(partition.name.partition("=")[2])


def _collisions(staged: _Staged, landing: Path, conflict_days: int) -> tuple[list[str], set[date]]:
    """Find ids of a staged delivery that also lie under another usage day not too far away.

    Returns:
        The ids in order, and the usage days of the other rows.
    """
    near = {
        day + timedelta(days=away)
        for day in staged.parts
        for away in range(-conflict_days, conflict_days + 1)
    }
    others = [
        path
        for day in sorted(near)
        for path in landing.glob(f"usage/usage_day={day.isoformat()}/delivery_day=*/part.parquet")
        if _day_of(path.parent) != staged.day
    ]
    if not staged.parts:
        return [], set()
    # The largest first: by the first file DuckDB guesses how many rows there are in all of them.
    own = [part.path for part in sorted(staged.parts.values(), key=lambda part: -part.rows)]
    if not own[1:] and not others:
        return [], set()
    with connect(staged.stage) as connection:
        pairs = connection.sql(
            """
            -- Once each: two days of one id alone would else be as many pairs as their product.
            with own as (
                select distinct event_id, usage_day
                from read_parquet($own, hive_partitioning = false)
            ),

            smaller as (
                select event_id, usage_day from read_parquet($smaller, hive_partitioning = false)
            )

            select distinct smaller.event_id, smaller.usage_day
            from own
            inner join smaller on own.event_id = smaller.event_id
            where own.usage_day <> smaller.usage_day
                and abs(own.usage_day - smaller.usage_day) <= $conflict_days
            """,
            params={
                "own": [glob.escape(str(path)) for path in own],
                # Of two own days with one id, one is in here; both are rebuilt anyway.
                "smaller": [glob.escape(str(path)) for path in [*own[1:], *others]],
                "conflict_days": conflict_days,
            },
        ).fetchall()
    return sorted({event_id for event_id, _ in pairs}), {day for _, day in pairs}
