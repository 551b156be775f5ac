"""The whole job on the generated sample: the same deliveries give the same books, however they come."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Books, DbtFailed, days, differences, run_job

from orchestration.night.billing import NothingToBill
from orchestration.publication.publish import NotPublishable
from orchestration.settings import PROJECT_ROOT

pytestmark = pytest.mark.job

OPEN = date(2026, 1, 5)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory, sample_feeds):
    """Six deliveries billed as one run."""
    from orchestration.settings import Settings

    folder = tmp_path_factory.mktemp("at_once")
    billed = Books(Settings(data_dir=folder, feeds_url=str(sample_feeds), books_open_on=OPEN))
    billed.bill("2026-01-05", "2026-01-10")
    return billed


def current(billed: Books) -> Path:
    return (billed.settings.published_dir / "current").resolve()


def test_single_nights_give_the_books_of_one_run(at_once, books, sample_feeds):
    """Method: night by night, each published; the fourth is billed twice, as after a restart."""
    nightly = books(feeds_url=str(sample_feeds), books_open_on=OPEN)
    for day in days("2026-01-05", "2026-01-10"):
        if day == date(2026, 1, 8):
            nightly.bill(day, day, publish=False)
        nightly.bill(day, day)
    assert differences(current(at_once), current(nightly)) == []
    with duckdb.connect(str(current(nightly) / "marts.duckdb"), read_only=True) as marts:
        for table in json.loads((current(nightly) / "manifest.json").read_text())["row_counts"]:
            parquet = f"'{current(nightly) / table}/*.parquet'"
            rows = marts.execute(
                f"(from {table} except all from {parquet}) union all "
                f"(from {parquet} except all from {table})"
            ).fetchall()
            assert (table, rows) == (table, [])


def test_a_night_tests_the_days_that_it_rebuilt(at_once, tmp_path):
    """Method: the same row twice, on a day that the plan names and on one that it does not."""
    copied = Books(at_once.settings.apart(data_dir=tmp_path / "data"))
    shutil.copytree(at_once.settings.data_dir, copied.settings.data_dir, symlinks=True)
    rebuilt = pa.table({"usage_day": pa.array([date(2026, 1, 9)], pa.date32())})
    pq.write_table(rebuilt, copied.settings.landing_dir / "run" / "days.parquet")

    def repeat_a_row_of(day: str) -> None:
        with duckdb.connect(str(copied.settings.warehouse_file)) as warehouse:
            warehouse.execute(
                f"insert into int_usage_rated from int_usage_rated where usage_date = '{day}' limit 1"
            )

    asked = ["test", "--select", "int_usage_rated"]
    repeat_a_row_of("2026-01-06")
    copied.dbt(asked)
    repeat_a_row_of("2026-01-09")
    with pytest.raises(DbtFailed, match="key_int_usage_rated"):
        copied.dbt(asked)


def test_shuffled_nights_publish_nothing_over_a_gap_and_end_with_the_same_books(
    at_once, books, sample_feeds
):
    """Method: deliveries land in the order 3, 6, 1, 5, 2, 4; only the last closes the gap."""
    shuffled = books(feeds_url=str(sample_feeds), books_open_on=OPEN)
    order = [days("2026-01-05", "2026-01-10")[n] for n in (2, 5, 0, 4, 1, 3)]
    for day in order[:-1]:
        with pytest.raises(NothingToBill, match=r"missing.*2026-01-0"):
            shuffled.bill(day, day)
        assert not (shuffled.settings.published_dir / "current").exists()
    shuffled.bill(order[-1], order[-1])
    assert differences(current(at_once), current(shuffled)) == []


def test_every_control_passes_and_the_rows_add_up(at_once):
    failed = at_once.rows("from billing_controls where severity = 'error' and not passed")
    assert failed == []
    [(checked,)] = at_once.rows("select count(distinct control) from billing_controls")
    assert checked >= 20


def test_a_cured_row_is_billed_when_its_day_runs_again(books, sample_feeds, tmp_path):
    """An accelerator without an alias waits; the alias cures it, nothing is delivered again."""
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    rates = seeds / "catalog" / "accelerator_aliases.csv"
    complete = rates.read_text(encoding="utf-8")
    alias = complete.splitlines()[1]
    rates.write_text(complete.replace(alias + "\n", ""), encoding="utf-8")
    billed = books(feeds_url=str(sample_feeds), seeds_dir=seeds, books_open_on=OPEN)
    billed.bill("2026-01-05", "2026-01-06")
    waiting = "select count(*) from int_curable_rows where reason = 'unmapped_accelerator'"
    [(before,)] = billed.rows(waiting)

    rates.write_text(complete, encoding="utf-8")
    billed.bill("2026-01-05", "2026-01-06")

    [(after,)] = billed.rows(waiting)
    assert before > after
    whole = books("whole", feeds_url=str(sample_feeds), books_open_on=OPEN)
    whole.bill("2026-01-05", "2026-01-06")
    assert differences(current(whole), current(billed)) == []


def test_a_final_invoice_that_would_change_stops_the_publication(books, sample_feeds, tmp_path):
    """A price edited in the past; an invoice that is final says otherwise.

    With the anchor moved to the 8th and DAYS_UNTIL_CLOSE=0, frame-forge's first invoice is final
    on the fourth delivery day.
    """
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    customers = seeds / "contracts" / "customers.csv"
    rows = customers.read_text(encoding="utf-8").splitlines()
    moved = [
        ",".join([*cells[:2], "8", cells[3]]) if cells[0] == "frame-forge" else row
        for row in rows
        for cells in [row.split(",")]
    ]
    customers.write_text("\n".join(moved) + "\n", encoding="utf-8")
    settings = {
        "feeds_url": str(sample_feeds),
        "seeds_dir": seeds,
        "books_open_on": OPEN,
        "days_until_close": 0,
    }
    billed = books(**settings)
    billed.bill("2026-01-05", "2026-01-08")
    published = current(billed)
    [(closed,)] = billed.rows(
        "select total from invoices where customer_id = 'frame-forge' and status = 'final'"
    )

    tiers = seeds / "catalog" / "price_tiers.csv"
    text = tiers.read_text(encoding="utf-8")
    tiers.write_text(text.replace(",0.012,", ",0.013,"), encoding="utf-8")
    assert tiers.read_text(encoding="utf-8") != text
    with pytest.raises(DbtFailed):
        billed.bill("2026-01-05", "2026-01-08")
    [(scope, expected, actual)] = billed.rows(
        "select scope, expected, actual from billing_controls "
        "where control = 'final_invoice_amount' and not passed and scope like 'frame-forge/%'"
    )
    assert scope.startswith("frame-forge/2025-12-08")
    assert expected == closed != actual
    with pytest.raises(NotPublishable):
        billed.publish()
    assert current(billed) == published
    # A rebuild from nothing meets the archive again.
    shutil.rmtree(billed.settings.warehouse_dir)
    with pytest.raises(DbtFailed):
        billed.bill("2026-01-05", "2026-01-08")


def test_the_command_says_what_it_billed_and_names_a_delivery_it_cannot_bill(
    tmp_path, sample_feeds
):
    """Method: two days as people start them; then a truncated third day, then the whole one."""
    feeds = tmp_path / "feeds"
    shutil.copytree(sample_feeds, feeds)
    settings = {"FEEDS_URL": feeds, "DATA_DIR": tmp_path / "data", "BOOKS_OPEN_ON": "2026-01-05"}
    third = feeds / "usage" / "usage_2026-01-08.jsonl.gz"
    whole = third.read_bytes()

    done = run_job(["2026-01-05", "2026-01-07"], settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Published: books as of 2026-01-07" in done.stdout
    assert "Warning" not in done.stderr
    published = (tmp_path / "data" / "published" / "current").resolve()
    manifest = json.loads((published / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["row_counts"]["invoice_lines"] > 0
    portal = tmp_path / "data" / "portal"
    pages = list((portal / "pages" / "current").resolve().glob("*/index.html"))
    assert len(pages) == manifest["row_counts"]["fuel_gauges"]
    assert f"finance's page                {portal / 'finance/current/index.html'}" in done.stdout
    assert "Revenue, margin and alerts" in (portal / "finance/current/index.html").read_text()

    third.write_bytes(whole[: len(whole) // 2])
    refused = run_job(["2026-01-08", "2026-01-08"], settings)
    assert refused.returncode == 1
    assert "usage_2026-01-08.jsonl.gz" in refused.stderr
    assert (tmp_path / "data" / "published" / "current").resolve() == published
