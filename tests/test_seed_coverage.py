"""Prices of contracts: on no day of the books is a charge 0 because its price is missing.

The world here is a few rows of every kind of contract. ``charges_of`` looks prices up by itself, day
by day and by the rules alone; it shares nothing with the check.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from contracts import (
    LONG_AGO,
    Tables,
    catalog,
    customer,
    order,
    pack,
    plan,
    subscription,
    tier,
    write_seeds,
)
from hostile import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.seeds.staging import BookDays, SeedError, check_seeds, seed_contracts
from orchestration.settings import PROJECT_ROOT

OPEN, LAST = date(2026, 1, 20), date(2026, 2, 10)
BOOKS = BookDays(OPEN, LAST)
CHANGE = date(2026, 2, 5)
ONE_DAY = timedelta(days=1)


def world() -> Tables:
    """Every kind of contract: two plans, one waived, packs, a top-up bought by itself, a cluster."""
    seeds = catalog(
        plans=[
            plan("team", 1000, valid_to=CHANGE),
            plan("team", 1200, valid_from=CHANGE),
            plan("light", 10, overage_policy="waive"),
            plan("metered", 0),
        ],
        packs=[pack("boost", "burst", 0, 48), pack("more", "top_up", 100, 8760)],
        dedicated_clusters=[{"sku": "own", "valid_from": LONG_AGO}],
        price_tiers=[
            tier("team", "base", "0.01", valid_to=CHANGE),
            tier("team", "base", "0.02", up_to=1000, valid_from=CHANGE),
            tier("team", "base", "0.01", tier=2, valid_from=CHANGE, flat_fee="5"),
            tier("team", "overage", "30", mode="package", package_size=1000),
            tier("light", "base", "0.5"),
            tier("metered", "overage", "0.03"),
            tier("boost", "pack", "49"),
            tier("more", "pack", "12"),
            tier("own", "dedicated", "500"),
        ],
        term_discounts=[
            {
                "sku": "team",
                "min_commit_months": 12,
                "discount_rate": "0.2",
                "valid_from": LONG_AGO,
            }
        ],
        customers=[customer(name, anchor) for name, anchor in (("a", 1), ("b", 5), ("c", 28))],
        subscriptions=[
            subscription("a", "team", date(2025, 11, 1), commit_months=12),
            subscription("b", "light", date(2025, 12, 5), ends_on=date(2026, 2, 1)),
            subscription("c", "metered", date(2026, 1, 28), auto_purchase_sku="more"),
            subscription(
                "a", "own", date(2026, 2, 3), subscription_id="a.own", cluster="cell", quantity=1
            ),
        ],
        orders=[order("a", "o1", "boost", CHANGE), order("b", "o2", "more", date(2026, 1, 21), 2)],
    )
    seeds["clusters"].append({**seeds["clusters"][0], "cluster": "cell"})
    return seeds


def problems_of(folder: Path, seeds: Tables, books: BookDays | None = BOOKS) -> list[str]:
    """What the check says of these seeds, a line each."""
    try:
        check_seeds(write_seeds(folder, seeds), books)
    except SeedError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def row_of(seeds: Tables, table: str, **values: Any) -> dict[str, Any]:
    [row] = [r for r in seeds[table] if r.items() >= values.items()]
    return row


def test_a_world_that_has_all_its_prices_passes(tmp_path):
    assert problems_of(tmp_path, world()) == []


def no_base(seeds: Tables) -> None:
    row_of(seeds, "price_tiers", sku="light", charge="base")["valid_to"] = date(2026, 1, 30)


def no_overage(seeds: Tables) -> None:
    row_of(seeds, "price_tiers", sku="team", charge="overage")["valid_from"] = date(2026, 1, 3)


def no_version(seeds: Tables) -> None:
    row_of(seeds, "plans", sku="team", valid_from=CHANGE)["valid_from"] = date(2026, 2, 8)


def no_pack_price(seeds: Tables) -> None:
    seeds["price_tiers"].remove(row_of(seeds, "price_tiers", sku="boost"))


def no_pack_version(seeds: Tables) -> None:
    row_of(seeds, "packs", sku="boost")["valid_from"] = date(2026, 2, 6)


def no_top_up_price(seeds: Tables) -> None:
    row_of(seeds, "price_tiers", sku="more")["valid_to"] = date(2026, 2, 1)


def no_top_up(seeds: Tables) -> None:
    row_of(seeds, "packs", sku="more")["valid_to"] = date(2026, 2, 1)
    seeds["packs"].append(pack("more", "top_up", 0, 1, valid_from=date(2026, 2, 1)))


def no_dedicated_price(seeds: Tables) -> None:
    row_of(seeds, "price_tiers", sku="own")["valid_to"] = LAST


def no_dedicated_version(seeds: Tables) -> None:
    row_of(seeds, "dedicated_clusters", sku="own")["valid_from"] = date(2026, 2, 4)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (no_base, "'b': 'light' has no price of charge base from 2026-01-30 to 2026-01-31"),
        (no_overage, "'a': 'team' has no price of charge overage from 2026-01-01 to 2026-01-02"),
        (no_version, "'a': 'team' has no version of the plan from 2026-02-05 to 2026-02-07"),
        (no_pack_price, "order 'a.o1' of customer 'a': 'boost' has no price of charge pack on 20"),
        (no_pack_version, "'a.o1' of customer 'a': 'boost' has no version of the pack on 2026-02-"),
        (no_top_up_price, "'c': 'more' has no price of charge pack from 2026-02-01 to 2026-02-10"),
        (no_top_up, "'c': 'more' has no version of the top-up pack with credits from 2026-02-01"),
        (no_dedicated_price, "'a': 'own' has no price of charge dedicated on 2026-02-10"),
        (no_dedicated_version, "'a': 'own' has no version of it on 2026-02-03"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_contract_without_a_price_is_named_with_its_first_day(edit, said, tmp_path):
    seeds = world()
    edit(seeds)

    [problem] = problems_of(tmp_path, seeds)

    assert re.match(r"contracts/(orders|subscriptions)\.csv: row \d+: column \w+: ", problem)
    assert said in problem
    assert "; enter " in problem


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: row_of(s, "price_tiers", sku="light").update(valid_from=date(2026, 1, 5)),
        lambda s: row_of(s, "price_tiers", sku="light").update(valid_to=date(2026, 2, 1)),
        lambda s: row_of(s, "plans", sku="light").update(valid_to=date(2026, 2, 1)),
        lambda s: row_of(s, "price_tiers", sku="metered").update(valid_to=LAST + ONE_DAY),
        lambda s: s["price_tiers"].append(tier("light", "overage", 0)),
        lambda s: (
            s["orders"].append(order("a", "old", "gone", date(2025, 12, 31)))
            or s["packs"].append(pack("gone", "burst", 0, 1, valid_to=date(2025, 6, 1)))
        ),
        lambda s: (
            s["orders"].append(order("a", "soon", "next", LAST + ONE_DAY))
            or s["packs"].append(pack("next", "burst", 0, 1, valid_from=date(2026, 9, 1)))
        ),
        lambda s: s["plans"].append(plan("nobody", 5)),
    ],
    ids=[
        "before the books",
        "after the end",
        "no version after the end",
        "not after the last day",
        "free",
        "ordered before the books",
        "ordered after the last day",
        "not sold",
    ],
)
def test_what_no_contract_needs_may_be_missing(edit, tmp_path):
    seeds = world()
    edit(seeds)

    assert problems_of(tmp_path, seeds) == []


def test_without_the_days_of_the_books_nothing_is_said_about_days(tmp_path):
    seeds = world()
    no_version(seeds)

    assert problems_of(tmp_path, seeds, None) == []


def test_contracts_that_lack_the_same_price_are_one_line_under_the_first_day(tmp_path):
    seeds = world()
    row_of(seeds, "price_tiers", sku="light")["valid_to"] = date(2026, 1, 30)
    for number in range(9):
        seeds["customers"].append(customer(f"n{number}"))
        starts = date(2026, 2, 9) - number * ONE_DAY
        seeds["subscriptions"].append(subscription(f"n{number}", "light", starts))

    [problem] = problems_of(tmp_path, seeds)

    assert "customer 'b': 'light' has no price of charge base from 2026-01-30 to 2026-02-10" in (
        problem
    )
    assert "(nor for customer 'n0', customer 'n1'" in problem
    assert "and 4 more)" in problem


def test_everything_wrong_in_any_file_is_in_one_answer_and_what_follows_from_it_is_not(tmp_path):
    """A price that cannot be read, an unknown customer, a missing price, an early adjustment."""
    seeds = world()
    no_pack_price(seeds)
    row_of(seeds, "price_tiers", sku="own")["unit_price"] = "five"
    row_of(seeds, "price_tiers", sku="light")["valid_from"] = "soon"
    seeds["orders"].append(order("nobody", "o3", "more", CHANGE))
    seeds["adjustments"].append(
        {
            "adjustment_id": "x",
            "customer_id": "a",
            "posted_on": "2025-12-31",
            "amount": 1,
            "reason": "r",
        }
    )

    problems = problems_of(tmp_path, seeds)

    found = sorted(problem.split(": ")[0] + " " + problem.split(": ")[2] for problem in problems)
    assert found == [
        "catalog/price_tiers.csv column unit_price",
        "catalog/price_tiers.csv column valid_from",
        "contracts/adjustments.csv column posted_on",
        "contracts/orders.csv column customer_id",
        "contracts/orders.csv column sku",
    ]


def test_a_seed_that_cannot_be_read_does_not_make_others_wrong(tmp_path):
    """Everything refers to these files."""
    for name in ("plans", "customers", "accelerators", "clusters", "packs", "price_tiers"):
        folder = write_seeds(tmp_path / name, world())
        [contract] = [c for c in seed_contracts() if c.name == name]
        (folder / contract.file).write_text("nothing\n", encoding="utf-8")
        with pytest.raises(SeedError) as error:
            check_seeds(folder, BOOKS)
        assert len(str(error.value).splitlines()) == 2, error.value


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (tier("team", "base", 1, tier=3, valid_from=date(2026, 2, 6)), "still hold on 2026-02-06"),
        (tier("team", "overage", 1, tier=2, mode="package", package_size=1, valid_to=LAST), "last"),
        (tier("boost", "base", 1), "'boost' is not in catalog/plans.csv as its charge base asks"),
        (tier("team", "pack", 1), "'team' is not in catalog/packs.csv as its charge pack asks"),
        (tier("team", "dedicated", 1), "is not in catalog/dedicated_clusters.csv as its charge"),
        (tier("metered", "base", 1, mode="package"), "package_size is empty; mode package needs"),
        (tier("metered", "base", 1, mode="volume", up_to=5), "the last tier must be open-ended"),
    ],
    ids=range(7),
)
def test_tiers_that_would_count_twice_or_never_are_named(row, said, tmp_path):
    seeds = world()
    seeds["price_tiers"].append(row)

    problems = problems_of(tmp_path, seeds)

    assert len(problems) == 1 or said == "last"
    assert said in problems[0]


def test_tiers_of_a_charge_hold_for_the_same_days(tmp_path):
    """Else the units above the first tier would have no price, and nobody would say so."""
    seeds = world()
    row_of(seeds, "price_tiers", sku="team", charge="base", tier=2)["valid_to"] = LAST

    assert (
        "column valid_to: the tiers of a charge hold for the same days"
        in (problems_of(tmp_path, seeds)[0])
    )


def test_a_sku_that_is_a_plan_and_a_cluster_would_be_billed_twice(tmp_path):
    seeds = world()
    seeds["dedicated_clusters"].append({"sku": "team", "valid_from": LONG_AGO})

    assert "'team' is a plan, too (catalog/plans.csv, row" in problems_of(tmp_path, seeds)[0]


def test_thousands_of_contracts_over_years_take_seconds(tmp_path):
    seeds = world()
    seeds["price_tiers"] = [t for t in seeds["price_tiers"] if t["sku"] != "metered"]
    begins = [LONG_AGO + n * 7 * ONE_DAY for n in range(200)]
    for first, then in zip(begins, [*begins[1:], None], strict=True):
        seeds["price_tiers"].append(
            tier("metered", "overage", "0.1", valid_from=first, valid_to=then)
        )
    for number in range(4000):
        seeds["customers"].append(customer(f"n{number}", number % 28 + 1))
        seeds["subscriptions"].append(subscription(f"n{number}", "metered", LONG_AGO))
        seeds["orders"].append(order(f"n{number}", "o", "boost", CHANGE))
    folder = write_seeds(tmp_path, seeds)

    began = time.monotonic()
    check_seeds(folder, BookDays(LONG_AGO, LONG_AGO + 199 * 7 * ONE_DAY))
    assert time.monotonic() - began < 10


def test_the_sample_has_a_price_for_every_day_of_its_books():
    """A year of them, from the day its contracts begin."""
    check_seeds(PROJECT_ROOT / "seeds", BookDays(date(2025, 11, 28), date(2026, 12, 31)))


# ---------------------------------------------------------------------------------------------
# Any edit
# ---------------------------------------------------------------------------------------------


def read_all(folder: Path) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for contract in seed_contracts():
        with (folder / contract.file).open(encoding="utf-8", newline="") as file:
            tables[contract.name] = list(csv.DictReader(file))
    return tables


def holds(row: dict[str, str], day: date, begin: str = "valid_from", end: str = "valid_to") -> bool:
    return date.fromisoformat(row[begin]) <= day and (
        not row[end] or day < date.fromisoformat(row[end])
    )


def is_free(tables: dict[str, list[dict[str, str]]], sku: str, charge: str, day: date) -> bool:
    """Whether a unit of a charge can cost nothing on a day: no tiers, or one of them at 0."""
    tiers = [
        t
        for t in tables["price_tiers"]
        if (t["sku"], t["charge"]) == (sku, charge) and holds(t, day)
    ]
    return not tiers or any(
        Decimal(t["unit_price"]) == 0 and Decimal(t["flat_fee"] or 0) == 0 for t in tiers
    )


def charges_of(tables: dict[str, list[dict[str, str]]]) -> Iterator[tuple[str, str, str, date]]:
    """Contract, SKU, charge and day of everything that is charged in the books."""
    plans = {row["sku"] for row in tables["plans"]}
    anchors = {row["customer_id"]: int(row["billing_anchor_day"]) for row in tables["customers"]}
    for row in tables["subscriptions"]:
        day = OPEN
        while day.day != anchors[row["customer_id"]]:
            day -= ONE_DAY
        for offset in range((LAST - day).days + 1):
            on = day + offset * ONE_DAY
            if not holds(row, on, "starts_on", "ends_on"):
                continue
            name = row["subscription_id"]
            if row["sku"] not in plans:
                yield name, row["sku"], "dedicated", on
                continue
            versions = [p for p in tables["plans"] if p["sku"] == row["sku"] and holds(p, on)]
            # Without a version nothing is granted and nothing is charged, which is worst of all.
            if not versions:
                yield name, row["sku"], "nothing", on
            for version in versions:
                if Decimal(version["included_credits"]) > 0:
                    yield name, row["sku"], "base", on
                if version["overage_policy"] == "bill":
                    yield name, row["sku"], "overage", on
            if row["auto_purchase_sku"]:
                yield name, row["auto_purchase_sku"], "pack", on
    for row in tables["orders"]:
        on = date.fromisoformat(row["ordered_at"][:10])
        if OPEN <= on <= LAST:
            there = [p for p in tables["packs"] if p["sku"] == row["sku"] and holds(p, on)]
            yield row["order_id"], row["sku"], "pack" if there else "nothing", on


MUTABLE = (
    "plans",
    "packs",
    "dedicated_clusters",
    "price_tiers",
    "term_discounts",
    "customers",
    "subscriptions",
    "orders",
)
SKUS = ("team", "light", "metered", "boost", "more", "own", "gone")


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, int, str, Any]:
    """A row to drop, or one of its cells to change: table, place, column, and how."""
    table = draw(st.sampled_from(MUTABLE))
    place = draw(st.integers(0, 11))
    how = draw(st.sampled_from(("drop", "shift", "sign", "swap", "scale", "empty", "copy")))
    amount = {
        "shift": st.integers(-60, 60),
        "scale": st.sampled_from(("0", "0.5", "10", "1000000000")),
        "swap": st.sampled_from(SKUS),
        "empty": st.integers(0, 13),
    }.get(how, st.none())
    return table, place, how, draw(amount)


def mutate(tables: dict[str, list[dict[str, str]]], edit: tuple[str, int, str, Any]) -> None:
    table, place, how, amount = edit
    rows = tables[table]
    if not rows:
        return
    row = rows[place % len(rows)]
    types = next(c for c in seed_contracts() if c.name == table).types
    if how == "drop":
        rows.remove(row)
    elif how == "copy":
        rows.append(dict(row))
    elif how == "empty":
        row[list(types)[amount % len(types)]] = ""
    else:
        for column, kind in types.items():
            text = row[column]
            if not text:
                continue
            if how == "shift" and kind in ("date", "timestamp"):
                moved = date.fromisoformat(text[:10]) + amount * ONE_DAY
                row[column] = moved.isoformat() + text[10:]
                return
            if how == "swap" and column == "sku":
                row[column] = amount
            if how in ("sign", "scale") and kind not in ("string", "date", "timestamp", "boolean"):
                if column in ("tier", "billing_anchor_day", "min_commit_months"):
                    continue
                factor = Decimal(-1) if how == "sign" else Decimal(amount)
                row[column] = f"{Decimal(text) * factor:f}"


@given(st.lists(edits(), min_size=1, max_size=3))
@settings(max_examples=examples(150), deadline=None)
def test_no_edit_makes_a_charge_free_without_a_word(tmp_path_factory, changes):
    """What passes the check has a price for each charge; a tier at 0 stands there as 0.

    The control price_is_zero names such a tier, so it is not without a word.
    """
    folder = tmp_path_factory.mktemp("edited")
    write_seeds(folder, world())
    tables = read_all(folder)
    for change in changes:
        mutate(tables, change)
    write_seeds(folder, tables)

    try:
        check_seeds(folder, BOOKS)
    except SeedError:
        return
    for contract, sku, charge, day in charges_of(tables):
        if is_free(tables, sku, charge, day):
            named = [
                t
                for t in tables["price_tiers"]
                if (t["sku"], t["charge"]) == (sku, charge)
                and holds(t, day)
                and Decimal(t["unit_price"]) == 0
            ]
            assert named, f"{contract}: {charge} of {sku} costs nothing on {day}: {changes}"
