"""The usage behind a line: rows of usage_daily, their credits, their parts of a day's transfers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from typing import Any

from orchestration.explain.exact import ZERO, Row, rounded, shown, spread, sum_of
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import transferred


def posted_on(trace: Trace, dates: Sequence[date]) -> list[Row]:
    """All usage of the customer that is posted on some dates."""
    return rows_of(trace, "list_contains($dates::date[], daily.posting_date)", dates=list(dates))


def rows_of(trace: Trace, condition: str, **parameters: Any) -> list[Row]:
    """Published rows of the customer's usage, with what the books spread over them."""
    return trace.rows(
        "select daily.*, earned.plan_sku, earned.burned_micro, earned.overage_micro, "
        "earned.amortized_cost_micro from published.usage_daily as daily "
        "left join int_usage_earned as earned "
        "on daily.customer_id = earned.customer_id and daily.usage_date = earned.usage_date "
        "and daily.posting_date = earned.posting_date and daily.cluster = earned.cluster "
        "and daily.accelerator = earned.accelerator "
        "and daily.model_family = earned.model_family and earned.event_count > 0 "
        f"where daily.customer_id = $customer and {condition} "
        "order by daily.posting_date, daily.usage_date, daily.cluster, daily.accelerator, "
        "daily.model_family",
        **parameters,
    )


def print_usage(trace: Trace, title: str, rows: Sequence[Row], more: Sequence[str] = ()) -> None:
    """Print rows of usage, and check that their credits are minutes × rate."""
    page = trace.page
    page.heading("The usage")
    page.say(f"{title} (customer {trace.customer})")
    rates = [
        ZERO
        if row["is_dedicated"]
        else trace.books.credit_rate(row["accelerator"], row["model_family"], row["usage_date"])
        for row in rows
    ]
    names = ["cluster", "accelerator", "model_family"]
    sums = ["credits", "burned", "overage", *more]
    page.table(
        ["used on", "posted on", *names, "minutes", "× rate", *sums],
        [
            [
                *(row[name] for name in ("usage_date", "posting_date", *names, "gpu_minutes")),
                rate,
                *(row[name] for name in sums),
            ]
            for row, rate in zip(rows, rates, strict=True)
        ],
        ["sum", *[""] * 4, sum_of(rows, "gpu_minutes"), "", *(sum_of(rows, name) for name in sums)],
        more=" rows, in the sum",
    )
    page.each_equals(
        "credits of each row = minutes × rate, rounded to 6",
        (
            (name_of(row), row["credits"], rate and rounded(row["gpu_minutes"] * rate, 6))
            if rate is not None
            else (name_of(row), row["credits"], None)
            for row, rate in zip(rows, rates, strict=True)
        ),
    )


def parts_of_days(
    trace: Trace, column: str, rows: Sequence[Row], posted: Sequence[Row], moved: Fraction
) -> None:
    """Check the part of a day's burn or overage that each row got, and that nothing is left."""
    page = trace.page
    own, all_rows = sum_of(rows, column), sum_of(posted, column)
    page.equals(
        f"{column}: {shown(own)} here + {shown(all_rows - own)} on the customer's other rows =",
        all_rows,
        "the ledger",
        moved,
    )
    kind = "burn" if column == "burned" else "overage"
    dates = sorted({row["posting_date"] for row in rows})
    totals: dict[date, Fraction] = defaultdict(Fraction)
    for transfer in transferred(trace, dates, [kind]):
        totals[transfer["posted_on"]] += transfer["credits"]
    compared = []
    for day in dates:
        of_day = [row for row in posted if row["posting_date"] == day]
        of_day.sort(key=lambda row: (row["usage_date"], *place(row)))
        parts = spread(totals[day], [row["credits"] for row in of_day])
        for row, part in zip(of_day, parts, strict=True):
            compared.append((name_of(row), part, row[column]))
    page.each_equals(f"each row's part of its day's {kind}, spread by credits", compared)


def place(row: Row) -> tuple[str, str, str]:
    """Where a row of usage ran, which orders the rows of a day."""
    return row["cluster"], row["accelerator"], row["model_family"]


def name_of(row: Row) -> str:
    """A row of usage as a comparison names it."""
    return f"{'/'.join(place(row))} used {row['usage_date']} posted {row['posting_date']}"
