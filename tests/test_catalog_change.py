"""May an edit of the seeds go in: nothing that holds on a closed day may change."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from conftest import command
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.seeds.changes import Closed, retroactive_edits
from orchestration.seeds.staging import check_seeds, seed_contracts
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.trial.catalog_change import closed_cycles

THROUGH = date(2026, 1, 31)
SEEDS = PROJECT_ROOT / "seeds"


@pytest.fixture
def seeds(tmp_path):
    """A copy of the sample's seeds to edit."""
    return Path(shutil.copytree(SEEDS, tmp_path / "seeds"))


def edit(seeds: Path, name: str, old: str, *new: str) -> None:
    """Replace one line of a seed by others; an empty ``old`` appends them."""
    path = next(seeds.glob(f"*/{name}.csv"))
    lines = path.read_text(encoding="utf-8").splitlines()
    if old:
        at = lines.index(old)
        lines[at : at + 1] = new
    else:
        lines += new
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def edits(seeds: Path, closed: Closed | None = None) -> list[str]:
    found = retroactive_edits(check_seeds(SEEDS), check_seeds(seeds), closed or Closed(THROUGH, {}))
    return [str(each) for each in found]


def test_a_rate_from_the_first_open_day_on_is_fine(seeds):
    edit(
        seeds,
        "credit_rates",
        "L40S,*,2.0,2025-11-01,",
        "L40S,*,2.0,2025-11-01,2026-02-01",
        "L40S,*,2.2,2026-02-01,",
    )
    assert edits(seeds) == []


def test_a_rate_from_the_last_closed_day_on_is_refused_with_its_place_and_a_cure(seeds):
    edit(
        seeds,
        "credit_rates",
        "L40S,*,2.0,2025-11-01,",
        "L40S,*,2.0,2025-11-01,2026-01-31",
        "L40S,*,2.2,2026-01-31,",
    )
    [said] = edits(seeds)
    assert said == (
        "catalog/credit_rates.csv: row 8: column credits_per_gpu_minute: 2.0 became 2.2. That "
        "changes closed days, 2026-01-31 to 2026-01-31. Leave the row as it was, end it with a "
        "valid_to, and add one with valid_from=2026-02-01 or later"
    )


def test_an_edit_in_place_names_the_closed_days_that_it_changes(seeds):
    edit(
        seeds,
        "credit_rates",
        "A100,*,2.6,2025-11-01,2026-02-01",
        "A100,*,2.7,2025-11-01,2026-02-01",
    )
    [said] = edits(seeds)
    assert "column credits_per_gpu_minute: 2.6 became 2.7" in said
    assert "2025-11-01 to 2026-01-31" in said


def test_a_row_that_ends_earlier_is_refused_at_its_end(seeds):
    edit(seeds, "credit_rates", "MI300X,*,4.4,2025-11-01,", "MI300X,*,4.4,2025-11-01,2026-01-15")
    [said] = edits(seeds)
    assert "row 10: column valid_to: (empty) became 2026-01-15" in said
    assert "2026-01-15 to 2026-01-31" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("trainium2,*,1.9,2025-11-01,", [], "trainium2, model_family=* is gone"),
        ("", ["H200,llm-70b,6.0,2025-12-01,"], "H200, model_family=llm-70b was not there"),
    ],
)
def test_a_row_that_comes_or_goes_is_refused(seeds, old, new, words):
    edit(seeds, "credit_rates", old, *new)
    [said] = edits(seeds)
    assert words in said


def test_moving_or_splitting_a_row_changes_nothing(seeds):
    edit(
        seeds,
        "credit_rates",
        "L40S,*,2.0,2025-11-01,",
        "L40S,*,2.0,2025-12-24,",
        "L40S,*,2.0,2025-11-01,2025-12-24",
    )
    assert edits(seeds) == []


def test_a_new_tier_for_days_that_are_closed_is_refused(seeds):
    edit(
        seeds,
        "price_tiers",
        "studio-50k,overage,graduated,3,,0.0125,40,,2025-11-01,",
        "studio-50k,overage,graduated,3,50000,0.0125,40,,2025-11-01,",
        "studio-50k,overage,graduated,4,,0.011,40,,2025-11-01,",
    )
    assert [said.split(". That")[0] for said in edits(seeds)] == [
        "catalog/price_tiers.csv: row 13: column up_to: (empty) became 50000",
        "catalog/price_tiers.csv: row 14: column valid_from: "
        "sku=studio-50k, charge=overage, tier=4 was not there",
    ]


