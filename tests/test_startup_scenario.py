"""The scenario the service was started with, worked by hand.

The plan: 50,000 credits at 0.012 are $600.00; twelve months of commitment take 20 % off, $120.00;
so a cycle costs $480.00 net, $0.0096 a credit. A GPU minute costs 5 credits. Cycles are calendar
months, the books open on 1 January 2026 and are billed up to 4 February, the day January closes.

* ``keen`` uses 500 minutes (2,500 credits) on each of 17 days: 42,500 credits, 85 %. 7,500 are
  left, 5 % of them, 375 credits worth $3.60, roll into February; 7,125 worth $68.40 expire. On
  2 February it uses 100 minutes (500 credits): first the 375 ($3.60), then 125 of the new plan
  grant ($1.20).
* ``even`` stops after 16 days: 40,000 credits, 80 % exactly, which is not above 80 %. Nothing
  rolls; 10,000 credits worth $96.00 expire.
* ``weekend`` may run 8 GPUs at once, 480 minutes an hour. On Friday 16 January at 18:20 it orders
  a weekend burst pack: 2,000 credits for $32.40, and twice the GPUs from Friday 18:00 to Sunday
  18:00. On Saturday from 10:00 to 11:00 it uses 1,200 minutes: 720 above the limit, of which the
  pack covers 480; 240 are over limit. The hour's 6,000 credits burn the pack (2,000, all its
  $32.40), then the plan (4,000, $38.40). Burst credits are 6,000 * 480 / 1,200 = 2,400; the
  surcharge is 2,400 * 0.012 * 0.35 = $10.08, not discounted. On Monday it uses 600 minutes in an
  hour: 120 above the limit, no window, no surcharge; 3,000 credits, $28.80. The pack has nothing
  left to expire; of the plan 43,000 credits, $412.80, do.
* ``nearly`` uses 5,999.996 minutes on 5 January: 29,999.98 of 50,000 credits are 59.99996 %, which
  is 0.600000 when rounded and still below the alert at 60 %. The 0.004 minutes of 6 January make
  it 30,000 credits: 60 % exactly, and the alert.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Books, differences
from contracts import (
    LONG_AGO,
    Row,
    catalog,
    customer,
    delivered_on_its_day,
    order,
    pack,
    plan,
    subscription,
    tier,
    usage,
    write_feeds,
    write_seeds,
)

from orchestration.settings import Settings
from orchestration.store.receipts import Outcome, action_receipts

pytestmark = pytest.mark.job

OPEN, CLOSED = date(2026, 1, 1), date(2026, 2, 4)
JANUARY = "cycle_start = date '2026-01-01'"


def january(day: int) -> date:
    return date(2026, 1, day)


def spread(customer_id: str, event: str, day: date, minutes: Any) -> Row:
    """Usage over a whole day, so that no hour is above the limit."""
    row = usage(customer_id, event, day, minutes, hour=0)
    row["metadata"]["duration_s"] = 86_400
    return row


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The scenario, billed in one run."""
    books = scenario(tmp_path_factory.mktemp("startup"))
    books.bill(OPEN, CLOSED)
    return books


def scenario(folder: Path) -> Books:
    """The scenario's seeds and feeds, not billed yet."""
    names = ("keen", "even", "weekend", "nearly")
    seeds = catalog(
        credit_rates=[
            {
                "accelerator": "G1",
                "model_family": "*",
                "credits_per_gpu_minute": 5,
                "valid_from": LONG_AGO,
            }
        ],
        plans=[plan("studio", 50_000, base_concurrency=8)],
        packs=[pack("weekend-burst", "burst", 2_000, 48)],
        price_tiers=[
            tier("studio", "base", "0.012"),
            tier("studio", "overage", "0.02"),
            tier("weekend-burst", "pack", "32.40"),
        ],
        term_discounts=[
            {
                "sku": "studio",
                "min_commit_months": 12,
                "discount_rate": "0.20",
                "valid_from": LONG_AGO,
            }
        ],
        customers=[customer(name) for name in names],
        subscriptions=[subscription(name, "studio", OPEN, commit_months=12) for name in names],
        orders=[
            order("weekend", "party", "weekend-burst", january(16))
            | {"ordered_at": "2026-01-16T18:20:00Z"}
        ],
    )
    rows = [
        *(spread("keen", f"d{day}", january(day), 500) for day in range(1, 18)),
        spread("keen", "february", date(2026, 2, 2), 100),
        *(spread("even", f"d{day}", january(day), 500) for day in range(1, 17)),
        usage("weekend", "saturday", january(17), 1_200, hour=10),
        usage("weekend", "monday", january(19), 600, hour=10),
        spread("nearly", "most", january(5), "5999.996"),
        spread("nearly", "rest", january(6), "0.004"),
    ]
    return Books(
        Settings(
            data_dir=folder / "data",
            seeds_dir=write_seeds(folder / "seeds", seeds),
            feeds_url=str(write_feeds(folder / "feeds", delivered_on_its_day(rows, OPEN, CLOSED))),
            books_open_on=OPEN,
        )
    )


