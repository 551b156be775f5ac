"""The job is killed at many points of a night; the next run heals it and gives the same books.

The night takes in a new delivery and one that was delivered again otherwise, and closes invoices.
Points are found by a first run that counts them, and drawn with a fixed seed.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import SETTING_NAMES, differences, run_job

from orchestration.books.warehouse import writer_lock
from orchestration.sample import generate_sample
from orchestration.settings import PROJECT_ROOT, Settings

pytestmark = [pytest.mark.slow, pytest.mark.job]

# Invoices of the cycles that end on 1 February close on the 4th.
OPEN, BEFORE, NIGHT = "2026-01-05", "2026-02-03", "2026-02-04"
FAULTS = Path(__file__).with_name("faults")


@dataclass
class World:
    """Feeds, and a data folder as it is before the night."""

    feeds: Path
    before: Path
    undisturbed: Path
    points: dict[str, list[str]]

    def copy(self, folder: Path) -> Path:
        """A data folder of its own, as it is before the night."""
        shutil.copytree(self.before, folder, symlinks=True)
        return folder

    def night(self, data: Path, fault: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """Run the night on a data folder, with a fault if one is named."""
        return subprocess.run(**self.command(data, fault, **more), timeout=600, check=False)

    def command(self, data: Path, fault: str = "", **more: str) -> dict:
        """How the night is started."""
        environment = {k: v for k, v in os.environ.items() if k not in SETTING_NAMES}
        environment |= {
            "DATA_DIR": str(data),
            "DAGSTER_HOME": str(data / "dagster"),
            "FEEDS_URL": str(self.feeds),
            "BOOKS_OPEN_ON": OPEN,
            "PYTHONPATH": str(FAULTS),
            "FAULT": fault,
            **more,
        }
        return {
            "args": [sys.executable, "-m", "gpu_credits", "bill", BEFORE, NIGHT],
            "cwd": PROJECT_ROOT,
            "env": environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    home = tmp_path_factory.mktemp("faults")
    feeds = home / "feeds"
    generate_sample(feeds, date.fromisoformat(OPEN), date.fromisoformat(NIGHT))
    before = home / "before"
    settings = {"FEEDS_URL": feeds, "DATA_DIR": before, "BOOKS_OPEN_ON": OPEN}
    done = run_job([OPEN, BEFORE], settings)
    assert done.returncode == 0, done.stderr
    # The last day comes again, the first hundred rows measured anew.
    again = feeds / "usage" / f"usage_{BEFORE}.jsonl.gz"
    rows = gzip.decompress(again.read_bytes()).splitlines(keepends=True)
    anew = [json.dumps({**json.loads(row), "quantity": 1}).encode() + b"\n" for row in rows[:100]]
    again.write_bytes(gzip.compress(b"".join(anew + rows[100:])))

    made = World(feeds, before, home / "undisturbed", {})
    made.copy(made.undisturbed)
    log = home / "points"
    done = made.night(made.undisturbed, FAULT_LOG=str(log))
    assert done.returncode == 0, done.stderr
    for line in log.read_text(encoding="utf-8").splitlines():
        process, _, what = line.split("\t")
        made.points.setdefault(process, []).append(what)
    return made


def spread(points: int, count: int, seed: int) -> list[int]:
    """One point drawn from each of ``count`` equal stretches, so that no phase is left out."""
    draw = random.Random(seed)
    return [draw.randint(n * points // count + 1, (n + 1) * points // count) for n in range(count)]


def check_published_is_whole(data: Path) -> None:
    """What readers see is a whole publication: every file is as its manifest says."""
    current = data / "published" / "current"
    manifest = json.loads((current / "manifest.json").read_text(encoding="utf-8"))
    files = {str(p.relative_to(current)) for p in current.rglob("*") if p.is_file()}
    assert files == {*manifest["sha256"], "manifest.json"}
    for name, sha256 in manifest["sha256"].items():
        assert hashlib.sha256((current / name).read_bytes()).hexdigest() == sha256, name


def check_healed(world: World, data: Path) -> None:
    """The next run succeeds and ends with the books, archive and landing of an undisturbed night."""
    healed = world.night(data)
    assert healed.returncode == 0, healed.stderr
    check_published_is_whole(data)
    assert differences(world.undisturbed / "published/current", data / "published/current") == []
    archived = "select * from read_parquet('{}/archive/final_invoice_lines/*.parquet')"
    one, other = (archived.format(folder) for folder in (world.undisturbed, data))
    assert duckdb.sql(one).fetchall() != []
    moved = f"({one} except all {other}) union all ({other} except all {one})"
    assert duckdb.sql(moved).fetchall() == []
    assert list((data / "landing" / ".staging").iterdir()) == []


@pytest.mark.parametrize("stretch", range(14))
def test_the_run_is_killed_at_what_it_does_to_files(world, tmp_path, stretch):
    """Landing, planning, archiving, publishing, switching: everything that Python writes."""
    point = spread(len(world.points["run"]), 14, seed=20260204)[stretch]
    data = world.copy(tmp_path / "data")
    killed = world.night(data, f"run:{point}:kill")
    assert killed.returncode == -9, f"{point}: {world.points['run'][point - 1]}"
    check_published_is_whole(data)
    check_healed(world, data)


@pytest.mark.parametrize("stretch", range(6))
def test_dbt_is_killed_at_a_statement(world, tmp_path, stretch):
    point = spread(len(world.points["dbt"]), 6, seed=17)[stretch]
    data = world.copy(tmp_path / "data")
    failed = world.night(data, f"dbt:{point}:kill")
    assert failed.returncode == 1, failed.stderr
    assert "Not published" in failed.stderr
    check_published_is_whole(data)
    check_healed(world, data)


@pytest.mark.parametrize("stretch", range(4))
def test_the_run_is_killed_while_dbt_writes_and_dbt_ends_with_it(world, tmp_path, stretch):
    point = spread(len(world.points["dbt"]), 4, seed=99)[stretch]
    data = world.copy(tmp_path / "data")
    assert world.night(data, f"dbt:{point}:kill-parent").returncode == -9
    # No orphan: dbt was told to end with its run, and lets go of its lock as it goes.
    with (data / "dbt.lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    duckdb.connect(str(data / "warehouse" / "warehouse.duckdb")).close()
    check_published_is_whole(data)
    check_healed(world, data)


def test_several_kills_in_a_row(world, tmp_path):
    """Each run takes up what the killed one before it had begun."""
    data = world.copy(tmp_path / "data")
    runs, statements = len(world.points["run"]), len(world.points["dbt"])
    for fault in (f"dbt:{statements // 2}:kill-parent", f"run:{runs // 3}:kill", "dbt:200:kill"):
        assert world.night(data, fault).returncode != 0
        check_published_is_whole(data)
    check_healed(world, data)


@pytest.mark.parametrize("process", ["run", "dbt"])
@pytest.mark.parametrize("stretch", range(3))
def test_the_disk_is_full_from_a_point_on(world, tmp_path, process, stretch):
    point = spread(len(world.points[process]), 3, seed=5)[stretch]
    data = world.copy(tmp_path / "data")
    failed = world.night(data, f"{process}:{point}:full")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "No space left" in failed.stdout + failed.stderr
    check_published_is_whole(data)
    check_healed(world, data)


def test_the_kernel_refuses_to_write(world, tmp_path):
    """No file may grow beyond a megabyte: DuckDB itself meets the error."""
    data = world.copy(tmp_path / "data")
    command = world.command(data)
    command["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    failed = subprocess.run(**command, timeout=600, check=False)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "Not published" in failed.stderr
    check_published_is_whole(data)
    check_healed(world, data)


def test_two_runs_at_once_give_the_books_of_one(world, tmp_path):
    data = world.copy(tmp_path / "data")
    runs = [subprocess.Popen(**world.command(data)) for _ in range(2)]
    for run in runs:
        _, said = run.communicate(timeout=600)
        assert run.returncode == 0, said
    check_healed(world, data)


def test_the_lock_of_a_killed_run_is_free(world, tmp_path):
    settings = Settings(data_dir=tmp_path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from orchestration.settings import Settings\n"
            "from orchestration.books.warehouse import writer_lock\n"
            f"with writer_lock(Settings(data_dir={str(tmp_path)!r})):\n"
            "    print('held', flush=True); time.sleep(600)",
        ],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    began = time.monotonic()
    with writer_lock(settings, patience=5):
        assert time.monotonic() - began < 5
    assert (tmp_path / "writer.lock").exists()
