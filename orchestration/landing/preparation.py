"""A landing that can be read: something under every glob, and every row typed as this release does.

The delivered text stands beside each landed row, so a release that types rows otherwise does it from
there; nothing has to be delivered again.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.landing import files
from orchestration.landing.events import EventParser
from orchestration.landing.lines import LINES, Lines
from orchestration.store.duck import connect
from orchestration.store.durable import put, put_text
from orchestration.store.tables import TableWriter, write_table

_COLUMNS = "usage_columns.txt"
_AT_ONCE = 1 << 16


class RetypingFailed(RuntimeError):
    """A row that an earlier release landed is none for this one; the message says which, and the cure."""


def prepare_landing(landing: Path) -> None:
    """Make sure that every glob over the landing finds a file, typed if empty, and type rows anew.

    Raises:
        RetypingFailed: a row of an earlier release cannot be landed by this one.
    """
    epoch = date(1970, 1, 1)
    empty: dict[Path, pa.Schema] = {
        files.usage_part(landing, epoch, epoch): files.USAGE,
        landing / "rejected/usage/none.parquet": files.REJECTED,
        landing / "touched/usage/none.parquet": files.TOUCHED,
        landing / "collisions/usage/none.parquet": files.COLLISIONS,
        landing / "deliveries/usage/none.parquet": files.DELIVERIES,
    }
    for feed, (snapshot, schema) in files.SNAPSHOTS.items():
        empty[landing / snapshot] = schema
        empty[landing / f"rejected/{feed}/all.parquet"] = files.REJECTED
        empty[landing / f"deliveries/{feed}/all.parquet"] = files.DELIVERIES
    for path, schema in empty.items():
        if not path.exists():
            with files.staging(landing, "prepare") as stage:
                staged = stage / "empty.parquet"
                write_table(schema.empty_table(), staged)
                put(staged, path)
    _retype_usage(landing)


def _retype_usage(landing: Path) -> None:
    """Type usage again that an earlier release landed with other columns."""
    columns, known = " ".join(files.USAGE.names), landing / _COLUMNS
    if known.exists() and known.read_text(encoding="utf-8") == columns:
        return
    with files.staging(landing, "retype") as stage, connect(stage) as connection:
        for path in sorted(landing.glob("usage/usage_day=*/delivery_day=*/part.parquet")):
            with pq.ParquetFile(path) as landed:
                if landed.schema_arrow.names == files.USAGE.names:
                    continue
                day = date.fromisoformat(path.parent.name.partition("=")[2])
                part = TableWriter(stage / "part.parquet", files.USAGE)
                for batch in landed.iter_batches(_AT_ONCE, columns=["line_number", "raw"]):
                    lines = pa.Table.from_batches([batch]).rename_columns(LINES.names)
                    for rows in EventParser(connection, day).parse([Lines(lines, [], None)]):
                        _refuse_rejected(rows, day)
                        part.write(rows.select(files.USAGE.names))
                part.close()
            put(part.path, path)
    # Last, so that what a crash left undone is done the next time.
    put_text(columns, known)


def _refuse_rejected(rows: pa.Table, day: date) -> None:
    for row in rows.filter(rows["rule"].is_valid()).slice(0, 1).to_pylist():
        raise RetypingFailed(
            f"Line {row['line_number']} of the usage delivered on {day} was landed by an earlier "
            f"release, and is {row['rule']} for this one ({row['detail']}): land {day} again, by "
            "the release that landed it or after removing landing/usage of that delivery day"
        )