def lines(billed: Books, customer_id: str) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """Quantity, unit price and amount of January's lines, by type."""
    found = billed.rows(
        f"select line_type, quantity, unit_price, amount from invoice_lines "
        f"where customer_id = '{customer_id}' and {JANUARY} and status = 'final'"
    )
    assert len(found) == len({line_type for line_type, *_ in found})
    return {line_type: (quantity, price, amount) for line_type, quantity, price, amount in found}


def moves(billed: Books, customer_id: str, since: date) -> list[tuple[Any, ...]]:
    """What the ledger books on or after a day: day, kind, source of the grant, credits, value."""
    return billed.rows(
        "select ledger.posted_on, ledger.kind, grants.source, ledger.credits, ledger.value "
        "from credit_ledger as ledger left join credit_grants as grants using (grant_id) "
        f"where ledger.customer_id = '{customer_id}' and ledger.posted_on >= date '{since}' "
        "order by ledger.posted_on, ledger.kind, grants.source desc"
    )


def money(*amounts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(amount) for amount in amounts)


@pytest.mark.parametrize("customer_id", ["keen", "even", "weekend", "nearly"])
def test_a_cycle_costs_480_net(billed: Books, customer_id: str) -> None:
    found = lines(billed, customer_id)
    assert found["base_credits"] == money("50000", "0.012", "600.00")
    assert found["term_discount"] == money("50000", "-0.0024", "-120.00")
    grant = billed.rows(
        f"select credits, amount, unit_price from credit_grants "
        f"where customer_id = '{customer_id}' and source = 'plan' and {JANUARY}"
    )
    assert grant == [money("50000", "480", "0.0096")]


@pytest.mark.parametrize(
    ("customer_id", "total"),
    [("keen", "480.00"), ("even", "480.00"), ("nearly", "480.00"), ("weekend", "522.48")],
)
def test_january_is_final_and_adds_up(billed: Books, customer_id: str, total: str) -> None:
    found = billed.rows(
        f"select status, closes_on, total from invoices "
        f"where customer_id = '{customer_id}' and {JANUARY}"
    )
    assert found == [("final", CLOSED, Decimal(total))]


def test_85_percent_roll_5_percent_of_what_is_left(billed: Books) -> None:
    found = lines(billed, "keen")
    assert found["credit_usage"][0] == Decimal(42_500)
    assert found["rollover"] == money("375", "0", "0.00")
    assert found["expiry"] == money("7125", "0", "0.00")
    assert moves(billed, "keen", january(31)) == [
        (january(31), "expiry", "plan", *money("7125", "68.4")),
        (january(31), "rollover", "plan", *money("375", "3.6")),
        (date(2026, 2, 1), "grant", "rollover", *money("375", "3.6")),
        (date(2026, 2, 1), "grant", "plan", *money("50000", "480")),
        (date(2026, 2, 2), "burn", "rollover", *money("375", "3.6")),
        (date(2026, 2, 2), "burn", "plan", *money("125", "1.2")),
    ]
    rolled = billed.rows(
        "select grant_id, granted_on, expires_on, priority from credit_grants "
        "where customer_id = 'keen' and source = 'rollover'"
    )
    old = "keen/plan/2026-01-01/keen.sub"
    assert rolled == [(f"keen/rollover/2026-02-01/{old}", date(2026, 2, 1), date(2026, 2, 28), 20)]


