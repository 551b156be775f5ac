"""What the code location is made of: the settings and the dbt project.

Read when Dagster asks for definitions, once in a process; importing a module reads nothing and locks
nothing. Assets, checks and sensors get the settings handed, as the resource ``settings``.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from dagster_dbt import DbtProject

from orchestration.books.dbt_project import prepare_dbt_project
from orchestration.settings import Settings, load_settings


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one is wrong.
    """
    return load_settings()


@cache
def dbt_project() -> DbtProject:
    """The dbt project with its manifest, made anew if it is another release's.

    Raises:
        SeedError: the seeds break their contract.
        WriterBusy: the manifest has to be made, and another run holds the warehouse.
    """
    return prepare_dbt_project(settings())


def manifest() -> dict[str, Any]:
    """dbt's manifest of the project."""
    return dict(json.loads(dbt_project().manifest_path.read_text(encoding="utf-8")))
