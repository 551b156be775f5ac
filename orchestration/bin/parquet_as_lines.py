#!/usr/bin/env python
"""Spells the rows of a Parquet file as JSON lines on standard output.

A process of its own, with bounded memory and an empty environment: a Parquet file of some kilobytes
can unpack to any size, and one that is damaged can take its reader down. Whoever started this reads
the lines, or the exit code: 1 for a file that cannot be read, with the reason on standard error.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class UnreadableParquet(ValueError):
    """Why the file cannot be read; the message is for people."""


def main() -> int:
    """Arguments: the file, the rows in a batch, the bytes of address space."""
    path, rows, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pa.set_cpu_count(1)
    try:
        with (
            pq.ParquetFile(path, memory_map=False) as delivered,
            duckdb.connect(
                config={
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "enable_external_access": False,
                    "threads": 1,
                }
            ) as connection,
        ):
            _check(delivered.schema_arrow, connection)
            for batch in delivered.iter_batches(rows, use_threads=False):
                sys.stdout.buffer.write(_lines(pa.Table.from_batches([batch]), connection))
        sys.stdout.buffer.flush()
    except UnreadableParquet as wrong:
        return _end(str(wrong))
    except MemoryError:
        return _end(f"its rows need more than {limit >> 20:,} MB of memory")
    except (pa.ArrowException, duckdb.Error, OSError, ValueError, KeyError) as error:
        return _end(f"it is no readable Parquet file ({type(error).__name__})")
    return 0


def _end(wrong: str) -> int:
    sys.stderr.write(wrong)
    return 1


def _check(schema: pa.Schema, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse columns that cannot be told apart, or are of a type that JSON has no way to say."""
    twice = [n for n, count in Counter(name.lower() for name in schema.names).items() if count > 1]
    if twice:
        raise UnreadableParquet(f"the column {twice[0][:80]!r} is there twice")
    for column in schema:
        # A row, not none: some types are only met with a value.
        row = pa.table([pa.nulls(1, column.type)], [column.name])
        try:
            connection.register("delivered", row)
            connection.sql("select to_json(delivered) from delivered").fetchall()
        except duckdb.Error:
            raise UnreadableParquet(
                f"the column {column.name[:80]!r} is of type {column.type!s:.80}"
            ) from None
        connection.unregister("delivered")


def _lines(rows: pa.Table, connection: duckdb.DuckDBPyConnection) -> bytes:
    """Some rows, a line each; one that cannot be spelled costs none of the others."""
    try:
        rows.validate(full=True)
        return _as_json(rows, connection)
    except (pa.ArrowException, duckdb.Error):
        if rows.num_rows == 1:
            return _not_an_object(rows)
        half = rows.num_rows // 2
        parts = rows.slice(0, half), rows.slice(half)
    return b"".join(_lines(part, connection) for part in parts)


def _as_json(rows: pa.Table, connection: duckdb.DuckDBPyConnection) -> bytes:
    rows = _instants_as_text(_plain(rows))
    connection.register("delivered", rows)
    try:
        lines = connection.sql(_row_as_json(rows.schema)).to_arrow_table()["line"].to_pylist()
    finally:
        connection.unregister("delivered")
    return "".join(f"{line}\n" for line in lines).encode()


def _not_an_object(row: pa.Table) -> bytes:
    """A row that cannot be spelled, in an array, so that no feed takes it for a good one.

    Bytes that are not UTF-8 stay as they are: landing says what is wrong with them.
    """
    values = {name: _spelled(row[name][0]) for name in row.schema.names}
    line = json.dumps([values], ensure_ascii=False)
    return line.encode("utf-8", "surrogateescape") + b"\n"


def _spelled(value: pa.Scalar) -> Any:
    if not value.is_valid:
        return None
    if isinstance(value, pa.StructScalar):
        return {name: _spelled(part) for name, part in value.items()}
    if isinstance(value, pa.ListScalar):
        return [_spelled(part) for part in value.values]
    if isinstance(value, pa.DictionaryScalar):
        return _spelled(value.value)
    if isinstance(value, pa.StringScalar | pa.BinaryScalar):
        return value.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    return str(value)


def _plain(rows: pa.Table) -> pa.Table:
    """Columns that repeat their values by number, with the values themselves."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def _instants_as_text(rows: pa.Table) -> pa.Table:
    """Spell a timestamp column ``ts`` as RFC 3339, without an offset if it has no zone."""
    if "ts" not in rows.schema.names or not pa.types.is_timestamp(rows.schema.field("ts").type):
        return rows
    at = rows.schema.get_field_index("ts")
    kind = rows.schema.field(at).type
    instants = rows["ts"].cast(pa.timestamp("us", kind.tz and "UTC"), safe=False)
    text = pc.strftime(instants, "%Y-%m-%dT%H:%M:%SZ" if kind.tz else "%Y-%m-%dT%H:%M:%S")
    return rows.set_column(at, "ts", text)


def _row_as_json(schema: pa.Schema) -> str:
    """SQL that spells the rows of ``delivered`` as JSON objects."""
    kind = schema.field("metadata").type if "metadata" in schema.names else pa.null()
    if not any(is_text(kind) for is_text in _TEXTS):
        return "select to_json(delivered)::varchar as line from delivered"
    return """
        select to_json(spelled)::varchar as line
        from (
            select * replace (
                case when json_valid(metadata) then metadata::json else to_json(metadata) end
                    as metadata
            )
            from delivered
        ) as spelled
    """


if __name__ == "__main__":
    sys.exit(main())
