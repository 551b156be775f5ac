"""Packs: what a customer ordered, and what was bought by itself."""

from __future__ import annotations

from fractions import Fraction

from orchestration.explain.books_read import Gone
from orchestration.explain.exact import ZERO, Row, many, rounded, shown, sum_of
from orchestration.explain.ledger import follow_grants
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import transferred


def order(trace: Trace) -> list[Row]:
    """burst_pack, top_up: packs that a customer ordered."""
    page = trace.page
    order = trace.needed(
        "charge of the order",
        "select * from int_order_charges where customer_id = $customer "
        "and cycle_start = $cycle and order_id = $key",
    )
    packs = Fraction(order["quantity"])
    page.say(f"  ordered at {order['ordered_at']:%Y-%m-%dT%H:%M:%SZ}")
    price = trace.price(order["sku"], "pack", order["granted_on"], packs, "pack")
    trace.is_line(packs, rounded(price / packs, 12), price)
    pack = trace.books.version("packs", order["sku"], order["granted_on"])
    included = pack["included_credits"]
    credits = included * packs
    page.say(
        f"  {shown(included)} credits × {shown(packs)} = {shown(credits)}, to burn from "
        f"{order['granted_on']} to {order['expires_on']}"
    )
    if not credits:
        page.say("  Without credits the pack only opens a burst window: no transfer, no usage.")
    return follow_grants(trace, {order["grant_id"]: rounded(price, 6)} if credits else {}, credits)


def auto_purchase(trace: Trace) -> list[Row]:
    """The packs that bring a day's depletion below the hard cap, and their price."""
    page = trace.page
    bought = trace.needed(
        "purchase",
        "select * from int_grant_days "
        "where customer_id = $customer and cycle_start = $cycle and grant_id = $key "
        "and source = 'auto_purchase' and granted_on = posting_date",
    )
    day = bought["granted_on"]
    wallets = trace.rows(
        "select grant_id, granted_on, origin_id, packs, opening_micro, granted_micro, "
        "burned_micro, burned_in_cycle_micro from int_grant_days "
        "where customer_id = $customer and posting_date = $day",
        day=day,
    )
    others = [wallet for wallet in wallets if wallet["grant_id"] != trace.key]
    burned_before = sum_of(wallets, "burned_in_cycle") - sum_of(wallets, "burned")
    balance = sum_of(others, "opening") + sum_of(others, "granted")
    used = sum_of((t for t in transferred(trace, [day]) if t["kind"] != "refund"), "credits")
    subscription = trace.one(
        "select sku, max_auto_purchases_per_cycle as allowed from stg_plan_subscriptions "
        "where subscription_id = $subscription_id",
        subscription_id=bought["origin_id"],
    )
    if subscription is None:
        raise Gone(f"the contracts no longer have {bought['origin_id']}")
    cap = trace.books.version("plans", subscription["sku"], day)["hard_cap_depletion"]
    size = trace.books.version("packs", bought["sku"], day)["included_credits"]
    after, granted = burned_before + used, burned_before + balance
    needed = Fraction((after / cap - granted) // size + 1)
    page.say(
        f"  On {day}: {shown(burned_before)} burned in the cycle + {shown(used)} used = "
        f"{shown(after)}; {shown(burned_before)} + balance {shown(balance)} = {shown(granted)}"
    )
    page.say(
        f"  depletion below {shown(cap * 100)} %: floor(({shown(after)} / {shown(cap)} "
        f"- {shown(granted)}) / {shown(size)}) + 1 = {many(needed, 'pack')} of {bought['sku']}"
    )
    packs = needed
    if subscription["allowed"] is not None:
        before = sum(
            wallet["packs"]
            for wallet in others
            if wallet["granted_on"] >= trace.cycle and wallet["origin_id"] == bought["origin_id"]
        )
        left = Fraction(subscription["allowed"] - before)
        packs = min(needed, left)
        page.say(
            f"  allowed in the cycle {subscription['allowed']}, bought before {before}: "
            f"{many(packs, 'pack')}"
        )
    price = trace.price(bought["sku"], "pack", day, packs, "pack")
    trace.is_line(packs, rounded(price / packs, 12) if packs else ZERO, price)
    return follow_grants(trace, {trace.key: rounded(price, 6)}, packs * size)
