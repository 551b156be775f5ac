"""What a plan grants and charges in a cycle."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from orchestration.explain.books_read import VALID
from orchestration.explain.exact import ZERO, Row, rounded, shown
from orchestration.explain.ledger import follow_grants
from orchestration.explain.trace import Trace


def plan(trace: Trace) -> list[Row]:
    """base_credits, term_discount: what a plan grants and charges in a cycle."""
    page, line = trace.page, trace.line
    charge = trace.needed(
        "charge of the plan",
        "select charges.*, subscriptions.commit_months "
        "from int_plan_charges as charges "
        "left join stg_plan_subscriptions as subscriptions using (subscription_id) "
        "where charges.customer_id = $customer and charges.cycle_start = $cycle "
        "and charges.subscription_id = $key",
    )
    granted_on, sku = charge["granted_on"], charge["sku"]
    plan = trace.books.version("plans", sku, granted_on)
    full = plan["included_credits"] * charge["quantity"]
    page.say(
        f"  {shown(plan.get('included_credits', ZERO))} credits of {sku} × "
        f"{charge['quantity']} = {shown(full)} credits a cycle"
    )
    list_price = trace.price(sku, "base", granted_on, full, "credit")
    share = Fraction(charge["active_days"], charge["cycle_days"])
    days = f"{charge['active_days']} of {charge['cycle_days']} days"
    quantity = rounded(full * share, 6)
    if share != 1:
        page.say(
            f"  active {days}: {shown(full)} credits × {days} = {shown(full * share)}, "
            f"rounded to 6 decimals {shown(quantity)}"
        )
    unit_price = rounded(list_price / full, 12) if full else ZERO
    discount = _discount(trace, sku, granted_on, charge["commit_months"] or 0)
    prorated = f" × {days}" if share != 1 else ""
    if line["line_type"] == "base_credits":
        exact_amount = list_price * share
        page.say(f"  {shown(list_price)}{prorated} = {shown(exact_amount)}")
    else:
        exact_amount = -list_price * discount * share
        page.say(
            f"  -{shown(list_price)} × {shown(discount * 100)} %{prorated} = {shown(exact_amount)}"
        )
        unit_price = -rounded(list_price * discount / full, 12) if full else ZERO
    trace.is_line(quantity, unit_price, exact_amount)
    net = rounded(list_price * (1 - discount) * share, 6)
    return follow_grants(trace, {charge["grant_id"]: net} if quantity else {})


def _discount(trace: Trace, sku: str, day: date, months: int) -> Fraction:
    found = trace.one(
        "select min_commit_months, discount_rate from term_discounts "
        f"where sku = $sku and min_commit_months <= $months and {VALID} "
        "order by min_commit_months desc limit 1",
        sku=sku,
        months=months,
        day=day,
    )
    if not found:
        return ZERO
    rate: Fraction = found["discount_rate"]
    trace.page.say(
        f"  committed for {months} months, {found['min_commit_months']} or more: "
        f"discount {shown(rate * 100)} %"
    )
    return rate
