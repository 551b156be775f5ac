"""The explanation of a line: what each kind of line is made of, and every step compared with the last."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from orchestration.explain.books_read import ExplainedBooks, Gone, NothingToExplain, open_books
from orchestration.explain.burst import burst_surcharge
from orchestration.explain.credit_usage import credit_usage
from orchestration.explain.dedicated import dedicated_cluster
from orchestration.explain.delivered_events import follow_events
from orchestration.explain.energy import energy_surcharge
from orchestration.explain.exact import Row, shown
from orchestration.explain.moves import adjustment, expiry, rollover
from orchestration.explain.overage import overage
from orchestration.explain.packs import auto_purchase, order
from orchestration.explain.plan_fee import plan
from orchestration.explain.printout import FAILED, Page, Step
from orchestration.explain.trace import Trace
from orchestration.printable import printable
from orchestration.settings import Settings

EVENTS_SHOWN = 20
ROWS_SHOWN = 100
_SUGGESTIONS = 5

_KINDS: dict[str, Callable[[Trace], list[Row]]] = {
    "base_credits": plan,
    "term_discount": plan,
    "burst_pack": order,
    "top_up": order,
    "auto_purchase": auto_purchase,
    "burst_surcharge": burst_surcharge,
    "overage": overage,
    "energy_surcharge": energy_surcharge,
    "dedicated_cluster": dedicated_cluster,
    "credit_usage": credit_usage,
    "rollover": rollover,
    "expiry": expiry,
    "adjustment": adjustment,
}
"""What works a kind of line out: it returns the rows of usage that stand behind the line."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """A line's explanation, as a page of plain text and as data.

    Attributes:
        text: the page.
        adds_up: whether every step on it does.
        steps: the same as data, in the order of the page.
    """

    text: str
    adds_up: bool
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return self.text


def explain(
    settings: Settings, line_id: str, *, events: int = EVENTS_SHOWN, rows: int = ROWS_SHOWN
) -> Explanation:
    """Explain one line of the current publication.

    Args:
        settings: says where publication, warehouse and landing are.
        line_id: an ``invoice_line_id``.
        events: how many events are printed; all are summed.
        rows: how many transfers, and rows of usage, are printed; all are summed.

    Raises:
        NothingToExplain: no such line (with the closest ids), nothing published, or a run is
            writing the warehouse.
    """
    with open_books(settings) as books:
        return explain_line(books, line_id, events=events, rows=rows)


def explain_line(
    books: ExplainedBooks, line_id: str, *, events: int = EVENTS_SHOWN, rows: int = ROWS_SHOWN
) -> Explanation:
    """Explain one line with books that are already open.

    Raises:
        NothingToExplain: no such line; the message names the closest ids.
    """
    lines = books.rows(
        "select * from published.invoice_lines where invoice_line_id = $line_id", line_id=line_id
    )
    if not lines:
        raise NothingToExplain(_no_such_line(books, line_id))
    page = Page(rows)
    _write(Trace(books, page, lines[0], events))
    return Explanation(page.text(), page.adds_up, page.steps())


def _no_such_line(books: ExplainedBooks, line_id: str) -> str:
    known = [
        row["invoice_line_id"]
        for row in books.rows("select invoice_line_id from published.invoice_lines order by 1")
    ]
    close = difflib.get_close_matches(line_id, known, _SUGGESTIONS, cutoff=0.4)
    said = [f"No invoice line {line_id!r} is published."]
    if close:
        said += ["The closest ids:", *(f"  {printable(name)}" for name in close)]
    elif known:
        said.append(f"An id looks like {printable(known[0])}; all are in the table invoice_lines.")
    return "\n".join(said)


def _write(trace: Trace) -> None:
    """Write the page: the line, its arithmetic, the way down, and whether all of it adds up."""
    page, line = trace.page, trace.line
    page.name(line["invoice_line_id"])
    usage = ", usage that came after its cycle closed" if line["is_adjustment"] else ""
    page.say(f"{line['description']} ({line['line_type']}{usage})")
    page.say(
        f"Customer {trace.customer}, cycle {trace.cycle} to "
        f"{line['cycle_end'] - timedelta(days=1)}, {line['status']}, "
        f"books as of {trace.books.last_day}"
    )
    price = "" if line["unit_price"] is None else f", unit price {shown(line['unit_price'])}"
    page.say(
        f"Quantity {shown(line['quantity'])} {line['unit']}{price}, "
        f"amount {shown(line['amount'], 2)} {line['currency']}"
    )
    page.heading("The arithmetic")
    explained = _KINDS.get(line["line_type"])
    if explained is None:
        page.fail(f"no rule is known for lines of type {line['line_type']}")
    else:
        try:
            rows = explained(trace)
        except Gone as gone:
            page.fail(str(gone))
        else:
            follow_events(trace, rows)
    if page.adds_up:
        page.conclude("Every step adds up.")
        return
    steps = "1 step" if page.failures == 1 else f"{page.failures} steps"
    final = (
        "A final invoice stays as it closed. If a seed was edited or a row cured since, "
        "the control final_invoice_lines names it, and a person settles the difference "
        "in contracts/adjustments."
    )
    page.conclude(f"{FAILED}: {steps} above.", *[final] * (line["status"] == "final"))