def test_what_makes_more_usable_may_be_added_and_what_is_there_may_not_turn(seeds):
    edit(seeds, "accelerator_aliases", "", "nvidia-a100-40gb,A100")
    assert edits(seeds) == []
    edit(seeds, "accelerator_aliases", "nvidia-l4,L4", "nvidia-l4,L40S")
    [said] = edits(seeds)
    assert "column accelerator: L4 became L40S" in said
    assert "holds for all time" in said


def test_names_and_what_idle_time_costs_may_be_put_right(seeds):
    edit(seeds, "accelerators", "L4,NVIDIA,24,72,14", "L4,Nvidia,24.5,72,15")
    edit(
        seeds,
        "plans",
        "serve-300k,Serve 300K,300000,,bill,0.60,0.95,0.80,0.05,0.060,0.10,0.35,2025-11-01,",
        "serve-300k,Serve,300000,,bill,0.60,0.95,0.80,0.05,0.060,0.10,0.30,2025-11-01,",
    )
    assert edits(seeds) == []
    edit(seeds, "accelerators", "H100,NVIDIA,80,700,90", "H100,NVIDIA,80,650,90")
    assert len(edits(seeds)) == 1  # Busy watts stand in the energy surcharge.


def test_an_order_and_an_adjustment_may_not_be_dated_back(seeds):
    edit(seeds, "orders", "", "ord-late,agri-scan,top-up-10k,1,2026-01-31T23:59:59Z")
    edit(seeds, "orders", "", "ord-new,agri-scan,top-up-10k,1,2026-02-01T00:00:00Z")
    edit(seeds, "adjustments", "", "adj-late,agri-scan,2026-01-30,100,,Goodwill")
    assert [said.split(". That")[0] for said in edits(seeds)] == [
        "contracts/orders.csv: row 6: column ordered_at: order_id=ord-late was not there",
        "contracts/adjustments.csv: row 4: column posted_on: adjustment_id=adj-late was not there",
    ]


def test_a_customer_has_its_own_closed_days(seeds):
    """Agri Scan's cycle is open where others' have closed; its contract may still change."""
    edit(seeds, "orders", "", "ord-new,agri-scan,top-up-10k,1,2026-01-20T00:00:00Z")
    closed = Closed(THROUGH, {"agri-scan": date(2026, 1, 9)})
    assert edits(seeds, closed) == []
    assert len(edits(seeds, Closed(THROUGH, {"agri-scan": date(2026, 1, 20)}))) == 1


def manifest(data: Path, last_day: str, opened_on: str = "2026-01-05") -> Settings:
    path = data / "published" / "current" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                "last_delivery_day": last_day,
                "settings": {"books_open_on": opened_on, "days_until_close": 3},
            }
        )
    )
    return Settings(data_dir=data)


def test_a_cycle_closes_three_days_after_its_end(tmp_path):
    """Anchor 10: the cycle to 10 February closes on the 13th; anchor 4: that to the 4th has."""
    customers = [
        {"customer_id": "tenth", "billing_anchor_day": 10},
        {"customer_id": "fourth", "billing_anchor_day": 4},
    ]
    closed = closed_cycles(manifest(tmp_path / "a", "2026-02-12"), customers)
    assert closed.by_customer == {"tenth": date(2026, 1, 9), "fourth": date(2026, 2, 3)}
    assert closed.through == date(2026, 2, 3)
    closed = closed_cycles(manifest(tmp_path / "b", "2026-02-13"), customers)
    assert closed.by_customer["tenth"] == date(2026, 2, 9)


def test_nothing_is_closed_in_the_first_cycle(tmp_path):
    customers = [{"customer_id": "tenth", "billing_anchor_day": 10}]
    closed = closed_cycles(manifest(tmp_path, "2026-01-11"), customers)
    assert closed.through is None


DAYS = [date(2026, 1, 20) + timedelta(days=n) for n in range(24)]


