"""Feeds that nobody needs may be missing; a price that somebody needs is named, not taken as 0.

One world of two sites is billed twice: as its seeds need no price feed at all, then as they need
prices that nobody delivered.
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import Books, DbtFailed
from contracts import (
    CLUSTER,
    Tables,
    catalog,
    customer,
    delivered_on_its_day,
    plan,
    subscription,
    tier,
    usage,
    write_feeds,
    write_seeds,
)

from orchestration.landing import land_energy_prices
from orchestration.settings import Settings
from orchestration.sources.folder import FolderSource

pytestmark = pytest.mark.job

FIRST, LAST = date(2026, 2, 4), date(2026, 2, 5)


def lot(name: str, **terms: Any) -> dict[str, Any]:
    rented = {"basis": "reserved", "price_per_gpu_hour": "1"}
    return {
        "lot_id": name,
        "cluster": CLUSTER,
        "accelerator": "G1",
        "gpu_count": 10,
        "starts_on": "2025-01-01",
        "currency": "USD",
        **(rented if "basis" not in terms else {}),
        **terms,
    }


def world() -> Tables:
    """A plan whose first thousand credits of overage are free, and more GPUs than lots."""
    seeds = catalog(
        plans=[plan("team", 10)],
        price_tiers=[
            tier("team", "base", "1"),
            tier("team", "overage", 0, up_to=1000),
            tier("team", "overage", "0.5", tier=2),
        ],
        customers=[customer("a")],
        subscriptions=[subscription("a", "team", date(2026, 1, 1))],
        procurement_lots=[lot("rented"), lot("all of G2", accelerator="G2", gpu_count=50)],
    )
    seeds["facilities"].append({**seeds["facilities"][0], "facility_id": "other site", "zone": "Y"})
    seeds["clusters"].append(
        {**seeds["clusters"][0], "cluster": "shed", "facility_id": "other site"}
    )
    seeds["pools"].append({**seeds["pools"][0], "cluster": "shed", "gpu_count": 2})
    seeds["procurement_lots"].append(lot("shed", cluster="shed", gpu_count=2))
    return seeds


def rows_of(path: Path, header: str, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The world of which only usage is delivered, billed and published."""
    root = tmp_path_factory.mktemp("missing")
    write_seeds(root / "seeds", world())
    rows = [usage("a", "u", FIRST, 600), usage("a", "v", LAST, 60)]
    feeds = write_feeds(root / "feeds", delivered_on_its_day(rows, FIRST, LAST))
    for feed in ("energy", "carbon", "gpu", "fx"):
        shutil.rmtree(feeds / feed)
    books = Books(
        Settings(
            data_dir=root / "data",
            seeds_dir=root / "seeds",
            feeds_url=str(feeds),
            books_open_on=FIRST,
        )
    )
    books.bill(FIRST, LAST)
    return books


def controls(books: Books, *names: str) -> dict[tuple[str, str], tuple[str, int, int]]:
    """What failed of some controls: severity, expected and found, by name and scope."""
    rows = books.rows(
        "select control, scope, severity, cast(expected as int), cast(actual as int) "
        f"from billing_controls where not passed and control in {names}"
    )
    return {(control, scope): (level, *counts) for control, scope, level, *counts in rows}


def test_without_a_price_feed_that_nobody_needs_the_books_are_published_with_warnings(billed):
    assert billed.rows("select count(*) > 0 from invoice_lines") == [(True,)]
    assert billed.rows("select distinct energy_price_estimated from gpu_minute_costs") == [(True,)]
    assert controls(
        billed, "energy_price_missing", "lots_cover_pools", "price_is_zero", "energy_price_unknown"
    ) == {
        # Two days of 24 hours each at the sites' default price.
        ("energy_price_missing", "Z"): ("warning", 0, 48),
        ("energy_price_missing", "Y"): ("warning", 0, 48),
        ("lots_cover_pools", f"{CLUSTER} G1"): ("warning", 50, 10),
        ("price_is_zero", "team overage tier 1"): ("warning", 0, 1),
    }


