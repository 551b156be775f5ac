"""A night, stage by stage, beside the limit and the peers: ``python -m benchmarks.night FOLDER``.

Writes feeds of the asked size below FOLDER, bills three quiet weeks, and measures the night that
follows: every stage in a process of its own, then the whole job as ``make bill`` runs it. The event
pass, its limits and its peers run in turns, so that all of them see the same machine; their
results must equal the published ``usage_daily`` in every row, or nothing is written.

``benchmarks/results/<size>.json`` holds what was found; ``benchmarks.report`` shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.feeds import Volume, write_all
from benchmarks.limit import Job, cpu_seconds
from benchmarks.machine import machine
from benchmarks.measure import Failed, Measured, measure
from orchestration.settings import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "benchmarks" / "results"
SIZES = {
    "100k": Volume(100_000, 200, history_events=100),
    "1m": Volume(1_000_000, 2_000, history_events=1_000),
    "10m": Volume(10_000_000, 2_000, history_events=10_000),
    "50m": Volume(50_000_000, 2_000, history_events=50_000),
}
"""Lines of the night and customers; the nights before bring a thousandth of it each."""
MEMORY_LIMIT = "2GB"
"""DUCKDB_MEMORY_LIMIT of the job, and of its limit."""
STAGES = ("land_usage", "land_prices", "gates", "bill", "publish", "pages")
IN_MEMORY_UP_TO = 10_000_000
"""Lines; pandas and polars hold all of them in memory, 6 and 9 GB of ten million."""

ALL_IN_TURNS_UP_TO = 100_000
"""Lines; above, only the event pass and its limits run more than once."""
_GROUPS = {
    **dict.fromkeys(("staging", "usage"), "event pass"),
    **dict.fromkeys(("contracts", "credits", "revenue"), "ledger"),
    "controls": "marts",
}
"""What the results call the folders of the models: coarser, and as they did before there were so many."""


@dataclass(frozen=True)
class Bench:
    """Where a benchmark's feeds and data are, and what it bills."""

    folder: Path
    volume: Volume

    @property
    def data(self) -> Path:
        """DATA_DIR."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process that is measured."""
        return {
            "SEEDS_DIR": str(self.folder / "seeds"),
            "FEEDS_URL": str(self.folder / "feeds"),
            "DATA_DIR": str(self.data),
            "DAGSTER_HOME": str(self.data / "dagster"),
            "DUCKDB_MEMORY_LIMIT": MEMORY_LIMIT,
            "PYTHONWARNINGS": "ignore",
            # As on any machine: what was compiled once is compiled.
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def stage(self, name: str, first: date, last: date) -> Measured:
        """Run one stage over delivery days."""
        command = [sys.executable, "-m", "benchmarks.stages", name, str(first), str(last)]
        return measure(command, self.environment)

    def whole(self, first: date, last: date) -> Measured:
        """Run the whole job over delivery days, as ``make bill`` does."""
        command = [sys.executable, "-m", "gpu_credits", "bill", str(first), str(last)]
        return measure(command, self.environment)

    def job(self) -> Path:
        """Write down what the event pass of the last run read."""
        landing = self.data / "landing"
        with duckdb.connect(":memory:") as connection:
            days = connection.execute(
                "select strftime(usage_day, '%Y-%m-%d') from read_parquet($1) order by 1",
                [str(landing / "run" / "days.parquet")],
            ).fetchall()
        # The last day first, where most lines are: as the job reads them, see its landed_usage().
        landed = [
            str(path)
            for (day,) in reversed(days)
            for path in sorted(landing.glob(f"usage/usage_day={day}/delivery_day=*/*.parquet"))
        ]
        return Job(
            landed=landed,
            delivered=str(next(self.folder.glob(f"feeds/usage/usage_{self.volume.night}.*"))),
            seeds=str(self.folder / "seeds"),
            books_open_on=str(self.volume.first_day),
            days_until_close=3,
            memory_limit=MEMORY_LIMIT,
            result=str(self.folder / "result.parquet"),
        ).write(self.folder / "job.json")


class NotEqual(RuntimeError):
    """A limit or a peer came to another result than the job."""


def prepare(bench: Bench) -> None:
    """Bill the deliveries before the night, all but its pages, and keep that state."""
    last = bench.volume.night - bench.volume.night.resolution
    for stage in ("start_up", "land_prices", "land_usage", "gates", "bill", "publish"):
        bench.stage(stage, bench.volume.first_day, last)
    shutil.copytree(bench.data, bench.folder / "base", symlinks=True)


def restore(bench: Bench) -> None:
    """Go back to the evening before the night."""
    shutil.rmtree(bench.data)
    shutil.copytree(bench.folder / "base", bench.data, symlinks=True)


def dbt_nodes(bench: Bench, run: Measured) -> list[tuple[str, str, float]]:
    """What dbt built or tested in a measured run: the group, the name, and CPU seconds."""
    target = bench.data / "dbt" / "target"
    nodes = json.loads((target / "manifest.json").read_text(encoding="utf-8"))["nodes"]
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    found = []
    for result in results:
        moments = [
            datetime.fromisoformat(timing[end]).timestamp()
            for timing in result["timing"]
            for end in ("started_at", "completed_at")
            if timing.get(end)
        ]
        node = nodes.get(result["unique_id"])
        if moments and node:
            spent = run.cpu_between(min(moments), max(moments))
            found.append((_group(node), node["name"], spent))
    return found


def _group(node: dict[str, Any]) -> str:
    if node["resource_type"] != "model":
        return {"test": "tests", "seed": "seeds"}.get(node["resource_type"], "rest")
    folder = Path(node["original_file_path"]).parent.name
    return _GROUPS.get(folder, folder)


def by_group(nodes: list[tuple[str, str, float]]) -> dict[str, float]:
    """CPU seconds of dbt's work by group, the largest first."""
    sums: dict[str, float] = defaultdict(float)
    for group, _, spent in nodes:
        sums[group] += spent
    return dict(sorted(((g, round(s, 2)) for g, s in sums.items()), key=lambda found: -found[1]))


def check_equal(bench: Bench, name: str) -> None:
    """Hold a result against the published usage_daily, row by row, to the last millionth.

    Raises:
        NotEqual: they differ.
    """
    keys = "customer_id, {day}, posting_date, cluster, accelerator, model_family"
    result = Path(json.loads((bench.folder / "job.json").read_text(encoding="utf-8"))["result"])
    written = result / "*.parquet" if result.is_dir() else result
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"create table theirs as select {keys.format(day='usage_day')}, "
            "sum(event_count)::bigint as events, sum(gpu_minutes_micro)::bigint as minutes, "
            # By the hour, credits are not rounded where the job rounds them.
            f"{'0' if name == 'hours' else 'sum(credits_micro)'}::bigint as credits "
            "from read_parquet($1) group by all",
            [str(written)],
        )
        connection.execute(
            f"create table ours as select {keys.format(day='usage_date')}, event_count, "
            "(gpu_minutes::decimal(38, 6) * 1000000)::bigint, "
            f"({'0' if name == 'hours' else 'credits'}::decimal(38, 6) * 1000000)::bigint "
            "from read_parquet($1) where usage_date in (select usage_day from read_parquet($2))",
            [
                str(bench.data / "published/current/usage_daily/*.parquet"),
                str(bench.data / "landing/run/days.parquet"),
            ],
        )
        [(missing, more, rows)] = connection.execute(
            "select (select count(*) from (from ours except all from theirs)), "
            "(select count(*) from (from theirs except all from ours)), "
            "(select count(*) from ours)"
        ).fetchall()
    if missing or more or not rows:
        raise NotEqual(f"{name}: of {rows} rows {missing} are missing and {more} are others")
    shutil.rmtree(result) if result.is_dir() else result.unlink()


