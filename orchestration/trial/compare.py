"""The comparison: what two or more replays of one window published, side by side.

Every table is the same thing: sums of some measures by some keys, before and after, and what
changed. A side without rows is 0; amounts stay decimal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pyarrow as pa

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

_EARNED = ("credits", "revenue", "amortized_cost", "gross_margin")
_WORKLOAD = ("cluster", "accelerator", "model_family")
_WAITING = ("reason", "cluster", "gpu_type", "lacks")


@dataclass(frozen=True)
class Billed:
    """One side of a comparison.

    Attributes:
        published: the folder of its publication.
        waiting: its usage that waits for a seed edit.
    """

    published: Path
    waiting: pa.Table

    def rows(self, table: str) -> pl.LazyFrame:
        """The rows of a published table, or of ``waiting``."""
        if table == "waiting":
            return pl.LazyFrame(self.waiting).with_columns(_lacks())
        # Named one by one, since a folder's name may hold what a pattern gives a meaning to.
        files = sorted((self.published / table).glob("*.parquet"))
        return pl.scan_parquet(files, hive_partitioning=False, glob=False)


def compare(
    before: Billed,
    after: Mapping[str, Billed],
    first: date,
    last: date,
    currency: str,
    target: Path,
) -> None:
    """Write the tables of a comparison as Parquet and CSV.

    Args:
        before: what today's seeds made of the window.
        after: what each scenario made of it, by name, in the order in which they are shown.
        first, last: the delivery days of the window.
        currency: of all amounts.
        target: the folder to write into.
    """
    head = pl.select(
        pl.lit(first).alias("first_day"),
        pl.lit(last).alias("last_day"),
        pl.lit(currency).alias("currency"),
    )
    compared = {name: _tables(before, billed, head) for name, billed in after.items()}
    for table in TABLES:
        rows = pl.concat(
            tables[table].select(pl.lit(scenario).alias("scenario"), pl.all())
            for scenario, tables in compared.items()
        )
        rows.write_parquet(target / f"{table}.parquet")
        rows.write_csv(target / f"{table}.csv")


def read_comparison(folder: Path) -> dict[str, list[Row]]:
    """The rows of each table of a comparison, amounts as exact decimals."""
    return {
        table: pl.read_parquet(
            folder / f"{table}.parquet", hive_partitioning=False, glob=False
        ).to_dicts()
        for table in TABLES
    }


def _tables(before: Billed, after: Billed, head: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The tables of one scenario, without its name; ``head`` says what all of it is in."""
    money = pl.lit(head["currency"].item()).alias("currency")

    def sums(table: str, keys: Sequence[str], *measures: str | pl.Expr) -> pl.DataFrame:
        return _sums(before.rows(table), after.rows(table), keys, *measures)

    def priced(table: str, keys: Sequence[str], *measures: str) -> pl.DataFrame:
        return sums(table, keys, *measures).select(*keys, money, pl.exclude(*keys)).sort(keys)

    invoiced = pl.col("total").alias("invoiced")
    return {
        "summary": pl.concat(
            [
                head,
                sums("invoices", (), invoiced),
                _with_margin_rate(sums("margin_daily", (), *_EARNED)),
                sums("margin_monthly", (), "breakage_revenue"),
                sums("margin_daily", (), "gpu_minutes"),
                sums("waiting", (), pl.col("gpu_minutes", "rows").name.prefix("waiting_")),
            ],
            how="horizontal",
        ),
        "customers": _customers(
            sums("invoices", ["customer_id"], invoiced),
            sums("margin_daily", ["customer_id"], "credits", "gross_margin"),
            money,
        ),
        "invoices": priced("invoices", ("customer_id", "cycle_start", "cycle_end"), "total"),
        "invoice_charges": priced(
            "invoice_lines", ("customer_id", "cycle_start", "line_type"), "quantity", "amount"
        ),
        "accelerators": _with_margin_rate(
            priced("margin_daily", ("accelerator",), "gpu_minutes", *_EARNED)
        ),
        "workloads": sums("usage_daily", _WORKLOAD, "gpu_minutes", "credits")
        .with_columns(_rate_of("credits_per_gpu_minute", "credits", "gpu_minutes"))
        .sort(pl.col("credits_after").neg(), *_WORKLOAD),
        "unmapped_workloads": sums("waiting", _WAITING, "rows", "gpu_minutes").sort(
            *(pl.col(f"gpu_minutes_{side}").neg() for side in ("after", "before")),
            *_WAITING,
            nulls_last=True,
        ),
        "changed_tables": _changed(before, after),
    }


