"""Odd days, each worked by hand in one small world: what closed stays closed, what texts can't forge.

Books in yen, a currency without a minor unit, from 8 January on; everybody's cycle ends on the 9th and
closes on the 10th. On the 11th the energy price of the 8th is revised and a customer has a new name.
"""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal

import pytest
from conftest import Books
from contracts import (
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

from orchestration.explain import explain
from orchestration.settings import Settings

pytestmark = pytest.mark.job

DAY = date(2026, 1, 8)
NEXT_DAY = date(2026, 1, 9)
CLOSES = date(2026, 1, 10)
LATER = date(2026, 1, 11)
NAMES = {"acme": "Acme", "back": "Back", "own": "Own"}


def family(row: dict, name: str) -> dict:
    return {**row, "metadata": {**row["metadata"], "model_family": name}}


def on_own_cluster(row: dict, **metadata: str) -> dict:
    return {**row, "metadata": {"cluster": "own", **metadata}}


def correction(row: dict, minutes: float) -> dict:
    return {**row, "kind": "correction", "corrects_event_id": "any", "quantity": minutes}


def seeds(names: dict[str, str]) -> dict:
    tables = catalog(
        plans=[plan("p", 1000, energy_baseline_per_kwh="0.1", energy_markup_rate="0")],
        packs=[pack("refund", "top_up", 77, 1)],
        dedicated_clusters=[{"sku": "d", "name": "d", "valid_from": "2025-01-01"}],
        price_tiers=[
            tier("p", "base", "0.333"),
            tier("p", "overage", "1"),
            tier("refund", "pack", "5.5"),
            tier("d", "dedicated", "100"),
        ],
        customers=[{**customer(name, 10), "customer_name": shown} for name, shown in names.items()],
        subscriptions=[
            *(subscription(name, "p", date(2025, 12, 1)) for name in names),
            {
                **subscription("own", "d", DAY, cluster="own"),
                "subscription_id": "own.d/adjustment",
            },
        ],
        orders=[order("back", "o", "refund", DAY)],
    )
    tables["clusters"].append(
        {"cluster": "own", "facility_id": "site", "default_accelerator": "G1"}
    )
    tables["pools"].append(
        {"cluster": "own", "accelerator": "G1", "gpu_count": 4, "valid_from": "2025-01-01"}
    )
    return tables


def write_energy(books: Books, price: str) -> None:
    """Of one hour; after 24 more, the site's default price holds."""
    row = {
        "zone": "Z",
        "interval_start": f"{DAY}T00:00:00Z",
        "resolution_minutes": 1440,
        "price": price,
        "currency": "JPY",
        "unit": "kWh",
        "timestamp_kind": "offset",
        "tz": "UTC",
    }
    path = books.settings.data_dir.parent / "feeds" / "energy" / "energy_price_Z.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Books:
    """Billed to the day that closes the first cycle, and once more after that."""
    folder = tmp_path_factory.mktemp("edges")
    plain = usage("acme", "plain", DAY, 600)
    rows = [
        family(plain, "x"),
        family(usage("acme", "forged", DAY, 60), "x/adjustment"),
        family(usage("acme", "percent", DAY, 60), "x%2Fadjustment"),
        usage("back", "use", DAY, 50),
        correction(usage("back", "back", NEXT_DAY, 0), -80),
        on_own_cluster(usage("own", "up", DAY, 60), model_family="llama"),
        correction(on_own_cluster(usage("own", "down", DAY, 0), model_family="llama"), -60),
    ]
    deliveries = delivered_on_its_day(rows, DAY, LATER)
    feeds = write_feeds(folder / "feeds", deliveries)
    books = Books(
        Settings(
            data_dir=folder / "data",
            seeds_dir=write_seeds(folder / "seeds", seeds(NAMES)),
            feeds_url=str(feeds),
            books_open_on=DAY,
            days_until_close=0,
            reporting_currency="JPY",
        )
    )
    write_energy(books, "2.1")
    books.bill(DAY, CLOSES)
    return books


@pytest.fixture(scope="module")
def first(nights) -> dict[str, list]:
    """What the night of the close published."""
    return {name: nights.rows(query) for name, query in QUERIES.items()}


@pytest.fixture(scope="module")
def second(nights, first) -> dict[str, list]:
    """What the next night published, with a revised price and a new name."""
    assert first["lines"]
    write_energy(nights, "30")
    write_seeds(nights.settings.seeds_dir, seeds({**NAMES, "acme": "Renamed"}))
    nights.bill(LATER, LATER)
    return {name: nights.rows(query) for name, query in QUERIES.items()}


QUERIES = {
    "lines": "select invoice_line_id, quantity, unit_price, amount from invoice_lines "
    "where cycle_start = date '2025-12-10' order by 1",
    "energy revenue": "select customer_id, model_family, energy_revenue from margin_daily "
    "where posting_date = date '2026-01-08' order by 1, 2",
    "energy cost": "select sum(energy_cost) from usage_daily where customer_id = 'acme'",
    "names": "select distinct InvoiceId, BillingAccountName from focus_cost_and_usage "
    "where BillingAccountId = 'acme' order by 1",
    "ids": "select count(*), count(distinct invoice_line_id) from invoice_lines",
    "charges": "select count(*), count(distinct x_ChargeId) from focus_cost_and_usage",
    "idle": "select model_family, gpu_minutes, amortized_cost > 0 from margin_daily "
    "where customer_id = 'own' and posting_date = date '2026-01-08' order by 1",
    "use of own": "select amortized_cost from invoice_lines where customer_id = 'own' "
    "and line_type = 'credit_usage'",
    "cents": "select count(*) from invoice_lines where amount <> floor(amount)",
}


def test_a_yen_has_no_hundredths(first):
    """1,000 credits at 0.333 are 333; a pack at 5.50 is 6, half away from zero."""
    assert first["cents"] == [(0,)]
    amounts = {line: amount for line, _, _, amount in first["lines"]}
    assert amounts["back/2025-12-10/top_up/back.o"] == Decimal(6)


def test_texts_of_feeds_and_seeds_forge_no_id_of_ours(first):
    for table in ("ids", "charges"):
        [(rows, ids)] = first[table]
        assert rows == ids, table
    lines = {line for line, _, _, _ in first["lines"]}
    assert {
        "acme/2025-12-10/credit_usage/hall/G1/x",
        "acme/2025-12-10/credit_usage/hall/G1/x%2Fadjustment",
        "acme/2025-12-10/credit_usage/hall/G1/x%252Fadjustment",
        "own/2025-12-10/dedicated_cluster/own.d%2Fadjustment",
        # The pack of that name, and the day's negative usage that came back as credits.
        "back/2025-12-10/expiry/%refund",
        "back/2025-12-10/expiry/refund",
    } <= lines


def test_a_dedicated_day_without_net_minutes_costs_its_customer_on_a_row_of_its_own(first):
    """60 minutes and their correction: the row of use carries nothing, the fee's line the whole day."""
    assert first["idle"] == [
        ("llama", Decimal(0), False),
        ("unspecified", Decimal(0), True),
    ]
    assert first["use of own"] == [(Decimal(0),)]


def test_a_price_revised_after_the_close_moves_cost_and_nothing_that_was_charged(first, second):
    """720 GPU minutes at 500 W and a PUE of 1.2 are 7.2 kWh: 14.40 above a baseline of 0.1."""
    assert second["lines"] == first["lines"]
    assert second["energy revenue"] == first["energy revenue"]
    amounts = {line: amount for line, _, _, amount in first["lines"]}
    assert amounts["acme/2025-12-10/energy_surcharge/p"] == Decimal(14)
    assert sum(revenue for _, _, revenue in first["energy revenue"]) > Decimal("14.39")
    [(before,)], [(after,)] = first["energy cost"], second["energy cost"]
    assert (before, after) == (Decimal("15.12"), Decimal("216"))


def test_a_closed_period_keeps_the_name_it_was_invoiced_to(first, second):
    assert dict(first["names"])["acme/2025-12-10"] == "Acme"
    names = dict(second["names"])
    assert names["acme/2025-12-10"] == "Acme"
    assert names["acme/2026-01-10"] == "Renamed"


def test_every_line_is_explained_as_it_was_charged(nights, second):
    for line, *_ in second["lines"]:
        explained = explain(nights.settings, line)
        assert explained.adds_up, explained.text
    energy = explain(nights.settings, "acme/2025-12-10/energy_surcharge/p").text
    assert "was revised after the invoice closed" in energy
