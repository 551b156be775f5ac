"""The auditor itself: cases worked by hand, then the published example books.

The hand-worked cases use round numbers, so that a reader can check them without a computer.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from auditor import (
    Adjustment,
    Books,
    Customer,
    DedicatedCluster,
    Grant,
    Line,
    Order,
    Pack,
    Plan,
    Pool,
    SeedError,
    Seeds,
    Subscription,
    TermDiscount,
    Tier,
    Transfer,
    UsageRow,
    audit,
    broken_identities,
    cycle_of,
    decimal,
    load_seeds,
    packs_by_formula,
    packs_by_trial,
    price,
    rounded,
)

SHARED = Path(__file__).parents[2] / "shared"
SEEDS = SHARED / "data" / "dev" / "seeds"
EXPECTED = SHARED / "expected" / "dev"

needs_example = pytest.mark.skipif(
    not EXPECTED.is_dir(), reason="the example books (../shared/expected/dev) are not here"
)

OPEN = date(2025, 10, 1)
NEXT = date(2025, 11, 1)


def usage(*days: tuple[date, int | str]) -> dict[tuple[str, date], Decimal]:
    """Posted credits of the customer `acme`."""
    return {("acme", day): Decimal(credits) for day, credits in days}


def october(day: int) -> date:
    return date(2025, 10, day)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def plan_terms(
    sku: str, credits: int, unit_price: str, overage: list[Tier] | None = None, **plan: Any
) -> Seeds:
    """A plan with a flat price per credit, and its overage tiers (default: 0.02 a credit)."""
    return Seeds(
        plans=[Plan(sku=sku, included_credits=Fraction(credits), **plan)],
        price_tiers=[
            Tier(sku=sku, charge="base", mode="graduated", unit_price=Fraction(unit_price)),
            *(
                overage
                or [Tier(sku=sku, charge="overage", mode="graduated", unit_price=Fraction("0.02"))]
            ),
        ],
    )


def seeds(**more: Any) -> Seeds:
    """One customer, `acme`, on 50,000 credits at 0.012, in calendar months; packs on sale.

    `subscription` changes the subscription; any other key adds to that list of seeds.
    """
    terms = plan_terms("base", 50_000, "0.012")
    plain: dict[str, Any] = {"subscription_id": "sub", "customer_id": "acme", "sku": "base"}
    plain |= {"starts_on": date(2025, 7, 1)} | more.pop("subscription", {})
    all_seeds = Seeds(
        customers=[Customer(customer_id="acme", billing_anchor_day=1)],
        subscriptions=[Subscription(**plain)],
        plans=terms.plans,
        packs=[
            Pack(sku="top", kind="top_up", included_credits=Fraction(10_000), validity_hours=8760),
            Pack(sku="burst", kind="burst", included_credits=Fraction(2_000), validity_hours=48),
            Pack(sku="pass", kind="burst", validity_hours=48),
        ],
        price_tiers=[
            *terms.price_tiers,
            Tier(
                sku="top",
                charge="pack",
                mode="graduated",
                up_to=Fraction(10),
                unit_price=Fraction(125),
            ),
            Tier(sku="top", charge="pack", mode="graduated", tier=2, unit_price=Fraction(115)),
            Tier(sku="burst", charge="pack", mode="graduated", unit_price=Fraction("32.4")),
            Tier(sku="pass", charge="pack", mode="graduated", unit_price=Fraction(49)),
        ],
        term_discounts=[
            TermDiscount(sku="base", min_commit_months=6, discount_rate=Fraction("0.1")),
            TermDiscount(sku="base", min_commit_months=12, discount_rate=Fraction("0.2")),
        ],
    )
    for name, rows in more.items():
        getattr(all_seeds, name).extend(rows)
    return all_seeds


def books_of(
    contracts: Seeds, posted: dict[tuple[str, date], Decimal] | None = None, until: date = OPEN
) -> Books:
    """The books up to a day; every case also has to keep the identities."""
    posted = posted or {}
    books = audit(contracts, posted, books_open_on=OPEN, last_day=until)
    assert broken_identities(books, posted, until) == []
    return books


def order(sku: str, day: date, quantity: int = 1, order_id: str = "ord") -> Order:
    return Order(
        order_id=order_id,
        customer_id="acme",
        sku=sku,
        quantity=Fraction(quantity),
        ordered_at=noon(day),
    )


def amounts(books: Books) -> dict[str, Decimal]:
    return {line.invoice_line_id: line.amount for line in books.lines}


def moves(books: Books, kind: str) -> list[tuple[date, str | None, Decimal, Decimal]]:
    found = [t for t in books.transfers if t.kind == kind]
    return [(t.posted_on, t.grant_id, t.credits, t.value) for t in found]


def burn_sources(books: Books) -> list[tuple[str, Decimal]]:
    """What burned, in order: `<source>` or `<source>/<origin>` is read off the grant id."""
    return [
        (str(grant_id).split("/")[1], credits) for _, grant_id, credits, _ in moves(books, "burn")
    ]


# -- numbers, cycles, prices ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "places", "expected"),
    [
        ("0.5", 0, "1"),
        ("-0.5", 0, "-1"),
        ("2.4999999", 0, "2"),
        ("0.0000005", 6, "0.000001"),
        ("-0.0000005", 6, "-0.000001"),
        ("123456789012345678901234567890.125", 2, "123456789012345678901234567890.13"),
    ],
)
def test_rounds_half_away_from_zero(x: str, places: int, expected: str) -> None:
    assert rounded(Fraction(x), places) == Fraction(expected)
    assert decimal(Fraction(x), places) == Decimal(expected)


def test_cycles_run_from_anchor_day_to_anchor_day() -> None:
    assert cycle_of(date(2025, 10, 15), 15).start == date(2025, 10, 15)
    assert cycle_of(date(2025, 10, 14), 15).start == date(2025, 9, 15)
    assert cycle_of(date(2025, 1, 27), 28).start == date(2024, 12, 28)
    assert cycle_of(date(2025, 12, 28), 28).end == date(2026, 1, 28)
    assert cycle_of(date(2024, 2, 29), 28).days == 29


def tiers(mode: str, package_size: int | None = None) -> list[Tier]:
    """Up to 100 at 3, above at 2; the second tier has a fee of 7."""
    size = Fraction(package_size) if package_size else None
    terms: dict[str, Any] = {"sku": "x", "charge": "overage", "mode": mode, "package_size": size}
    return [
        Tier(tier=1, up_to=Fraction(100), unit_price=Fraction(3), **terms),
        Tier(tier=2, unit_price=Fraction(2), flat_fee=Fraction(7), **terms),
    ]


@pytest.mark.parametrize(
    ("mode", "units", "expected"),
    [
        ("graduated", "0", "0"),
        ("graduated", "100", "300"),
        ("graduated", "100.5", "308"),  # 300 + 7 + 0.5 * 2
        ("volume", "100", "300"),
        ("volume", "101", "209"),  # 101 * 2 + 7: cheaper than 100 units
        ("package", "0", "0"),
        ("package", "1", "3"),  # one block of 30
        ("package", "100", "12"),  # four blocks at 3
        ("package", "121", "17"),  # five blocks at 2, and 7
    ],
)
def test_price_modes(mode: str, units: str, expected: str) -> None:
    table = tiers(mode, 30 if mode == "package" else None)
    assert price(table, Fraction(units)) == Fraction(expected)


def test_the_last_tier_is_open_ended() -> None:
    with pytest.raises(SeedError):
        price(tiers("graduated")[:1], Fraction(5))


# -- plan grants ----------------------------------------------------------------------------------


def test_plan_grant_with_a_twelve_month_commitment() -> None:
    """50,000 at 0.012 = 600.00, less 20 % = 480.00, so 0.0096 a credit."""
    books = books_of(seeds(subscription={"commit_months": 12}))
    assert amounts(books) == {
        "acme/2025-10-01/base_credits/sub": Decimal("600.00"),
        "acme/2025-10-01/term_discount/sub": Decimal("-120.00"),
    }
    assert books.grants == [
        Grant(
            grant_id="acme/plan/2025-10-01/sub",
            customer_id="acme",
            source="plan",
            sku="base",
            granted_on=OPEN,
            expires_on=october(31),
            priority=40,
            credits=Decimal(50_000),
            amount=Decimal(480),
            unit_price=Decimal("0.0096"),
            cycle_start=OPEN,
            origin_id="sub",
        )
    ]
    assert [line.unit_price for line in books.lines] == [Decimal("0.012"), Decimal("-0.0024")]


def test_books_open_with_the_cycle_of_that_day() -> None:
    """Books that open on the 6th begin with the grant of the 1st, and with nothing older."""
    books = audit(
        seeds(orders=[order("top", date(2025, 9, 30))]),
        {},
        books_open_on=october(6),
        last_day=october(6),
    )
    assert [grant.granted_on for grant in books.grants] == [OPEN]
    assert books.balances[0].balance_date == OPEN
    assert books.balances[0].opening_credits == 0


def test_a_cycle_that_is_cut_short_is_prorated() -> None:
    """10 of October's 31 days: 16,129.032258 credits; the price is 600 * 10 / 31."""
    contract = {"starts_on": october(11), "ends_on": october(21)}
    books = books_of(seeds(subscription=contract), until=october(31))
    assert [(g.granted_on, g.expires_on, g.credits, g.amount) for g in books.grants] == [
        (october(11), october(31), Decimal("16129.032258"), Decimal("193.548387"))
    ]
    assert amounts(books)["acme/2025-10-01/base_credits/sub"] == Decimal("193.55")
    assert moves(books, "expiry")[0][0] == october(31)
    assert books.balances[0].balance_date == october(11)


