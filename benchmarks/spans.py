"""What does not show in one night: ``python -m benchmarks.spans FOLDER backfill|customers|start``.

``backfill``: 365 delivery days billed as one run, against 30. ``customers``: the ledger day of
100,000 customers. ``start``: what a night costs that has nothing to do with its size. Each writes
``benchmarks/results/<name>.json``. A night after 400 days is ``benchmarks.history``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.feeds import Volume, write_all
from benchmarks.machine import machine
from benchmarks.night import STAGES, Bench, by_group, dbt_nodes, prepare, write_results
from orchestration.sample import OPENS_ON

BACKFILLS = (30, 365)
LINES_A_DAY = 2_000


def backfill(folder: Path) -> dict[str, Any]:
    """Bill so many days from nothing, each as one run of the whole job."""
    found: dict[str, Any] = {"lines_a_day": LINES_A_DAY, "customers": 100, "days": {}}
    for days in BACKFILLS:
        last = OPENS_ON + timedelta(days=days - 1)
        volume = Volume(LINES_A_DAY, 100, last, days - 1, LINES_A_DAY)
        bench = _bench(folder / f"{days}", volume)
        bench.stage("start_up", volume.first_day, last)
        run = bench.whole(volume.first_day, last)
        found["days"][str(days)] = _taken(run.cpu_s, run.wall_s, run.peak_mb)
        shutil.rmtree(bench.folder)
    return found


def customers(folder: Path) -> dict[str, Any]:
    """The ledger of one more day of many customers, of which no row is late."""
    volume = Volume(1_000_000, 100_000, date(2026, 1, 7), 2, 1_000, late_percent=0)
    bench = _bench(folder / "customers", volume)
    prepare(bench)
    for stage in ("land_prices", "land_usage", "gates"):
        bench.stage(stage, volume.night, volume.night)
    run = bench.stage("bill", volume.night, volume.night)
    nodes = dbt_nodes(bench, run)
    ledger = sorted((n for n in nodes if n[0] == "ledger"), key=lambda n: -n[2])
    published = bench.stage("publish", volume.night, volume.night)
    days = _ledger_days(bench)
    shutil.rmtree(bench.folder)
    return {
        "events": volume.events,
        "customers": volume.customers,
        "bill": _taken(run.cpu_s, run.wall_s, run.peak_mb),
        "publish": _taken(published.cpu_s, published.wall_s, published.peak_mb),
        "groups": by_group(nodes),
        "ledger_days": days,
        "ledger": {name: round(spent, 2) for _, name, spent in ledger},
    }


def _ledger_days(bench: Bench) -> int:
    """How many days the ledger stepped in the last run: repeats touch the day before, too."""
    settings = bench.data / "landing" / "run" / "settings.parquet"
    with duckdb.connect(":memory:") as connection:
        [(days,)] = connection.execute(
            "select last_day - ledger_from + 1 from read_parquet($1)", [str(settings)]
        ).fetchall()
    return int(days)


def start(folder: Path) -> dict[str, Any]:
    """Start-up without and with a manifest, and a whole night of hardly anything."""
    volume = Volume(500, 10, date(2026, 1, 7), 2, 500, late_percent=0)
    bench = _bench(folder / "start", volume)
    first = bench.stage("start_up", volume.night, volume.night)
    again = bench.stage("start_up", volume.night, volume.night)
    prepare(bench)
    night = bench.whole(volume.night, volume.night)
    stages = {stage: bench.stage(stage, volume.night, volume.night) for stage in STAGES}
    groups = by_group(dbt_nodes(bench, stages["bill"]))
    groups["dbt itself"] = round(stages["bill"].cpu_s - sum(groups.values()), 2)
    shutil.rmtree(bench.folder)
    return {
        "without_manifest_cpu_s": round(first.cpu_s, 2),
        "with_manifest_cpu_s": round(again.cpu_s, 2),
        "smallest_night_cpu_s": round(night.cpu_s, 2),
        "stages": {stage: round(run.cpu_s, 2) for stage, run in stages.items()},
        "dbt": groups,
    }


def _bench(folder: Path, volume: Volume) -> Bench:
    folder.mkdir(parents=True)
    write_all(folder, volume)
    return Bench(folder.resolve(), volume)


def _taken(cpu_s: float, wall_s: float, peak_mb: int) -> dict[str, float]:
    return {"cpu_s": round(cpu_s, 2), "wall_s": round(wall_s, 1), "peak_mb": peak_mb}


SPANS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "backfill": backfill,
    "customers": customers,
    "start": start,
}


def main() -> None:
    """Measure one span and write down what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spans", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="a folder for data; what is made there is removed"
    )
    parser.add_argument("span", choices=SPANS)
    asked = parser.parse_args()
    found = {"machine": machine()} | SPANS[asked.span](asked.folder)
    print(write_results(asked.span, found))


if __name__ == "__main__":
    main()
