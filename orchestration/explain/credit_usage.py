"""Credits burned by usage: what the credits were worth stands where they were granted."""

from __future__ import annotations

from orchestration.explain.exact import ZERO, Row, many, rounded, shown, sum_of
from orchestration.explain.ledger import follow_days
from orchestration.explain.rated_minutes import parts_of_days, print_usage, rows_of
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import transferred


def credit_usage(trace: Trace) -> list[Row]:
    """Credits burned by usage of one cluster, accelerator and model family."""
    page, line = trace.page, trace.line
    rows = rows_of(
        trace,
        "daily.cycle_start = $cycle and daily.cluster = $cluster "
        "and daily.accelerator = $accelerator and daily.model_family = $model_family "
        "and daily.is_adjustment = $is_adjustment",
    )
    dates = sorted({row["posting_date"] for row in rows if row["credits"]})
    page.say("  Credits of a row = minutes × credits per minute; a day's burn is spread over")
    page.say("  the customer's rows of the day by credits. The credits were paid for when they")
    page.say("  were granted, so the amount is 0.")
    quantity = sum_of(rows, "burned")
    page.say(
        f"  {many(len(rows), 'row')}: {shown(sum_of(rows, 'credits'))} credits = "
        f"{shown(quantity)} burned + {shown(sum_of(rows, 'overage'))} beyond the wallets"
        + (
            f" + {shown(refunded)} refunded"
            if (refunded := sum_of(rows, "credits") - quantity - sum_of(rows, "overage"))
            else ""
        )
    )
    trace.is_line(quantity, ZERO, ZERO)
    minutes, cost = sum_of(rows, "gpu_minutes"), sum_of(rows, "amortized_cost")
    page.equals("GPU minutes", minutes, "the line's", line["gpu_minutes"])
    page.equals("amortized cost", cost, "the line's", line["amortized_cost"])
    if minutes:
        page.equals(
            "cost per GPU minute",
            rounded(cost / minutes, 6),
            "the line's",
            line["amortized_cost_per_gpu_minute"],
        )
    if not dates:
        page.heading("The ledger")
        page.say("  Minutes of a dedicated cluster cost no credits: none move.")
        print_usage(trace, "Usage of the line", rows)
        return rows
    posted = follow_days(trace, dates, "On the days of this usage the customer's credits moved by")
    print_usage(trace, "Usage of the line", rows)
    burned = sum_of(transferred(trace, dates, ["burn"]), "credits")
    parts_of_days(trace, "burned", rows, posted, burned)
    return rows
