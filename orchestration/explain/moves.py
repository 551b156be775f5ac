"""Credits that move without usage: rolled over, expired, granted or taken by a person."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from fractions import Fraction

from orchestration.explain.books_read import Gone
from orchestration.explain.exact import ZERO, Row, rounded, shown, sum_of
from orchestration.explain.ledger import follow_grants
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import of_grants, of_kind


def rollover(trace: Trace) -> list[Row]:
    """Unused credits of plan grants that live on in the next cycle."""
    page = trace.page
    moved = of_kind(trace, "rollover")
    rolled: dict[str, Fraction] = {}
    for transfer in moved:
        wallets = trace.rows(
            "select * from int_grant_days where customer_id = $customer "
            "and posting_date = $day and source = 'plan' and granted_on >= $cycle",
            day=transfer["posted_on"],
        )
        granted, burned = sum_of(wallets, "credits"), sum_of(wallets, "burned_in_cycle")
        grant = next((w for w in wallets if w["grant_id"] == transfer["grant_id"]), None)
        if grant is None:
            raise Gone(f"the wallets no longer hold {transfer['grant_id']}")
        plan = trace.books.version("plans", grant["sku"], grant["granted_on"])
        utilization = burned / granted
        least, rate = plan["rollover_min_utilization"], plan["rollover_rate"]
        unused = grant["opening"] + grant["granted"] - grant["burned"]
        page.say(
            f"  {transfer['grant_id']}: utilization {shown(burned)} / {shown(granted)} = "
            f"{shown(utilization * 100)} %, above {shown(least * 100)} %: "
            f"{'yes' if utilization > least else 'no'}"
        )
        part = Fraction(int(unused * rate * 10**6), 10**6) if utilization > least else ZERO
        page.say(
            f"  unused {shown(unused)} × {shown(rate * 100)} % = {shown(unused * rate)}, "
            f"6 decimals kept {shown(part)}"
        )
        rolled[transfer["grant_id"]] = part
    trace.is_line(sum(rolled.values(), ZERO), ZERO, ZERO)
    rows = follow_grants(trace, dict.fromkeys(rolled))
    next_day = max(transfer["posted_on"] for transfer in moved) + timedelta(days=1)
    if next_day <= trace.books.last_day:
        issued = trace.rows(
            "select ledger.credits from published.credit_ledger as ledger "
            "inner join published.credit_grants as grants using (grant_id) "
            "where ledger.customer_id = $customer and ledger.kind = 'grant' "
            "and grants.source = 'rollover' and ledger.posted_on = $day "
            "and list_contains($origins::varchar[], grants.origin_id)",
            day=next_day,
            origins=list(rolled),
        )
        page.equals(
            f"granted again on {next_day}:",
            sum_of(issued, "credits"),
            "what rolled over",
            trace.line["quantity"],
        )
    return rows


def expiry(trace: Trace) -> list[Row]:
    """Credits that nobody burned in time."""
    expired = ZERO
    grants: dict[str, Fraction | None] = {}
    for transfer in of_kind(trace, "expiry"):
        grant_id = transfer["grant_id"]
        sums: dict[str, Fraction] = defaultdict(Fraction)
        for other in of_grants(trace, [grant_id]):
            if other["posted_on"] <= transfer["posted_on"]:
                sums[other["kind"]] += other["credits"]
        granted = sums["grant"] + sums["refund"]
        burned, rolled = sums["burn"], sums["rollover"]
        left = granted - burned - rolled
        trace.page.say(
            f"  {grant_id}, last day {transfer['expires_on']}: {shown(granted)} granted "
            f"- {shown(burned)} burned - {shown(rolled)} rolled over = {shown(left)}"
        )
        expired += left
        grants[grant_id] = None
    trace.is_line(expired, ZERO, ZERO)
    return follow_grants(trace, grants)


def adjustment(trace: Trace) -> list[Row]:
    """A person's credit note or settlement."""
    page = trace.page
    noted = trace.needed(
        "adjustment",
        "select * from adjustments where customer_id = $customer and adjustment_id = $key "
        "and posted_on >= $cycle",
    )
    page.say(f"  {trace.key} in contracts/adjustments, posted on {noted['posted_on']}:")
    page.say(f"  amount {shown(noted['amount'] or ZERO, 2)}, reason: {noted['reason']}")
    amount = noted["amount"] or ZERO
    trace.is_line(Fraction(1), rounded(amount, trace.books.minor_digits), amount)
    page.heading("The ledger")
    if not noted["credits"]:
        page.say("  Money only: no credits move, and no usage stands behind it.")
        return []
    grant = trace.needed(
        "grant of the adjustment",
        "select grant_id from published.credit_grants where customer_id = $customer "
        "and source = 'adjustment' and origin_id = $key",
    )
    page.say("  The same adjustment also grants credits, worth 0.")
    return follow_grants(trace, {grant["grant_id"]: ZERO}, noted["credits"], heading=False)
