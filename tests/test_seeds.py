"""Seeds: a broken contract stops the job with file, row and column."""

from __future__ import annotations

import shutil
from datetime import date, timedelta

import pytest

from orchestration.seeds import BookDays, SeedError, check_seeds, stage_seeds
from orchestration.settings import PROJECT_ROOT

ADJUSTMENTS = "adjustment_id,customer_id,posted_on,credits,amount,reason\n"
LAST = date(2026, 3, 31)


@pytest.fixture
def seeds(tmp_path):
    """A copy of the project's seeds, to break."""
    folder = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", folder)
    return folder


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_projects_seeds_keep_their_contract_and_staging_twice_changes_nothing(seeds, tmp_path):
    staged = tmp_path / "staged"
    stage_seeds(seeds, staged)
    times = {path: path.stat().st_mtime_ns for path in staged.rglob("*.csv")}
    stage_seeds(seeds, staged)
    assert len(times) == 16
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*.csv")} == times


def test_adjustments_may_be_absent(seeds, tmp_path):
    (seeds / "contracts" / "adjustments.csv").unlink()
    stage_seeds(seeds, tmp_path / "staged")
    staged = tmp_path / "staged" / "contracts" / "adjustments.csv"
    assert staged.read_text(encoding="utf-8").startswith("adjustment_id,customer_id,posted_on")


@pytest.mark.parametrize(
    ("anchor", "opening", "first_cycle"),
    [
        (15, date(2026, 1, 15), date(2026, 1, 15)),
        (15, date(2026, 1, 14), date(2025, 12, 15)),
        (1, date(2026, 3, 31), date(2026, 3, 1)),
        (28, date(2026, 3, 1), date(2026, 2, 28)),
    ],
)
def test_an_adjustment_before_the_first_cycle_is_named(seeds, anchor, opening, first_cycle):
    edit(seeds / "contracts" / "customers.csv", "Frame Forge,5,", f"Frame Forge,{anchor},")
    path = seeds / "contracts" / "adjustments.csv"

    def posted(day):
        path.write_text(f"{ADJUSTMENTS}a,frame-forge,{day},5,,sorry\n", encoding="utf-8")

    posted(first_cycle)
    check_seeds(seeds, BookDays(opening, LAST))
    too_early = first_cycle - timedelta(days=1)
    posted(too_early)
    with pytest.raises(SeedError, match=f"row 2: column posted_on: {too_early} .* {first_cycle}"):
        check_seeds(seeds, BookDays(opening, LAST))
    check_seeds(seeds, BookDays(opening, LAST, of_a_window=True))


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("catalog/plans.csv", "included_credits", "credits", "row 1: column included_credits"),
        ("contracts/customers.csv", "frame-forge,", ",", "row 2: column customer_id is empty"),
        ("contracts/orders.csv", "T", " at ", "column ordered_at: .* is not an instant"),
        ("fleet/facilities.csv", "frankfurt-1", "abilene-1", "stands in row 2 already"),
        ("fleet/clusters.csv", "frankfurt-1", "nowhere", "'nowhere' is not in fleet/facilities"),
        ("catalog/packs.csv", ",burst,", ",bursts,", "'bursts' is none of burst, top_up"),
    ],
)
def test_a_broken_seed_is_named(seeds, tmp_path, file, old, new, problem):
    edit(seeds / file, old, new)
    with pytest.raises(SeedError, match=f"{file}: .*{problem}"):
        stage_seeds(seeds, tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_overlapping_ranges_are_named(seeds, tmp_path):
    rates = seeds / "catalog" / "credit_rates.csv"
    first = rates.read_text(encoding="utf-8").splitlines()[1]
    rates.write_text(rates.read_text(encoding="utf-8") + first + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="column valid_from: overlaps row 2"):
        stage_seeds(seeds, tmp_path / "staged")


def test_two_plans_on_one_day_are_named(seeds, tmp_path):
    path = seeds / "contracts" / "subscriptions.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    twin = "twin" + rows[1][rows[1].index(",") :]
    path.write_text("\n".join([*rows, twin]) + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="has the subscription of row 2"):
        stage_seeds(seeds, tmp_path / "staged")


def test_the_last_tier_must_be_open_ended(seeds, tmp_path):
    path = seeds / "catalog" / "price_tiers.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    up_to = header.split(",").index("up_to")
    closed = [row.split(",") for row in rows]
    for cells in closed:
        cells[up_to] = cells[up_to] or "1000"
    path.write_text("\n".join([header, *(",".join(c) for c in closed)]) + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="column up_to: the last tier must be open-ended"):
        stage_seeds(seeds, tmp_path / "staged")


def test_negative_goodwill_is_named(seeds, tmp_path):
    path = seeds / "contracts" / "adjustments.csv"
    path.write_text(
        f"{ADJUSTMENTS}a,frame-forge,2026-01-20,-5,,oops\n",
        encoding="utf-8",
    )
    with pytest.raises(SeedError, match="row 2: column credits: -5 must be at least 0"):
        stage_seeds(seeds, tmp_path / "staged")
