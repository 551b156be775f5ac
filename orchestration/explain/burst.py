"""Bursts: minutes above the plan's concurrency, hour by hour, and their surcharge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from fractions import Fraction

from orchestration.explain.books_read import Gone, tier_prices
from orchestration.explain.exact import ZERO, Row, rounded, shown, sum_of
from orchestration.explain.ledger import follow_days
from orchestration.explain.rated_minutes import posted_on, print_usage
from orchestration.explain.trace import Trace


def burst_surcharge(trace: Trace) -> list[Row]:
    """Credits of the minutes above the plan's concurrency that a burst window let through."""
    page, line = trace.page, trace.line
    hours = trace.rows(
        "select * from int_burst_hours where customer_id = $customer and cycle_start = $cycle "
        "and is_adjustment = $is_adjustment and pack_sku = $sku "
        "and surcharge_unit_price_pico = cast($unit_price as hugeint) and burst_nano > 0 "
        "order by posting_date, usage_date, hour_of_day",
        sku=line["sku"],
        unit_price=str(int(line["unit_price"] * 10**12)),
    )
    if not hours:
        raise Gone("the books hold no burst minutes for it any more")
    page.say(
        "  Minutes above 60 × GPUs of the plan are excess; a window lets through up to "
        "60 × GPUs × (multiplier - 1)."
    )
    page.say("  Burst credits of an hour = credits of the hour × burst minutes / minutes.")
    credits, prices = _work_out(trace, hours)
    by_day = {day: rounded(sum_of_day, 6) for day, sum_of_day in credits.items()}
    quantity = sum(by_day.values(), ZERO)
    page.begin("Burst credits by day")
    page.table(
        ["posted on", "burst credits, rounded to 6"],
        [[day, of_day] for day, of_day in by_day.items()],
        ["sum", quantity],
    )
    for (sku, included, price), day in prices.items():
        trace.price(sku, "base", day, included, "credit")
        page.say(
            f"  {sku}: list price / {shown(included)} credits × surcharge rate = {shown(price)}"
        )
        page.equals("surcharge per credit", price, "the line's", line["unit_price"])
    page.say(f"  {shown(quantity)} × {shown(line['unit_price'])}")
    trace.is_line(quantity, line["unit_price"], quantity * line["unit_price"])
    return _usage(trace, hours, sorted(by_day))


def _work_out(
    trace: Trace, hours: Iterable[Row]
) -> tuple[dict[date, Fraction], dict[tuple[str, Fraction, Fraction], date]]:
    """Work out the burst of each hour, and compare it with the books.

    Returns:
        The credits of each posting date; and what priced them, with its first day: the plan, the
        credits that it includes, the surcharge.
    """
    page = trace.page
    credits: dict[date, Fraction] = defaultdict(Fraction)
    prices: dict[tuple[str, Fraction, Fraction], date] = {}
    table, checks = [], []
    for hour in hours:
        day, number = hour["usage_date"], hour["hour_of_day"]
        whole = _hour(trace, hour)
        plan = _plan_on(trace, day)
        window = _window(trace, day, number)
        gpus = plan["base_concurrency"] * plan["quantity"]
        excess = whole["minutes"] - 60 * gpus
        burst = min(excess, rounded(60 * gpus * (window["concurrency_multiplier"] - 1), 9))
        burst_credits = rounded(whole["credits"] * burst / whole["minutes"], 15)
        credits[hour["posting_date"]] += burst_credits
        included = plan["included_credits"] * plan["quantity"]
        priced = _surcharge_price(trace, plan, included, day, window)
        prices.setdefault((plan["sku"], included, priced), day)
        hour_name = f"{day} {number:02d}:00"
        figures = [whole["minutes"], 60 * gpus, excess, burst, whole["credits"], burst_credits]
        table.append([hour_name, hour["posting_date"], window["order_id"], *figures])
        checks.append((f"{hour_name} burst minutes", burst, hour["burst"]))
        checks.append((f"{hour_name} burst credits", burst_credits, hour["burst_credits"]))
    header = ["hour", "posted on", "window of", "minutes", "limit", "excess", "burst"]
    page.begin("Bursts by hour")
    page.table([*header, "credits", "burst credits"], table)
    page.each_equals("minutes and credits of each hour equal the books", checks)
    return credits, prices


