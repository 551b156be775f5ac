"""Whether every contract has terms and a price on every day that the books ask for them.

No price is ever 0 because it is missing: what is free says so with a tier at 0. Worked out with
ranges of days, so that thousands of contracts over years take no time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from orchestration.seeds.contracts import Row, SeedContract, Tables, seed_contracts
from orchestration.seeds.findings import Findings
from orchestration.seeds.rules import grants_top_up, quoted

_ONE_DAY = timedelta(days=1)
_OTHERS_NAMED = 5


@dataclass(frozen=True)
class BookDays:
    """The days that the books of a run cover.

    Attributes:
        open_on: the day the books open; each customer's begin with the cycle that holds it.
        last_day: the last delivery day; nothing after it is billed yet.
        of_a_window: the books are a replay's, which begin in the middle of contracts: what people
            adjusted before is no error there, and stays out.
    """

    open_on: date
    last_day: date
    of_a_window: bool = False

    def first_cycle(self, anchor_day: int) -> date:
        """The start of a customer's first cycle in the books."""
        month = self.open_on.replace(day=1)
        if self.open_on.day < anchor_day:
            month = (month - _ONE_DAY).replace(day=1)
        return month.replace(day=anchor_day)


def check_days(tables: Tables, books: BookDays, findings: Findings) -> None:
    """Check what the contracts need on the days of the books.

    Args:
        tables: the rows that could be read, by seed.
        books: the days that a run bills.
        findings: what was found in them so far. A row that is named there is no reason to name
            others: what may be missing because of it is not judged.
    """
    contracts = {contract.name: contract for contract in seed_contracts()}
    anchors = {
        row["customer_id"]: row["billing_anchor_day"]
        for row in tables["customers"]
        if ("customers", row["row"]) not in findings.rows
    }
    needs = _Needs(_Catalog(tables, findings))
    for row in tables["subscriptions"]:
        if ("subscriptions", row["row"]) not in findings.rows and row["customer_id"] in anchors:
            first_cycle = books.first_cycle(anchors[row["customer_id"]])
            needs.of_subscription(contracts["subscriptions"], row, first_cycle, books.last_day)
    for row in tables["orders"]:
        if ("orders", row["row"]) not in findings.rows and row["customer_id"] in anchors:
            day = row["ordered_at"].date()
            if books.first_cycle(anchors[row["customer_id"]]) <= day <= books.last_day:
                needs.of_order(contracts["orders"], row, day)
    for missing in needs.missing.values():
        findings.of_row(missing.need.contract, missing.need.row, str(missing))
    if not books.of_a_window:
        _check_adjustments(tables, anchors, books, contracts["adjustments"], findings)


def _check_adjustments(
    tables: Tables,
    anchors: dict[str, int],
    books: BookDays,
    contract: SeedContract,
    findings: Findings,
) -> None:
    """No adjustment is dated before its customer's first cycle in the books.

    No cycle would bill it, so what a person granted or settled would be lost without a word. One
    that is dated after the last delivery day waits for its day.
    """
    for row in tables["adjustments"]:
        if row["customer_id"] not in anchors or row["posted_on"] is None:
            continue
        first_cycle = books.first_cycle(anchors[row["customer_id"]])
        if row["posted_on"] < first_cycle:
            findings.of_row(
                contract,
                row["row"],
                f"column posted_on: {row['posted_on']} lies before the books, whose first cycle of "
                f"{quoted(row['customer_id'])} starts on {first_cycle}; date it in an open cycle",
            )


class _Days:
    """The days on which something holds, as ranges that do not touch."""

    def __init__(self, spans: Iterable[tuple[date, date]]) -> None:
        self._begins: list[date] = []
        self._ends: list[date] = []
        for begin, end in sorted(spans):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def gap(self, first: date, end: date) -> _Gap | None:
        """The first days from ``first`` until before ``end`` on which it does not hold."""
        place = bisect_right(self._begins, first)
        since = self._ends[place - 1] if place else date.min
        first = max(first, since)
        if first >= end:
            return None
        begins_again = self._begins[place] if place < len(self._begins) else date.max
        if first >= begins_again:
            raise AssertionError("ranges that touch are one")
        return _Gap(since, first, min(end, begins_again))


@dataclass(frozen=True)
class _Gap:
    """Days on which something is missing: since when, and the part that a contract needs."""

    since: date
    first: date
    end: date


@dataclass(frozen=True)
class _Need:
    """A contract, the SKU that it needs, and the days: from ``first`` until before ``end``."""

    contract: SeedContract
    row: int
    who: str
    sku: str
    first: date
    end: date
    column: str = "sku"
    """Where the contract names the SKU."""

    def within(self, span: tuple[date, date]) -> _Need:
        """The same, on those of its days that lie in a range."""
        return replace(self, first=max(self.first, span[0]), end=min(self.end, span[1]))


@dataclass
class _Missing:
    """What a SKU lacks, the contract that needs it first, and the others that do."""

    need: _Need
    lacks: str
    cure: str
    first: date
    end: date
    others: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        last = self.end - _ONE_DAY
        days = f"on {self.first}" if self.first == last else f"from {self.first} to {last}"
        others = ""
        if self.others:
            more = len(self.others) - _OTHERS_NAMED
            named = ", ".join(self.others[:_OTHERS_NAMED])
            others = f" (nor for {named}{f' and {more:,} more' if more > 0 else ''})"
        return (
            f"column {self.need.column}: {self.need.who}: {quoted(self.need.sku)} has no "
            f"{self.lacks} {days}{others}; "
            f"{self.cure}, or correct the contract"
        )


