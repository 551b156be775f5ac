"""A flood of bad rows: all of them are kept, none is billed, and memory does not grow with them.

The day of ten million rows is ``benchmarks/flood.py``; these are small ones of the same making.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Books

from benchmarks import flood
from orchestration.settings import PROJECT_ROOT, Settings

pytestmark = pytest.mark.slow

_LAND = """
import resource, sys
from pathlib import Path
from benchmarks.flood import DAY
from orchestration.landing import land_usage
from orchestration.sources.folder import FolderSource
feeds, landing = map(Path, sys.argv[1:])
delivery = land_usage(FolderSource(str(feeds)), DAY, landing)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
print(peak, delivery.landed_rows, delivery.rejected_rows)
"""


def landed(root: Path, rows: int) -> tuple[int, int, int]:
    """Land a flood in a process of its own: peak memory in MB, rows landed, rows rejected."""
    flood.write_day(root / "feeds", rows)
    done = subprocess.run(
        [sys.executable, "-c", _LAND, root / "feeds", root / "landing"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    peak, good, bad = map(int, done.stdout.split())
    return peak, good, bad


def test_memory_does_not_grow_with_the_day(tmp_path):
    """Method: 400,000 rows and 800,000; what the larger day takes more is below 15 %."""
    peaks = []
    for rows in (400_000, 800_000):
        peak, good, bad = landed(tmp_path / str(rows), rows)
        assert (good, bad) == (rows // 2, rows // 2)
        peaks.append(peak)

    assert peaks[1] < 1.15 * peaks[0]
    assert peaks[1] < 1000


@pytest.mark.job
def test_a_flood_that_does_not_fit_into_memory_is_spilled_and_published(tmp_path):
    """Method: 200,000 rows with so little memory that DuckDB has to spill, in dbt and after it."""
    flood.write_day(tmp_path / "feeds", 200_000)
    books = Books(
        Settings(
            data_dir=tmp_path / "data",
            feeds_url=str(tmp_path / "feeds"),
            max_incurable_share="0.5",
            duckdb_memory_limit="80MB",
        )
    )

    books.bill(flood.DAY, flood.DAY)

    assert flood.counts(tmp_path / "data") == {"rejected": 100_000, "billed": 100_000}
    assert books.rows(
        "select reason, count(*) from rejected_rows where feed = 'usage' group by 1 order by 1"
    ) == [
        ("malformed", 50_001),
        ("missing_quantity", 16_667),
        ("naive_timestamp", 16_666),
        ("unknown_meter", 16_666),
    ]