def test_every_price_that_is_needed_and_missing_is_named_and_nothing_is_published(billed, tmp_path):
    """No default price at one site, and prices in currencies whose rates begin too late.

    And usage that comes when its contract is over, and its price with it.

    Each control names the currency and the day that is missing: of an owned lot the day it was
    bought on; of a market price the day it was observed on.
    """
    seeds = world()
    seeds["facilities"][1]["default_price_per_kwh"] = None
    seeds["procurement_lots"] += [
        lot("bought", basis="owned", capex_per_gpu=9, useful_life_months=48, currency="EUR"),
        lot("market", basis="market", price_kind="spot", provider="nordlys"),
        lot("other market", basis="market", price_kind="on_demand"),
    ]
    seeds["plans"].append(plan("old", 0))
    seeds["price_tiers"].append(tier("old", "overage", "0.5", valid_to="2026-02-01"))
    seeds["customers"].append(customer("gone"))
    seeds["subscriptions"].append(
        subscription("gone", "old", date(2026, 1, 1), ends_on="2026-01-10")
    )
    feeds = tmp_path / "feeds"
    rows = [usage("a", "u", FIRST, 600), usage("a", "v", LAST, 60)]
    deliveries = delivered_on_its_day(rows, FIRST, LAST)
    deliveries[FIRST].append(usage("gone", "late", date(2026, 1, 5), 60))
    write_feeds(feeds, deliveries)
    energy = "zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz"
    # The first price of Y holds from three in the morning of the first day.
    rows_of(
        feeds / "energy" / "energy_price_Y.csv",
        energy,
        "Y,2026-02-04T03:00:00Z,60,0.1,USD,kWh,offset,",
        "Y,2026-01-30T03:00:00Z,60,0.1,XAU,kWh,offset,",
    )
    rows_of(
        feeds / "energy" / "energy_price_Z.csv",
        energy,
        "Z,2026-02-05T00:00:00Z,60,0.1,gbp,kWh,offset,",
    )
    rows_of(
        feeds / "gpu" / "gpu_prices.csv",
        "observed_at,provider,region,gpu_type,price_per_gpu_hour,currency,price_kind",
        "2026-01-28T00:00:00Z,nordlys,r,G1,2,NOK,spot",
        "2026-01-21T00:00:00Z,nordlys,r,G1,2,SEK,spot",
        "2026-01-27T00:00:00Z,nordlys,r,G1,2,eur,on_demand",
        "2026-01-28T00:00:00Z,nordlys,r,G2,2,CHF,spot",
    )
    rows_of(
        feeds / "fx" / "fx_rates.csv",
        "date,currency,usd_per_unit",
        "2026-01-05,EUR,1.1",
        "2026-02-06,GBP,1.3",
        "2026-01-29,NOK,0.1",
    )
    books = Books(
        Settings(
            data_dir=tmp_path / "data",
            seeds_dir=write_seeds(tmp_path / "seeds", seeds),
            feeds_url=str(feeds),
            books_open_on=FIRST,
        )
    )

    with pytest.raises(DbtFailed):
        books.bill(FIRST, LAST)

    assert controls(books, "exchange_rate_missing", "energy_price_unknown", "price_missing") == {
        ("price_missing", "gone old overage 2026-02-01"): ("error", 0, 1),
        ("energy_price_unknown", "other site Y 2026-02-04 00:00"): ("error", 0, 3 + 20),
        ("exchange_rate_missing", "energy GBP 2026-02-05"): ("error", 0, 1),
        ("exchange_rate_missing", "gpu G1 NOK 2026-01-28"): ("error", 0, 1),
        # The third day is that of the late usage.
        ("exchange_rate_missing", "lot bought EUR 2025-01-01"): ("error", 0, 3),
    }


def test_prices_that_were_known_stay_when_their_file_is_gone(tmp_path):
    """They bill the open cycles; that the file is gone is in the record, for the control to say."""
    source, landing = FolderSource(str(tmp_path / "feeds")), tmp_path / "landing"
    rows_of(
        tmp_path / "feeds" / "energy" / "energy_price_Y.csv",
        "zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz",
        "Y,2026-02-04T03:00:00Z,60,0.1,eur,kWh,offset,",
    )
    first = land_energy_prices(source, landing)
    (tmp_path / "feeds" / "energy" / "energy_price_Y.csv").unlink()
    kept = land_energy_prices(source, landing, needed=())
    assert (kept.problem, kept.file_name, kept.landed_rows) == (None, "", first.landed_rows)
    refused = land_energy_prices(source, landing)
    assert "no such file is there" in (refused.problem or "")
