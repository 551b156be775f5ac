"""Six weeks of real feeds, defects included, against what an independent calculation gets for them.

Skips without the shared folder. `tests/README.md` explains the rejected rows class by class.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from conftest import run_job

from orchestration.pages.names import page_name
from orchestration.settings import Settings

pytestmark = pytest.mark.job

DEFAULT_ACCELERATOR = "G2"
"""Of the one cluster whose usage may name no accelerator."""


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The publication of all 42 deliveries, billed by the command as one run."""
    from conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ is not beside the project: no real feeds to bill")
    data = tmp_path_factory.mktemp("dev")
    done = run_job(
        ["2025-10-06", "2025-11-16"],
        {
            "SEEDS_DIR": SHARED / "data" / "dev" / "seeds",
            "FEEDS_URL": SHARED / "data" / "dev",
            "DATA_DIR": data,
        },
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return data / "published" / "current"


def test_every_table_agrees_with_the_independent_calculation(published, shared):
    compared = subprocess.run(
        [sys.executable, shared / "tools" / "compare.py", shared / "expected" / "dev", published],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stdout


def test_gauge_pages_say_what_is_published(published):
    """Every page against the tables: to the last digit, and to the cent as it is read."""
    settings = Settings(data_dir=published.parents[1])
    gauges = duckdb.sql(f"from '{published}/fuel_gauges/*.parquet'")
    columns = gauges.columns
    for values in gauges.fetchall():
        row = dict(zip(columns, values, strict=True))
        folder = settings.pages_dir / "current" / page_name(settings, row["customer_id"])
        page = (folder / "index.html").read_text(encoding="utf-8")
        [(exact, shown)] = re.findall(r'id="balance"><data value="(.*?)">(.*?)<', page)
        assert exact == f"{row['balance']:f}"
        assert abs(Decimal(shown.replace(",", "")) - row["balance"]) <= Decimal("0.005")
        projected = re.findall(r'id="projection"><time datetime="(.*?)">', page)
        date = row["projected_depletion_date"] if row["balance"] else None
        assert projected == ([date.isoformat()] if date else [])
        model = json.loads((folder / "gauge.json").read_text(encoding="utf-8"))
        remaining = sum((Decimal(grant["remaining"]) for grant in model["grants"]), Decimal(0))
        assert remaining == row["balance"]
        thresholds = {t["kind"]: Decimal(t["depletion"]) for t in model["thresholds"]}
        if thresholds:
            assert thresholds["hard_cap"] == row["hard_cap_depletion"]


@pytest.mark.slow
def test_the_official_validator_lets_the_focus_export_through(published, focus_gate):
    exports = [
        published / "focus_cost_and_usage",
        published / "focus_cost_and_usage.csv",
    ]
    judged = subprocess.run([*focus_gate, *exports], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_accepted_and_curable_minutes_are_the_feeds_own_totals(published, shared):
    """expected.json sums every row with a quantity, once; the books set the curable ones aside.

    So billed minutes + minutes of curable rows = its minutes, per customer, day and accelerator.
    """
    aliases = dict(
        csv.reader(
            (shared / "data/dev/seeds/catalog/accelerator_aliases.csv").open(encoding="utf-8")
        )
    )

    def accelerator(gpu_type: str | None) -> str:
        return aliases.get(gpu_type, gpu_type) if gpu_type else DEFAULT_ACCELERATOR

    totals = json.loads((shared / "data/dev/expected.json").read_text(encoding="utf-8"))
    expected: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for customer, day, gpu_type, minutes, _ in totals["usage"]["customer_day_gpu"]:
        expected[customer, day, accelerator(gpu_type)] += Decimal(minutes)

    found: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    marts = duckdb.connect(str(published / "marts.duckdb"), read_only=True)
    for customer, day, kind, minutes in marts.execute(
        "select customer_id, usage_date, accelerator, sum(gpu_minutes) from usage_daily group by all"
    ).fetchall():
        found[customer, str(day), kind] += minutes
    for (raw,) in marts.execute(
        "select raw from rejected_rows where feed = 'usage' and reason not like 'missing%'"
    ).fetchall():
        row = json.loads(raw, parse_float=Decimal)
        kind = accelerator(row["metadata"]["gpu_type"])
        found[row["customer_id"], row["ts"][:10], kind] += Decimal(row["quantity"])
    assert {k: v for k, v in found.items() if v} == {k: v for k, v in expected.items() if v}


def test_every_delivered_row_is_accounted_for(published, shared):
    """Billed + repeated + in conflict + set aside = delivered: 264,145 rows, 38 of them repeated."""
    totals = json.loads((shared / "data/dev/expected.json").read_text(encoding="utf-8"))
    counts = totals["usage"]["row_counts"]
    marts = duckdb.connect(str(published / "marts.duckdb"), read_only=True)
    [(billed,)] = marts.execute("select sum(event_count) from usage_daily").fetchall()
    [(conflicts,)] = marts.execute("select count(*) from usage_conflicts").fetchall()
    [(aside,)] = marts.execute("select count(*) from rejected_rows where feed = 'usage'").fetchall()
    assert billed + counts["exact_duplicate_rows"] + conflicts + aside == counts["rows"]


def test_booked_is_allocated_plus_unallocated_to_the_last_unit_every_pool_and_day(published):
    marts = duckdb.connect(str(published / "marts.duckdb"), read_only=True)
    [(pool_days, wrong)] = marts.execute(
        "select count(*), count(*) filter (total_cost <> hardware_cost + busy_energy_cost "
        "+ idle_energy_cost + overhead_cost or unallocated_cost < 0) from gpu_minute_costs"
    ).fetchall()
    assert pool_days == 630
    assert wrong == 0
    failed = marts.execute(
        "from billing_controls where control = 'cost_booked' and not passed"
    ).fetchall()
    assert failed == []
