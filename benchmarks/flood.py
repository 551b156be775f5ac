"""A flood of bad rows: one delivery day of which every second row is bad, billed and published.

``python -m benchmarks.flood FOLDER [ROWS]`` writes the day (10 million rows unless told otherwise),
starts the job on it as ``make bill`` does, and says what it took. It fails unless every bad row
stands in the published ``rejected_rows``, every good one is billed, and no process of the run went
over its bound of memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from orchestration.sample import generate_sample
from orchestration.settings import PROJECT_ROOT

DAY = date(2026, 1, 6)
ROWS = 10_000_000
# Bad in every way that a meter has been seen to be, one after the other; %d is the row's number.
BAD = (
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"gpu_minute","quantity":null,'
    '"ts":"2026-01-06T10:00:00Z","metadata":{"cluster":"fra-render"}}',
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"gpu_minute","quantity":"60",'
    '"ts":"2026-01-06T10:00:00Z","metadata":{"cluster":"fra-render"}}',
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"gpu_minute","quantity":NaN,'
    '"ts":"2026-01-06T10:00:00Z","metadata":{"cluster":"fra-render"}}',
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"gpu_minute","quan',
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"gpu_minute","quantity":60,'
    '"ts":"2026-01-06T10:00:00","metadata":{"cluster":"fra-render"}}',
    '{"event_id":"b%d","customer_id":"frame-forge","meter":"abacus","quantity":60,'
    '"ts":"2026-01-06T10:00:00Z","metadata":{"cluster":"fra-render"}}',
)
GOOD = (
    '{"event_id":"g%d","customer_id":"%s","meter":"gpu_second","quantity":%d.25,'
    '"ts":"2026-01-06T%02d:%02d:00Z","metadata":{"cluster":"fra-render","gpu_type":"L4",'
    '"model_family":"embedder","duration_s":60,"job":"job-%d"}}'
)
CUSTOMERS = ("frame-forge", "babel-lab", "gene-harbor", "chat-harbor", "night-owl-studio")
MEMORY_LIMIT_MB = 2_000
"""DUCKDB_MEMORY_LIMIT of the run."""
BOUND_MB = {"run": 2_800, "dbt": 2_800}
"""Most memory (resident) that the job's own process and dbt may take, whatever the day's size."""


@dataclass
class Usage:
    """What a run took."""

    exit_code: int
    said: str
    wall_s: float
    cpu_s: float
    peak_mb: dict[str, int] = field(default_factory=dict)


def write_day(feeds: Path, rows: int) -> int:
    """Write the feeds of one day; returns the bytes of its usage file."""
    generate_sample(feeds, DAY, DAY)
    for file in (feeds / "usage").iterdir():
        file.unlink()
    path = feeds / "usage" / f"usage_{DAY}.jsonl"
    with path.open("w", encoding="utf-8") as usage:
        for first in range(0, rows, 100_000):
            usage.write("".join(_lines(first, min(first + 100_000, rows))))
    return path.stat().st_size


def _lines(first: int, end: int) -> Iterator[str]:
    for n in range(first, end):
        if n % 2:
            yield BAD[n // 2 % len(BAD)] % n + "\n"
        else:
            k = n // 2
            customer = CUSTOMERS[k % len(CUSTOMERS)]
            yield GOOD % (n, customer, k % 60, k % 24, k % 60, k % 1000) + "\n"


def bill(feeds: Path, data: Path, **settings: str) -> Usage:
    """Bill the day as ``make bill`` does, and watch what it takes."""
    environment = os.environ | {
        "SEEDS_DIR": str(PROJECT_ROOT / "seeds"),
        "FEEDS_URL": str(feeds),
        "DATA_DIR": str(data),
        "DAGSTER_HOME": str(data / "dagster"),
        "MAX_INCURABLE_SHARE": "0.5",
        "DUCKDB_MEMORY_LIMIT": f"{MEMORY_LIMIT_MB}MB",
        **settings,
    }
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.Popen(
        [sys.executable, "-m", "gpu_credits", "bill", DAY.isoformat(), DAY.isoformat()],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peaks: dict[str, int] = {}
    watcher = threading.Thread(target=_watch, args=(run, peaks))
    watcher.start()
    said, _ = run.communicate()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        exit_code=run.returncode,
        said=said,
        wall_s=time.monotonic() - began,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_mb=peaks,
    )


def _watch(run: subprocess.Popen[str], peaks: dict[str, int]) -> None:
    """Keep the most memory that each kind of process of a run ever held."""
    while run.poll() is None:
        for pid, name in [(run.pid, "run"), *_dbt_of(run.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            except OSError:
                continue
            if held := re.search(r"VmHWM:\s+(\d+) kB", status):
                peaks[name] = max(peaks.get(name, 0), int(held[1]) >> 10)
        time.sleep(0.2)


def _dbt_of(pid: int) -> list[tuple[int, str]]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    found = []
    for child in map(int, children):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"dbt" in command:
            found.append((child, "dbt"))
    return found


def counts(data: Path) -> dict[str, int]:
    """How many rows the publication holds as bad and as billed."""
    with duckdb.connect(str(data / "published/current/marts.duckdb"), read_only=True) as marts:
        [(rejected,)] = marts.execute(
            "select count(*) from rejected_rows where feed = 'usage'"
        ).fetchall()
        [(billed,)] = marts.execute("select sum(event_count) from usage_daily").fetchall()
    return {"rejected": rejected, "billed": int(billed or 0)}


def main() -> int:
    """Run the flood and report on it."""
    folder = Path(sys.argv[1]).resolve()
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    size = write_day(folder / "feeds", rows)
    used = bill(folder / "feeds", folder / "data")
    print(used.said)
    found = counts(folder / "data") if used.exit_code == 0 else {}
    report = {
        "rows": rows,
        "usage_mb": size >> 20,
        "exit_code": used.exit_code,
        **found,
        "wall_s": round(used.wall_s, 1),
        "cpu_s": round(used.cpu_s, 1),
        "rows_per_cpu_s": round(rows / used.cpu_s),
        **{f"peak_{name}_mb": peak for name, peak in sorted(used.peak_mb.items())},
    }
    print(json.dumps(report, indent=1))
    is_whole = found == {"rejected": rows // 2, "billed": rows - rows // 2}
    is_bounded = all(used.peak_mb.get(name, 0) <= bound for name, bound in BOUND_MB.items())
    return 0 if is_whole and is_bounded else 1


if __name__ == "__main__":
    sys.exit(main())
