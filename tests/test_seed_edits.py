"""What a run does for edited seeds: which days of contracts, which customers stay, which edits wait."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Books
from contracts import (
    catalog,
    delivered_on_its_day,
    pack,
    plan,
    tier,
    usage,
    write_feeds,
    write_seeds,
)
from contracts import customer as made_customer
from contracts import order as made_order
from contracts import subscription as made_subscription
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.books.plan import BilledState, RunPlan, make_plan
from orchestration.night.billing import billing_run
from orchestration.seeds.changes import Books as BilledBooks
from orchestration.seeds.changes import cycle_start
from orchestration.seeds.edits import (
    SeedEdits,
    WaitingEdit,
    edits_of_closed_cycles,
    edits_since,
    still_waiting,
)
from orchestration.seeds.people import people_problems
from orchestration.seeds.staging import (
    SeedError,
    canonical,
    check_seeds,
    earlier_seeds,
    seed_contracts,
)
from orchestration.settings import PROJECT_ROOT, Settings

SEEDS = PROJECT_ROOT / "seeds"
ONE_DAY = timedelta(days=1)
# The January cycle of anchor day 1 closed on 4 February; that of anchor day 20 is open.
BILLED = BilledBooks(opened_on=date(2026, 1, 10), last_day=date(2026, 2, 12), days_until_close=3)


def feb(day: int) -> date:
    return date(2026, 2, day)


def jan(day: int) -> date:
    return date(2026, 1, day)


def customer(name: str, anchor: int) -> dict[str, Any]:
    return {
        "customer_id": name,
        "customer_name": name,
        "billing_anchor_day": anchor,
        "regulated": False,
    }


def subscription(starts_on: date, ends_on: date | None = None, **columns: Any) -> dict[str, Any]:
    return {
        "subscription_id": "s",
        "customer_id": "acme",
        "sku": "plan",
        "quantity": 1,
        "starts_on": starts_on,
        "ends_on": ends_on,
        "commit_months": None,
        "cluster": None,
        "auto_purchase_sku": None,
        "max_auto_purchases_per_cycle": None,
        **columns,
    }


def order(at: datetime, **columns: Any) -> dict[str, Any]:
    terms = {"order_id": "o", "customer_id": "acme", "sku": "top", "quantity": 1}
    return {**terms, "ordered_at": at, **columns}


def adjustment(posted_on: date, **columns: Any) -> dict[str, Any]:
    terms = {"adjustment_id": "a", "customer_id": "acme", "credits": None, "amount": 5}
    return {**terms, "posted_on": posted_on, "reason": "goodwill", **columns}


PACKS = [
    {"sku": "top", "kind": "top_up", "validity_hours": 8760},
    {"sku": "window", "kind": "burst", "validity_hours": 48},
]


def tables(**seeds: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every seed; acme's cycles start on the 1st, late's on the 20th."""
    some = {"customers": [customer("acme", 1), customer("late", 20)], "packs": PACKS, **seeds}
    return {
        contract.name: [
            {"row": number, **dict.fromkeys(contract.types), **row}
            for number, row in enumerate(some.get(contract.name, []), 2)
        ]
        for contract in seed_contracts()
    }


