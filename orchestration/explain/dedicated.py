"""Dedicated clusters: a fee in money, whatever is used."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from orchestration.explain.books_read import VALID
from orchestration.explain.exact import ZERO, Row, many, rounded, shown, sum_of
from orchestration.explain.rated_minutes import print_usage, rows_of
from orchestration.explain.trace import Trace


def dedicated_cluster(trace: Trace) -> list[Row]:
    """The fee of a cluster that is a customer's own: tiers on its GPUs."""
    page, books = trace.page, trace.books
    charge = trace.needed(
        "charge of the cluster",
        "select * from int_dedicated_charges where customer_id = $customer "
        "and cycle_start = $cycle and subscription_id = $key",
    )
    first, until, cluster = charge["granted_on"], charge["active_until"], charge["cluster"]
    pools = trace.rows(
        f"select accelerator, gpu_count from pools where cluster = $cluster and {VALID} order by 1",
        cluster=cluster,
        day=first,
    )
    gpus = Fraction(sum(pool["gpu_count"] for pool in pools))
    counted = " + ".join(f"{pool['gpu_count']} {pool['accelerator']}" for pool in pools)
    page.say(f"  {cluster} on {first}: {counted or 'no pool'} = {many(gpus, 'GPU')}")
    price = trace.price(charge["sku"], "dedicated", first, gpus, "GPU")
    active, in_cycle = (until - first).days, (charge["cycle_end"] - trace.cycle).days
    share = Fraction(active, in_cycle)
    page.say(
        f"  {active} of {in_cycle} days: {shown(price)} × {active} / {in_cycle} "
        f"= {shown(price * share)}"
    )
    trace.is_line(gpus, rounded(price / gpus, 12) if gpus else ZERO, price * share)
    earned = trace.rows(
        "select event_count, amortized_cost_micro, dedicated_revenue_micro "
        "from int_usage_earned where customer_id = $customer and cluster = $cluster "
        "and cycle_start = $cycle and is_dedicated "
        "and posting_date >= $first and posting_date < $until",
        cluster=cluster,
        first=first,
        until=until,
    )
    passed = (min(until, books.last_day + timedelta(days=1)) - first).days
    value = rounded(price * share, 6)
    page.equals(
        f"earned on {passed} of {active} active days,",
        sum_of(earned, "dedicated_revenue"),
        f"{shown(value)} × {passed} / {active}",
        rounded(value * passed / active, 6),
    )
    page.equals(
        "cost of pools on days without use",
        sum_of((row for row in earned if not row["event_count"]), "amortized_cost"),
        "the line's cost",
        trace.line["amortized_cost"],
    )

    page.heading("The ledger")
    page.say("  A dedicated cluster is charged in money: its minutes cost no credits.")
    rows = [
        row
        for row in rows_of(trace, "daily.cluster = $cluster", cluster=cluster)
        if row["is_dedicated"] and first <= row["posting_date"] < until
    ]
    print_usage(trace, "Usage of the cluster, posted on its active days", rows)
    return rows
