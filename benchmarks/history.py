"""What history costs: the same night after a short and after a long one, stage by stage.

``python -m benchmarks.history FOLDER`` writes feeds for CUSTOMERS invented customers, bills the first
30 and the first 400 days as one run each. Then come, in the two books in turns, three single nights and
three whose delivery also brings use of one day long ago, the last one again with nothing new, and a
delivery of a month ago again. It prints CPU seconds (the job and its dbt together) by stage, medians of
the nights, and the ratios; ``benchmarks/results/history.json`` keeps them.
Feeds and books stay in FOLDER: what is there is not made again, except for the measured nights,
which start from a copy of the books.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.machine import machine
from benchmarks.night import write_results
from orchestration.sample import OPENS_ON, generate_sample
from orchestration.settings import PROJECT_ROOT

LONG, SHORT = 400, 30
NIGHTS = 3
CUSTOMERS = 500
SLICES = 8
"""Slices of use of one customer on one day."""
LATE, REPEATED = 0.1, 0.05
"""Shares of slices that come one to ten days late, and twice: in either books a night touches as much."""
OLD = 10
"""The usage day that comes late: the eleventh of the books."""
AGAIN = 25
"""How many days ago the delivery came that is billed again."""
NIGHT, LATE_NIGHT = "night", "a night with late usage of an old day"
SAME_NIGHT, OLD_DELIVERY = "the same night again", "an old delivery again"

MACHINES = (
    ("fra-train", "H200"),
    ("fra-render", "L40S"),
    ("fra-render", "L4"),
    ("abi-train", "H100"),
    ("abi-infer", "inferentia2"),
    ("ost-green", "A100"),
)
FAMILIES = ("llm-8b", "llm-70b", "renderer")
PLANS = ("starter-5k", "studio-50k", "serve-300k", "research-250k", "scale-1m")
STAGES = ("start", "landing", "gates", "dbt", "publication", "pages and delivery")

Books = Mapping[str, str]
"""The environment of a run."""


@dataclass(frozen=True)
class Cost:
    """What a run took, in CPU seconds."""

    stages: dict[str, float]
    nodes: dict[str, float]
    """Seconds of every dbt model."""

    @property
    def total(self) -> float:
        """All stages together."""
        return sum(self.stages.values())


# --------------------------------------------------------------------------------------
# Seeds and feeds
# --------------------------------------------------------------------------------------


def write_seeds(folder: Path, customers: int) -> None:
    """The sample's catalog and fleet, with ``customers`` customers under contract for years."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT_ROOT / "seeds", folder)
    random = Random(11)
    people, plans, orders = [], [], []
    for number in range(customers):
        name = f"customer-{number:05d}"
        people.append(f"{name},Customer {number},{number % 28 + 1},{str(number % 5 == 0).lower()}")
        top_up = "top-up-10k,4" if number % 3 == 0 else ","
        plans.append(f"sub-{name},{name},{PLANS[number % len(PLANS)]},1,2025-11-01,,12,,{top_up}")
        for order in range(random.randrange(3)):
            day = OPENS_ON + timedelta(days=random.randrange(LONG))
            orders.append(f"order-{name}-{order},{name},top-up-10k,1,{day}T10:00:00Z")
    for table, rows in {
        "customers": people,
        "subscriptions": plans,
        "orders": orders,
        "adjustments": [],
    }.items():
        path = folder / "contracts" / f"{table}.csv"
        header = path.read_text(encoding="utf-8").splitlines()[0]
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def _slice(customer: int, day: date, number: int, random: Random) -> str:
    cluster, machine = MACHINES[(customer + number % 2) % len(MACHINES)]
    minute = random.randrange(1380)
    seconds = random.randrange(60, 3600)
    return json.dumps(
        {
            "event_id": f"{day}-{customer}-{number}",
            "customer_id": f"customer-{customer:05d}",
            "meter": "gpu_second",
            "quantity": seconds,
            "ts": f"{day}T{minute // 60:02d}:{minute % 60:02d}:00Z",
            "metadata": {
                "cluster": cluster,
                "gpu_type": machine,
                "model_family": FAMILIES[customer % len(FAMILIES)],
                "duration_s": seconds,
            },
        }
    )


