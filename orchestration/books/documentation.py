"""The project's documentation as one page beside the data.

Every table and column with its meaning, its SQL, its tests, where it comes from and who reads it;
it opens from the file, without a server. Made on demand: it changes with the project, not with the
night.
"""

from __future__ import annotations

from pathlib import Path

from orchestration.books.dbt import run_dbt
from orchestration.books.warehouse import writer_lock
from orchestration.errors import NotDone
from orchestration.seeds.staging import stage_seeds
from orchestration.settings import Settings
from orchestration.store.files import copy


class NotDocumented(NotDone, RuntimeError):
    """The page was not made, and one from before stays; the message says why."""


def document(settings: Settings) -> Path:
    """Make ``published/docs/index.html`` from the project and the warehouse, in one step.

    Raises:
        NotDocumented: nothing is billed yet, or dbt failed.
        SeedError: the seeds break their contract.
        WriterBusy: another run holds the warehouse.
    """
    if not settings.built_warehouse.exists():
        raise NotDocumented("Nothing is billed yet, so no table has columns: bill a day first")
    # A place of its own: what Dagster reads in the usual one stays as it was billed.
    target = settings.data_dir / "dbt" / "docs"
    with writer_lock(settings):
        stage_seeds(settings.seeds_dir, settings.staged_seeds_dir)
        done = run_dbt(settings, ["--quiet", "docs", "generate", "--static"], target=target)
    if done.returncode:
        said = done.stdout.strip().splitlines() or ["it did not say why"]
        raise NotDocumented(
            f"dbt failed: {said[-1]} (more in {settings.data_dir}/dbt/logs/dbt.log)"
        )
    page = settings.published_dir / "docs" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    copy(target / "static_index.html", page)
    return page
