"""The warehouse: every dbt model is an asset, every dbt test a check on it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    dbt_assets,
)
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from orchestration.books.dbt import COLOURS
from orchestration.books.dbt_project import clear_old_targets
from orchestration.books.warehouse import failed_controls
from orchestration.defs.feed_assets import asked_days
from orchestration.location import dbt_project
from orchestration.night.billing import NothingToBill, billing_run
from orchestration.night.instance import WRITER_POOL
from orchestration.partitions import delivery_day
from orchestration.printable import printable
from orchestration.seeds.staging import SeedError
from orchestration.settings import Settings

# Of as many billings what dbt compiled and said stays, to be looked up; tens of megabytes each.
_TARGETS_KEPT = 7


@cache
def billing_models() -> dg.AssetsDefinition:
    """The models and tests of the dbt project as assets and checks of one step."""
    project = dbt_project()

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        # Landing a usage delivery writes several kinds of files; each is a source of its own in dbt.
        dagster_dbt_translator=DagsterDbtTranslator(
            settings=DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True)
        ),
        partitions_def=delivery_day,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WRITER_POOL,
    )
    def billing_models(
        context: dg.AssetExecutionContext,
        dbt: DbtCliResource,
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[Any]:
        """Bill in one dbt invocation everything that the deliveries asked for, and any missed, touch."""
        _refuse_a_part(context)
        yield from _bill(context, dbt, settings)

    return billing_models


@dg.definitions
def billing() -> dg.Definitions:
    """The models, once the dbt project is read."""
    return dg.Definitions(assets=[billing_models()])


def _bill(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, settings: Settings
) -> Iterator[Any]:
    days = asked_days(context)
    try:
        with billing_run(settings, days[0], days[-1]) as run:
            clear_old_targets(dbt_project().target_path, kept=_TARGETS_KEPT)
            context.log.info(str(run))
            built = 0
            for event in dbt.cli(run.dbt_arguments, context=context).stream():
                yield event
                if isinstance(event, dg.Output):
                    built += 1
                    if built % 10 == 0:
                        context.log.info(f"{built} of {len(context.selected_asset_keys)} tables")
    except (NothingToBill, SeedError) as reason:
        raise dg.Failure(str(reason), allow_retries=False) from None
    except DagsterDbtCliRuntimeError as error:
        said = (
            f"Controls failed, so nothing is published: {'; '.join(failed)}. docs/checks.md says "
            "what each control holds"
            if (failed := failed_controls(settings))
            else f"dbt failed, so nothing is published: {_said_by_dbt(error)}"
        )
        raise dg.Failure(said, allow_retries=False) from error


def _said_by_dbt(error: DagsterDbtCliRuntimeError) -> str:
    """What dbt said of what failed, on one line; dagster-dbt puts its command line before that."""
    said = (error.description or "").partition("Errors parsed from dbt logs:")[2]
    return printable(" ".join(COLOURS.sub("", said).split())) or "it did not say why"


def _refuse_a_part(context: dg.AssetExecutionContext) -> None:
    """Some tables, or tables without their tests, are no billing: it would count as a whole one.

    Raises:
        dg.Failure: the run does not cover every table and every test.
    """
    models = billing_models()
    left_out = [
        *(key.to_user_string() for key in models.keys - context.selected_asset_keys),
        *(f"test {key.name}" for key in models.check_keys - context.selected_asset_check_keys),
    ]
    if left_out:
        named = ", ".join(sorted(left_out)[:3])
        raise dg.Failure(
            f"The warehouse is billed as a whole, with every test, but this run leaves out "
            f"{len(left_out)} of its tables and tests ({named}, ...): run the job nightly, or "
            "materialize all assets",
            allow_retries=False,
        )
