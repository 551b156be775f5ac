"""What the tests share: places that may be absent, and two ways to run the job.

``Books`` bills in this process, without Dagster: quick enough to bill several times in a test.
``run_job`` is the job as people start it, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import pytest

from benchmarks.golden import compare
from gpu_credits.cli import app
from orchestration import landing, renamed
from orchestration.gates.needs import needed_feeds
from orchestration.night.billing import billing_run
from orchestration.publication.publish import marts_of, publish
from orchestration.seeds.staging import stage_seeds
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT, Settings
from orchestration.sources.folder import FolderSource

SHARED = PROJECT_ROOT.parent / "shared"
SETTING_NAMES = [*(name.upper() for name in Settings.model_fields), *renamed.SETTINGS]

# The same examples in every run, so that a change is judged by the change; `make fuzz` looks for
# new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.register_profile("explore", print_blob=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real feeds, expected results and cases; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ is not beside the project: no real feeds to bill")
    return SHARED


@pytest.fixture(scope="session")
def focus_gate() -> list[str | Path]:
    """The command that judges FOCUS exports; tests that need it skip without the validator."""
    python = PROJECT_ROOT / ".venv" / "focus" / "bin" / "python"
    if not python.exists():
        pytest.skip("the official FOCUS validator is not installed: make focus-validator")
    return [python, PROJECT_ROOT / ".ci" / "focus_gate.py"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine leaks into a test."""
    for name in SETTING_NAMES:
        monkeypatch.delenv(name, raising=False)
    # Nor does a file of settings in the working directory.
    monkeypatch.setenv("ENV_FILE", os.devnull)


def days(first: str | date, last: str | date) -> list[date]:
    """The days from ``first`` to ``last``, both included."""
    start, end = (date.fromisoformat(day) if isinstance(day, str) else day for day in (first, last))
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


@dataclass
class Books:
    """A data folder and the seeds and feeds that it bills, in this process."""

    settings: Settings

    def land(self, delivery_days: list[date]) -> None:
        """Land the given usage deliveries, and the feeds without a day."""
        source = FolderSource(self.settings.feeds_url)
        place = self.settings.landing_dir
        landing.prepare_landing(place)
        for day in delivery_days:
            landing.land_usage(source, day, place, conflict_days=self.settings.conflict_days)
        for land in (
            landing.land_energy_prices,
            landing.land_energy_mix,
            landing.land_gpu_prices,
            landing.land_fx_rates,
        ):
            land(
                source,
                place,
                needed=needed_feeds(self.settings.seeds_dir, self.settings.reporting_currency),
            )

    def bill(self, first: str | date, last: str | date, *, publish: bool = True) -> None:
        """Land and bill delivery days as one run, and publish unless told otherwise."""
        asked = days(first, last)
        self.land(asked)
        with billing_run(self.settings, asked[0], asked[-1]) as run:
            self.dbt(run.dbt_arguments)
        if publish:
            self.publish()

    def dbt(self, arguments: list[str]) -> None:
        """Run dbt on this data folder; fails with what dbt says."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        stage_seeds(self.settings.seeds_dir, self.settings.staged_seeds_dir)
        self.settings.warehouse_dir.mkdir(parents=True, exist_ok=True)
        before = dict(os.environ)
        os.environ.update(self.settings.dbt_environment())
        failures: list[str] = []

        def collect(event: Any) -> None:
            if event.info.level == "error":
                failures.append(event.info.msg)

        try:
            result = dbtRunner(callbacks=[collect]).invoke(
                [
                    *arguments,
                    "--quiet",
                    f"--project-dir={DBT_PROJECT_DIR}",
                    f"--profiles-dir={DBT_PROJECT_DIR}",
                ]
            )
        finally:
            # dbt keeps the file locked until its connections are closed.
            DuckDBConnectionManager.close_all_connections()
            os.environ.clear()
            os.environ.update(before)
        if not result.success:
            raise DbtFailed("\n".join(failures) or repr(result.exception))

    def publish(self) -> Path:
        """Publish; returns the current publication."""
        import json

        target = Path(self.settings.dbt_environment()["DBT_TARGET_PATH"])
        manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
        return publish(self.settings, marts_of(manifest), "test").path

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the warehouse."""
        with duckdb.connect(str(self.settings.warehouse_file), read_only=True) as connection:
            return connection.execute(sql).fetchall()


class DbtFailed(AssertionError):
    """dbt did not succeed; the message is what it said."""


@pytest.fixture
def books(tmp_path: Path) -> Callable[..., Books]:
    """Make a data folder of its own; arguments are settings."""

    def make(name: str = "data", **settings: Any) -> Books:
        return Books(Settings(data_dir=tmp_path / name, **settings))

    return make


def run_job(
    arguments: list[str], settings: dict[str, Any], timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Start the job like ``make bill`` does; settings are environment variables."""
    environment = {k: v for k, v in os.environ.items() if k not in SETTING_NAMES}
    environment.update({name: str(value) for name, value in settings.items()})
    environment["DAGSTER_HOME"] = str(Path(settings["DATA_DIR"]) / "dagster")
    return subprocess.run(
        [sys.executable, "-m", "gpu_credits", "bill", *arguments],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def command(*arguments: str) -> int:
    """The exit code of ``gpu-credits`` with these arguments, in this process."""
    with pytest.raises(SystemExit) as end:
        app(arguments, prog_name="gpu-credits")
    return int(end.value.code or 0)


def differences(
    one: Path, other: Path, *, but: tuple[str, ...] = ("billing_controls",)
) -> list[str]:
    """What differs between two publications, a line each; empty when they are the same books.

    Controls are left out: they speak of what a run worked out, not of the books.
    """
    return list(compare(one, other, frozenset(but)))


@pytest.fixture(scope="session")
def sample_feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weeks of generated feeds."""
    from orchestration.sample import generate_sample

    target = tmp_path_factory.mktemp("sample") / "feeds"
    generate_sample(target, date(2026, 1, 5), date(2026, 1, 26))
    return target


@pytest.fixture(scope="session")
def location(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The loaded code location, with a data folder of its own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("location")))
    from orchestration.definitions import defs

    yield defs()
    patch.undo()
