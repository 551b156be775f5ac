"""Where the dbt project is, and how its manifest is made before Dagster reads it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from dagster_dbt import DbtProject
from dbt.constants import PARTIAL_PARSE_FILE_NAME

from orchestration.books.warehouse import writer_lock
from orchestration.seeds.staging import check_seeds, stage_seeds
from orchestration.settings import DBT_PROJECT_DIR, Settings


def prepare_dbt_project(settings: Settings) -> DbtProject:
    """Hand dbt its environment, stage the seeds, and parse the project if there is no manifest.

    dbt itself parses again what has changed since; the manifest that Dagster reads only has to
    know which models and tests there are, so it is made anew when a file of the project is another
    one than it was made of.
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
    made_of = target / "manifest.made_of"
    fingerprint = project_fingerprint(DBT_PROJECT_DIR)
    if not project.manifest_path.exists() or _text(made_of) != fingerprint:
        # The project names its seeds, so they are there before it is parsed. A billing stages
        # them again under the same lock: what a run bills with cannot change while it runs.
        with writer_lock(settings):
            stage_seeds(settings.seeds_dir, settings.staged_seeds_dir)
            made_of.unlink(missing_ok=True)
            # Parsed from nothing: dbt does not see what a test refers to through a changed macro.
            (target / PARTIAL_PARSE_FILE_NAME).unlink(missing_ok=True)
            project.preparer.prepare(project)
            made_of.write_text(fingerprint, encoding="utf-8")
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


def project_fingerprint(folder: Path) -> str:
    """What a manifest is made of: dbt's version, and names and contents of the project's files.

    Not their dates: a release that is rolled back, or was built before the one that ran last, has
    files that are older than the manifest.
    """
    digest = hashlib.sha256(version("dbt-core").encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".sql", ".yml", ".md"):
            content = path.read_bytes()
            digest.update(f"\n{path.relative_to(folder)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
