"""Where the dbt project is, and how its manifest is made before Dagster reads it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from dagster_dbt import DbtProject

from orchestration.seeds import check_seeds, stage_seeds
from orchestration.settings import DBT_PROJECT_DIR, Settings, load_settings
from orchestration.warehouse import writer_lock


def prepare_dbt_project(settings: Settings) -> DbtProject:
    """Hand dbt its environment, stage the seeds, and parse the project if there is no manifest.

    dbt itself parses again what has changed since; the manifest that Dagster reads only has to
    know which models and tests there are, so it is made anew when a file of the project is newer.
    """
    os.environ.update(settings.dbt_environment())
    # dagster-dbt looks dbt up by name: the one beside this Python, whether or not the venv is active.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    target = Path(settings.dbt_environment()["DBT_TARGET_PATH"])
    target.mkdir(parents=True, exist_ok=True)
    settings.warehouse_dir.mkdir(parents=True, exist_ok=True)
    project = DbtProject(
        project_dir=DBT_PROJECT_DIR, profiles_dir=DBT_PROJECT_DIR, target_path=target
    )
    if _is_stale(project.manifest_path):
        # The project names its seeds, so they are there before it is parsed. A billing stages
        # them again under the same lock: what a run bills with cannot change while it runs.
        with writer_lock(settings):
            stage_seeds(settings.seeds_dir, settings.staged_seeds_dir)
            project.preparer.prepare(project)
    else:
        check_seeds(settings.seeds_dir)
    return project


def clear_old_targets(target: Path, *, kept: int) -> None:
    """Remove the folders of earlier dbt runs below ``target``, but for the newest ``kept``.

    dagster-dbt gives every run one of its own, and leaves it there.
    """
    made = {path: path.stat().st_mtime for path in target.glob("billing_models-*")}
    for path in sorted(made, key=lambda path: made[path], reverse=True)[kept:]:
        shutil.rmtree(path)


def _is_stale(manifest: Path) -> bool:
    if not manifest.exists():
        return True
    made = manifest.stat().st_mtime
    sources = (
        path for pattern in ("**/*.sql", "**/*.yml") for path in DBT_PROJECT_DIR.glob(pattern)
    )
    return any(path.stat().st_mtime > made for path in sources)


settings = load_settings()
dbt_project = prepare_dbt_project(settings)
