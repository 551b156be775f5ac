"""The files of a publication: a table is published in parts, a month each, and only what may have
changed is written again.

A part that tonight's billing did not change is the previous publication's file under another name (a
hard link, or a copy where there are none). What may have changed is what the warehouse says
(``int_changed_months``), and is then compared row by row; and any part whose number of rows or sums
differ from the warehouse's.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

# Older clients read this storage version too.
STORAGE_VERSION = "v1.4.0"

WHOLE = "part-0"
"""The one part of a table that is not published by month."""
UNDATED = "undated"
"""The part of the rows without a date."""

_CHUNK_BYTES = 1 << 20
_SUMMABLE = ("DECIMAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BOOLEAN")

Options = dict[str, str | bool | int | float | list[str]]


@dataclass(frozen=True)
class Column:
    """A published column and what it means."""

    name: str
    description: str


@dataclass(frozen=True)
class Mart:
    """A published table: its name, what one row is, and its columns."""

    name: str
    description: str
    columns: tuple[Column, ...]
    as_csv: bool = False
    """Whether it is published as CSV too (``csv: true`` in the model's meta)."""
    published_by: str | None = None
    """The date column by whose months it is published (``published_by`` in the model's meta)."""


@dataclass(frozen=True)
class Part:
    """Rows of a table that stand in one file, as they are in the warehouse."""

    name: str
    rows: int
    sums: tuple[str, ...] = ()
    """Sums of the table's numbers, in the order of its columns; none for a table without months."""
    csv: tuple[int, int] | None = None
    """First byte and number of bytes in the table's CSV file, if it has one."""

    def holds_what(self, other: Part | None) -> bool:
        """Whether rows and sums are those of another part."""
        return other is not None and (self.rows, self.sums) == (other.rows, other.sums)


@dataclass(frozen=True)
class EarlierPublication:
    """A publication that the next one may take parts from."""

    folder: Path
    billing_id: str
    """The billing that it shows."""
    parts: Mapping[str, Mapping[str, Part]]
    sha256: Mapping[str, str]

    def is_whole(self) -> bool:
        """Whether every file that its manifest names is there."""
        return all((self.folder / name).is_file() for name in self.sha256)


@dataclass
class Written:
    """A table of the publication under way."""

    mart: Mart
    parts: dict[str, Part]
    again: set[str] = field(default_factory=set)
    """The parts that were written; all others are the previous publication's files."""
    gone: set[str] = field(default_factory=set)
    """Parts of the previous publication that have no rows any more."""

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(part.rows for part in self.parts.values())


def write_parts(
    warehouse: duckdb.DuckDBPyConnection,
    mart: Mart,
    staged: Path,
    previous: EarlierPublication | None,
    changed: Collection[str],
) -> Written:
    """Write a table as Parquet, and as CSV if it says so.

    Args:
        warehouse: the warehouse, or any connection that has the table.
        mart: what to publish.
        staged: the publication under way.
        previous: the publication whose parts may be taken over, if there is one.
        changed: names of the parts that may hold other rows even if their sums are the same.
    """
    now = _parts(warehouse, mart)
    before = previous.parts.get(mart.name, {}) if previous else {}
    written = Written(mart, now, gone=set(before) - set(now))
    (staged / mart.name).mkdir()
    for name, part in now.items():
        file = f"{mart.name}/{name}.parquet"
        if (
            previous
            and mart.published_by
            and part.holds_what(before.get(name))
            and (name not in changed or _holds_rows(warehouse, mart, name, previous.folder / file))
        ):
            _take_over(previous.folder / file, staged / file)
            continue
        written.again.add(name)
        [(rows,)] = warehouse.execute(
            f'copy (select * from "{mart.name}" where {_in_part(mart, name)} order by all) '
            f"to '{quoted(staged / file)}' (format parquet, compression zstd)"
        ).fetchall()
        now[name] = Part(name, rows, part.sums)
    if mart.as_csv:
        _write_csv(warehouse, written, staged, previous)
    return written


def write_database(
    tables: Sequence[Written], staged: Path, previous: EarlierPublication | None, options: Options
) -> None:
    """Write all tables, with their descriptions, into one DuckDB file.

    The previous file is taken over where it is what its manifest says; of it, only the parts that
    were written again are replaced.
    """
    target = staged / "marts.duckdb"
    if previous:
        shutil.copyfile(previous.folder / target.name, target)
        if _replace_parts(tables, staged, target, options):
            return
        target.unlink()
    with _attached(target, options, f" (storage_version '{STORAGE_VERSION}')") as database:
        for table in tables:
            mart = table.mart
            database.execute(
                f'create table published."{mart.name}" as from {_parquet(staged / mart.name)}'
            )
            database.execute(
                f"comment on table published.\"{mart.name}\" is '{escaped(mart.description)}'"
            )
            for column in mart.columns:
                database.execute(
                    f'comment on column published."{mart.name}"."{column.name}" '
                    f"is '{escaped(column.description)}'"
                )
        database.execute("detach published")


def checksums(
    staged: Path, tables: Sequence[Written], previous: EarlierPublication | None
) -> dict[str, str]:
    """SHA-256 of every file; what was taken over keeps the sum that it was published with."""
    taken_over = {
        f"{table.mart.name}/{name}.parquet"
        for table in tables
        for name in table.parts.keys() - table.again
    }
    return {
        name: previous.sha256[name] if previous and name in taken_over else _sha256(path)
        for path in sorted(staged.rglob("*"))
        if path.is_file()
        for name in [path.relative_to(staged).as_posix()]
    }


def quoted(path: Path) -> str:
    """A path as it stands between the quotes of a SQL text."""
    return escaped(str(path))


def escaped(text: str) -> str:
    """A text as it stands between the quotes of a SQL text."""
    return text.replace("'", "''")


def _parquet(folder: Path, files: str = "*.parquet") -> str:
    """Files of one folder as they are read in a SQL text, whatever the folders above are called."""
    pattern = escaped(f"{glob.escape(str(folder))}/{files}")
    return f"read_parquet('{pattern}', hive_partitioning = false)"


def _parts(warehouse: duckdb.DuckDBPyConnection, mart: Mart) -> dict[str, Part]:
    """The parts of a table as the warehouse has it; a table without rows has one that is empty."""
    if mart.published_by is None:
        return {WHOLE: Part(WHOLE, 0)}
    columns = warehouse.execute(f'describe "{mart.name}"').fetchall()
    sums = [
        f"cast(coalesce(sum({_number(name, kind)}), 0) as varchar)"
        for name, kind, *_ in columns
        if kind.startswith(_SUMMABLE)
    ]
    found = warehouse.execute(
        f"select cast(date_trunc('month', \"{mart.published_by}\") as date) as month, count(*)"
        f'{"".join(", " + term for term in sums)} from "{mart.name}" group by month order by month'
    ).fetchall()
    parts = [Part(_name(month), rows, tuple(values)) for month, rows, *values in found]
    return {part.name: part for part in parts} or {WHOLE: Part(WHOLE, 0)}


def _number(name: str, kind: str) -> str:
    return f'cast("{name}" as int)' if kind == "BOOLEAN" else f'"{name}"'


def _name(month: date | None) -> str:
    return UNDATED if month is None else f"{month:%Y-%m}"


def _in_part(mart: Mart, name: str) -> str:
    """The condition that a part's rows fulfil."""
    if name == WHOLE:
        return "true"
    if name == UNDATED:
        return f'"{mart.published_by}" is null'
    first = f"date '{name}-01'"
    return (
        f'"{mart.published_by}" >= {first} and "{mart.published_by}" < {first} + interval 1 month'
    )


def _holds_rows(
    warehouse: duckdb.DuckDBPyConnection, mart: Mart, name: str, published: Path
) -> bool:
    """Whether a published part has the rows of the warehouse, whatever their order.

    By hashes of whole rows, taken now on both sides: no two are the same by chance.
    """
    rows = "select count(*), bit_xor(hash(part)), sum(hash(part)) from {} as part"
    here = f'(select * from "{mart.name}" where {_in_part(mart, name)})'
    there = _parquet(published.parent, published.name)
    return (
        warehouse.execute(rows.format(here)).fetchall()
        == warehouse.execute(rows.format(there)).fetchall()
    )


def _take_over(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        # No hard links here, or too many of this file.
        shutil.copyfile(old, new)


def _write_csv(
    warehouse: duckdb.DuckDBPyConnection,
    table: Written,
    staged: Path,
    previous: EarlierPublication | None,
) -> None:
    """Write a published table once more, as RFC 4180: CRLF, UTC instants with Z, NULL empty.

    A decimal is written with all its places, so it always has a point: readers that guess types
    would otherwise take a column of whole numbers for integers.
    """
    folder, passing = staged / table.mart.name, staged / f".{table.mart.name}.csv"
    target = staged / f"{table.mart.name}.csv"
    before = previous.parts.get(table.mart.name, {}) if previous else {}

    def as_csv(relation: str, header: str) -> None:
        warehouse.execute(
            f"copy ({relation}) to '{quoted(passing)}' (format csv, {header}, "
            "new_line '\\r\\n', timestampformat '%Y-%m-%dT%H:%M:%SZ')"
        )

    with target.open("wb") as out:
        as_csv(f"from {_parquet(folder)} limit 0", "header")
        _append(passing, 0, None, out)
        for name, part in table.parts.items():
            begins = out.tell()
            kept = before[name].csv if previous and name not in table.again else None
            if previous and kept:
                _append(previous.folder / target.name, *kept, out)
            else:
                as_csv(f"from {_parquet(folder, f'{name}.parquet')}", "header false")
                _append(passing, 0, None, out)
            span = (begins, out.tell() - begins)
            table.parts[name] = Part(name, part.rows, part.sums, span)
    passing.unlink()


def _append(source: Path, begins: int, length: int | None, out: Any) -> None:
    """Append bytes of a file, ``length`` of them or all that follow."""
    left = source.stat().st_size - begins if length is None else length
    with source.open("rb") as file:
        file.seek(begins)
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            out.write(chunk)
            left -= len(chunk)


def _replace_parts(tables: Sequence[Written], staged: Path, target: Path, options: Options) -> bool:
    """Replace the parts that were written again; False if the file then holds other tables."""
    try:
        with _attached(target, options) as database:
            database.execute("begin")
            for table in tables:
                name = table.mart.name
                for part in sorted(table.again | table.gone):
                    database.execute(
                        f'delete from published."{name}" where {_in_part(table.mart, part)}'
                    )
                if table.again:
                    files = [
                        glob.escape(str(staged / name / f"{part}.parquet"))
                        for part in sorted(table.again)
                    ]
                    database.execute(
                        f'insert into published."{name}" '
                        "from read_parquet($1, hive_partitioning = false)",
                        [files],
                    )
            database.execute("commit")
            rows = dict(
                database.execute(
                    " union all ".join(
                        f"select '{table.mart.name}', count(*) from published.\"{table.mart.name}\""
                        for table in tables
                    )
                ).fetchall()
            )
            database.execute("detach published")
    except duckdb.Error:
        # Not the tables that it should hold: it is made anew, from the parts.
        return False
    return rows == {table.mart.name: table.rows for table in tables}


def _attached(target: Path, options: Options, how: str = "") -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:", config=options)
    database.execute(f"attach '{quoted(target)}' as published{how}")
    return database


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
