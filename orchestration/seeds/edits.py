"""What was edited in the seeds since they were billed last, and from when it takes effect.

A row of ``contracts/`` takes effect by itself, from the first day that it concerns within its
customer's open cycles, as late usage does. An edit of ``catalog/`` or ``fleet/`` takes effect on
the days that a run touches, and waits for the rest of the open cycles: re-billing them is a
person's decision. What reaches into closed cycles only can take no effect, and is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from orchestration.printable import printable
from orchestration.seeds.changes import (
    FOREVER,
    Books,
    Change,
    Row,
    Tables,
    by_key,
    changes,
    cycle_start,
    retroactive,
    row_on,
)
from orchestration.seeds.staging import SeedContract, seed_contracts

_ONE_DAY = timedelta(days=1)
_OF_CUSTOMERS = ("subscriptions", "orders", "adjustments")
# What usage is judged, rated, limited and costed by; the rest of a subscription is the ledger's.
_OF_USAGE = ("sku", "quantity", "cluster")
# A burst window is looked for among the orders of so many days.
_BURST_DAYS = 400
# No table rests on these, or only tables that every run makes anew.
_AT_ONCE: Mapping[str, frozenset[str]] = {
    "accelerators": frozenset({"vendor", "memory_gb"}),
    "plans": frozenset({"name", "target_gross_margin"}),
    "packs": frozenset({"name"}),
    "dedicated_clusters": frozenset({"name"}),
    "facilities": frozenset({"region", "tz"}),
}


@dataclass(frozen=True)
class WaitingEdit:
    """An edit of the catalog or the fleet that is not yet applied to days that are billed.

    Attributes:
        file: the seed without its ending, below the folder of the seeds.
        key: values of its key, separated by slashes.
        first_day, last_day: the days of open cycles for which it waits lie between, both included.
    """

    file: str
    key: str
    first_day: date
    last_day: date


@dataclass(frozen=True)
class SeedEdits:
    """What a run has to do for the edits since the last billing.

    Attributes:
        ledger_from: the first day that the ledger has to step through again; None if there is none.
        usage_days: stretches of usage days to rebuild, both ends included; they may lie ahead.
        waiting: edits of the catalog and the fleet, each with the billed days that it changes.
        anchors: the billing anchor days of the customers.
    """

    ledger_from: date | None = None
    usage_days: tuple[tuple[date, date], ...] = ()
    waiting: tuple[WaitingEdit, ...] = ()
    anchors: frozenset[int] = frozenset()


NO_EDITS = SeedEdits()


class _Edited(NamedTuple):
    """The rows of one key of a contract that name one customer, and the days that they change."""

    contract: SeedContract
    customer: str
    anchor: int
    old: list[Row]
    new: list[Row]
    changes: list[Change]


def edits_since(before: Tables, after: Tables, books: Books) -> SeedEdits:
    """What the edits between two sets of seeds have a run do.

    Args:
        before: the seeds that were billed last.
        after: those to bill with.
        books: how far the last billing went.
    """
    ledger: list[date] = []
    usage: list[tuple[date, date]] = []
    burst_hours = _burst_hours([*before["packs"], *after["packs"]])
    for edited in _edited_contracts(before, after):
        open_from = books.first_open_day(edited.anchor)
        for change in edited.changes:
            if change.last < open_from:
                continue
            ledger.append(_ledger_day(edited, change, open_from))
            if change.first <= books.last_day:  # Days to come are built in any case.
                usage += _usage_days(edited, change, open_from, burst_hours)
    anchors = frozenset(row["billing_anchor_day"] for row in after["customers"])
    return SeedEdits(
        ledger_from=min(ledger, default=None),
        usage_days=tuple(usage),
        waiting=tuple(_catalog_edits(before, after, books, anchors)),
        anchors=anchors,
    )


def edits_of_closed_cycles(
    before: Tables, after: Tables, books: Books, but: Collection[str] = ()
) -> list[str]:
    """The rows of ``contracts/`` that concern closed cycles only, each with its place and a cure.

    An order and an adjustment were charged on their day: one that leaves a closed day is refused
    also if it comes back on an open one, where it would be charged again.

    Args:
        before: the seeds that were billed last.
        after: those to bill with.
        books: how far the last billing went.
        but: customers that are not looked at.
    """
    problems = []
    for edited in _edited_contracts(before, after):
        if edited.customer in but:
            continue
        first_day = books.first_day(edited.anchor)
        open_from = books.first_open_day(edited.anchor)
        closed = [change for change in edited.changes if change.last < open_from]
        # What lies before the books was never billed: only a new row waits for something there.
        closed = [change for change in closed if change.last >= first_day or not edited.old]
        has_open = any(change.last >= open_from for change in edited.changes)
        if closed and not (has_open and edited.contract.name == "subscriptions"):
            through = open_from - _ONE_DAY
            problems += [
                printable(f"{edit}")
                for edit in retroactive(edited.contract, edited.old, edited.new, through)
            ]
    return problems


def still_waiting(
    edits: Iterable[WaitingEdit],
    touched: Collection[date],
    ledger_from: date,
    anchors: Collection[int],
    books: Books,
) -> tuple[WaitingEdit, ...]:
    """The edits that still wait after a run, one for each key of a seed, with the days that are left.

    Args:
        edits: those that waited before it, and new ones.
        touched: usage days that it rebuilds.
        ledger_from: the first day that its ledger steps through again.
        anchors: the billing anchor days of the customers.
        books: how far the run goes; what it closes does not wait any longer.
    """
    open_from = _open_from(books, anchors)
    by_row: dict[tuple[str, str], list[date]] = {}
    for edit in edits:
        first = max(edit.first_day, open_from)
        days = [first + timedelta(days=n) for n in range((edit.last_day - first).days + 1)]
        by_row.setdefault((edit.file, edit.key), []).extend(
            # Usage of days before the books is rebuilt with the deliveries that brought it.
            day
            for day in days
            if day < ledger_from or (day >= books.opened_on and day not in touched)
        )
    return tuple(
        WaitingEdit(file, key, min(days), max(days))
        for (file, key), days in sorted(by_row.items())
        if days
    )


def _edited_contracts(before: Tables, after: Tables) -> Iterator[_Edited]:
    anchors = {
        row["customer_id"]: row["billing_anchor_day"]
        for row in [*before["customers"], *after["customers"]]
    }
    for contract in seed_contracts():
        if contract.name not in _OF_CUSTOMERS:
            continue
        for _, old, new in by_key(contract, before[contract.name], after[contract.name]):
            # A row that changes hands is gone for the one and new for the other.
            for customer in dict.fromkeys(row["customer_id"] for row in [*old, *new]):
                was = [row for row in old if row["customer_id"] == customer]
                becomes = [row for row in new if row["customer_id"] == customer]
                found = list(changes(contract, was, becomes))
                yield _Edited(contract, customer, anchors[customer], was, becomes, found)


def _ledger_day(edited: _Edited, change: Change, open_from: date) -> date:
    """From which day the ledger reads differently because of a change of an open day."""
    first = max(change.first, open_from)
    eve = first - _ONE_DAY
    if edited.contract.name != "subscriptions" or eve < open_from:
        return first
    if row_on(edited.old, eve) or row_on(edited.new, eve):
        # It goes on, or ends, within its cycle: what was granted at its start is prorated anew.
        return max(cycle_start(eve, edited.anchor), open_from)
    # Credits roll over only into a day that has a plan.
    return eve


def _usage_days(
    edited: _Edited, change: Change, open_from: date, burst_hours: Mapping[str, int]
) -> Iterator[tuple[date, date]]:
    """The usage days that a change makes another of: what admits, limits or costs their usage."""
    was, becomes = change.was, change.becomes
    if edited.contract.name == "subscriptions":
        if was is None or becomes is None or any(was[c] != becomes[c] for c in _OF_USAGE):
            yield max(change.first, open_from), change.last
    elif edited.contract.name == "orders":
        for row in (was, becomes):
            if row is not None and row["sku"] in burst_hours:
                hours = min(burst_hours[row["sku"]], 24 * _BURST_DAYS)
                yield change.first, (row["ordered_at"] + timedelta(hours=hours)).date()


def _burst_hours(packs: list[Row]) -> dict[str, int]:
    """The longest burst window of each pack that opens one, over all its versions, in hours."""
    hours: dict[str, int] = {}
    for row in packs:
        if row["kind"] == "burst":
            hours[row["sku"]] = max(row["validity_hours"], hours.get(row["sku"], 0))
    return hours


def _catalog_edits(
    before: Tables, after: Tables, books: Books, anchors: Collection[int]
) -> Iterator[WaitingEdit]:
    """The edits of the catalog and the fleet that change what was billed for open days."""
    open_from = _open_from(books, anchors)
    for contract in seed_contracts():
        if contract.folder == "contracts":
            continue
        passed_over = _AT_ONCE.get(contract.name, frozenset())
        for key, old, new in by_key(contract, before[contract.name], after[contract.name]):
            found = [
                (max(change.first, open_from), min(change.last, books.last_day))
                for change in changes(contract, old, new, books.last_day, passed_over)
                if change.last >= open_from
            ]
            if found:
                yield WaitingEdit(
                    file=contract.file.removesuffix(".csv"),
                    key=printable("/".join(str(value) for value in key)),
                    first_day=min(first for first, _ in found),
                    last_day=max(last for _, last in found),
                )


def _open_from(books: Books, anchors: Collection[int]) -> date:
    """First day of the oldest cycle of any customer that has not closed."""
    return min((books.first_open_day(anchor) for anchor in anchors), default=FOREVER)
