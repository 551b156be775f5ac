"""The outside world of the assets: dbt, and what people see on the console."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource

from orchestration.books.dbt import BOUND_DBT
from orchestration.location import dbt_project, settings
from orchestration.night.progress import progress

# dbt would write its manifest twice and its log as JSON; what it compiled, ran and said stays.
_FLAGS = ["--no-write-json", "--log-format-file=debug"]


class BoundDbt(DbtCliResource):
    """dbt as a process of its own, and not in this one as well.

    dagster-dbt makes an adapter here, too, to look up row counts and columns of what dbt built. No
    asset asks for them, and it takes longer than to land a small day.
    """

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return None


@dg.definitions
def resources() -> dg.Definitions:
    """Bind the settings, dbt and the console logger."""
    project = dbt_project()
    return dg.Definitions(
        resources={
            "settings": settings(),
            "dbt": BoundDbt(
                project_dir=str(project.project_dir),
                profiles_dir=str(project.profiles_dir),
                dbt_executable=str(BOUND_DBT),
                global_config_flags=_FLAGS,
            ),
        },
        loggers={"console": progress},
    )