def _said_cpu(run: Measured) -> float:
    """What a limit or a peer says that its work took; of Spark, what was seen of its processes."""
    said = {
        key: value
        for line in run.said.splitlines()
        if line.startswith("{")
        for key, value in json.loads(line).items()
    }
    if "ended" in said:
        return run.cpu_between(said["began"], said["ended"])
    return said["cpu_s"]


def peers(volume: Volume) -> dict[str, dict[str, str] | str]:
    """The environment that each peer is started in, or why it is not started."""
    beside = {"polars": "readers", "pandas": None, "spark": "spark"}
    found: dict[str, dict[str, str] | str] = {}
    for name, folder in beside.items():
        paths = [PROJECT_ROOT, *([PROJECT_ROOT / ".venv" / folder] if folder else [])]
        found[name] = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        package = {"spark": "pyspark"}.get(name, name)
        if folder and not (paths[-1] / package).is_dir():
            found[name] = f"{package} is not in .venv/{folder}"
    if not shutil.which("java"):
        found["spark"] = "there is no Java"
    if volume.events > IN_MEMORY_UP_TO:
        for name in ("pandas", "polars"):
            found[name] = (
                f"not started above {IN_MEMORY_UP_TO:,} lines: it would need all the memory"
            )
    return found


def _figures(run: Measured, rows: int) -> dict[str, float]:
    return {
        "wall_s": round(run.wall_s, 1),
        "cpu_s": round(run.cpu_s, 2),
        "peak_mb": run.peak_mb,
        "rows_per_cpu_s": round(rows / run.cpu_s),
    }


