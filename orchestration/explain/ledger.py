"""Through the ledger: where granted credits went, and what the usage of some days moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from orchestration.explain.exact import Row, many, shown, sum_of
from orchestration.explain.rated_minutes import parts_of_days, posted_on, print_usage
from orchestration.explain.trace import Trace
from orchestration.explain.transfers import of_grants, print_transfers, transferred


def follow_grants(
    trace: Trace,
    values: dict[str, Fraction] | dict[str, Fraction | None],
    credits: Fraction | None = None,
    *,
    heading: bool = True,
) -> list[Row]:
    """Follow grants through the ledger: what went in and out, and the usage that burned it.

    Args:
        values: the grants and the value that each has to have, None if it is not known.
        credits: what the only grant has to hold, if that is not the line's quantity.
        heading: whether a section begins here.
    """
    page = trace.page
    if heading:
        page.heading("The ledger: the credits, and where they went")
    if not values:
        page.say("  No credits were granted.")
        return []
    transfers = of_grants(trace, values)
    incoming = [t for t in transfers if t["kind"] in ("grant", "refund")]
    outgoing = [t for t in transfers if t["kind"] not in ("grant", "refund")]
    page.begin("Into the wallet")
    print_transfers(trace, incoming)
    for grant_id, value in values.items():
        own = [t for t in incoming if t["grant_id"] == grant_id]
        if value is not None:
            granted = trace.line["quantity"] if credits is None else credits
            page.equals("granted credits", sum_of(own, "credits"), "what is due", granted)
            page.equals("their value", sum_of(own, "value"), "what was charged, net", value)
    page.begin("Out of the wallet")
    print_transfers(trace, outgoing)
    if trace.line["line_type"] in ("rollover", "expiry"):
        kind = trace.line["line_type"]
        moved = (t for t in outgoing if t["kind"] == kind and t["cycle_start"] == trace.cycle)
        moved_sum = sum_of(moved, "credits")
        page.equals(f"sum of {kind}", moved_sum, "the line's quantity", trace.line["quantity"])
    closing = trace.rows(
        "select closing_micro from int_grant_days where customer_id = $customer "
        "and posting_date = $day and list_contains($grant_ids::varchar[], grant_id)",
        day=trace.books.last_day,
        grant_ids=list(values),
    )
    page.equals(
        f"in - out = {shown(sum_of(incoming, 'credits'))} - {shown(sum_of(outgoing, 'credits'))} =",
        sum_of(incoming, "credits") - sum_of(outgoing, "credits"),
        f"what is left on {trace.books.last_day}",
        sum_of(closing, "closing"),
    )
    burns = [t for t in outgoing if t["kind"] == "burn"]
    if not burns:
        page.heading("The usage")
        page.say("  Nothing of it was burned: no usage stands behind it.")
        return []
    return _follow_burns(trace, burns)


def _follow_burns(trace: Trace, burns: Sequence[Row]) -> list[Row]:
    """The usage of the days on which grants were burned, which shares their burns with others."""
    dates = sorted({t["posted_on"] for t in burns})
    posted = [row for row in posted_on(trace, dates) if row["credits"]]
    all_burned = sum_of(transferred(trace, dates, ["burn"]), "credits")
    trace.page.say(
        f"On {many(len(dates), 'day')} with its burns the wallets gave {shown(all_burned)} "
        f"in all, {shown(sum_of(burns, 'credits'))} of it from here."
    )
    compare_days(trace, dates, posted)
    print_usage(trace, "Usage posted on these days", posted)
    parts_of_days(trace, "burned", posted, posted, all_burned)
    return posted


def follow_days(trace: Trace, dates: Sequence[date], title: str) -> list[Row]:
    """The transfers for usage of some posting dates. Returns all rows posted on them."""
    page = trace.page
    page.heading("The ledger")
    page.say(title)
    print_transfers(trace, transferred(trace, dates))
    posted = posted_on(trace, dates)
    compare_days(trace, dates, posted)
    return posted


def compare_days(trace: Trace, dates: Sequence[date], posted: Sequence[Row]) -> None:
    """Day by day: credits of the customer's rows = burned + overage - refunded."""
    moved: dict[date, Fraction] = defaultdict(Fraction)
    for transfer in transferred(trace, dates):
        sign = -1 if transfer["kind"] == "refund" else 1
        moved[transfer["posted_on"]] += sign * transfer["credits"]
    rated: dict[date, Fraction] = defaultdict(Fraction)
    for row in posted:
        rated[row["posting_date"]] += row["credits"]
    trace.page.each_equals(
        "burned + overage - refunded of each day = credits of all usage posted on it",
        ((str(day), moved[day], rated[day]) for day in dates),
    )