def test_a_plan_change_inside_a_cycle() -> None:
    """Each plan grants its share of the days; overage is cumulative per plan."""
    big = plan_terms("big", 310_000, "0.01", overage_policy="waive")
    second = Subscription(
        subscription_id="sub2", customer_id="acme", sku="big", starts_on=october(22)
    )
    contracts = seeds(
        subscription={"ends_on": october(22)},
        subscriptions=[second],
        plans=big.plans,
        price_tiers=big.price_tiers,
    )
    posted = usage((october(2), 40_000), (october(22), 100_000))
    books = books_of(contracts, posted, october(31))
    assert [(g.origin_id, g.credits) for g in books.grants] == [
        ("sub", Decimal("33870.967742")),  # 50,000 * 21 / 31
        ("sub2", Decimal(100_000)),  # 310,000 * 10 / 31
    ]
    assert [line.quantity for line in books.lines if line.line_type == "overage"] == [
        Decimal("6129.032258")
    ]
    books = books_of(contracts, posted | usage((october(23), 1_000)), october(31))
    overage = {t.sku: (t.quantity, t.amount) for t in books.lines if t.line_type == "overage"}
    assert overage == {
        "base": (Decimal("6129.032258"), Decimal("122.58")),
        "big": (Decimal(1_000), Decimal(0)),
    }


