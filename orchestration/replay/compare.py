"""The comparison: what two or more replays of one window published, side by side, in SQL.

The queries lie in ``sql/``, one for each table of the comparison. They read views named like the
marts, with the ``scenario`` and the ``side`` (before, after) of each row; amounts stay decimal.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.landing.engine import connect

_SQL = Path(__file__).with_name("sql")
_MARTS = ("invoices", "invoice_lines", "margin_daily", "margin_monthly", "usage_daily")

TABLES = {
    "summary": "One row per scenario: the sums of all below.",
    "customers": "One row per scenario and customer: who pays more, and by how much.",
    "invoices": "One row per scenario, customer and billing cycle: the invoice before and after.",
    "invoice_charges": "One row per scenario, customer, cycle and line type: where it comes from.",
    "accelerators": "One row per scenario and accelerator: revenue, cost and margin.",
    "workloads": "One row per scenario, cluster, accelerator and model family: what it costs in credits.",
    "unmapped_workloads": "One row per scenario and kind of usage that waits for a seed edit.",
    "changed_tables": "One row per scenario and published table: rows only before, rows only after.",
}
"""What a comparison consists of. ``difference`` is after less before, ``rate`` is a share of 1."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Billed:
    """One side of a comparison.

    Attributes:
        published: the folder of its publication.
        waiting: its usage that waits for a seed edit.
    """

    published: Path
    waiting: pa.Table


def compare(
    before: Billed,
    after: Mapping[str, Billed],
    first: date,
    last: date,
    currency: str,
    target: Path,
    spill: Path,
) -> None:
    """Write the tables of a comparison as Parquet and CSV.

    Args:
        before: what today's seeds made of the window.
        after: what each scenario made of it, by name, in the order in which they are shown.
        first, last: the delivery days of the window.
        currency: of all amounts.
        target: the folder to write into.
        spill: a folder for what does not fit into memory.
    """
    with connect(spill) as connection:
        connection.execute((_SQL / "macros.sql").read_text(encoding="utf-8"))
        connection.execute(
            "create table scenarios (position int, scenario varchar, first_day date, "
            "last_day date, currency varchar)"
        )
        connection.executemany(
            "insert into scenarios values ($1, $2, $3, $4, $5)",
            [(n, name, first, last, currency) for n, name in enumerate(after, start=1)],
        )
        for mart in _MARTS:
            _both_sides(connection, mart, before, after)
        _waiting(connection, before, after)
        _changed_tables(connection, before, after)
        for table in TABLES:
            query = (_SQL / f"{table}.sql").read_text(encoding="utf-8")
            connection.execute(f"create table compared_{table} as {query}")
            for kind in ("parquet", "csv"):
                connection.execute(
                    f"copy compared_{table} to '{_quoted(target / table)}.{kind}' (format {kind})"
                )


def read_comparison(folder: Path) -> dict[str, list[Row]]:
    """The rows of each table of a comparison, amounts as exact decimals."""
    with duckdb.connect(":memory:") as connection:
        tables = {}
        for table in TABLES:
            found = connection.execute(
                "from read_parquet($1, hive_partitioning = false)",
                [glob.escape(str(folder / f"{table}.parquet"))],
            )
            names = [column[0] for column in found.description]
            tables[table] = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        return tables


def _both_sides(
    connection: duckdb.DuckDBPyConnection, mart: str, before: Billed, after: Mapping[str, Billed]
) -> None:
    """A view of a mart: its rows before, for each scenario, and its rows after."""
    sides = [
        "select 'before' as side, scenarios.scenario, rows.* "
        f"from scenarios cross join {_parquet(before, mart)} as rows",
        *(
            f"select 'after' as side, '{scenario}' as scenario, rows.* "
            f"from {_parquet(billed, mart)} as rows"
            for scenario, billed in after.items()
        ),
    ]
    connection.execute(f"create view {mart} as " + " union all ".join(sides))


def _waiting(
    connection: duckdb.DuckDBPyConnection, before: Billed, after: Mapping[str, Billed]
) -> None:
    tables: Sequence[tuple[str, str, pa.Table]] = [
        *(("before", scenario, before.waiting) for scenario in after),
        *(("after", scenario, billed.waiting) for scenario, billed in after.items()),
    ]
    rows = pa.concat_tables(
        [
            table.append_column("side", pa.repeat(side, table.num_rows)).append_column(
                "scenario", pa.repeat(scenario, table.num_rows)
            )
            for side, scenario, table in tables
        ]
    )
    connection.register("waiting", rows)


def _changed_tables(
    connection: duckdb.DuckDBPyConnection, before: Billed, after: Mapping[str, Billed]
) -> None:
    """Every published table compared row by row, so that "no difference" leaves nothing out."""
    connection.execute(
        "create table changed_tables (scenario varchar, table_name varchar, "
        "rows_only_before bigint, rows_only_after bigint)"
    )
    marts = sorted(path.name for path in before.published.iterdir() if path.is_dir())
    for scenario, billed in after.items():
        for mart in marts:
            one, other = _parquet(before, mart), _parquet(billed, mart)
            connection.execute(
                "insert into changed_tables select $1, $2, "
                f"(select count(*) from (from {one} except all from {other})), "
                f"(select count(*) from (from {other} except all from {one}))",
                [scenario, mart],
            )


def _parquet(billed: Billed, mart: str) -> str:
    folder = glob.escape(str(billed.published / mart))
    return f"read_parquet('{_quoted(folder)}/*.parquet', hive_partitioning = false)"


def _quoted(path: Path | str) -> str:
    return str(path).replace("'", "''")