def _deliveries(customers: int, days: int) -> Iterator[tuple[int, list[str]]]:
    """The lines that each delivery day brings, by its number from the first."""
    waiting: dict[int, list[str]] = {}
    for used in range(days):
        day = OPENS_ON + timedelta(days=used)
        random = Random(f"history/{day}")
        for customer in range(customers):
            for number in range(SLICES):
                line = _slice(customer, day, number, random)
                delay = random.randrange(1, 11) if random.random() < LATE else 0
                waiting.setdefault(used + delay, []).append(line)
                if random.random() < REPEATED:
                    waiting.setdefault(used + delay, []).append(line)
        yield used, waiting.pop(used, [])


def write_usage(folder: Path, customers: int, days: int) -> None:
    """One file for each of the first ``days`` delivery days, unless they are all there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, lines in _deliveries(customers, days):
        path = folder / _file(number)
        # The same bytes whenever they are written: other bytes would be a correction.
        path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 1, mtime=0))


def _file(number: int) -> str:
    return f"usage_{OPENS_ON + timedelta(days=number)}.jsonl.gz"


def feeds_until(folder: Path, usage: Path, days: int) -> None:
    """Feeds as they stand after ``days`` days: the price feeds end there, too."""
    # Not into files that are there: they have other names in the folder of all usage.
    shutil.rmtree(folder, ignore_errors=True)
    generate_sample(folder, OPENS_ON, OPENS_ON + timedelta(days=days - 1))
    for path in (folder / "usage").iterdir():
        path.unlink()
    for number in range(days):
        os.link(usage / _file(number), folder / "usage" / _file(number))


def _deliver_late(usage: Path, number: int, customers: int) -> None:
    """Add use of the old day, of one customer in ten, to a delivery that is there already."""
    old = OPENS_ON + timedelta(days=OLD)
    random = Random("late")
    with gzip.open(usage / _file(number), "rt", encoding="utf-8") as file:
        lines = file.read()
    (usage / _file(number)).unlink()
    late = [_slice(c, old, SLICES + number, random) for c in range(0, customers, 10)]
    with gzip.open(usage / _file(number), "wt", encoding="utf-8", compresslevel=1) as file:
        file.write(lines + "\n".join(late) + "\n")


# --------------------------------------------------------------------------------------
# One measured run
# --------------------------------------------------------------------------------------


def run(environment: Books, first: int, last: int) -> Cost:
    """Bill the delivery days number ``first`` to ``last`` in a process of their own."""
    begins, ends = (OPENS_ON + timedelta(days=number) for number in (first, last))
    asked = [sys.executable, "-m", "benchmarks.history", "--run", str(begins), str(ends)]
    done = subprocess.run(
        asked, env={**os.environ, **environment}, cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{begins} to {ends} was not billed:\n{done.stdout}\n{done.stderr}")
    measured = json.loads(done.stdout.splitlines()[-1])
    cost = Cost(measured["stages"], measured["nodes"])
    spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in cost.stages.items())
    print(f"{begins} to {ends}: {cost.total:.1f} CPU s ({spent})", file=sys.stderr, flush=True)
    return cost


def _measured_run(first: date, last: date) -> None:
    """Bill in this process, as ``make bill`` does, and print what each stage took."""
    clock = _Clock()
    import dagster as dg

    from orchestration.definitions import defs
    from orchestration.night.failures import failed_run
    from orchestration.night.instance import use_instance
    from orchestration.settings import load_settings

    settings = load_settings()
    use_instance(settings)
    job = defs().resolve_job_def("nightly")
    began = time.time()
    with dg.DagsterInstance.ephemeral() as instance, (settings.data_dir / "log").open("w") as log:
        kept, sys.stdout = sys.stdout, log
        result = job.execute_in_process(
            run_config={"loggers": {"console": {}}},
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            },
            raise_on_error=False,
        )
        sys.stdout = kept
        logged = instance.all_logs(result.run_id)
        steps = [
            (record.timestamp, record.dagster_event.step_key or "")
            for record in logged
            if record.dagster_event and record.dagster_event.event_type_value == "STEP_START"
        ]
    made = [record.asset_materialization for record in logged if record.asset_materialization]
    nodes = {
        one.asset_key.path[-1]: one.metadata["Execution Duration"].value
        for one in made
        if "Execution Duration" in one.metadata
    }
    ended = time.time()
    if not result.success:
        sys.exit("\n".join(failed_run(result.run_id, {}, result.all_events).problems))
    stages = dict.fromkeys(STAGES, 0.0)
    stages["start"] = clock.at(began)
    for (start, step), (end, _) in zip(steps, [*steps[1:], (ended, "")], strict=True):
        stages[_stage(step)] += clock.at(end) - clock.at(start)
    stages["start"] += clock.at(steps[0][0]) - clock.at(began)
    print(json.dumps({"stages": stages, "nodes": nodes}))


def _stage(step: str) -> str:
    if step.startswith("landing"):
        return "landing"
    if "gates" in step:
        return "gates"
    if step == "billing_models":
        return "dbt"
    return "publication" if step.startswith("published") else "pages and delivery"


class _Clock:
    """CPU seconds of this process and its children by wall clock, looked up 20 times a second."""

    def __init__(self) -> None:
        self._read: list[tuple[float, float]] = [(0.0, 0.0)]
        threading.Thread(target=self._look, daemon=True).start()

    def at(self, moment: float) -> float:
        """CPU seconds used until a moment of ``time.time()``."""
        while self._read[-1][0] < moment:
            time.sleep(0.05)
        before = max(read for read in self._read if read[0] <= moment)
        after = min(read for read in self._read if read[0] >= moment)
        span = after[0] - before[0]
        share = (moment - before[0]) / span if span and before[0] else 1.0
        return before[1] + share * (after[1] - before[1])

    def _look(self) -> None:
        while True:
            own = os.times()
            used = own.user + own.system + own.children_user + own.children_system
            used += sum(_cpu_seconds(child) for child in _children(os.getpid()))
            self._read.append((time.time(), max(used, self._read[-1][1])))
            time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            listed = (task / "children").read_text(encoding="ascii")
        except OSError:
            continue
        for child in map(int, listed.split()):
            found += [child, *_children(child)]
    return found


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


# --------------------------------------------------------------------------------------
# The comparison
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """Books of some days, and where their feeds stand."""

    folder: Path
    days: int

    @property
    def environment(self) -> Books:
        """Settings of a run on these books."""
        return {
            "SEEDS_DIR": str(self.folder.parent / "seeds"),
            "FEEDS_URL": str(self.folder / "feeds"),
            "DATA_DIR": str(self.folder / "data"),
            "BOOKS_OPEN_ON": str(OPENS_ON),
            "DAGSTER_HOME": str(self.folder / "data" / "dagster"),
        }


def bill_history(folder: Path, usage: Path, days: int) -> tuple[Scene, Cost]:
    """Books of ``days`` days, billed in one run, and what that took; from an earlier time if kept."""
    scene = Scene(folder / f"{days}-days", days)
    billed = folder / f"{days}-days-billed"
    if not (billed / "cost.json").exists():
        shutil.rmtree(scene.folder, ignore_errors=True)
        feeds_until(scene.folder / "feeds", usage, days)
        cost = run(scene.environment, 0, days - 1)
        shutil.rmtree(billed, ignore_errors=True)
        shutil.copytree(scene.folder, billed, symlinks=True)
        (billed / "cost.json").write_text(json.dumps([cost.stages, cost.nodes]), encoding="utf-8")
    shutil.rmtree(scene.folder, ignore_errors=True)
    shutil.copytree(billed, scene.folder, symlinks=True)
    return scene, Cost(*json.loads((billed / "cost.json").read_text(encoding="utf-8")))


def measure(
    scenes: Sequence[Scene], usage: Path, customers: int, nights: int
) -> list[dict[str, Cost]]:
    """Bill what comes after the books, in all books in turns: a night, one with late usage, a night ..."""
    costs: list[dict[str, list[Cost]]] = [{} for _ in scenes]
    for number in range(2 * nights):
        for scene, measured in zip(scenes, costs, strict=True):
            day = scene.days + number
            feeds_until(scene.folder / "feeds", usage, day + 1)
            if number % 2:
                _deliver_late(scene.folder / "feeds" / "usage", day, customers)
            measured.setdefault(LATE_NIGHT if number % 2 else NIGHT, []).append(
                run(scene.environment, day, day)
            )
    for kind, days_ago in ((SAME_NIGHT, 0), (OLD_DELIVERY, AGAIN)):
        for scene, measured in zip(scenes, costs, strict=True):
            day = scene.days + 2 * nights - 1 - days_ago
            measured[kind] = [run(scene.environment, day, day)]
    return [{kind: _median(runs) for kind, runs in measured.items()} for measured in costs]


def _median(runs: Sequence[Cost]) -> Cost:
    stages, nodes = ([getattr(run, part) for run in runs] for part in ("stages", "nodes"))
    return Cost(_medians(stages), _medians(nodes))


def _medians(measured: list[dict[str, float]]) -> dict[str, float]:
    names = {name: None for one in measured for name in one}
    return {name: statistics.median(one.get(name, 0.0) for one in measured) for name in names}


def compare(short: dict[str, Cost], long: dict[str, Cost], days: tuple[int, int], top: int) -> None:
    """Print every measured run in both books, stage by stage, and what grew most in a night."""
    for kind, cost in short.items():
        print(f"\n{kind}: CPU seconds after {days[0]} and {days[1]} days, and the ratio")
        for stage in STAGES:
            _row(stage, cost.stages[stage], long[kind].stages[stage])
        _row("all", cost.total, long[kind].total)
    print("\nwhat grew most in a night (seconds of dbt's clock)")
    names = {*short[NIGHT].nodes, *long[NIGHT].nodes}
    grown = {n: long[NIGHT].nodes.get(n, 0) - short[NIGHT].nodes.get(n, 0) for n in names}
    for name in sorted(grown, key=lambda name: -grown[name])[:top]:
        _row(name, short[NIGHT].nodes.get(name, 0), long[NIGHT].nodes.get(name, 0))


def _row(name: str, short: float, long: float) -> None:
    ratio = f"{long / short:8.2f}" if short else ""
    print(f"  {name[:60]:60} {short:8.2f} {long:8.2f} {ratio}")


def main(arguments: list[str] | None = None) -> None:
    """Measure both books and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--short", type=int, default=SHORT)
    parser.add_argument("--long", type=int, default=LONG)
    parser.add_argument("--nights", type=int, default=NIGHTS, help="nights of each median")
    parser.add_argument("--top", type=int, default=25, help="nodes of dbt that are listed")
    parser.add_argument(
        "--run", type=date.fromisoformat, nargs=2, metavar=("FIRST", "LAST"), help=argparse.SUPPRESS
    )
    asked = parser.parse_args(arguments)
    if asked.run:
        _measured_run(*asked.run)
        return
    folder = asked.folder.resolve()
    usage = folder / "usage"
    last = asked.long + 2 * asked.nights - 1
    if not (usage / _file(last)).exists():
        write_usage(usage, asked.customers, last + 1)
        write_seeds(folder / "seeds", asked.customers)
    found: dict[str, Any] = {"machine": machine(), "customers": asked.customers}
    found |= {"lines_a_day": asked.customers * SLICES, "days": [asked.short, asked.long]}
    books = [bill_history(folder, usage, days) for days in (asked.short, asked.long)]
    measured = measure([scene for scene, _ in books], usage, asked.customers, asked.nights)
    short, long = (
        {"backfill": backfill, **costs}
        for (_, backfill), costs in zip(books, measured, strict=True)
    )
    compare(short, long, (asked.short, asked.long), asked.top)
    found["cpu_s"] = {
        kind: [round(short[kind].total, 1), round(long[kind].total, 1)] for kind in short
    }
    print(write_results("history", found))


if __name__ == "__main__":
    main()