# -- packs and the burn order ---------------------------------------------------------------------


def test_a_top_up_burns_on_its_own_day() -> None:
    posted = usage((october(5), 55_000))
    books = books_of(seeds(orders=[order("top", october(5))]), posted, october(5))
    assert burn_sources(books) == [("plan", Decimal(50_000)), ("top_up", Decimal(5_000))]
    assert moves(books, "overage") == []
    assert books.grants[1].expires_on == date(2026, 10, 5)
    assert amounts(books)["acme/2025-10-01/top_up/ord"] == Decimal(125)


def test_a_burst_pack_burns_first_and_expires_on_its_last_day() -> None:
    contracts = seeds(orders=[order("burst", october(5)), order("pass", october(5), order_id="p")])
    books = books_of(contracts, usage((october(6), 1_500)), october(8))
    assert burn_sources(books) == [("burst_pack", Decimal(1_500))]
    assert moves(books, "expiry") == [
        (october(7), "acme/burst_pack/2025-10-05/ord", Decimal(500), Decimal("8.1"))
    ]
    assert amounts(books)["acme/2025-10-01/burst_pack/p"] == Decimal(49)  # no credits, no grant
    assert len(books.grants) == 2


def test_burn_order_breaks_ties_by_expiry_then_grant_day_then_id() -> None:
    """Same priority: expiry first (48 h pass 24 h), then the older grant, then the lower id."""
    day_pack = Pack(sku="day", kind="burst", included_credits=Fraction(2_000), validity_hours=24)
    table = Tier(sku="day", charge="pack", mode="graduated", unit_price=Fraction(1))
    contracts = seeds(
        packs=[day_pack],
        price_tiers=[table],
        orders=[
            order("burst", october(5), order_id="b"),  # to the 7th
            order("burst", october(5), order_id="a"),  # to the 7th
            order("day", october(6), order_id="c"),  # to the 7th, granted later
            order("day", october(5), order_id="z"),  # to the 6th
        ],
    )
    books = books_of(contracts, usage((october(6), 8_500)), october(6))
    assert [str(grant_id).rsplit("/")[-1] for _, grant_id, _, _ in moves(books, "burn")] == [
        "z",
        "a",
        "b",
        "c",
        "sub",
    ]