def _sums(
    before: pl.LazyFrame, after: pl.LazyFrame, keys: Sequence[str], *measures: str | pl.Expr
) -> pl.DataFrame:
    """Sums of some measures by some keys on either side, and what changed; one row without keys."""
    names = before.select(*measures).collect_schema().names()
    sides = pl.concat(
        [
            rows.select(*keys, *measures).rename({name: f"{name}_{side}" for name in names})
            for rows, side in ((before, "before"), (after, "after"))
        ],
        how="diagonal",
    )
    summed = sides.group_by(keys).agg(pl.all().sum()) if keys else sides.sum()
    return summed.select(
        *keys,
        *(
            column
            for name in names
            for column in (
                pl.col(f"{name}_before"),
                pl.col(f"{name}_after"),
                (pl.col(f"{name}_after") - pl.col(f"{name}_before")).alias(f"{name}_difference"),
            )
        ),
    ).collect()


def _customers(invoiced: pl.DataFrame, earned: pl.DataFrame, money: pl.Expr) -> pl.DataFrame:
    difference = pl.col("invoiced_difference")
    pays = pl.when(difference > 0).then(pl.lit("more")).when(difference < 0).then(pl.lit("less"))
    return (
        invoiced.join(earned, on="customer_id", how="full", coalesce=True)
        .with_columns(cs.numeric().fill_null(0))
        .select(
            "customer_id",
            money,
            cs.starts_with("invoiced_"),
            _per("invoiced_difference", "invoiced_before").alias("invoiced_difference_rate"),
            pays.otherwise(pl.lit("the same")).alias("pays"),
            cs.starts_with("credits_", "gross_margin_"),
        )
        .sort(difference.neg(), "customer_id")
    )


def _lacks() -> pl.Expr:
    """What the seeds lack for usage that waits."""
    reason = pl.col("reason")
    return (
        pl.when(reason.is_in(["unknown_customer", "no_active_plan"]))
        .then("customer_id")
        .when(reason == "unknown_cluster")
        .then("cluster")
        .when(reason == "no_credit_rate")
        .then(pl.format("{} / {}", "accelerator", "model_family"))
        .otherwise("gpu_type")
        .alias("lacks")
    )


def _changed(before: Billed, after: Billed) -> pl.DataFrame:
    """Every published table compared row by row, so that "no difference" leaves nothing out."""
    marts = sorted(path.name for path in before.published.iterdir() if path.is_dir())
    return pl.concat(
        pl.concat(
            [
                side.rows(mart).with_columns(pl.lit(count).alias("count of rows"))
                for side, count in ((before, 1), (after, -1))
            ]
        )
        .group_by(pl.exclude("count of rows"))
        .agg(pl.col("count of rows").cast(pl.Int64).sum().alias("more_before"))
        .select(
            pl.lit(mart).alias("table_name"),
            pl.col("more_before").clip(lower_bound=0).sum().alias("rows_only_before"),
            pl.col("more_before").neg().clip(lower_bound=0).sum().alias("rows_only_after"),
        )
        .collect()
        for mart in marts
    )


def _with_margin_rate(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(_rate_of("gross_margin_rate", "gross_margin", "revenue"))


def _rate_of(name: str, amount: str, other: str) -> list[pl.Expr]:
    return [
        _per(f"{amount}_{side}", f"{other}_{side}").alias(f"{name}_{side}")
        for side in ("before", "after")
    ]


def _per(amount: str, other: str) -> pl.Expr:
    """One amount per another to 6 decimals, rounded half away from zero; NULL per nothing."""
    one, per = (pl.col(name).cast(pl.Decimal(38, 6)).to_physical() for name in (amount, other))
    size = (2 * one.abs() * 10**6 + per.abs()) // (2 * pl.when(per != 0).then(per.abs()))
    millionths = (one.sign() * per.sign() * size).cast(pl.Decimal(38, 0))
    return millionths.cast(pl.Decimal(38, 6)) * pl.lit("0.000001").cast(pl.Decimal(38, 6))
