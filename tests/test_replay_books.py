"""Replays that really bill: against a calculation by hand, and with the books hashed around them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import duckdb
import pytest
from conftest import SHARED, Books, days

from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.trial.compare import read_comparison
from orchestration.trial.replay import replay

pytestmark = [pytest.mark.job, pytest.mark.slow]

OPENED, LAST = date(2025, 10, 6), date(2025, 11, 4)
"""30 days of the dev set."""


def hashes(data: Path) -> dict[str, str]:
    """Every file of the books by its path; replays lie beside them."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("landing", "warehouse", "archive", "published")
        for path in sorted((data / folder).rglob("*"))
        if path.is_file()
    }


def write_csv(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


# --- the dev set --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """Books of 30 days, and a replay of them: A100 at +10 % with two new tiers, and no change."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ is not beside the project: no real feeds to bill")
    root = tmp_path_factory.mktemp("dev")
    seeds = SHARED / "data" / "dev" / "seeds"
    books = Books(
        Settings(data_dir=root / "data", seeds_dir=seeds, feeds_url=str(SHARED / "data" / "dev"))
    )
    books.bill(OPENED, LAST)

    rates = list(csv.reader((seeds / "catalog/credit_rates.csv").open(encoding="utf-8")))
    for rate in rates:
        if rate[0] == "A100":
            rate[2] = str(Decimal(rate[2]) * Decimal("1.1"))
    write_csv(root / "a100-plus-10/catalog/credit_rates.csv", rates)
    tiers = []
    for tier in csv.reader((seeds / "catalog/price_tiers.csv").open(encoding="utf-8")):
        sku, charge, _, number, _, _, _, _, *valid = tier
        if (sku, charge, number) == ("base-50k", "overage", "3"):
            tiers.append([*tier[:4], "2000000", *tier[5:]])
            tiers.append([sku, charge, "graduated", "4", "", "0.0110", "100", "", *valid])
        elif (sku, charge, number) == ("scale-1m", "overage", "2"):
            tiers.append([*tier[:4], "10000000", *tier[5:]])
            tiers.append([sku, charge, "volume", "3", "", "0.0110", "0", "", *valid])
        else:
            tiers.append(tier)
    write_csv(root / "a100-plus-10/catalog/price_tiers.csv", tiers)
    shutil.copytree(seeds / "catalog", root / "unchanged/catalog")

    before = hashes(books.settings.data_dir)
    folder = replay(books.settings, [root / "a100-plus-10", root / "unchanged"], OPENED, LAST)
    after = hashes(books.settings.data_dir)
    return books, folder, before, after


def of(rows, scenario, **values):
    """The rows of a scenario with these values."""
    return [
        row
        for row in rows
        if row["scenario"] == scenario and all(row[k] == v for k, v in values.items())
    ]


def test_the_books_are_the_same_bytes_and_nothing_is_left_over(dev):
    books, folder, before, after = dev
    assert len(before) > 100
    assert after == before
    replays = books.settings.data_dir / "replays"
    assert [path.name for path in replays.iterdir()] == ["a100-plus-10+unchanged"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        "current",
        "publications",
        "writer.lock",
    ]


def test_today_is_what_the_books_say(dev):
    """The window begins where the books do, so the replay with today's seeds is the books again."""
    books, folder, _, _ = dev
    with duckdb.connect(
        str(books.settings.published_dir / "current" / "marts.duckdb"), read_only=True
    ) as marts:
        invoices = marts.execute(
            "select customer_id, cycle_start, total from invoices order by all"
        ).fetchall()
        margins = marts.execute(
            "select accelerator, sum(revenue), sum(amortized_cost), sum(gross_margin) "
            "from margin_daily group by all order by all"
        ).fetchall()
    tables = read_comparison(folder)
    assert [
        (row["customer_id"], row["cycle_start"], row["total_before"])
        for row in of(tables["invoices"], "unchanged")
    ] == invoices
    assert [
        (
            row["accelerator"],
            row["revenue_before"],
            row["amortized_cost_before"],
            row["gross_margin_before"],
        )
        for row in of(tables["accelerators"], "unchanged")
    ] == margins


def test_the_unchanged_catalog_makes_no_difference_to_the_last_micro_unit(dev):
    _, folder, _, _ = dev
    tables = read_comparison(folder)
    compared = of(tables["changed_tables"], "unchanged")
    assert len(compared) >= 18
    assert {(row["rows_only_before"], row["rows_only_after"]) for row in compared} == {(0, 0)}
    differences = [
        value
        for name in tables
        for row in of(tables[name], "unchanged")
        for column, value in row.items()
        if column.endswith("_difference")
    ]
    assert len(differences) > 500
    assert not any(differences)
    assert "unchanged: no difference" in (folder / "comparison.md").read_text(encoding="utf-8")


def test_the_differences_are_those_of_a_calculation_by_hand(dev):
    """Four customers, from the delivered files with pen-and-paper arithmetic.

    philly-7f04ca pays overage of scale-1m by volume, philly-103959 of base-50k by graduated tiers;
    philly-6214e9 and philly-0e4a51 use A100 within what their plans include.
    """
    _, folder, _, _ = dev
    tables = read_comparison(folder)
    before, after = Hand("1"), Hand("1.1")

    # 11 x 1,000,000 credits and one pack of 10,000 in the cycle from 15 October; all volume.
    beyond = before.credits("philly-7f04ca", date(2025, 10, 15)) - 11_010_000
    assert 20_000_000 < beyond < 21_000_000
    volume = round6(beyond * Decimal("0.0110")) - round6(beyond * Decimal("0.0115"))
    [row] = of(tables["customers"], "a100-plus-10", customer_id="philly-7f04ca")
    assert row["gross_margin_difference"] == volume
    assert row["pays"] == "less"

    # 22 x 50,000 credits in the cycle from 5 October; tiers end at 100,000, 1,000,000 and now 2,000,000.
    beyond = before.credits("philly-103959", date(2025, 10, 5)) - 1_100_000
    assert beyond > 2_000_000
    to_a_million = 100_000 * Decimal("0.015") + 25 + 900_000 * Decimal("0.0135")
    was = to_a_million + (beyond - 1_000_000) * Decimal("0.0125")
    becomes = (
        to_a_million
        + 1_000_000 * Decimal("0.0125")
        + 100
        + (beyond - 2_000_000) * Decimal("0.0110")
    )
    graduated = round6(becomes) - round6(was)
    [row] = of(tables["customers"], "a100-plus-10", customer_id="philly-103959")
    assert row["gross_margin_difference"] == graduated

    # What is invoiced is the same, in whole cents; a line of late usage may round by one more.
    changed = {
        (row["customer_id"], row["cycle_start"]): row["total_difference"]
        for row in of(tables["invoices"], "a100-plus-10")
        if row["total_difference"]
    }
    assert changed.keys() == {
        ("philly-7f04ca", date(2025, 10, 15)),
        ("philly-103959", date(2025, 10, 5)),
    }
    assert abs(changed["philly-7f04ca", date(2025, 10, 15)] - volume) <= Decimal("0.01")
    assert abs(changed["philly-103959", date(2025, 10, 5)] - graduated) <= Decimal("0.01")

    # A100: more credits, burned from plans of 4,000,000 at 0.01 and 5,000,000 at 0.01 less 20 %.
    more_revenue = Decimal(0)
    for customer, starts, included, price in (
        ("philly-6214e9", (date(2025, 9, 19), date(2025, 10, 19)), 4_000_000, Decimal("0.010")),
        ("philly-0e4a51", (date(2025, 9, 7), date(2025, 10, 7)), 5_000_000, Decimal("0.008")),
    ):
        earned = []
        for hand in (before, after):
            burned = [hand.credits(customer, start) for start in starts]
            assert all(credits < included for credits in burned)
            earned.append(sum((round6(credits * price) for credits in burned), Decimal(0)))
        [row] = of(tables["customers"], "a100-plus-10", customer_id=customer)
        assert row["invoiced_difference"] == 0
        assert row["credits_before"] == before.credits(customer)
        assert row["credits_after"] == after.credits(customer)
        assert row["credits_difference"] > 10_000
        assert row["gross_margin_difference"] == earned[1] - earned[0]
        more_revenue += earned[1] - earned[0]
    [a100] = of(tables["accelerators"], "a100-plus-10", accelerator="A100")
    assert a100["revenue_difference"] == more_revenue
    assert a100["amortized_cost_difference"] == 0
    [summary] = of(tables["summary"], "a100-plus-10")
    assert summary["revenue_difference"] == volume + graduated + more_revenue
    for row in of(tables["workloads"], "a100-plus-10"):
        if row["accelerator"] != "A100":
            assert row["credits_difference"] == 0


def round6(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.000001"), ROUND_HALF_UP)


class Hand:
    """Credits of a few customers, straight from the delivered lines."""

    CUSTOMERS = ("philly-7f04ca", "philly-103959", "philly-6214e9", "philly-0e4a51")

    def __init__(self, a100: str) -> None:
        root = SHARED / "data" / "dev"
        seeds = root / "seeds"

        def rows(name: str) -> list[dict[str, str]]:
            return list(csv.DictReader((seeds / name).open(encoding="utf-8", newline="")))

        aliases = {r["alias"]: r["accelerator"] for r in rows("catalog/accelerator_aliases.csv")}
        anchors = {
            r["customer_id"]: int(r["billing_anchor_day"]) for r in rows("contracts/customers.csv")
        }
        own = {
            (r["customer_id"], r["cluster"]): date.fromisoformat(r["starts_on"])
            for r in rows("contracts/subscriptions.csv")
            if r["sku"] == "dedicated"
        }
        rates = rows("catalog/credit_rates.csv")
        minutes: defaultdict[tuple, Decimal] = defaultdict(Decimal)
        seen: set[str] = set()
        for day in days(OPENED, LAST):
            with gzip.open(
                root / "usage" / f"usage_{day}.jsonl.gz", "rt", encoding="utf-8"
            ) as file:
                for line in file:
                    if not any(customer in line for customer in self.CUSTOMERS):
                        continue
                    row = json.loads(line, parse_float=Decimal)
                    customer, used = row["customer_id"], row["metadata"]
                    if customer not in self.CUSTOMERS or row["event_id"] in seen:
                        continue
                    seen.add(row["event_id"])
                    assert row["meter"] == "gpu_minute"
                    on = datetime.fromisoformat(row["ts"]).astimezone(UTC).date()
                    if on >= own.get((customer, used["cluster"]), date.max):
                        continue
                    kind = aliases.get(used["gpu_type"], used["gpu_type"])
                    key = customer, on, self._posted(on, day, anchors[customer]), used["cluster"]
                    minutes[*key, kind, used.get("model_family")] += Decimal(str(row["quantity"]))

        self._credits: defaultdict[tuple[str, date], Decimal] = defaultdict(Decimal)
        for (customer, on, posted, _, kind, family), used_minutes in minutes.items():
            [rate] = [
                r["credits_per_gpu_minute"]
                for r in rates
                if r["accelerator"] == kind
                and r["model_family"] == (family if self._has(rates, kind, family) else "*")
                and r["valid_from"] <= str(on) < (r["valid_to"] or "9999")
            ]
            factor = Decimal(a100) if kind == "A100" else 1
            cycle = self._cycle(posted, anchors[customer])
            self._credits[customer, cycle] += round6(used_minutes * Decimal(rate) * factor)

    def credits(self, customer: str, cycle: date | None = None) -> Decimal:
        """Credits of a cycle, or of all."""
        return sum(
            (
                c
                for (who, start), c in self._credits.items()
                if who == customer and cycle in (None, start)
            ),
            Decimal(0),
        )

    @staticmethod
    def _has(rates, kind, family):
        return any(r["accelerator"] == kind and r["model_family"] == family for r in rates)

    @staticmethod
    def _cycle(day: date, anchor: int) -> date:
        month = day if day.day >= anchor else day.replace(day=1) - timedelta(days=1)
        return month.replace(day=anchor)

    @classmethod
    def _posted(cls, used: date, delivered: date, anchor: int) -> date:
        start = cls._cycle(used, anchor)
        end = cls._cycle(start + timedelta(days=31), anchor)
        is_open = start >= cls._cycle(OPENED, anchor)
        return used if is_open and delivered <= end + timedelta(days=3) else delivered


# --- the sample ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, sample_feeds):
    """A replay where nothing is landed yet, under a catalog that has lost a spelling."""
    root = tmp_path_factory.mktemp("fresh")
    settings = Settings(
        data_dir=root / "data", seeds_dir=PROJECT_ROOT / "seeds", feeds_url=str(sample_feeds)
    )
    lines = (settings.seeds_dir / "catalog/accelerator_aliases.csv").read_text("utf-8").splitlines()
    scenario = root / "no-l40s" / "catalog" / "accelerator_aliases.csv"
    scenario.parent.mkdir(parents=True)
    scenario.write_text(
        "\n".join(line for line in lines if not line.startswith("NVIDIA L40S")), encoding="utf-8"
    )
    said: list[str] = []
    folder = replay(
        settings, [root / "no-l40s"], date(2026, 1, 5), date(2026, 1, 6), say=said.append
    )
    return settings, folder, said


def test_what_is_not_landed_is_read_from_the_feeds_and_not_landed(fresh):
    settings, _, said = fresh
    assert said[0].startswith("Nothing of 2026-01-05 to 2026-01-06 is landed yet")
    assert sorted(path.name for path in settings.data_dir.iterdir()) == ["replays", "writer.lock"]


def test_usage_that_a_scenario_does_not_know_waits_and_costs_nothing(fresh):
    _, folder, _ = fresh
    tables = read_comparison(folder)
    waiting = tables["unmapped_workloads"]
    assert {(row["reason"], row["lacks"]) for row in waiting if row["rows_difference"]} == {
        ("unmapped_accelerator", "NVIDIA L40S")
    }
    minutes = sum(row["gpu_minutes_difference"] for row in waiting)
    assert minutes > 0
    assert sum(row["gpu_minutes_difference"] for row in tables["accelerators"]) == -minutes
    assert tables["summary"][0]["waiting_gpu_minutes_difference"] == minutes


def test_history_is_billed_into_books_of_its_own(tmp_path, sample_feeds):
    """The folder has usage only; prices come from where the settings say."""
    history = tmp_path / "old-system"
    (history / "usage").mkdir(parents=True)
    for day in days("2026-01-05", "2026-01-06"):
        for file in (sample_feeds / "usage").glob(f"usage_{day}*"):
            shutil.copy(file, history / "usage")
    data = tmp_path / "data"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "gpu_credits", "import"),
            *(str(history), "2026-01-05", "2026-01-06"),
        ],
        cwd=PROJECT_ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "DATA_DIR": str(data),
            "FEEDS_URL": str(sample_feeds),
            "SEEDS_DIR": str(PROJECT_ROOT / "seeds"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Published: books as of 2026-01-06" in done.stdout
    assert "no row waits for a seed" in done.stdout
    assert sorted(path.name for path in data.iterdir()) == ["staging"]
    assert (data / "staging/old-system/published/current/marts.duckdb").exists()