def _usage(trace: Trace, hours: Iterable[Row], dates: Sequence[date]) -> list[Row]:
    """The ledger and the usage of the days with burst hours, compared with their hours."""
    follow_days(
        trace, dates, "A surcharge is money, no transfer of its own; the credits were moved by"
    )
    pairs = {(hour["usage_date"], hour["posting_date"]) for hour in hours}
    rows = [
        row
        for row in posted_on(trace, dates)
        if (row["usage_date"], row["posting_date"]) in pairs and not row["is_dedicated"]
    ]
    print_usage(trace, "All usage of the days with burst hours", rows)
    by_hours = trace.one(
        "select coalesce(sum(gpu_minutes_nano), 0) as minutes_nano from int_usage_hours "
        "where customer_id = $customer and not is_dedicated and (usage_date, posting_date) in "
        "(select (unnest($usage_dates::date[]), unnest($posting_dates::date[])))",
        usage_dates=[pair[0] for pair in sorted(pairs)],
        posting_dates=[pair[1] for pair in sorted(pairs)],
    )
    trace.page.equals(
        "minutes of all hours of these days",
        by_hours["minutes"] if by_hours else ZERO,
        "the rows' minutes",
        sum_of(rows, "gpu_minutes"),
    )
    return rows


def _hour(trace: Trace, hour: Row) -> Row:
    """Minutes and credits, unrounded, of a customer in a clock hour."""
    return trace.rows(
        "select coalesce(sum(gpu_minutes_nano), 0) as minutes_nano, "
        "coalesce(sum(cast(gpu_minutes_nano as hugeint) * credit_rate_micro), 0) "
        "as credits_femto from int_usage_hours where customer_id = $customer "
        "and usage_date = $usage_date and posting_date = $posting_date "
        "and hour_of_day = $hour and not is_dedicated",
        usage_date=hour["usage_date"],
        posting_date=hour["posting_date"],
        hour=hour["hour_of_day"],
    )[0]


def _plan_on(trace: Trace, day: date) -> Row:
    """The customer's plan on a day, with the subscription's quantity."""
    subscription = trace.one(
        "select sku, quantity from stg_plan_subscriptions where customer_id = $customer "
        "and starts_on <= $day and (ends_on is null or $day < ends_on)",
        day=day,
    )
    if subscription is None:
        raise Gone(f"the contracts no longer have a plan of this customer on {day}")
    plan = trace.books.version("plans", subscription["sku"], day)
    if plan["base_concurrency"] is None:
        raise Gone(f"{plan['sku']} no longer limits its concurrency on {day}")
    return {**plan, "quantity": subscription["quantity"]}


def _window(trace: Trace, day: date, hour: int) -> Row:
    """The burst window that counts in a clock hour: largest multiplier, then earliest order."""
    start = datetime(day.year, day.month, day.day, hour)
    windows = trace.rows(
        "select orders.order_id, orders.ordered_at, packs.* from orders "
        "inner join packs on orders.sku = packs.sku and packs.kind = 'burst' "
        "and cast(orders.ordered_at as date) >= packs.valid_from and (packs.valid_to is null "
        "or cast(orders.ordered_at as date) < packs.valid_to) "
        "where orders.customer_id = $customer "
        "and date_trunc('hour', orders.ordered_at) <= $start "
        "and $start < date_trunc('hour', orders.ordered_at) "
        "+ packs.validity_hours * interval 1 hour",
        start=start,
    )
    if not windows:
        raise Gone(f"no order opens a burst window at {start:%Y-%m-%d %H}:00")
    return min(
        windows, key=lambda w: (-w["concurrency_multiplier"], w["ordered_at"], w["order_id"])
    )


def _surcharge_price(
    trace: Trace, plan: Row, included: Fraction, day: date, window: Row
) -> Fraction:
    tiers = trace.books.tiers(plan["sku"], "base", day)
    list_price = sum((amount for _, amount in tier_prices(tiers, included)), ZERO)
    per_credit = rounded(list_price / included, 12) if included else ZERO
    return rounded(per_credit * (window["surcharge_rate"] or ZERO), 12)
