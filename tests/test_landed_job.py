"""A day without use, a withdrawal and a day landed by mistake, from the command line to the books."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import run_job
from contracts import (
    catalog,
    customer,
    plan,
    subscription,
    tier,
    usage,
    write_feeds,
    write_seeds,
)

from orchestration.settings import PROJECT_ROOT

pytestmark = pytest.mark.job

FIRST, QUIET, LAST, FAR = (date(2026, 2, day) for day in (3, 4, 5, 9))
NO_USAGE = {"kind": "no_usage"}
ROWS = [usage("acme", "kept", FIRST, 60), usage("acme", "gone", FIRST, 30)]


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path | str]:
    tables = catalog(
        customers=[customer("acme")],
        plans=[plan("p", 1000)],
        subscriptions=[subscription("acme", "p", date(2026, 2, 1))],
        price_tiers=[tier("p", "base", "10"), tier("p", "overage", "0.01")],
    )
    deliver = {FIRST: ROWS, QUIET: [NO_USAGE], LAST: [usage("acme", "last", LAST, 5)]}
    return {
        "SEEDS_DIR": write_seeds(tmp_path / "seeds", tables),
        "FEEDS_URL": write_feeds(tmp_path / "feeds", deliver),
        "DATA_DIR": tmp_path / "data",
        "BOOKS_OPEN_ON": FIRST.isoformat(),
    }


def decide(world: dict[str, Path | str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpu_credits", *arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, **{name: str(value) for name, value in world.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def minutes(world: dict[str, Path | str]) -> dict[date, float]:
    rows = f"{world['DATA_DIR']}/published/current/usage_daily/*.parquet"
    found = duckdb.sql(f"select usage_date, sum(gpu_minutes) from '{rows}' group by 1").fetchall()
    return {day: float(minutes) for day, minutes in found}


def test_what_is_decided_about_landed_usage_reaches_the_books(world):
    feeds = Path(world["FEEDS_URL"])
    whole = run_job([str(FIRST), str(LAST)], world)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert minutes(world) == {FIRST: 90, LAST: 5}

    write_feeds(feeds, {FIRST: ROWS[:1]})
    held = run_job([str(FIRST), str(FIRST)], world)
    assert held.returncode == 1
    assert "nothing_withdrawn" in held.stderr
    assert "1 event ids" in held.stderr
    assert "30.000000 GPU minutes" in held.stderr
    # Nor does a run of other days bill over it.
    assert run_job([str(LAST), str(LAST)], world).returncode == 1
    assert minutes(world) == {FIRST: 90, LAST: 5}

    accepted = decide(world, "accept-withdrawal", str(FIRST), "--reason", "counted twice, finance")
    assert accepted.returncode == 0, accepted.stderr
    write_feeds(feeds, {FAR: [usage("acme", "far", FAR, 7)]})
    gap = run_job([str(FAR), str(FAR)], world)
    assert gap.returncode == 1
    assert decide(world, "forget", str(LAST)).returncode == 2
    assert decide(world, "forget", str(FAR)).returncode == 0

    again = run_job([str(FIRST), str(FIRST)], world)
    assert again.returncode == 0, again.stderr[-2000:]
    assert minutes(world) == {FIRST: 60, LAST: 5}
