"""A data folder reads itself and nothing else, whatever it is called."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.books.plan import make_plan
from orchestration.seeds.staging import stage_seeds
from orchestration.settings import Settings, SettingsError, load_settings

DAY = date(2026, 1, 5)
# A partition of Hive's for one reader, a pattern for another, the end of a text for a third.
ODD, DECOY = "it's env=prod[1]*", "it's env=prod1"


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    from orchestration.sample import generate_sample

    target = tmp_path_factory.mktemp("sample") / "feeds"
    generate_sample(target, DAY, date(2026, 1, 6))
    return target


@pytest.fixture
def odd_and_decoy(books, feeds):
    """Books in a folder with an odd name; beside it one that its name, as a pattern, would match."""
    decoy = books(DECOY, feeds_url=str(feeds), books_open_on=DAY)
    decoy.land([DAY, date(2026, 1, 6)])
    stage_seeds(decoy.settings.seeds_dir, decoy.settings.staged_seeds_dir)
    for seed in decoy.settings.staged_seeds_dir.rglob("*.csv"):
        seed.write_text(seed.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    return books(ODD, feeds_url=str(feeds), books_open_on=DAY), decoy


def test_a_plan_knows_the_deliveries_of_its_own_folder_only(odd_and_decoy):
    odd, _ = odd_and_decoy
    odd.land([DAY])
    plan = make_plan(odd.settings, DAY, DAY)
    assert (plan.last_day, plan.deliveries) == (DAY, (DAY,))


def manifest(published: Path) -> dict[str, Any]:
    return json.loads((published / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.job
def test_books_in_an_oddly_named_folder_are_billed_from_it_alone(odd_and_decoy):
    odd, decoy = odd_and_decoy
    for archive in ("final_invoice_lines", "delivered_actions"):
        shutil.copytree(
            decoy.settings.landing_dir / "deliveries" / "usage",
            decoy.settings.archive_dir / archive,
        )
    odd.bill(DAY, DAY)
    current = odd.settings.published_dir / "current"
    with duckdb.connect(str(current / "marts.duckdb"), read_only=True) as marts:
        columns = {
            name for (name,) in marts.execute("select column_name from duckdb_columns()").fetchall()
        }
        [latest] = marts.execute(
            "select max(posting_date), max(usage_date) from usage_daily"
        ).fetchall()
        [(credits,)] = marts.execute("select sum(credits) from usage_daily").fetchall()
    assert "it's env" not in columns
    assert latest == (DAY, DAY)
    assert credits > 0
    assert odd.rows("select count(*) from credit_rates") != [(0,)]
    # Once more, taking parts over from the publication before.
    before = manifest(current)
    odd.publish()
    after = manifest(current)
    assert after["row_counts"] == before["row_counts"]
    assert (
        after["sha256"]["usage_daily/2026-01.parquet"]
        == (before["sha256"]["usage_daily/2026-01.parquet"])
    )


@pytest.mark.parametrize("name", ["what?", "back\\slash"])
def test_a_name_that_duckdb_cannot_work_in_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / name))
    with pytest.raises(SettingsError, match=r"DATA_DIR=.*DuckDB cannot work in a folder with"):
        load_settings()


def test_a_name_that_spark_takes_for_a_pattern_is_refused_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / ODD))
    monkeypatch.setenv("SPARK_WAREHOUSE_DIR", str(tmp_path))
    Settings()
    monkeypatch.setenv("DBT_TARGET", "spark")
    with pytest.raises(SettingsError, match="Spark cannot read a DATA_DIR"):
        load_settings()


@pytest.mark.parametrize("below", ["", "books", "books/of/ours"])
def test_a_data_dir_that_is_a_file_is_refused(tmp_path, monkeypatch, below):
    (tmp_path / "data").write_text("not a folder")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data" / below))
    with pytest.raises(SettingsError, match=rf"DATA_DIR=.*: {tmp_path}/data is a file"):
        load_settings()
