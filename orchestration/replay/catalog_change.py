"""``python -m orchestration.replay.catalog_change BASE``: may these seeds replace those of BASE?

What was billed for good must still be billed the same, should the books ever be built anew: no
edit may change what holds on a day of a closed cycle. BASE is a folder of seeds or a Git reference
to one; the seeds that are checked are those of SEEDS_DIR. Exit code 1 if an edit reaches back, 2 if
something asked for is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestration.seeds import SeedContract, SeedError, check_seeds, seed_contracts
from orchestration.settings import Settings, SettingsError, load_settings

_ALWAYS = date(1, 1, 1)
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


class UnknownBase(ValueError):
    """What to compare with, or what is closed, cannot be found out; the message says what to do."""


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
        days = f"up to {self.last}" if self.first == _ALWAYS else f"{self.first} to {self.last}"
        return (
            f"{self.file}: row {self.row}: column {self.column}: {self.words}. That changes "
            f"closed days, {days}. {self.cure}"
        )


def closed_cycles(settings: Settings, customers: list[Row]) -> Closed:
    """What is closed in the books that are published.

    Args:
        settings: say where the publication is.
        customers: the seed, as it was when those books were billed.

    Raises:
        UnknownBase: nothing is published.
    """
    path = settings.published_dir / "current" / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownBase(
            f"Nothing is published in {settings.published_dir}: point DATA_DIR at the books, or "
            "say up to which day everything is closed with --closed-through"
        ) from None
    last_day = date.fromisoformat(manifest["last_delivery_day"])
    opened_on = date.fromisoformat(manifest["settings"]["books_open_on"])
    # A cycle that ended on this day or before has closed.
    ended = last_day - timedelta(days=manifest["settings"]["days_until_close"])
    by_customer: dict[str, date | None] = {}
    for row in customers:
        anchor = row["billing_anchor_day"]
        end = _cycle_start(ended, anchor)
        has_closed = end > _cycle_start(opened_on, anchor)
        by_customer[row["customer_id"]] = end - timedelta(days=1) if has_closed else None
    through = max((day for day in by_customer.values() if day), default=None)
    return Closed(through, by_customer, last_day)


def _cycle_start(day: date, anchor: int) -> date:
    if day.day >= anchor:
        return day.replace(day=anchor)
    return (day.replace(day=1) - timedelta(days=1)).replace(day=anchor)


def retroactive_edits(before: Tables, after: Tables, closed: Closed) -> list[Retroactive]:
    """The edits between two sets of seeds (see ``check_seeds``) that change a closed day."""
    return [
        edit
        for contract in seed_contracts()
        if contract.name not in _FREE_SEEDS
        for edit in _edits(contract, before[contract.name], after[contract.name], closed)
    ]


def _edits(
    contract: SeedContract, before: list[Row], after: list[Row], closed: Closed
) -> Iterator[Retroactive]:
    where = f"{contract.folder}/{contract.name}.csv"
    by_key: dict[tuple[Any, ...], tuple[list[Row], list[Row]]] = {}
    for side, rows in enumerate((before, after)):
        for row in rows:
            by_key.setdefault(_key(contract, row), ([], []))[side].append(row)
    for old, new in by_key.values():
        through = max(
            (day for row in [*old, *new] if (day := closed.day(row)) is not None), default=None
        )
        if through is None:
            continue
        found: dict[tuple[int, str], Retroactive] = {}
        for first, last, was, becomes in _changes(old, new, through):
            for line, column, words in _differences(contract, old, new, was, becomes):
                earlier = found.get((line, column))
                found[line, column] = Retroactive(
                    where,
                    line,
                    column,
                    min(first, earlier.first) if earlier else first,
                    max(last, earlier.last) if earlier else last,
                    earlier.words if earlier else words,
                    _cure(contract, through),
                )
        yield from found.values()


def _changes(
    old: list[Row], new: list[Row], through: date
) -> Iterator[tuple[date, date, Row | None, Row | None]]:
    """The stretches of closed days on which a key's row is another, with both rows."""
    bounds = {_ALWAYS, through + timedelta(days=1)}
    for row in [*old, *new]:
        bounds |= {day for day in _days(row) if day is not None and day <= through}
    ordered = sorted(bounds)
    for first, end in pairwise(ordered):
        was, becomes = _on(old, first), _on(new, first)
        if was != becomes:
            yield first, end - timedelta(days=1), was, becomes


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
        yield was["row"], begins, f"{_named(contract, was)} is gone (the row is the base's)"


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
            "or later"
        )
    if any(column in contract.types for column in _MOMENTS):
        return f"Date it {after} or later; what a closed cycle owes is settled by an adjustment"
    return "It holds for all time: leave it as it was, and add a new one under another name"