def test_priorities_of_all_sources() -> None:
    """Burst, rollover, refund and adjustment, plan, top-up, auto-purchase."""
    contracts = seeds(
        subscription={"auto_purchase_sku": "top"},
        orders=[order("burst", date(2025, 11, 3)), order("top", date(2025, 11, 3), order_id="t")],
        adjustments=[
            Adjustment(
                adjustment_id="sorry",
                customer_id="acme",
                posted_on=date(2025, 11, 3),
                credits=Fraction(100),
            )
        ],
    )
    posted = usage((october(2), 45_000), (date(2025, 11, 2), -100), (date(2025, 11, 3), 62_500))
    books = books_of(contracts, posted, date(2025, 11, 3))
    burned = [t.grant_id for t in books.transfers if t.kind == "burn" and t.posted_on.month == 11]
    sources = [str(grant_id).split("/")[1] for grant_id in burned]
    assert sources == [
        "burst_pack",
        "rollover",
        "refund",  # granted the day before the adjustment, else alike
        "adjustment",
        "plan",
        "top_up",
        "auto_purchase",
    ]


def test_an_empty_wallet_goes_into_overage() -> None:
    books = books_of(seeds(), usage((october(2), 50_000), (october(3), 7)), october(4))
    assert books.transfers[-1] == Transfer(
        transfer_id="acme/2025-10-03/overage/overage",
        posted_on=october(3),
        kind="overage",
        debit_account="overage:acme",
        credit_account="consumed:acme",
        customer_id="acme",
        grant_id=None,
        credits=Decimal(7),
        unit_price=Decimal("0.02"),
        value=Decimal("0.14"),
        cycle_start=OPEN,
    )
    assert [b.depletion for b in books.balances] == [0, 1, 1, 1]
    assert amounts(books)["acme/2025-10-01/overage/base"] == Decimal("0.14")


def test_depletion_without_credits_is_one_only_on_a_day_with_overage() -> None:
    empty = plan_terms("empty", 0, "0.01")
    contracts = seeds(
        subscription={"sku": "empty"}, plans=empty.plans, price_tiers=empty.price_tiers
    )
    books = books_of(contracts, usage((october(2), 5)), october(3))
    assert [(b.balance_date, b.depletion) for b in books.balances] == [
        (october(2), Decimal(1)),
        (october(3), Decimal(0)),
    ]


