"""Write, audit, publish: what fails an audit is never seen, whichever part of the job is run.

One data folder lives through bad nights. After each of them readers see what they saw before, byte
for byte; running only the tables, or only the publication, does not get around what stopped a night.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SETTING_NAMES, run_job

from orchestration.landing.files import usage_part
from orchestration.settings import PROJECT_ROOT

pytestmark = [pytest.mark.slow, pytest.mark.job]

PART = """
import sys
import dagster as dg
from orchestration.definitions import defs
from orchestration.defs.billing_assets import billing_models
from orchestration.night.failures import failed_run

wanted = {
    "tables": [*billing_models().keys],
    "publication": [dg.AssetKey(["published", "marts"])],
}[sys.argv[1]]
job = defs().resolve_job_def("nightly")
with dg.DagsterInstance.ephemeral() as instance:
    result = job.execute_in_process(
        asset_selection=wanted, partition_key=sys.argv[2], instance=instance, raise_on_error=False
    )
print("PROBLEMS", *failed_run("", {}, result.all_events).problems)
sys.exit(not result.success)
"""


@dataclass
class World:
    """A data folder and its feeds."""

    data: Path
    feeds: Path

    def environment(self, **more: Any) -> dict[str, Any]:
        return {
            "DATA_DIR": self.data,
            "FEEDS_URL": self.feeds,
            "BOOKS_OPEN_ON": "2026-01-05",
            **more,
        }

    def night(self, first: str, last: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The whole job."""
        return run_job([first, last], self.environment(**more))

    def part(self, what: str, day: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Only the tables, with their tests, or only the publication: as started in the UI."""
        kept = {name: value for name, value in os.environ.items() if name not in SETTING_NAMES}
        settings = {name: str(value) for name, value in self.environment(**more).items()}
        return subprocess.run(
            [sys.executable, "-c", PART, what, day],
            cwd=PROJECT_ROOT,
            env=kept | settings | {"DAGSTER_HOME": str(self.data / "dagster")},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def seen(self) -> tuple[str, bytes]:
        """What readers see: which publication, and the sums of its files."""
        current = (self.data / "published" / "current").resolve()
        return current.name, (current / "manifest.json").read_bytes()

    def last_day(self) -> str:
        return json.loads(self.seen()[1])["last_delivery_day"]


@pytest.fixture(scope="module")
def world(tmp_path_factory, sample_feeds: Path) -> World:
    """A week of good nights."""
    home = tmp_path_factory.mktemp("audit")
    shutil.copytree(sample_feeds, home / "feeds")
    world = World(home / "data", home / "feeds")
    done = world.night("2026-01-05", "2026-01-11")
    assert done.returncode == 0, done.stderr
    assert world.last_day() == "2026-01-11"
    return world


def test_a_failed_gate_is_got_around_by_no_part_of_the_job(world):
    """A Monday with a fifth of the rows, where more than twice as few is an error."""
    [file] = (world.feeds / "usage").glob("usage_2026-01-12.*")
    whole = file.read_bytes()
    rows = gzip.decompress(whole) if file.suffix == ".gz" else whole
    assert file.suffix in (".gz", ".jsonl")
    few = b"".join(rows.splitlines(keepends=True)[::5])
    file.write_bytes(gzip.compress(few) if file.suffix == ".gz" else few)
    before = world.seen()
    strict = {"MAX_VOLUME_CHANGE": "2"}

    refused = world.night("2026-01-12", "2026-01-12", **strict)
    assert refused.returncode == 1
    [line] = [line for line in refused.stderr.splitlines() if "landing/usage" in line]
    assert "check volume of landing/usage failed: rows_within_limit (error)" in line
    assert "expected change at most 2, found" in line
    assert "for 2026-01-12" in line
    assert "raise MAX_VOLUME_CHANGE to accept it" in line
    # dbt was not even started.
    assert "dbt build" not in refused.stdout
    assert world.seen() == before

    tables = world.part("tables", "2026-01-12", **strict)
    assert tables.returncode == 1
    assert "Feeds failed their checks. usage: rows_within_limit (error)" in tables.stdout
    assert world.seen() == before

    # What was audited before may be published again; it is the same.
    assert world.part("publication", "2026-01-12", **strict).returncode == 0
    assert world.last_day() == "2026-01-11"

    # The next night meets it again.
    again = world.night("2026-01-13", "2026-01-13", **strict)
    assert again.returncode == 1
    assert "rows_within_limit (error)" in again.stderr
    assert world.last_day() == "2026-01-11"

    # Delivered whole, it is billed, and the day after it.
    file.write_bytes(whole)
    done = world.night("2026-01-12", "2026-01-13", **strict)
    assert done.returncode == 0, done.stderr
    assert world.last_day() == "2026-01-13"


def test_a_failed_dbt_test_leaves_nothing_to_publish(world):
    """Two landed rows say that they are the same line: the gates count them, a dbt test looks."""
    path = usage_part(world.data / "landing", date(2026, 1, 13), date(2026, 1, 13))
    with pq.ParquetFile(path) as file:
        table = file.read()
    numbers = table["line_number"].to_pylist()
    at = table.schema.get_field_index("line_number")
    doubled = table.set_column(at, "line_number", pa.array([numbers[1], *numbers[1:]], pa.int64()))
    pq.write_table(doubled, path, store_decimal_as_integer=True)
    before = world.seen()

    tables = world.part("tables", "2026-01-13")
    assert tables.returncode == 1
    assert "key_stg_usage_events" in tables.stdout
    publication = world.part("publication", "2026-01-13")
    assert publication.returncode == 1
    assert "The last billing did not finish" in publication.stdout
    assert world.seen() == before

    # Landing the day again puts it right, and the night heals the warehouse.
    done = world.night("2026-01-13", "2026-01-14")
    assert done.returncode == 0, done.stderr
    assert world.last_day() == "2026-01-14"
