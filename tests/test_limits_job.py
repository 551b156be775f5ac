"""What landing accepts, the models hold: a night of the largest rows of every feed is billed."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest
from conftest import run_job
from contracts import (
    CLUSTER,
    LONG_AGO,
    catalog,
    customer,
    plan,
    subscription,
    tier,
    usage,
    write_feeds,
    write_seeds,
)

pytestmark = pytest.mark.job

DAY = date(2026, 2, 3)
MOST, MOST_HOURS = "999999999.999999", "16666666.666666"
MOST_PRICE, MOST_RATE = "999999.999999499", "1000000000"


def largest_rows() -> list[dict]:
    """Twelve rows: metered cost or not, either sign of it, all units, short and as long as can be."""
    rows = []
    for number in range(12):
        row = usage("acme", f"e{number}", DAY, 1)
        row["meter"] = ("gpu_minute", "gpu_hour", "gpu_second")[number % 3]
        row["quantity"] = MOST_HOURS if row["meter"] == "gpu_hour" else MOST
        row["metadata"]["duration_s"] = MOST if number % 2 else 0
        if number % 4 == 0:
            row["metadata"]["energy_cost"] = MOST
        if number % 4 == 1:
            row["metadata"]["energy_cost"] = f"-{MOST}"
        rows.append(row)
    return rows


def fill(path: Path, **cells: str) -> None:
    """Put values into all rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row | cells for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path | str]:
    lot = {
        "lot_id": "market",
        "cluster": CLUSTER,
        "accelerator": "G1",
        "gpu_count": 50,
        "basis": "market",
        "provider": "p",
        "price_kind": "market_median",
        "starts_on": LONG_AGO,
        "currency": "USD",
    }
    # A price at its limit at a rate at its limit is 10^15 a kWh: no invoice could hold what that costs.
    rented = {
        **{name: lot[name] for name in ("cluster", "accelerator", "gpu_count", "starts_on")},
        "lot_id": "rented",
        "basis": "reserved",
        "price_per_gpu_hour": "2",
        "currency": "EUR",
    }
    tables = catalog(
        customers=[customer("acme")],
        plans=[plan("p", 100)],
        subscriptions=[subscription("acme", "p", date(2026, 2, 1))],
        price_tiers=[tier("p", "base", "10"), tier("p", "overage", "0.01")],
        procurement_lots=[lot, rented],
    )
    feeds = write_feeds(tmp_path / "feeds", {DAY: largest_rows()})
    fill(feeds / "energy/energy_price_Z.csv", price=MOST_PRICE)
    fill(feeds / "carbon/carbon_mix_Z.csv", carbon_gco2_kwh_lca=MOST, renewable_pct=MOST)
    fill(
        feeds / "gpu/gpu_prices.csv",
        price_per_gpu_hour=MOST_PRICE,
        observed_at="2026-01-28T00:00:00Z",
    )
    fill(feeds / "fx/fx_rates.csv", usd_per_unit=MOST_RATE, date="2026-01-01")
    return {
        "SEEDS_DIR": write_seeds(tmp_path / "seeds", tables),
        "FEEDS_URL": feeds,
        "DATA_DIR": tmp_path / "data",
        "BOOKS_OPEN_ON": DAY.isoformat(),
    }


def test_a_night_of_the_largest_rows_of_every_feed_is_billed(world):
    done = run_job([str(DAY), str(DAY)], world)

    assert done.returncode == 0, done.stderr[-2000:]