def test_overage_revenue_falls_when_a_volume_tier_is_reached() -> None:
    """100 credits at 3; the next one re-prices all: 101 * 2 + 7 = 209, a day of -91."""
    overage = [
        Tier(**(vars(tier) | {"sku": "steps", "charge": "overage"})) for tier in tiers("volume")
    ]
    steps = plan_terms("steps", 10, "1", overage)
    contracts = seeds(
        subscription={"sku": "steps"}, plans=steps.plans, price_tiers=steps.price_tiers
    )
    books = books_of(contracts, usage((october(2), 110), (october(3), 1)), october(3))
    assert [value for *_, value in moves(books, "overage")] == [Decimal(300), Decimal(-91)]
    assert amounts(books)["acme/2025-10-01/overage/steps"] == Decimal(209)


def test_value_of_a_used_up_grant_is_given_to_the_last_micro_unit() -> None:
    """A third of a cent at a time: pieces rounded on their own would lose some of it."""
    odd = plan_terms("odd", 3, "0.0000033")
    contracts = seeds(subscription={"sku": "odd"}, plans=odd.plans, price_tiers=odd.price_tiers)
    books = books_of(contracts, usage(*((october(d), 1) for d in (2, 3, 4))), october(4))
    values = [value for *_, value in moves(books, "burn")]
    assert values == [Decimal("0.000003"), Decimal("0.000004"), Decimal("0.000003")]
    assert sum(values) == books.grants[0].amount == Decimal("0.00001")


# -- rollover and refund --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("burned", "rolled"),
    [("42500", "375"), ("40000.000001", "499.999999"), ("40000", None), ("50000", None)],
)
def test_rollover_needs_more_than_eighty_percent(burned: str, rolled: str | None) -> None:
    """85 % of 50,000 burned: 5 % of the 7,500 left roll over. Exactly 80 %: nothing rolls."""
    books = books_of(seeds(), usage((october(2), burned)), NEXT)
    out, grants = moves(books, "rollover"), [g for g in books.grants if g.source == "rollover"]
    old = "acme/plan/2025-10-01/sub"
    if rolled is None:
        assert (out, grants) == ([], [])
        return
    value = decimal(Fraction(rolled) * Fraction("0.012"), 6)
    assert out == [(october(31), old, Decimal(rolled), value)]
    assert [(g.grant_id, g.credits, g.amount, g.expires_on, g.cycle_start) for g in grants] == [
        (f"acme/rollover/2025-11-01/{old}", Decimal(rolled), value, date(2025, 11, 30), NEXT)
    ]
    expired = Decimal(50_000) - Decimal(burned) - Decimal(rolled)
    assert [credits for _, _, credits, _ in moves(books, "expiry")] == [expired]


def test_rolled_value_stays_deferred_between_two_cycles() -> None:
    books = books_of(seeds(), usage((october(2), 42_500)), october(31))
    last = books.balances[-1]
    assert (last.closing_credits, last.rolled_credits) == (Decimal(0), Decimal(375))
    assert last.deferred_revenue == Decimal("4.5")
    assert last.depletion == Decimal("0.85")  # before what leaves at the end of the day


def test_rollover_grants_do_not_roll_again() -> None:
    november_usage = (date(2025, 11, 2), 45_000)
    books = books_of(seeds(), usage((october(2), 42_500), november_usage), date(2025, 12, 1))
    rolled = [g.origin_id for g in books.grants if g.source == "rollover"]
    assert rolled == ["acme/plan/2025-10-01/sub", "acme/plan/2025-11-01/sub"]


def test_nothing_rolls_without_a_plan_on_the_next_cycles_first_day() -> None:
    contracts = seeds(subscription={"ends_on": NEXT})
    books = books_of(contracts, usage((october(2), 42_500)), NEXT)
    assert moves(books, "rollover") == []
    assert [credits for _, _, credits, _ in moves(books, "expiry")] == [Decimal(7_500)]


