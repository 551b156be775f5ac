"""What a comparison tells people: a few tables with figures to read, for the page and for Markdown.

The exact figures are in the comparison's Parquet and CSV; here they are rounded for the eye, and
rows that nothing changes for are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from orchestration.pages.words import amount
from orchestration.trial.compare import Row

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """A figure or a name as it reads.

    Attributes:
        is_foreign: whether the text comes from a seed or a feed, where anything may stand.
    """

    text: str
    is_foreign: bool = False


@dataclass(frozen=True)
class Section:
    """A table for people.

    Attributes:
        title, words: above the table.
        heads: of the columns; the first ``names`` of them hold texts, the others figures.
        rows: the most telling first; those that a short form leaves out are last.
        table: the comparison's table that has all of it.
    """

    title: str
    words: str
    heads: tuple[str, ...]
    names: int
    rows: tuple[tuple[Cell, ...], ...]
    table: str


def title(tables: dict[str, list[Row]]) -> str:
    """What was compared, in a line."""
    summary = tables["summary"]
    names = ", ".join(row["scenario"] for row in summary)
    return f"Replay of {summary[0]['first_day']} to {summary[0]['last_day']}: {names}"


def sections(tables: dict[str, list[Row]]) -> list[Section]:
    """The tables of a comparison, in the order in which they are read."""
    scenarios = [row["scenario"] for row in tables["summary"]]
    currency = tables["summary"][0]["currency"]
    return [
        _in_all(tables, scenarios),
        _customers(tables["customers"], scenarios, currency),
        _invoices(tables["invoices"], scenarios, currency),
        _accelerators(tables["accelerators"], scenarios, currency),
        _workloads(tables["workloads"], scenarios),
        _unmapped(tables["unmapped_workloads"], scenarios),
    ]


def verdicts(tables: dict[str, list[Row]]) -> list[str]:
    """Per scenario, in a sentence: what it does to the invoices and the margin."""
    said = []
    for row in tables["summary"]:
        scenario = row["scenario"]
        changed = [
            t
            for t in tables["changed_tables"]
            if t["scenario"] == scenario and (t["rows_only_before"] or t["rows_only_after"])
        ]
        if not changed:
            said.append(f"{scenario}: no difference, in no row of any published table.")
            continue
        customers = [c for c in tables["customers"] if c["scenario"] == scenario]
        invoiced = row["invoiced_difference"]
        more = sum(c["pays"] == "more" for c in customers)
        less = sum(c["pays"] == "less" for c in customers)
        said.append(
            f"{scenario}: {_signed(invoiced)} {row['currency']} invoiced, "
            f"{_signed(row['gross_margin_difference'])} {row['currency']} gross margin; of "
            f"{len(customers)} customers {more} pay more and {less} pay less."
        )
    return said


def _in_all(tables: dict[str, list[Row]], scenarios: list[str]) -> Section:
    summary = tables["summary"]
    currency = summary[0]["currency"]
    figures = [
        (f"Invoiced, {currency}", "invoiced", 2),
        (f"Revenue earned, {currency}", "revenue", 2),
        (f"Amortized cost, {currency}", "amortized_cost", 2),
        (f"Gross margin, {currency}", "gross_margin", 2),
        ("Gross margin rate", "gross_margin_rate", None),
        (f"Breakage, {currency}", "breakage_revenue", 2),
        ("Credits rated", "credits", 2),
        ("GPU minutes billed", "gpu_minutes", 0),
        ("GPU minutes that wait", "waiting_gpu_minutes", 0),
    ]
    rows = []
    for name, column, places in figures:
        before = summary[0][f"{column}_before"]
        cells = [Cell(name), _share(before) if places is None else _figure(before, places)]
        for row in summary:
            after = row[f"{column}_after"]
            if places is None:
                cells += [_share(after), _points(before, after)]
            else:
                cells += [_figure(after, places), _change(row[f"{column}_difference"], places)]
        rows.append(tuple(cells))
    heads = ("", "today", *_each(scenarios, "{}", "change"))
    return Section("In all", "", heads, 1, tuple(rows), "summary")


def _customers(customers: list[Row], scenarios: list[str], currency: str) -> Section:
    rows = []
    for key, by_scenario in _pivot(customers, ["customer_id"], scenarios, "invoiced_difference"):
        before = next(iter(by_scenario.values()))["invoiced_before"]
        cells = [*map(_name, key), _figure(before)]
        for scenario in scenarios:
            row = by_scenario.get(scenario)
            cells += (
                [
                    _figure(row["invoiced_after"]),
                    _change(row["invoiced_difference"]),
                    _change_rate(row["invoiced_difference_rate"]),
                ]
                if row
                else [_figure(0), _change(0), Cell(NONE)]
            )
        rows.append(tuple(cells))
    return Section(
        "Who pays more",
        f"What a customer is invoiced for the window, in {currency}; those for whom it changes."
        if rows
        else "Nobody’s invoices change.",
        ("customer", "today", *_each(scenarios, "{}", "change", "%")),
        1,
        tuple(rows),
        "customers",
    )


def _invoices(invoices: list[Row], scenarios: list[str], currency: str) -> Section:
    keys = ["customer_id", "cycle_start", "cycle_end"]
    rows = []
    for key, by_scenario in _pivot(invoices, keys, scenarios, "total_difference"):
        customer, start, end = key
        before = next(iter(by_scenario.values()))["total_before"]
        cells = [_name(customer), Cell(f"{start} to {end}"), _figure(before)]
        for scenario in scenarios:
            row = by_scenario.get(scenario)
            cells += [
                _figure(row["total_after"] if row else 0),
                _change(row["total_difference"] if row else 0),
            ]
        rows.append(tuple(cells))
    return Section(
        "Invoices that change",
        f"In {currency}, a row per customer and billing cycle (its end excluded)."
        if rows
        else "None.",
        ("customer", "cycle", "today", *_each(scenarios, "{}", "change")),
        2,
        tuple(rows),
        "invoices",
    )


def _accelerators(accelerators: list[Row], scenarios: list[str], currency: str) -> Section:
    rows = []
    pivoted = _pivot(
        accelerators, ["accelerator"], scenarios, "gross_margin_difference", unchanged=True
    )
    for key, by_scenario in pivoted:
        first = next(iter(by_scenario.values()))
        cells = [
            *map(_name, key),
            _figure(first["revenue_before"]),
            _figure(first["amortized_cost_before"]),
            _figure(first["gross_margin_before"]),
            _share(first["gross_margin_rate_before"]),
        ]
        for scenario in scenarios:
            row = by_scenario.get(scenario)
            cells += (
                [
                    _figure(row["revenue_after"]),
                    _figure(row["gross_margin_after"]),
                    _share(row["gross_margin_rate_after"]),
                    _change(row["gross_margin_difference"]),
                ]
                if row
                else [_figure(0), _figure(0), Cell(NONE), _change(0)]
            )
        rows.append(tuple(cells))
    return Section(
        "Margin by accelerator",
        f"Revenue earned less amortized cost, in {currency}.",
        (
            "accelerator",
            "revenue today",
            "cost today",
            "margin today",
            "rate",
            *_each(scenarios, "revenue, {}", "margin", "rate", "change"),
        ),
        1,
        tuple(rows),
        "accelerators",
    )


def _workloads(workloads: list[Row], scenarios: list[str]) -> Section:
    keys = ["cluster", "accelerator", "model_family"]
    rows = []
    for key, by_scenario in _pivot(
        workloads, keys, scenarios, "credits_difference", unchanged=True
    ):
        first = next(iter(by_scenario.values()))
        cells = [
            *map(_name, key),
            _figure(first["gpu_minutes_before"], 0),
            _figure(first["credits_before"]),
            _rate(first["credits_per_gpu_minute_before"]),
        ]
        for scenario in scenarios:
            row = by_scenario.get(scenario)
            cells += (
                [
                    _figure(row["credits_after"]),
                    _rate(row["credits_per_gpu_minute_after"]),
                    _change(row["credits_difference"]),
                ]
                if row
                else [_figure(0), Cell(NONE), _change(0)]
            )
        rows.append(tuple(cells))
    return Section(
        "What workloads cost in credits",
        "By cluster, accelerator and model family; those whose credits change most come first.",
        (
            *("cluster", "accelerator", "model family", "GPU minutes", "credits today"),
            "per minute",
            *_each(scenarios, "credits, {}", "per minute", "change"),
        ),
        3,
        tuple(rows),
        "workloads",
    )


def _unmapped(unmapped: list[Row], scenarios: list[str]) -> Section:
    keys = ["reason", "cluster", "lacks"]
    rows = []
    for key, by_scenario in _pivot(
        unmapped, keys, scenarios, "gpu_minutes_difference", unchanged=True
    ):
        first = next(iter(by_scenario.values()))
        cells = [
            *map(_name, key),
            _figure(first["rows_before"], 0),
            _figure(first["gpu_minutes_before"], 0),
        ]
        for scenario in scenarios:
            row = by_scenario.get(scenario)
            cells += [
                _figure(row["rows_after"] if row else 0, 0),
                _figure(row["gpu_minutes_after"] if row else 0, 0),
            ]
        rows.append(tuple(cells))
    return Section(
        "Usage that waits",
        "Delivered, but not billed before the seeds know the customer, cluster, accelerator, plan or rate."
        if rows
        else "Nothing waits: every row that can be billed is.",
        (
            *("reason", "cluster", "lacks", "rows today", "GPU minutes today"),
            *_each(scenarios, "rows, {}", "GPU minutes"),
        ),
        3,
        tuple(rows),
        "unmapped_workloads",
    )


def _pivot(
    rows: Iterable[Row],
    keys: Sequence[str],
    scenarios: Sequence[str],
    difference: str,
    *,
    unchanged: bool = False,
) -> list[tuple[tuple[Any, ...], dict[str, Row]]]:
    """The rows of one key together, by scenario; what changes most comes first.

    Args:
        unchanged: whether to keep what no scenario changes.
    """
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), {})[row["scenario"]] = row

    def change(by_scenario: dict[str, Row]) -> Decimal:
        return max(abs(row[difference]) for row in by_scenario.values())

    kept = [(key, by) for key, by in found.items() if unchanged or change(by)]
    return sorted(kept, key=lambda item: -change(item[1]))


def _each(scenarios: Sequence[str], first: str, *others: str) -> tuple[str, ...]:
    return tuple(head for scenario in scenarios for head in (first.format(scenario), *others))


def _name(text: str) -> Cell:
    return Cell(text, is_foreign=True)


def _figure(value: Decimal | int, places: int = 2) -> Cell:
    return Cell(amount(Decimal(value), places))


def _signed(value: Decimal | int, places: int = 2) -> str:
    return ("+" if value > 0 else "") + amount(Decimal(value), places)


def _change(value: Decimal | int, places: int = 2) -> Cell:
    return Cell(_signed(value, places) if value else "0")


def _rate(value: Decimal | None) -> Cell:
    return Cell(NONE if value is None else amount(value, 4))


def _share(value: Decimal | None) -> Cell:
    return Cell(NONE if value is None else f"{_tenths(100 * value)}\u00a0%")


def _change_rate(value: Decimal | None) -> Cell:
    return Cell(
        NONE if value is None else ("+" if value > 0 else "") + f"{_tenths(100 * value)}\u00a0%"
    )


def _points(before: Decimal | None, after: Decimal | None) -> Cell:
    """The change of a share, in percentage points."""
    if before is None or after is None:
        return Cell(NONE)
    change = 100 * (after - before)
    return Cell(f"{_signed(change)}\u00a0points" if change else "0")


def _tenths(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.1'), ROUND_HALF_UP):,}".replace("-", "−")
