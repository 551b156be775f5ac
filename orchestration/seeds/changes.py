"""What an edit of the seeds changes, day by day, and which of these days are closed.

Days count, not lines: for each key of a seed, the row that holds on a day is compared with the one
that held. Rows may be moved or split; that changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from orchestration.seeds.staging import SeedContract, seed_contracts

ALWAYS = date(1, 1, 1)
"""First day of a row that has none."""
FOREVER = date(9999, 12, 30)
"""Last day of a row that has none."""
_BEGINS = ("valid_from", "starts_on")
_ENDS = ("valid_to", "ends_on")
_MOMENTS = ("ordered_at", "posted_on")

# No invoice rests on these: names that people read, and what a GPU costs us while it waits.
_FREE: Mapping[str, frozenset[str]] = {
    "accelerators": frozenset({"vendor", "memory_gb", "idle_watts"}),
    "plans": frozenset({"name", "target_gross_margin"}),
    "packs": frozenset({"name"}),
    "dedicated_clusters": frozenset({"name"}),
    "facilities": frozenset({"region", "tz", "overhead_per_gpu_hour"}),
    "customers": frozenset({"customer_name", "regulated"}),
}
# Cost is management accounting and may be put right for any day.
_FREE_SEEDS = frozenset({"procurement_lots"})
# Rows without a date that only make more usable: what they name was on no invoice before.
_MAY_GROW = frozenset(
    {"accelerators", "accelerator_aliases", "facilities", "clusters", "customers"}
)

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclass(frozen=True)
class Books:
    """How far the books go.

    Attributes:
        opened_on: the day they opened.
        last_day: the last delivery day that was billed.
        days_until_close: days from a cycle's end until it closes.
    """

    opened_on: date
    last_day: date
    days_until_close: int

    def first_day(self, anchor: int) -> date:
        """First day of a customer's first cycle in the books, by its billing anchor day."""
        return cycle_start(self.opened_on, anchor)

    def first_open_day(self, anchor: int) -> date:
        """First day of a customer's first cycle that has not closed; it is in the books."""
        # A cycle that ended on this day or before has closed.
        ended = self.last_day - timedelta(days=self.days_until_close)
        return max(cycle_start(ended, anchor), self.first_day(anchor))

    def closed(self, customers: list[Row]) -> Closed:
        """What may not change any more; cycles before the books count for nobody."""
        by_customer: dict[str, date | None] = {}
        for row in customers:
            anchor = row["billing_anchor_day"]
            open_from = self.first_open_day(anchor)
            has_closed = open_from > self.first_day(anchor)
            by_customer[row["customer_id"]] = open_from - timedelta(days=1) if has_closed else None
        through = max((day for day in by_customer.values() if day), default=None)
        return Closed(through, by_customer, self.last_day)


@dataclass(frozen=True)
class Closed:
    """What may not change any more.

    Attributes:
        through: last day of the last closed cycle of any customer; None if no cycle closed yet.
        by_customer: the same of each customer; where it says nothing, ``through`` holds.
        billed_through: last day that was billed, closed or not; None if it isn't known.
    """

    through: date | None
    by_customer: Mapping[str, date | None]
    billed_through: date | None = None

    def day(self, row: Row) -> date | None:
        """Up to which day a row may not change: its customer's, or else everybody's."""
        return self.by_customer.get(row.get("customer_id", ""), self.through)


@dataclass(frozen=True)
class Retroactive:
    """An edit that changes what held on closed days.

    Attributes:
        file: the seed, below the folder of the seeds.
        row: its line in the new seeds; in the base for a row that is gone.
        column: what was edited.
        first, last: the closed days that it changes.
        words: what was and what would be.
    """

    file: str
    row: int
    column: str
    first: date
    last: date
    words: str
    cure: str

    def __str__(self) -> str:
        days = f"up to {self.last}" if self.first == ALWAYS else f"{self.first} to {self.last}"
        return (
            f"{self.file}: row {self.row}: column {self.column}: {self.words}. That changes "
            f"closed days, {days}. {self.cure}"
        )


class Change(NamedTuple):
    """A stretch of days, both included, on which another row of a key holds; None is no row."""

    first: date
    last: date
    was: Row | None
    becomes: Row | None


def cycle_start(day: date, anchor: int) -> date:
    """First day of the billing cycle that contains a day, by its anchor day (1 to 28)."""
    if day.day >= anchor:
        return day.replace(day=anchor)
    return (day.replace(day=1) - timedelta(days=1)).replace(day=anchor)


def by_key(
    contract: SeedContract, before: list[Row], after: list[Row]
) -> Iterator[tuple[tuple[Any, ...], list[Row], list[Row]]]:
    """The keys of a seed whose rows are not the very same before and after, with their rows."""
    if before is after:
        return
    found: dict[tuple[Any, ...], tuple[list[Row], list[Row]]] = {}
    for side, rows in enumerate((before, after)):
        for row in rows:
            key = tuple(row[column] for column in contract.key)
            found.setdefault(key, ([], []))[side].append(row)
    for key, (old, new) in found.items():
        if [_content(contract, row) for row in old] != [_content(contract, row) for row in new]:
            yield key, old, new