def test_refund_of_a_negative_day() -> None:
    """1,000 credits come back at the unit price of the plan grant and burn before it."""
    posted = usage((october(2), 5_000), (october(3), -1_000), (october(4), 1_500))
    books = books_of(seeds(), posted, october(4))
    refund = next(g for g in books.grants if g.source == "refund")
    assert refund.grant_id == "acme/refund/2025-10-03/2025-10-01"
    assert (refund.credits, refund.amount) == (Decimal(1_000), Decimal(12))
    assert refund.expires_on == october(31)
    transfer = next(t for t in books.transfers if t.kind == "refund")
    assert transfer.debit_account == "consumed:acme"
    assert transfer.credit_account == f"wallet:acme:{refund.grant_id}"
    assert burn_sources(books)[1:] == [("refund", Decimal(1_000)), ("plan", Decimal(500))]
    third = books.balances[2]
    assert (third.refunded_credits, third.granted_credits) == (Decimal(1_000), Decimal(0))
    assert third.burned_in_cycle == Decimal(5_000)  # counts burns only
    assert third.depletion == decimal(Fraction(5_000, 51_000), 6)


def test_refund_without_a_plan_grant_in_the_cycle_is_worth_nothing() -> None:
    contracts = seeds(subscription={"ends_on": OPEN})
    books = books_of(contracts, usage((october(3), -10)), october(3))
    assert [(g.source, g.amount) for g in books.grants] == [("refund", Decimal(0))]


# -- adjustments and dedicated clusters -----------------------------------------------------------


def adjustment(day: date, **more: Any) -> Adjustment:
    return Adjustment(adjustment_id="adj", customer_id="acme", posted_on=day, **more)


def test_an_adjustment_is_a_worthless_grant_and_a_money_line() -> None:
    goodwill = adjustment(october(9), credits=Fraction(10), amount=Fraction("-3.50"))
    books = books_of(seeds(adjustments=[goodwill]), until=october(9))
    grant = books.grants[-1]
    assert (grant.grant_id, grant.priority) == ("acme/adjustment/2025-10-09/adj", 30)
    assert (grant.amount, grant.expires_on) == (Decimal(0), october(31))
    assert amounts(books)["acme/2025-10-01/adjustment/adj"] == Decimal("-3.50")


@pytest.mark.parametrize(
    "bad", [adjustment(october(9), credits=Fraction(-1)), adjustment(date(2025, 9, 30))]
)
def test_adjustments_that_are_errors(bad: Adjustment) -> None:
    with pytest.raises(SeedError):
        books_of(seeds(adjustments=[bad]))


def test_a_dedicated_cluster_is_prorated_and_counts_all_its_pools() -> None:
    """80 GPUs: 64 at 900, 16 at 780, 500 for the second tier; 21 of 31 days."""
    terms: dict[str, Any] = {"sku": "dedicated", "charge": "dedicated", "mode": "graduated"}
    addon = Subscription(
        subscription_id="ded",
        customer_id="acme",
        sku="dedicated",
        starts_on=october(11),
        cluster="pod",
        commit_months=12,
        quantity=Fraction(3),  # quantity and term discounts don't apply
    )
    contracts = seeds(
        subscriptions=[addon],
        dedicated_clusters=[DedicatedCluster(sku="dedicated")],
        pools=[
            Pool(cluster="pod", accelerator="H100", gpu_count=Fraction(60)),
            Pool(cluster="pod", accelerator="L4", gpu_count=Fraction(20)),
            Pool(cluster="pod", accelerator="T4", gpu_count=Fraction(5), valid_to=october(11)),
        ],
        price_tiers=[
            Tier(up_to=Fraction(64), unit_price=Fraction(900), **terms),
            Tier(tier=2, unit_price=Fraction(780), flat_fee=Fraction(500), **terms),
        ],
    )
    line = next(x for x in books_of(contracts, until=NEXT).lines if x.cluster == "pod")
    assert isinstance(line, Line)
    assert (line.quantity, line.unit_price) == (Decimal(80), Decimal("882.25"))
    assert line.amount == Decimal("47812.26")  # 70,580 * 21 / 31 = 47,812.258...


