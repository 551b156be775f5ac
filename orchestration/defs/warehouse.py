"""The warehouse: every dbt model is an asset, every dbt test a check on it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    dbt_assets,
)

from orchestration.dbt import dbt_project, settings
from orchestration.defs.feeds import asked_days
from orchestration.partitions import delivery_day
from orchestration.plan import BilledState, RunPlan, make_plan, write_plan
from orchestration.warehouse import start_anew, writer_lock


@dbt_assets(
    manifest=dbt_project.manifest_path,
    project=dbt_project,
    # Landing a usage delivery writes several kinds of files; each is a source of its own in dbt.
    dagster_dbt_translator=DagsterDbtTranslator(
        settings=DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True)
    ),
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="warehouse_writer",
)
def billing_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Bill in one dbt invocation everything that the deliveries asked for, and any missed, touch."""
    with writer_lock(settings):
        days = asked_days(context)
        plan = make_plan(settings, days[0], days[-1])
        plan = require_no_gap(plan)
        context.log.info(
            f"Books as of {plan.last_day}: {len(plan.deliveries)} deliveries, "
            f"{len(plan.touched_days)} usage days to rebuild, ledger from {plan.ledger_from}"
            + (" (from nothing)" if plan.starts_anew else "")
        )
        state = BilledState(settings)
        state.begin()
        if plan.starts_anew:
            start_anew(settings)
        write_plan(plan, settings)
        yield from dbt.cli(
            [
                "build",
                f"--event-time-start={plan.ledger_from:%Y-%m-%d}",
                f"--event-time-end={plan.last_day + timedelta(days=1):%Y-%m-%d}",
            ],
            context=context,
        ).stream()
        state.complete(plan, settings)


def require_no_gap(plan: RunPlan | None) -> RunPlan:
    """Nothing is billed over a gap: the books of a day need every delivery up to it.

    Raises:
        dg.Failure: names the missing days and how to fill them.
    """
    if plan is None:
        raise dg.Failure("No usage delivery is landed yet: land a day first", allow_retries=False)
    if plan.missing_days:
        first, last = plan.missing_days[0], plan.missing_days[-1]
        named = ", ".join(str(day) for day in plan.missing_days[:5])
        more = f" and {len(plan.missing_days) - 5} more" if len(plan.missing_days) > 5 else ""
        raise dg.Failure(
            f"Delivery days are missing between the opening of the books and the last delivery: "
            f"{named}{more}. What was published before stays. Bill them with: make bill "
            f"FROM={first} TO={last} (if the feed begins later, set BOOKS_OPEN_ON to its first day)",
            allow_retries=False,
        )
    return plan