def measure_stages(bench: Bench) -> dict[str, Any]:
    """The night, each stage by itself."""
    night, rows = bench.volume.night, bench.volume.events
    found: dict[str, Any] = {"stages": {}}
    for stage in STAGES:
        run = bench.stage(stage, night, night)
        found["stages"][stage] = _figures(run, rows)
        if stage == "bill":
            nodes = dbt_nodes(bench, run)
            groups = by_group(nodes)
            found["dbt"] = groups | {"dbt itself": round(run.cpu_s - sum(groups.values()), 2)}
            dearest = sorted(nodes, key=lambda node: -node[2])[:12]
            found["dearest"] = {name: round(spent, 2) for _, name, spent in dearest}
    return found


def measure_turns(bench: Bench, turns: int) -> dict[str, Any]:
    """The event pass, landing, their limits and the peers, in turns.

    CPU seconds of the work alone, without starting dbt, an interpreter or a JVM; the peak is that of
    the whole process.
    """
    night = bench.volume.night
    job = bench.job()
    found: dict[str, Any] = defaultdict(lambda: {"cpu_s": [], "peak_mb": 0})

    def add(name: str, spent: float, run: Measured) -> None:
        found[name]["cpu_s"].append(round(spent, 2))
        found[name]["peak_mb"] = max(found[name]["peak_mb"], run.peak_mb)

    for turn in range(turns):
        run = bench.stage("event_pass", night, night)
        add("event pass", sum(node[2] for node in dbt_nodes(bench, run)), run)
        for limit in ("days", "hours"):
            run = measure([sys.executable, "-m", "benchmarks.limit", limit, job])
            add(f"limit, {limit}", _said_cpu(run), run)
            check_equal(bench, limit)
        if turn and bench.volume.events > ALL_IN_TURNS_UP_TO:
            continue
        for name, how in peers(bench.volume).items():
            if isinstance(how, str):
                found[name] = {"skipped": how}
                continue
            run = measure([sys.executable, "-m", "benchmarks.peers", name, job], how)
            add(name, _said_cpu(run), run)
            check_equal(bench, name)
        run = measure([sys.executable, "-m", "benchmarks.limit", "landing", job])
        add("limit, landing", _said_cpu(run), run)
        Path(json.loads(job.read_text(encoding="utf-8"))["result"]).unlink()
        run = bench.stage("land_usage", night, night)
        add("landing", run.cpu_s, run)
    return dict(found)


def median(turns: dict[str, Any]) -> float:
    """The median CPU seconds of something that ran in turns."""
    return statistics.median(turns["cpu_s"])


def run_night(folder: Path, size: str, volume: Volume, turns: int) -> dict[str, Any]:
    """Measure a night; the folder must not be there, and is removed afterwards."""
    folder.mkdir(parents=True)
    bench = Bench(folder.resolve(), volume)
    found: dict[str, Any] = {
        "size": size,
        "events": volume.events,
        "customers": volume.customers,
        "memory_limit": MEMORY_LIMIT,
        "turns": turns,
        "machine": machine(),
    }
    try:
        began = cpu_seconds()
        write_all(bench.folder, volume)
        found["generation_cpu_s"] = round(cpu_seconds() - began, 1)
        prepare(bench)
        found |= measure_stages(bench)
        job = Job.read(str(bench.job()))
        found["read_by_event_pass"] = _rows(job)
        found["delivered_mb"] = Path(job.delivered).stat().st_size >> 20
        found["landed_mb"] = sum(Path(path).stat().st_size for path in job.landed) >> 20
        found["turns_of"] = measure_turns(bench, turns)
        restore(bench)
        found["whole"] = _figures(bench.whole(volume.night, volume.night), volume.events)
    finally:
        shutil.rmtree(folder)
    return found


def _rows(job: Job) -> int:
    with duckdb.connect(":memory:") as connection:
        [(rows,)] = connection.execute(
            "select count(*) from read_parquet($1, hive_partitioning = false)", [job.landed]
        ).fetchall()
    return int(rows)


def write_results(name: str, found: dict[str, Any]) -> Path:
    """Write what was found beside the benchmarks."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> int:
    """Measure a night of a size and write down what was found."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder that is not there yet")
    parser.add_argument("--size", choices=SIZES, default="100k")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    try:
        found = run_night(asked.folder, asked.size, SIZES[asked.size], asked.turns)
    except (Failed, NotEqual) as error:
        print(error, file=sys.stderr)
        return 1
    print(write_results(asked.size, found).relative_to(PROJECT_ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