# -- auto-purchase --------------------------------------------------------------------------------


def test_auto_purchase_buys_just_enough_packs() -> None:
    """60,000 used of 50,000: at 95 % that takes more than 63,157.9 in the wallets, 2 packs."""
    contracts = seeds(subscription={"auto_purchase_sku": "top"})
    books = books_of(contracts, usage((october(2), 60_000)), october(2))
    bought = books.grants[-1]
    assert bought.grant_id == "acme/auto_purchase/2025-10-02/sub"
    assert (bought.credits, bought.amount) == (Decimal(20_000), Decimal(250))
    assert (bought.priority, bought.expires_on) == (60, date(2026, 10, 2))
    assert amounts(books)[f"acme/2025-10-01/auto_purchase/{bought.grant_id}"] == Decimal(250)
    assert books.balances[-1].depletion == decimal(Fraction(60, 70), 6)


def test_auto_purchase_is_priced_as_one_order() -> None:
    """12 packs: ten at 125, two at 115."""
    contracts = seeds(subscription={"auto_purchase_sku": "top"})
    books = books_of(contracts, usage((october(2), 161_000)), october(2))
    bought = books.grants[-1]
    assert (bought.credits, bought.amount) == (Decimal(120_000), Decimal(1_480))


def test_auto_purchase_stops_at_its_limit_and_starts_again_next_cycle() -> None:
    terms = {"auto_purchase_sku": "top", "max_auto_purchases_per_cycle": 3}
    posted = usage((october(2), 60_000), (october(3), 40_000), (october(4), 1), (NEXT, 60_000))
    books = books_of(seeds(subscription=terms), posted, NEXT)
    bought = [(g.granted_on, int(g.credits)) for g in books.grants if g.source == "auto_purchase"]
    assert bought == [(october(2), 20_000), (october(3), 10_000), (NEXT, 20_000)]
    assert [int(credits) for _, _, credits, _ in moves(books, "overage")] == [20_000, 1]


def test_auto_purchase_also_on_a_day_without_usage() -> None:
    """A top-up for one day expires unused: 50,000 of 50,000 are burned, so the next day buys."""
    contracts = seeds(
        subscription={"auto_purchase_sku": "top"},
        packs=[Pack(sku="day", kind="top_up", included_credits=Fraction(10_000), validity_hours=0)],
        price_tiers=[Tier(sku="day", charge="pack", mode="graduated", unit_price=Fraction(1))],
        orders=[order("day", october(2))],
    )
    books = books_of(contracts, usage((october(2), 50_000)), october(4))
    bought = [(g.granted_on, int(g.credits)) for g in books.grants if g.source == "auto_purchase"]
    assert bought == [(october(3), 10_000)]
    depleted = [Decimal(0), decimal(Fraction(5, 6), 6), decimal(Fraction(5, 6), 6)]
    assert [b.depletion for b in books.balances][:3] == depleted


def test_auto_purchase_needs_a_top_up_with_credits() -> None:
    with pytest.raises(SeedError):
        books_of(seeds(subscription={"auto_purchase_sku": "burst"}))


def test_closed_form_of_auto_purchase_is_its_definition() -> None:
    """Every small state, at three caps: the formula and the search agree."""
    numbers = [Fraction(n) for n in (0, 1, 2, 19, 20, 95, 100)]
    for cap in (Fraction("0.95"), Fraction(1, 3), Fraction(1)):
        for burned in numbers:
            for balance in numbers:
                for used in numbers:
                    for pack in (Fraction(1), Fraction(7, 2), Fraction(100)):
                        state = (burned, balance, used, pack, cap)
                        assert packs_by_formula(*state) == packs_by_trial(*state), state