def changes(
    contract: SeedContract,
    old: list[Row],
    new: list[Row],
    through: date = FOREVER,
    passed_over: frozenset[str] = frozenset(),
) -> Iterator[Change]:
    """The stretches of days up to ``through`` on which a key's row says something else.

    Args:
        contract: the seed's.
        old, new: the rows of one key, before and after.
        through: the last day that is looked at.
        passed_over: columns that do not count.
    """
    passed_over |= {*_BEGINS, *_ENDS}
    bounds = {ALWAYS, through + timedelta(days=1)}
    for row in [*old, *new]:
        bounds |= {day for day in days_of(row) if day is not None and day <= through}
    for first, end in pairwise(sorted(bounds)):
        was, becomes = row_on(old, first), row_on(new, first)
        if was is becomes is None:
            continue
        if (
            was is None
            or becomes is None
            or any(was[c] != becomes[c] for c in contract.types if c not in passed_over)
        ):
            yield Change(first, end - timedelta(days=1), was, becomes)


def days_of(row: Row) -> tuple[date | None, date | None]:
    """On which days a row holds: the first, and the first on which it does not; None is open."""
    for begins, ends in zip(_BEGINS, _ENDS, strict=True):
        if begins in row:
            return row[begins], row[ends]
    for column in _MOMENTS:
        if column in row:
            moment = row[column]
            on = moment if type(moment) is date else moment.date()
            return on, on + timedelta(days=1)
    return ALWAYS, None


def row_on(rows: list[Row], day: date) -> Row | None:
    """The row of a key that holds on a day."""
    for row in rows:
        begins, ends = days_of(row)
        if (begins or ALWAYS) <= day and (ends is None or day < ends):
            return row
    return None


def retroactive_edits(before: Tables, after: Tables, closed: Closed) -> list[Retroactive]:
    """The edits between two sets of seeds (see ``check_seeds``) that change a closed day."""
    found: list[Retroactive] = []
    for contract in seed_contracts():
        if contract.name in _FREE_SEEDS:
            continue
        for _, old, new in by_key(contract, before[contract.name], after[contract.name]):
            through = max(
                (day for row in [*old, *new] if (day := closed.day(row)) is not None), default=None
            )
            if through is not None:
                found += retroactive(contract, old, new, through)
    return found


def retroactive(
    contract: SeedContract, old: list[Row], new: list[Row], through: date
) -> list[Retroactive]:
    """The edits of one key's rows that change a day up to ``through``, one per row and column."""
    found: dict[tuple[int, str], Retroactive] = {}
    free = _FREE.get(contract.name, frozenset())
    for first, last, was, becomes in changes(contract, old, new, through, free):
        for line, column, words in _differences(contract, old, new, was, becomes):
            earlier = found.get((line, column))
            found[line, column] = Retroactive(
                contract.file,
                line,
                column,
                min(first, earlier.first) if earlier else first,
                max(last, earlier.last) if earlier else last,
                earlier.words if earlier else words,
                _cure(contract, through),
            )
    return list(found.values())


def _differences(
    contract: SeedContract,
    old: list[Row],
    new: list[Row],
    was: Row | None,
    becomes: Row | None,
) -> Iterator[tuple[int, str, str]]:
    """What differs between the rows of one day: line, column, and what it was and would be."""
    begins = next((c for c in (*_BEGINS, *_MOMENTS) if c in contract.types), contract.key[0])
    ends = next((c for c in _ENDS if c in contract.types), None)
    if was is not None and becomes is not None:
        passed_over = {*_FREE.get(contract.name, ()), *_BEGINS, *_ENDS}
        for column in contract.types:
            if column not in passed_over and was[column] != becomes[column]:
                words = f"{_value(was[column])} became {_value(becomes[column])}"
                yield becomes["row"], column, words
        return
    # A row that is there on the other side too, but ends on another day.
    there = was or becomes
    twins = [row for row in (new if was else old) if there and row[begins] == there[begins]]
    if ends and there and twins:
        before, after = (there, twins[0]) if was else (twins[0], there)
        yield after["row"], ends, f"{_value(before[ends])} became {_value(after[ends])}"
    elif becomes is not None and contract.name not in _MAY_GROW:
        yield becomes["row"], begins, f"{_named(contract, becomes)} was not there"
    elif was is not None:
        yield was["row"], begins, f"{_named(contract, was)} is gone (the row is that of before)"


def _cure(contract: SeedContract, through: date) -> str:
    after = through + timedelta(days=1)
    if contract.is_dated:
        return (
            f"Leave the row as it was, end it with a valid_to, and add one with valid_from={after} "
            "or later"
        )
    if "starts_on" in contract.types:
        return (
            f"Leave the row as it was, end it with an ends_on, and add one with starts_on={after} "
            "or later; what a closed cycle owes is settled by a row of contracts/adjustments.csv"
        )
    if any(column in contract.types for column in _MOMENTS):
        return (
            f"Date it {after} or later; what a closed cycle owes is settled by a row of "
            "contracts/adjustments.csv"
        )
    return "It holds for all time: leave it as it was, and add a new one under another name"


def _content(contract: SeedContract, row: Row) -> tuple[Any, ...]:
    return tuple(row[column] for column in contract.types)


def _named(contract: SeedContract, row: Row) -> str:
    return ", ".join(f"{column}={row[column]}" for column in contract.key)


def _value(value: Any) -> str:
    return "(empty)" if value is None else str(value)
