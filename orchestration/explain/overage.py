"""Overage: credits beyond the wallets."""

from __future__ import annotations

from orchestration.explain.books_read import Gone, tier_prices
from orchestration.explain.exact import ZERO, Row, many, rounded, shown, sum_of
from orchestration.explain.ledger import compare_days
from orchestration.explain.rated_minutes import parts_of_days, posted_on, print_usage
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import print_transfers, transferred


def overage(trace: Trace) -> list[Row]:
    """Credits beyond the wallets, at the price of the cycle's tiers."""
    page, line = trace.page, trace.line
    days = trace.rows(
        "select * from int_overage_days where customer_id = $customer "
        "and cycle_start = $cycle and sku = $key order by posting_date"
    )
    if not days:
        raise Gone("the books hold no overage for it any more")
    dates = [day["posting_date"] for day in days]
    transfers = transferred(trace, dates, ["overage"])
    posted = posted_on(trace, dates)
    rows = [row for row in posted if row["is_adjustment"] == line["is_adjustment"]]
    whole = sum_of(transfers, "credits")
    quantity = sum_of(rows, "overage")
    regular = whole - quantity if line["is_adjustment"] else quantity
    priced_on = days[0]["priced_on"]
    page.say(
        f"  {shown(whole)} credits beyond the wallets in the cycle, "
        f"{shown(regular)} of them of regular usage"
    )
    plan = trace.books.version("plans", trace.key, priced_on)
    if plan["overage_policy"] == "waive":
        page.say(f"  {trace.key} waives overage: price 0")
        price = price_of_all = ZERO
    else:
        price = trace.price(trace.key, "overage", priced_on, regular, "regular credit")
        price_of_all = price
        if line["is_adjustment"]:
            price_of_all = trace.price(trace.key, "overage", priced_on, whole, "credit")
            page.say(f"  {shown(price_of_all)} - {shown(price)} of regular usage")
            price = price_of_all - price
        elif regular != whole:
            tiers = trace.books.tiers(trace.key, "overage", priced_on)
            price_of_all = sum((part for _, part in tier_prices(tiers, whole)), ZERO)
    trace.is_line(quantity, rounded(price / quantity, 12) if quantity else ZERO, price)

    page.heading("The ledger: what the wallets could not cover")
    print_transfers(trace, transfers)
    page.equals("credits of the transfers", whole, "the days'", sum_of(days, "overage"))
    page.equals(
        "value of the transfers",
        sum_of(transfers, "value"),
        "the price of the cycle's overage, rounded to 6",
        rounded(price_of_all, 6),
    )
    compare_days(trace, dates, posted)
    print_usage(trace, f"Usage posted on {many(len(dates), 'day')}", rows)
    parts_of_days(trace, "overage", rows, posted, whole)
    return rows