def test_what_is_paid_and_not_yet_used_is_deferred(billed: Books) -> None:
    deferred = billed.rows(
        "select balance_date, closing_credits, deferred_revenue from credit_balances "
        "where customer_id = 'keen' and balance_date >= date '2026-01-30' order by 1"
    )
    assert deferred == [
        (january(30), *money("7500", "72")),
        (january(31), *money("0", "3.6")),  # rolled out, granted tomorrow
        (date(2026, 2, 1), *money("50375", "483.6")),
        (date(2026, 2, 2), *money("49875", "478.8")),
        (date(2026, 2, 3), *money("49875", "478.8")),
        (date(2026, 2, 4), *money("49875", "478.8")),
    ]


def test_80_percent_exactly_roll_nothing(billed: Books) -> None:
    assert "rollover" not in lines(billed, "even")
    assert moves(billed, "even", january(31)) == [
        (january(31), "expiry", "plan", *money("10000", "96")),
        (date(2026, 2, 1), "grant", "plan", *money("50000", "480")),
    ]


def test_a_weekend_burst(billed: Books) -> None:
    found = lines(billed, "weekend")
    assert found["burst_pack"] == money("1", "32.40", "32.40")
    assert found["burst_surcharge"] == money("2400", "0.0042", "10.08")
    assert found["credit_usage"][0] == Decimal(9_000)
    assert found["expiry"][0] == Decimal(43_000)
    assert moves(billed, "weekend", january(16))[:5] == [
        (january(16), "grant", "burst_pack", *money("2000", "32.4")),
        (january(17), "burn", "plan", *money("4000", "38.4")),
        (january(17), "burn", "burst_pack", *money("2000", "32.4")),
        (january(19), "burn", "plan", *money("3000", "28.8")),
        (january(31), "expiry", "plan", *money("43000", "412.8")),
    ]
    bursts = billed.rows(
        "select posting_date, excess_minutes, burst_minutes, over_limit_minutes, burst_credits "
        "from burst_usage where customer_id = 'weekend' order by 1"
    )
    assert bursts == [
        (january(17), *money("720", "480", "240", "2400")),
        (january(19), *money("120", "0", "120", "0")),
    ]


def test_alerts_when_60_percent_are_reached_and_not_before(billed: Books) -> None:
    """`keen` reaches 60 % on its twelfth day; `nearly` is a hair below it for a day."""
    found = billed.rows(
        "select customer_id, raised_on, depletion from credit_alerts "
        f"where alert_type = 'pre_alert' and {JANUARY} order by 1"
    )
    assert found == [
        ("even", january(12), Decimal("0.6")),
        ("keen", january(12), Decimal("0.6")),
        ("nearly", january(6), Decimal("0.6")),
    ]


def test_a_delivered_action_stays_and_is_superseded_if_the_books_never_asked_for_it(
    billed: Books,
) -> None:
    """Receipts as a delivery writes them: of the notice above, and of a cap that nothing calls for."""
    [notice] = billed.rows(
        "select action_id, alert_id, customer_id, action, effective_on, payload from policy_actions "
        "where customer_id = 'keen' and action = 'notify' and effective_on = date '2026-01-12'"
    )
    names = ("action_id", "alert_id", "customer_id", "action", "effective_on", "payload")
    told = dict(zip(names, notice, strict=True))
    cap = {
        **told,
        "action_id": "keen/gone/cap_usage",
        "action": "cap_usage",
        "payload": told["payload"].replace("notify", "cap_usage"),
    }
    before = billed.rows("select count(*) from policy_actions where not is_superseded")
    with action_receipts(billed.settings.archive_dir).journal() as journal:
        journal.write(told, Outcome.DELIVERED, "status 200")
        journal.write(cap, Outcome.UNANSWERED, "status 503")
    superseded = "select action_id, effective_on from policy_actions where is_superseded"
    assert billed.rows(superseded) == [("keen/gone/cap_usage", january(12))]
    assert billed.rows("select count(*) from policy_actions where not is_superseded") == before


def test_an_invoice_becomes_final_in_a_night_that_brings_nothing_for_it(billed, tmp_path):
    """The night of the day that January closes on has no usage at all, neither new nor late."""
    nightly = scenario(tmp_path)
    nightly.bill(OPEN, CLOSED - timedelta(days=1))
    assert nightly.rows(f"select distinct status from invoices where {JANUARY}") == [("open",)]
    nightly.bill(CLOSED, CLOSED)
    assert nightly.rows(f"select distinct status from invoices where {JANUARY}") == [("final",)]
    one_run, two_runs = (b.settings.published_dir / "current" for b in (billed, nightly))
    assert differences(one_run, two_runs) == []