def _key(contract: SeedContract, row: Row) -> tuple[Any, ...]:
    return tuple(row[column] for column in contract.key)


def _named(contract: SeedContract, row: Row) -> str:
    return ", ".join(f"{column}={row[column]}" for column in contract.key)


def _value(value: Any) -> str:
    return "(empty)" if value is None else str(value)


def _days(row: Row) -> tuple[date | None, date | None]:
    """On which days a row holds: the first, and the first on which it does not; None is open."""
    for begins, ends in zip(_BEGINS, _ENDS, strict=True):
        if begins in row:
            return row[begins], row[ends]
    for column in _MOMENTS:
        if column in row:
            moment = row[column]
            on = moment if type(moment) is date else moment.date()
            return on, on + timedelta(days=1)
    return _ALWAYS, None


def _on(rows: list[Row], day: date) -> Row | None:
    for row in rows:
        begins, ends = _days(row)
        if (begins or _ALWAYS) <= day and (ends is None or day < ends):
            return row
    return None


def _base_folder(base: str, seeds_dir: Path, scratch: Path) -> Path:
    """The seeds to compare with: a folder, or those of a Git reference where SEEDS_DIR lies."""
    if Path(base).is_dir():
        return Path(base).resolve()
    commit = _git(seeds_dir, "rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}")
    if commit is None:
        raise UnknownBase(f"{base!r} is neither a folder nor a Git reference in {seeds_dir}")
    for contract in seed_contracts():
        path = f"{contract.folder}/{contract.name}.csv"
        content = _git(seeds_dir, "show", f"{commit.strip().decode()}:./{path}")
        if content is not None:
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_bytes(content)
    return scratch


def _base_seeds(folder: Path) -> Tables:
    try:
        return check_seeds(folder)
    except SeedError as error:
        raise UnknownBase(f"The base cannot be compared with. {error}") from None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What Git says; None if it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError:
        raise UnknownBase("Git is not installed: name a folder of seeds as the base") from None
    return done.stdout if done.returncode == 0 else None


def main(arguments: list[str] | None = None) -> int:
    """Check the seeds of SEEDS_DIR against those of a base."""
    parser = argparse.ArgumentParser(prog="make check-catalog", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder of seeds, or a Git reference")
    parser.add_argument(
        "--closed-through",
        type=date.fromisoformat,
        help="last closed day, where the books are out of reach; else DATA_DIR's archive says",
    )
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        with tempfile.TemporaryDirectory() as scratch:
            before = _base_seeds(_base_folder(asked.base, settings.seeds_dir, Path(scratch)))
        after = check_seeds(settings.seeds_dir)
        if asked.closed_through:
            closed = Closed(asked.closed_through, {})
        else:
            closed = closed_cycles(settings, before["customers"])
    except (SettingsError, SeedError, UnknownBase) as error:
        print(f"Not checked. {error}", file=sys.stderr)
        return 2
    edits = retroactive_edits(before, after, closed)
    if edits:
        print(
            f"These edits reach back into closed cycles ({len(edits)} of them; the last cycle "
            f"that closed ended with {closed.through}):",
            *(f"  {edit}" for edit in edits),
            sep="\n",
            file=sys.stderr,
        )
        return 1
    print(
        f"No edit reaches back: what held up to {closed.through} still does"
        if closed.through
        else "No cycle has closed yet: every edit may be made"
    )
    if closed.billed_through:
        open_edits = retroactive_edits(before, after, Closed(closed.billed_through, {}))
        if open_edits:
            first = min(edit.first for edit in open_edits)
            print(
                f"Days of open cycles change, from {first} on. To bill them anew: "
                f"make bill FROM={first} TO={closed.billed_through}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
