"""The outside world of the assets: dbt, and what people see on the console."""

import dagster as dg
from dagster_dbt import DbtCliResource

from orchestration.dbt import dbt_project
from orchestration.progress import progress
from orchestration.settings import BOUND_DBT


@dg.definitions
def resources() -> dg.Definitions:
    """Bind dbt and the console logger."""
    return dg.Definitions(
        resources={"dbt": DbtCliResource(project_dir=dbt_project, dbt_executable=str(BOUND_DBT))},
        loggers={"console": progress},
    )