# -- the published example ------------------------------------------------------------------------

LAST_DAY = date(2025, 11, 16)
BOOKS_OPEN_ON = date(2025, 10, 6)
CREDIT_LINES = {
    "base_credits",
    "term_discount",
    "burst_pack",
    "top_up",
    "auto_purchase",
    "overage",
    "dedicated_cluster",
    "rollover",
    "expiry",
}


def expected(table: str) -> Iterator[dict[str, str]]:
    with (EXPECTED / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def example() -> Books:
    """The books of the example customers, from their usage as it was posted."""
    rows: dict[tuple[str, date], list[UsageRow]] = defaultdict(list)
    for row in expected("usage_daily"):
        names = ("usage_date", "cluster", "accelerator", "model_family")
        key = tuple(row[name] for name in names)
        is_adjustment = row["is_adjustment"] == "true"
        posting = (row["customer_id"], date.fromisoformat(row["posting_date"]))
        rows[posting].append(UsageRow(key, Decimal(row["credits"]), is_adjustment))
    posted = {
        posting: sum((row.credits for row in of_day), Decimal(0))
        for posting, of_day in rows.items()
    }
    books = audit(
        load_seeds(SEEDS),
        posted,
        books_open_on=BOOKS_OPEN_ON,
        last_day=LAST_DAY,
        usage_rows=rows,
    )
    assert broken_identities(books, posted, LAST_DAY) == []
    return books


def same(text: str, value: object) -> bool:
    if isinstance(value, Decimal):
        return Decimal(text) == value
    if isinstance(value, bool):
        return text == str(value).lower()
    return text == ("" if value is None else str(value))


def differences(
    table: str,
    rows: list[Any],
    key: Callable[[dict[str, str]], tuple[str, ...]],
    of_interest: Callable[[dict[str, str]], bool] = lambda row: True,
) -> list[str]:
    """Every cell of the table that the auditor has too, compared to the last digit."""
    ours = {key({name: str(cell) for name, cell in vars(row).items()}): row for row in rows}
    assert len(ours) == len(rows)
    theirs = {key(row): row for row in expected(table) if of_interest(row)}
    found = [f"only in {table}: {k}" for k in theirs.keys() - ours.keys()]
    found += [f"only in the audit: {k}" for k in ours.keys() - theirs.keys()]
    for k in theirs.keys() & ours.keys():
        for name, value in vars(ours[k]).items():
            if not same(theirs[k][name], value):
                found.append(f"{k} {name}: {theirs[k][name]} expected, audited {value}")
    return sorted(found)


@needs_example
def test_example_grants(example: Books) -> None:
    assert differences("credit_grants", example.grants, lambda row: (row["grant_id"],)) == []


@needs_example
def test_example_ledger(example: Books) -> None:
    assert differences("credit_ledger", example.transfers, lambda row: (row["transfer_id"],)) == []


@needs_example
def test_example_balances(example: Books) -> None:
    """Also deferred revenue is exact, although a millionth per grant would be allowed."""
    found = differences(
        "credit_balances", example.balances, lambda row: (row["customer_id"], row["balance_date"])
    )
    assert found == []


@needs_example
def test_example_invoice_lines(example: Books) -> None:
    found = differences(
        "invoice_lines",
        example.lines,
        lambda row: (row["invoice_line_id"],),
        lambda row: row["line_type"] in CREDIT_LINES,
    )
    assert found == []


@needs_example
def test_example_covers_every_day_of_every_customer(example: Books) -> None:
    days: dict[str, list[date]] = defaultdict(list)
    for row in example.balances:
        days[row.customer_id].append(row.balance_date)
    for of_customer in days.values():
        count = (LAST_DAY - of_customer[0]).days + 1
        assert of_customer == [of_customer[0] + timedelta(days=n) for n in range(count)]