class _Catalog:
    """What holds when, as far as the catalog could be read.

    A row with a problem of its own counts as if it held on every day: it is named already, and
    what may be missing because of it is not.
    """

    def __init__(self, tables: Tables, findings: Findings) -> None:
        self._rows = findings.rows
        self.is_incomplete = findings.incomplete
        self.versions: dict[str, dict[str, list[Row]]] = {}
        for table in ("plans", "packs", "dedicated_clusters"):
            self.versions[table] = defaultdict(list)
            for row in tables[table]:
                self.versions[table][row["sku"]].append(row)
        self._tiers: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in tables["price_tiers"]:
            self._tiers[row["sku"], row["charge"]].append(row)
        self._prices: dict[tuple[str, str], _Days] = {}

    def is_sound(self, table: str, row: Row) -> bool:
        """Whether a row has no problem of its own."""
        return (table, row["row"]) not in self._rows

    def span(self, table: str, row: Row) -> tuple[date, date]:
        """The days on which a row holds."""
        if not self.is_sound(table, row):
            return date.min, date.max
        return row["valid_from"], row["valid_to"] or date.max

    def prices(self, sku: str, charge: str) -> _Days:
        """The days on which a charge has tiers."""
        if (sku, charge) not in self._prices:
            self._prices[sku, charge] = _Days(
                self.span("price_tiers", row) for row in self._tiers[sku, charge]
            )
        return self._prices[sku, charge]


class _Needs:
    """What the contracts need of the catalog, and what is missing of it.

    Contracts that lack the same of a SKU are named together, under the first day that one of them
    needs it.
    """

    def __init__(self, catalog: _Catalog) -> None:
        self._catalog = catalog
        self.missing: dict[tuple[str, ...], _Missing] = {}

    def of_subscription(
        self, contract: SeedContract, row: Row, first_cycle: date, last_day: date
    ) -> None:
        """What a subscription needs on each of its days in the books."""
        end = min(row["ends_on"] or date.max, last_day + _ONE_DAY)
        need = _Need(
            contract=contract,
            row=row["row"],
            who=f"customer {quoted(row['customer_id'])}",
            sku=row["sku"],
            first=max(row["starts_on"], first_cycle),
            end=end,
        )
        if need.first >= need.end:
            return
        if row["sku"] in self._catalog.versions["plans"]:
            for version in self._versions(need, "plans", "version of the plan"):
                self._of_plan(need.within(self._catalog.span("plans", version)), version)
        elif row["sku"] in self._catalog.versions["dedicated_clusters"]:
            self._priced_versions(need, "dedicated_clusters", "version of it", "dedicated")
        bought = row["auto_purchase_sku"]
        if bought in self._catalog.versions["packs"]:
            self._priced_versions(
                replace(need, sku=bought, column="auto_purchase_sku"),
                "packs",
                "version of the top-up pack with credits",
                "pack",
                usable=grants_top_up,
            )

    def of_order(self, contract: SeedContract, row: Row, day: date) -> None:
        """What an order needs on its day."""
        if row["sku"] not in self._catalog.versions["packs"]:
            return
        who = f"order {quoted(row['order_id'])} of customer {quoted(row['customer_id'])}"
        need = _Need(contract, row["row"], who, row["sku"], day, day + _ONE_DAY)
        self._priced_versions(need, "packs", "version of the pack", "pack")

    def _of_plan(self, need: _Need, version: Row) -> None:
        if not self._catalog.is_sound("plans", version):
            return
        if version["included_credits"] > 0:
            self._price(need, "base")
        if version["overage_policy"] == "bill":
            self._price(need, "overage")

    def _priced_versions(
        self,
        need: _Need,
        table: str,
        lacks: str,
        charge: str,
        usable: Callable[[Row], bool] = lambda _: True,
    ) -> None:
        for version in self._versions(need, table, lacks, usable):
            self._price(need.within(self._catalog.span(table, version)), charge)

    def _versions(
        self,
        need: _Need,
        table: str,
        lacks: str,
        usable: Callable[[Row], bool] = lambda _: True,
    ) -> Iterator[Row]:
        """The versions of a SKU that a contract can use; days without one are missing."""
        versions = [
            version
            for version in self._catalog.versions[table][need.sku]
            if not self._catalog.is_sound(table, version) or usable(version)
        ]
        yield from versions
        if table not in self._catalog.is_incomplete:
            gap = _Days(self._catalog.span(table, v) for v in versions).gap(need.first, need.end)
            self._note(need, gap, lacks, f"enter one in catalog/{table}.csv that holds then")

    def _price(self, need: _Need, charge: str) -> None:
        if "price_tiers" in self._catalog.is_incomplete or need.first >= need.end:
            return
        gap = self._catalog.prices(need.sku, charge).gap(need.first, need.end)
        cure = f"enter tiers of charge {charge} in catalog/price_tiers.csv, at 0 if it is free"
        self._note(need, gap, f"price of charge {charge}", cure)

    def _note(self, need: _Need, gap: _Gap | None, lacks: str, cure: str) -> None:
        if gap is None:
            return
        key = (need.contract.name, need.sku, lacks, gap.since.isoformat())
        found = self.missing.get(key)
        if found is None:
            self.missing[key] = _Missing(need, lacks, cure, gap.first, gap.end)
            return
        if need.who == found.need.who:
            # Two versions or two subscriptions of one customer: one line, from the first day on.
            found.first, found.end = min(found.first, gap.first), max(found.end, gap.end)
            return
        other = need.who
        if gap.first < found.first:
            other, found.need = found.need.who, need
        found.first, found.end = min(found.first, gap.first), max(found.end, gap.end)
        if other not in found.others:
            found.others.append(other)