@st.composite
def versions(draw):
    """Versions of one key, one after the other, some days without any."""
    cuts = sorted(draw(st.sets(st.sampled_from(DAYS), min_size=2, max_size=6)))
    ends = [*cuts[1:], draw(st.sampled_from([None, DAYS[-1] + timedelta(days=1)]))]
    rows = []
    for number, (start, end) in enumerate(zip(cuts, ends, strict=True), start=2):
        if draw(st.booleans()) or number == 2:
            rate = draw(st.sampled_from(["1", "2"]))
            row = {"accelerator": "H100", "model_family": "*", "credits_per_gpu_minute": rate}
            rows.append({**row, "valid_from": start, "valid_to": end, "row": number})
    return rows


CONTRACTS = seed_contracts()


@settings(deadline=None)
@given(versions(), versions())
def test_an_edit_is_refused_exactly_if_a_closed_day_reads_differently(before, after):
    def on(rows, day):
        return [
            row["credits_per_gpu_minute"]
            for row in rows
            if row["valid_from"] <= day and (row["valid_to"] is None or day < row["valid_to"])
        ]

    empty = {contract.name: [] for contract in CONTRACTS}
    with patch("orchestration.seeds.changes.seed_contracts", return_value=CONTRACTS):
        found = retroactive_edits(
            {**empty, "credit_rates": before},
            {**empty, "credit_rates": after},
            Closed(THROUGH, {}),
        )
    changed = [day for day in DAYS if day <= THROUGH and on(before, day) != on(after, day)]
    assert bool(found) == bool(changed)
    if changed:
        assert min(each.first for each in found) == changed[0]
        assert max(each.last for each in found) == changed[-1]


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def repository(seeds, tmp_path, monkeypatch):
    """Seeds under Git, as they are on the main branch."""

    def git(*arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    git("init", "--quiet", "--initial-branch=main")
    git("add", "seeds")
    git("commit", "--quiet", "--message=seeds")
    monkeypatch.setenv("SEEDS_DIR", str(seeds))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return seeds


def test_the_command_compares_with_a_git_reference(repository, tmp_path, capsys):
    manifest(tmp_path / "data", "2026-02-12")
    assert command("check-catalog", "main") == 0
    assert "No edit reaches back" in capsys.readouterr().out
    edit(repository, "credit_rates", "H200,*,6.2,2025-11-01,", "H200,*,6.3,2025-11-01,")
    assert command("check-catalog", "main") == 1
    said = capsys.readouterr().err
    assert "catalog/credit_rates.csv: row 4: column credits_per_gpu_minute: 6.2 became 6.3" in said
    assert "2026-02-04" in said  # Frame Forge and Babel Lab have the last cycle that closed.


def test_the_command_says_which_open_days_are_billed_anew(repository, tmp_path, capsys):
    manifest(tmp_path / "data", "2026-02-12")
    edit(
        repository,
        "credit_rates",
        "H200,*,6.2,2025-11-01,",
        "H200,*,6.2,2025-11-01,2026-02-06",
        "H200,*,6.3,2026-02-06,",
    )
    assert command("check-catalog", "main") == 0
    assert "make bill FROM=2026-02-06 TO=2026-02-12" in capsys.readouterr().out


def test_without_books_it_must_be_said_what_is_closed(repository, capsys):
    assert command("check-catalog", "main") == 2
    assert "--closed-through" in capsys.readouterr().err
    assert command("check-catalog", "main", "--closed-through", "2026-01-31") == 0


@pytest.mark.parametrize("base", ["no-such-branch", "--output=x", "main:seeds"])
def test_what_is_no_base_is_refused(repository, tmp_path, capsys, base):
    manifest(tmp_path / "data", "2026-02-12")
    assert command("check-catalog", "--", base) == 2
    assert "neither a folder nor a Git reference" in capsys.readouterr().err


def test_a_base_that_breaks_the_contract_is_named(repository, tmp_path, capsys):
    base = Path(shutil.copytree(SEEDS, tmp_path / "base"))
    (base / "catalog" / "plans.csv").unlink()
    assert command("check-catalog", str(base), "--closed-through", "2026-01-31") == 2
    assert "The base cannot be compared with" in capsys.readouterr().err


def test_the_sample_is_its_own_base(capsys, monkeypatch):
    monkeypatch.setenv("SEEDS_DIR", str(SEEDS))
    with (SEEDS / "catalog" / "plans.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) > 3
    assert command("check-catalog", str(SEEDS), "--closed-through", "2026-02-28") == 0
