"""What happens besides the nights: a late delivery is billed, a failed run is told of."""

import json
from datetime import date

import dagster as dg

from orchestration.books.late import look
from orchestration.defs.schedules import nightly
from orchestration.night.failures import failed_run
from orchestration.night.notify import notify
from orchestration.settings import Settings
from orchestration.sources.folder import FeedProblem, FolderSource

_TELLING = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}


@dg.sensor(
    job=nightly,
    minimum_interval_seconds=60,
    description="Bill a usage delivery that came, or came otherwise, after its day was landed.",
)
def late_usage(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run of each delivery day whose file is not what was landed."""
    if settings.usage_url:
        return dg.SkipReason("USAGE_URL names an engine; every night asks it for late usage")
    seen = {
        date.fromisoformat(day): looks for day, looks in json.loads(context.cursor or "{}").items()
    }
    try:
        found = look(FolderSource(settings.feeds_url), settings, seen)
    except FeedProblem as problem:
        return dg.SkipReason(str(problem))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(partition_key=day.isoformat(), run_key=f"{day}:{looks}")
            for day, looks in found.late.items()
        ],
        skip_reason=None if found.late else "No usage file differs from what was landed",
        cursor=json.dumps({day.isoformat(): looks for day, looks in sorted(found.seen.items())}),
    )


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tell of a failed run: in the log, and the services in NOTIFY_URLS.",
)
def failed_run_notification(
    context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]
) -> None:
    """Say which run failed, for which days, why, and what to do."""
    run = context.dagster_run
    records = context.instance.all_logs(run.run_id, of_type=_TELLING)
    events = [record.dagster_event for record in records if record.dagster_event]
    notify(
        settings,
        failed_run(run.run_id, run.tags, events, settings.published_dir),
        log=context.log.error,
        warn=context.log.warning,
    )
