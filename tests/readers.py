"""The programs that finance reads a publication with: what each counts and sums in every table.

``python readers.py READER FOLDER`` prints it as JSON, so that other versions can be asked too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

Totals = dict[str, dict[str, str]]
"""By table: the number of rows, and by numeric column its sum as text, without trailing zeros."""


def tables_of(folder: Path) -> list[str]:
    """The tables of a publication, as its manifest lists them."""
    return sorted(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["row_counts"])


def duckdb_file(folder: Path) -> Totals:
    """DuckDB, from the one file."""
    import duckdb

    with duckdb.connect(str(folder / "marts.duckdb"), read_only=True) as connection:
        return {name: _by_sql(connection, f'"{name}"') for name in tables_of(folder)}


def duckdb_parquet(folder: Path) -> Totals:
    """DuckDB, from the Parquet files."""
    import duckdb

    with duckdb.connect() as connection:
        return {
            name: _by_sql(connection, f"read_parquet('{folder / name}/*.parquet')")
            for name in tables_of(folder)
        }


def pandas(folder: Path) -> Totals:
    """pandas, which holds a decimal as Python's own."""
    import pandas
    from pandas.api import types

    totals: Totals = {}
    for name in tables_of(folder):
        frame = pandas.read_parquet(folder / name, dtype_backend="pyarrow")
        totals[name] = _told(
            len(frame),
            (
                (column, sum(frame[column].dropna(), Decimal(0)))
                for column in frame.columns
                if types.is_numeric_dtype(frame[column].dtype)
                and not types.is_bool_dtype(frame[column].dtype)
            ),
        )
    return totals


def polars(folder: Path) -> Totals:
    """polars, whose decimals are exact."""
    import polars

    totals: Totals = {}
    for name in tables_of(folder):
        frame = polars.read_parquet(folder / name / "*.parquet")
        totals[name] = _told(
            frame.height,
            (
                (column, frame[column].sum())
                for column, kind in frame.schema.items()
                if kind.is_numeric()
            ),
        )
    return totals


def postgres(url: str, schema: str, tables: Iterable[str]) -> Totals:
    """PostgreSQL."""
    import psycopg

    totals: Totals = {}
    with psycopg.connect(url) as connection:
        for name in tables:
            columns = [
                column
                for (column,) in connection.execute(
                    "select column_name from information_schema.columns where table_schema = %s "
                    "and table_name = %s and numeric_precision is not null",
                    [schema, name],
                )
            ]
            sums = "".join(f', sum("{column}")' for column in columns)
            row = connection.execute(f'select count(*){sums} from "{schema}"."{name}"').fetchone()
            totals[name] = _told(row[0], zip(columns, row[1:], strict=True))
    return totals


READERS: dict[str, Callable[[Path], Totals]] = {
    reader.__name__: reader for reader in (duckdb_file, duckdb_parquet, pandas, polars)
}


def _by_sql(connection: object, relation: str) -> dict[str, str]:
    described = connection.execute(f"describe from {relation}").fetchall()
    columns = [
        name
        for name, kind, *_ in described
        if kind.startswith("DECIMAL")
        or kind.endswith("INT")
        or kind == "INTEGER"
        or kind in ("DOUBLE", "FLOAT")
    ]
    sums = "".join(f', sum("{column}")' for column in columns)
    [row] = connection.execute(f"select count(*){sums} from {relation}").fetchall()
    return _told(row[0], zip(columns, row[1:], strict=True))


def _told(rows: int, sums: Iterable[tuple[str, object]]) -> dict[str, str]:
    told = {column: format(Decimal(str(total or 0)).normalize(), "f") for column, total in sums}
    return {"rows": str(rows), **dict(sorted(told.items()))}


if __name__ == "__main__":
    json.dump(READERS[sys.argv[1]](Path(sys.argv[2])), sys.stdout)