def edited(table: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> SeedEdits:
    was, becomes = tables(**{table: before}), tables(**{table: after})
    assert edits_of_closed_cycles(was, becomes, BILLED) == []
    return edits_since(was, becomes, BILLED)


def refused(table: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    return edits_of_closed_cycles(tables(**{table: before}), tables(**{table: after}), BILLED)


# --- contracts ------------------------------------------------------------------------------------


def test_an_order_of_a_billed_day_has_the_ledger_step_from_that_day():
    found = edited("orders", [], [order(datetime(2026, 2, 5, 9))])
    assert (found.ledger_from, found.usage_days) == (feb(5), ())


def test_a_burst_window_has_its_usage_days_looked_at_again():
    found = edited("orders", [], [order(datetime(2026, 2, 5, 9), sku="window")])
    assert (found.ledger_from, found.usage_days) == (feb(5), ((feb(5), feb(7)),))
    # Also the days of a window that was another pack's.
    at = datetime(2026, 2, 5, 9)
    found = edited("orders", [order(at, sku="window")], [order(at)])
    assert (found.ledger_from, found.usage_days) == (feb(5), ((feb(5), feb(7)),))


def test_an_order_to_come_needs_nothing():
    found = edited("orders", [], [order(datetime(2026, 3, 5, 9), sku="window")])
    assert found.ledger_from > BILLED.last_day
    assert found.usage_days == ()


def test_each_customer_has_its_own_open_cycles():
    [said] = refused("orders", [], [order(datetime(2026, 1, 31, 23, 59))])
    assert said == (
        "contracts/orders.csv: row 2: column ordered_at: order_id=o was not there. That changes "
        "closed days, 2026-01-31 to 2026-01-31. Date it 2026-02-01 or later; what a closed cycle "
        "owes is settled by a row of contracts/adjustments.csv"
    )
    found = edited("orders", [], [order(datetime(2026, 1, 31, 23, 59), customer_id="late")])
    assert found.ledger_from == jan(31)


def test_an_order_that_leaves_a_closed_day_is_refused_also_if_it_comes_back_on_an_open_one():
    at, later = datetime(2026, 1, 20), datetime(2026, 2, 5)
    [said] = refused("orders", [order(at)], [])
    assert "order_id=o is gone" in said
    assert any("is gone" in said for said in refused("orders", [order(at)], [order(later)]))
    [said] = refused("orders", [order(at)], [order(at, quantity=2)])
    assert "row 2: column quantity: 1 became 2" in said
    [said] = refused("orders", [order(at)], [order(at, customer_id="late")])
    assert "is gone" in said
    found = edited("orders", [order(later)], [order(datetime(2026, 2, 8))])
    assert found.ledger_from == feb(5)


def test_an_adjustment_is_booked_on_its_day():
    found = edited("adjustments", [], [adjustment(feb(3))])
    assert (found.ledger_from, found.usage_days) == (feb(3), ())
    found = edited("adjustments", [adjustment(feb(3))], [adjustment(feb(3), amount=6)])
    assert found.ledger_from == feb(3)
    [said] = refused("adjustments", [], [adjustment(jan(30))])
    assert said.startswith("contracts/adjustments.csv: row 2: column posted_on: adjustment_id=a")


@pytest.mark.parametrize(
    ("before", "after", "ledger_from", "usage_days"),
    [
        # Begins in the middle of the open cycle: the day before asks whether credits roll over.
        (None, subscription(feb(5)), feb(4), feb(5)),
        # Begins with it: the day before is closed.
        (None, subscription(feb(1)), feb(1), feb(1)),
        # Began before the open cycle: takes effect in it.
        (None, subscription(jan(15)), feb(1), feb(1)),
        # Ends within the cycle: what its first day granted is prorated.
        (subscription(jan(1)), subscription(jan(1), feb(9)), feb(1), feb(9)),
        (subscription(feb(4)), subscription(feb(4), feb(9)), feb(1), feb(9)),
        # Ends within the cycle, on a day to come: prorated all the same.
        (subscription(jan(1)), subscription(jan(1), feb(20)), feb(1), None),
        # Ends with the cycle: only its last day asks for a plan of the next.
        (subscription(jan(1)), subscription(jan(1), date(2026, 3, 1)), feb(1), None),
        (subscription(jan(1)), subscription(jan(1), quantity=2), feb(1), feb(1)),
        # Rates nothing otherwise.
        (subscription(jan(1)), subscription(jan(1), commit_months=12), feb(1), None),
        (subscription(jan(1)), subscription(jan(1), auto_purchase_sku="top"), feb(1), None),
        (subscription(feb(5)), None, feb(4), feb(5)),
        (None, subscription(date(2026, 3, 1)), feb(28), None),
    ],
)
def test_a_subscription_takes_effect_from_the_first_open_day_that_it_concerns(
    before, after, ledger_from, usage_days
):
    found = edited("subscriptions", [before] if before else [], [after] if after else [])
    assert found.ledger_from == ledger_from
    assert min((first for first, _ in found.usage_days), default=None) == usage_days


def test_a_subscription_that_changes_hands_is_two_edits():
    found = edited(
        "subscriptions", [subscription(jan(1))], [subscription(jan(1), customer_id="late")]
    )
    assert found.ledger_from == jan(20)
    assert {first for first, _ in found.usage_days} == {jan(20), feb(1)}


def test_a_subscription_that_only_changes_closed_days_is_refused():
    [said] = refused(
        "subscriptions", [subscription(jan(1), jan(20))], [subscription(jan(1), jan(25))]
    )
    assert "row 2: column ends_on: 2026-01-20 became 2026-01-25" in said
    assert "2026-01-20 to 2026-01-24" in said
    assert "starts_on=2026-02-01 or later; what a closed cycle owes is settled by" in said
    [said] = refused("subscriptions", [], [subscription(jan(1), jan(20))])
    assert "subscription_id=s was not there" in said
    # Not for the sake of one who is complained of already.
    was, becomes = tables(), tables(subscriptions=[subscription(jan(1), jan(20))])
    assert edits_of_closed_cycles(was, becomes, BILLED, but={"acme"}) == []


def test_what_lies_before_the_books_may_be_tidied_up_but_nothing_new_waits_there():
    old = order(datetime(2025, 6, 1))
    assert edited("orders", [old], []) == edited("orders", [], [])
    [said] = refused("orders", [], [old])
    assert "was not there" in said
    ended = subscription(date(2025, 1, 1), date(2025, 7, 1))
    assert edited("subscriptions", [ended], []).ledger_from is None


def test_names_and_the_order_of_rows_change_nothing():
    rows = [subscription(jan(1)), subscription(feb(2), subscription_id="t", customer_id="late")]
    found = edited("subscriptions", rows, rows[::-1])
    assert (found.ledger_from, found.usage_days, found.waiting) == (None, (), ())
    renamed = [{**customer("acme", 1), "customer_name": "Acme", "regulated": True}]
    found = edited("customers", [customer("acme", 1)], renamed)
    assert (found.ledger_from, found.usage_days, found.waiting) == (None, (), ())


DAYS = [date(2025, 12, 20) + timedelta(days=n) for n in range(85)]


@st.composite
def a_subscription(draw):
    if draw(st.integers(0, 5)) == 0:
        return None
    starts = draw(st.sampled_from(DAYS))
    ends = draw(st.sampled_from([None, *(day for day in DAYS if day > starts)]))
    return subscription(
        starts,
        ends,
        quantity=draw(st.sampled_from([1, 2])),
        commit_months=draw(st.sampled_from([1, 2])),
    )


def holds(row, day):
    return row and row["starts_on"] <= day and (row["ends_on"] is None or day < row["ends_on"])


def granted(row, open_from):
    """By day what a subscription grants, and whether the day has a plan; worked out day by day."""
    found = {}
    for day in [day for day in DAYS if day >= open_from]:
        on = holds(row, day)
        terms = None
        if on and day in (row["starts_on"], cycle_start(day, 1)):
            cycle = cycle_start(day, 1)
            in_cycle = [d for d in [*DAYS, feb(28)] if cycle_start(d, 1) == cycle]
            terms = (row["quantity"], row["commit_months"], sum(holds(row, d) for d in in_cycle))
        found[day] = (terms, bool(holds(row, day + ONE_DAY)))
    return found


@settings(deadline=None, max_examples=400)
@given(a_subscription(), a_subscription())
def test_the_ledger_steps_from_the_first_day_that_any_grant_or_rollover_differs(before, after):
    """Method: everything that the ledger reads of a subscription, listed day by day."""
    was, becomes = ([row] if row else [] for row in (before, after))
    found = edits_since(tables(subscriptions=was), tables(subscriptions=becomes), BILLED)
    open_from = BILLED.first_open_day(1)
    old, new = granted(before, open_from), granted(after, open_from)
    differs = [day for day in old if old[day] != new[day]]
    if differs:
        assert found.ledger_from is not None
        assert open_from <= found.ledger_from <= differs[0]
    admitted = {
        day: [bool(holds(row, day)) and row["quantity"] for row in (before, after)]
        for day in DAYS
        if open_from <= day <= BILLED.last_day
    }
    touched = {day for day in DAYS for first, last in found.usage_days if first <= day <= last}
    touched = {day for day in touched if day <= BILLED.last_day}
    assert touched == {day for day, (one, other) in admitted.items() if one != other}


# --- the catalog and the fleet --------------------------------------------------------------------


def rate(credits: int, valid_from: date, valid_to: date | None = None) -> dict[str, Any]:
    row = {"accelerator": "H100", "model_family": "*", "credits_per_gpu_minute": credits}
    return {**row, "valid_from": valid_from, "valid_to": valid_to}


LONG_AGO = date(2025, 1, 1)
ALL_OPEN = (jan(20), feb(12))
"""The open days of late, whose cycle is the oldest one that has not closed."""


@pytest.mark.parametrize(
    ("after", "days"),
    [
        ([rate(2, LONG_AGO)], ALL_OPEN),
        ([rate(1, LONG_AGO, feb(3)), rate(2, feb(3))], (feb(3), feb(12))),
        ([rate(1, LONG_AGO, feb(3)), rate(2, feb(3), feb(5)), rate(1, feb(5))], (feb(3), feb(4))),
        ([], ALL_OPEN),
        ([rate(1, LONG_AGO, feb(13)), rate(2, feb(13))], None),  # A day that is not billed yet.
        ([rate(2, LONG_AGO, jan(20)), rate(1, jan(20))], None),  # Closed for everybody.
        ([rate(1, LONG_AGO, feb(3)), rate(1, feb(3))], None),
    ],
)
def test_an_edited_rate_waits_for_the_billed_days_of_open_cycles(after, days):
    was = tables(credit_rates=[rate(1, LONG_AGO)])
    found = edits_since(was, tables(credit_rates=after), BILLED)
    assert (found.ledger_from, found.usage_days) == (None, ())
    expected = (WaitingEdit("catalog/credit_rates", "H100/*", *days),) if days else ()
    assert found.waiting == expected


def test_what_has_no_date_waits_for_all_open_days_and_names_for_none():
    cluster = {"cluster": "c1", "facility_id": "f1", "default_accelerator": "H100"}
    moved = {**cluster, "facility_id": "f2"}
    found = edits_since(tables(clusters=[cluster]), tables(clusters=[moved]), BILLED)
    assert found.waiting == (WaitingEdit("fleet/clusters", "c1", *ALL_OPEN),)
    site = dict.fromkeys(("region", "zone", "tz", "pue", "overhead_per_gpu_hour"))
    site |= {"facility_id": "f1", "default_price_per_kwh": None}
    renamed = {**site, "region": "north"}
    assert (
        edits_since(tables(facilities=[site]), tables(facilities=[renamed]), BILLED).waiting == ()
    )


def left(edit: WaitingEdit, touched: list[date], ledger_from: date, books=BILLED):
    found = still_waiting([edit], set(touched), ledger_from, {1, 20}, books)
    return [(each.first_day, each.last_day) for each in found]


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def test_an_edit_waits_until_all_its_days_are_covered():
    edit = WaitingEdit("catalog/credit_rates", "H100/*", feb(3), feb(12))
    assert left(edit, [feb(12)], feb(12)) == [(feb(3), feb(11))]
    assert left(edit, days(feb(8), feb(12)), feb(8)) == [(feb(3), feb(7))]
    # Usage is rebuilt, but grants are not, and the other way round.
    assert left(edit, days(feb(3), feb(12)), feb(6)) == [(feb(3), feb(5))]
    assert left(edit, days(feb(6), feb(12)), feb(3)) == [(feb(3), feb(5))]
    # The early part, after a night took in the last days.
    assert left(edit, days(feb(3), feb(11)), feb(3)) == [(feb(12), feb(12))]
    assert left(edit, days(feb(3), feb(12)), feb(3)) == []


def test_two_edits_of_one_row_wait_as_one_and_what_closed_waits_no_longer():
    edits = [
        WaitingEdit("catalog/credit_rates", "H100/*", jan(20), feb(3)),
        WaitingEdit("catalog/credit_rates", "H100/*", feb(11), feb(12)),
        WaitingEdit("fleet/clusters", "c1", feb(1), feb(2)),
    ]
    found = still_waiting(edits, {feb(12)}, feb(12), {1, 20}, BILLED)
    assert [(each.key, each.first_day, each.last_day) for each in found] == [
        ("H100/*", jan(20), feb(11)),
        ("c1", feb(1), feb(2)),
    ]
    later = BilledBooks(BILLED.opened_on, date(2026, 3, 4), 3)
    assert later.first_open_day(20) == feb(20)
    assert still_waiting(edits, set(), date(2026, 3, 4), {1, 20}, later) == ()


def test_days_before_the_books_are_covered_by_the_ledger_alone():
    """Their usage comes with the deliveries; the cycle's grants are from before the books opened."""
    edit = WaitingEdit("catalog/plans", "plan", jan(1), jan(12))
    early = BilledBooks(jan(10), jan(12), 3)
    assert left(edit, days(jan(10), jan(12)), jan(10), early) == [(jan(1), jan(9))]
    assert left(edit, days(jan(10), jan(12)), date(2025, 12, 10), early) == []


# --- kept seeds -----------------------------------------------------------------------------------


def test_kept_seeds_read_as_they_were(tmp_path):
    rows = check_seeds(SEEDS)
    for contract in seed_contracts():
        path = tmp_path / contract.folder / f"{contract.name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(canonical(contract, rows[contract.name]), encoding="utf-8")
    same = earlier_seeds(rows, tmp_path)
    assert all(same[name] is rows[name] for name in rows)
    others = earlier_seeds({name: [] for name in rows}, tmp_path)
    for name, were in others.items():
        strip = [{k: v for k, v in row.items() if k != "row"} for row in rows[name]]
        assert [{k: v for k, v in row.items() if k != "row"} for row in were] == strip


def test_a_column_that_an_earlier_release_did_not_know_is_empty(tmp_path):
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "orders.csv").write_text(
        "order_id,customer_id,sku,ordered_at\no1,acme,top,2026-02-05 09:00:00\n"
    )
    found = earlier_seeds({c.name: [] for c in seed_contracts()}, tmp_path)
    assert found["orders"] == [order(datetime(2026, 2, 5, 9), row=2, order_id="o1", quantity=None)]


# --- people ---------------------------------------------------------------------------------------


@pytest.fixture
def books_of_gone(tmp_path):
    """A warehouse that knows gone and moved, by hand; of new it has nothing."""
    found = Settings(data_dir=tmp_path / "data")
    found.warehouse_dir.mkdir(parents=True)
    with duckdb.connect(str(found.warehouse_file)) as warehouse:
        warehouse.execute(
            "create table credit_ledger as select * from (values "
            "('gone', 'grant', date '2026-02-01'), ('gone', 'burn', date '2026-02-02'), "
            "('gone', 'grant', date '2026-02-03'), ('moved', 'overage', date '2026-02-03')) "
            "as t(customer_id, kind, posted_on)"
        )
        warehouse.execute(
            "create table int_usage_rated as "
            "select 'moved' as customer_id, date '2026-02-04' as posting_date"
        )
    return found


def test_who_is_in_the_books_stays(books_of_gone):
    billed = [customer(name, 1) for name in ("gone", "moved", "new", "stays")]
    found = people_problems(
        books_of_gone, billed, [{"row": 7, **customer("moved", 5)}, customer("stays", 1)]
    )
    assert set(found) == {"gone", "moved"}
    assert found["gone"].startswith(
        "contracts/customers.csv: column customer_id: 'gone' is missing, but the books hold "
        "grants of credits (2, since 2026-02-01) of this customer. Put its row back"
    )
    assert "(billing_anchor_day 1)" in found["gone"]
    assert found["moved"].startswith(
        "contracts/customers.csv: row 7: column billing_anchor_day: 1 became 5, but the books hold "
        "days of usage (1, since 2026-02-04) of 'moved'"
    )
    assert "Set it back to 1" in found["moved"]


def test_without_a_warehouse_invoices_say_who_stays(tmp_path):
    """Also when the last billing is forgotten: what is final or published names its customers."""
    found = Settings(data_dir=tmp_path)
    for path, who in (
        (found.archive_dir / "final_invoice_lines" / "one.parquet", "gone"),
        (found.published_dir / "current" / "invoices" / "2026-02.parquet", "moved"),
    ):
        path.parent.mkdir(parents=True)
        row = {"invoice_id": [who], "customer_id": [who], "cycle_start": [feb(3)]}
        pq.write_table(pa.table(row), path)
    problems = people_problems(found, [], [{"row": 2, **customer("moved", 5)}])
    assert (
        "'gone' is missing, but the books hold invoices (1, since 2026-02-03)" in problems["gone"]
    )
    assert "3 became 5" in problems["moved"]
    assert people_problems(found, [], [customer("gone", 3), customer("moved", 3)]) == {}


# --- the plan -------------------------------------------------------------------------------------

FIRST, SECOND, THIRD, FOURTH = feb(3), feb(4), feb(5), feb(6)


@pytest.fixture
def billed(books, tmp_path) -> Books:
    """Three days that count as billed, and a fourth one landed; no table is built."""
    rows = [usage("acme", f"e{day}", feb(day), 60) for day in range(3, 7)]
    feeds = write_feeds(tmp_path / "feeds", delivered_on_its_day(rows, FIRST, FOURTH))
    seeds = write_seeds(tmp_path / "seeds", world())
    made: Books = books(feeds_url=str(feeds), seeds_dir=seeds)
    made.land([FIRST, SECOND, THIRD])
    with (
        billing_run(made.settings, FIRST, THIRD),
        duckdb.connect(str(made.settings.warehouse_file)) as warehouse,
    ):
        warehouse.execute(
            "create table int_usage_rated as "
            "select 'acme' as customer_id, date '2026-02-03' as posting_date"
        )
    made.land([FOURTH])
    return made


def world(rate: str = "1") -> dict[str, list[dict[str, Any]]]:
    """Acme and late, who has nothing; both have cycles from the third of a month."""
    found = catalog(
        plans=[plan("plan", 100)],
        packs=[pack("window", "burst", 0, 24)],
        price_tiers=[
            tier("plan", "base", "1"),
            tier("plan", "overage", "1"),
            tier("window", "pack", "5"),
        ],
        customers=[made_customer("acme", 3), made_customer("late", 3)],
        subscriptions=[made_subscription("acme", "plan", date(2025, 6, 3))],
    )
    found["credit_rates"][0]["credits_per_gpu_minute"] = rate
    return found


def edit(made: Books, **tables: list[dict[str, Any]]) -> None:
    write_seeds(made.settings.seeds_dir, {**world(), **tables})


LATE_BURST = [made_order("acme", "late", "window", SECOND)]


def test_a_run_steps_from_a_late_order_and_rebuilds_its_window(billed):
    plan = make_plan(billed.settings, FOURTH, FOURTH)
    assert (plan.ledger_from, plan.touched_days) == (FOURTH, (FOURTH,))
    edit(billed, orders=LATE_BURST)
    with billing_run(billed.settings, FOURTH, FOURTH) as run:
        assert run.plan.ledger_from == SECOND
        assert run.plan.touched_days == (SECOND, THIRD, FOURTH)
    # It is billed now.
    with billing_run(billed.settings, FOURTH, FOURTH) as run:
        assert (run.plan.ledger_from, run.plan.touched_days) == (FOURTH, (FOURTH,))


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_a_run(made: Books) -> RunPlan:
    plans = []
    with suppress(Killed), billing_run(made.settings, FOURTH, FOURTH) as run:
        plans.append(run.plan)
        raise Killed
    return plans[0]


def test_what_a_killed_run_did_for_an_edit_is_done_again_even_if_the_edit_is_taken_back(billed):
    edit(billed, orders=LATE_BURST)
    begun = kill_a_run(billed)
    assert kill_a_run(billed) == begun
    edit(billed)
    with billing_run(billed.settings, FOURTH, FOURTH) as run:
        assert run.plan == begun


def test_an_edited_rate_waits_over_nights_until_its_days_are_billed_again(billed):
    write_seeds(billed.settings.seeds_dir, world(rate="2"))
    waiting = WaitingEdit("catalog/credit_rates", "G1/*", FIRST, THIRD)
    assert kill_a_run(billed).waiting == (waiting,)
    written = billed.settings.landing_dir / "run" / "seed_edits.parquet"
    for _ in ("the night of the edit", "the next one, for which nothing is edited"):
        with billing_run(billed.settings, FOURTH, FOURTH) as run:
            assert run.plan.waiting == (waiting,)
            assert run.plan.touched_days == (FOURTH,)
        assert pq.read_table(written).to_pylist() == [vars(waiting)]
    with billing_run(billed.settings, SECOND, THIRD) as run:
        assert run.plan.waiting == (replace(waiting, last_day=FIRST),)
    with billing_run(billed.settings, FIRST, FIRST) as run:
        assert run.plan.waiting == ()
    assert pq.read_table(written).num_rows == 0
    with billing_run(billed.settings, FOURTH, FOURTH) as run:
        assert run.plan.waiting == ()


def test_an_edit_that_would_lose_what_is_billed_stops_before_anything_is_built(billed):
    """All of it is said at once, and nothing of the customers whose rows went with them."""
    edit(
        billed,
        customers=[made_customer("late", 3)],
        subscriptions=[],
        orders=[made_order("late", "old", "window", date(2025, 12, 1))],
    )
    before = BilledState(billed.settings).read()
    with (
        pytest.raises(SeedError) as refused,
        billing_run(billed.settings, FOURTH, FOURTH),
    ):
        pass
    [_, gone, old] = str(refused.value).splitlines()
    assert "'acme' is missing, but the books hold days of usage (1, since 2026-02-03)" in gone
    assert "contracts/orders.csv: row 2: column ordered_at: order_id=late.old was not there" in old
    assert BilledState(billed.settings).read() == before
    # Who has nothing in the books may go.
    edit(billed, customers=[made_customer("acme", 3)])
    with billing_run(billed.settings, FOURTH, FOURTH) as run:
        assert run.plan.touched_days == (FOURTH,)


def test_a_warehouse_whose_seeds_are_not_known_is_built_anew(billed):
    assert not make_plan(billed.settings, FOURTH, FOURTH).starts_anew
    state = BilledState(billed.settings)
    state._update({name: value for name, value in state.read().items() if name != "seeds"})
    assert make_plan(billed.settings, FOURTH, FOURTH).starts_anew


def test_only_the_seeds_of_the_last_billing_are_kept(billed):
    first = BilledState(billed.settings).seeds()
    with billing_run(billed.settings, FOURTH, FOURTH):
        pass
    second = BilledState(billed.settings).seeds()
    assert second.is_dir()
    assert not first.exists()
