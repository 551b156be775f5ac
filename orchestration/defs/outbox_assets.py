"""Delivery as assets: after the publication, and from it alone, so only what was audited goes out.

The books are published whatever happens here, and the next night sends what was not taken. But a
cap that does not reach the usage API costs money, so the run fails and says which; an alert that a
receiver does not take is a warning.
"""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from orchestration.defs.feed_assets import OWNERS
from orchestration.outbox.actions import deliver_actions
from orchestration.outbox.alerts import deliver_alerts
from orchestration.outbox.due import State
from orchestration.outbox.report import Entry, Report
from orchestration.partitions import delivery_day
from orchestration.settings import Settings

ARRIVED = "everything_arrived"
NOTHING_TO_DECIDE = "nothing_to_decide"
_ROWS_SHOWN = 200
_SAID = 5

_STATES = {
    ARRIVED: (State.REFUSED, State.UNANSWERED, State.WAITS),
    NOTHING_TO_DECIDE: (State.SUPERSEDED,),
}


def _asset(
    key: str,
    description: str,
    deliver: Callable[[Settings], Report],
    checks: Sequence[dg.AssetCheckSpec],
) -> dg.AssetsDefinition:
    @dg.asset(
        key=["delivery", key],
        description=description,
        deps=[dg.AssetKey(["published", "marts"])],
        partitions_def=delivery_day,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=checks,
        group_name="delivery",
        kinds={"python"},
        owners=OWNERS,
    )
    def delivery(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        report = deliver(settings)
        results = [_judged(check, report) for check in checks]
        say = context.log.info if all(result.passed for result in results) else context.log.warning
        say(report.in_words())
        yield dg.MaterializeResult(
            metadata={
                "mode": report.mode.value,
                "as_of": str(report.as_of),
                "first_day": {name: str(day) for name, day in report.first_days.items()},
                "older_than_that": report.too_old,
                "counts": {state.value: count for state, count in report.counts.items()},
                "list": _table(report.entries),
            }
        )
        yield from results

    return delivery


def _judged(check: dg.AssetCheckSpec, report: Report) -> dg.AssetCheckResult:
    """Whether a check of a report passes, and what stands in its way."""
    entries = report.of(*_STATES[check.name])
    said = [f"{entry.id} ({entry.receiver}): {entry.reason}" for entry in entries[:_SAID]]
    if len(entries) > _SAID:
        said.append(f"and {len(entries) - _SAID:,} more in DATA_DIR/delivery/{report.name}.json")
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not entries,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or None,
        metadata={"list": _table(entries)},
    )


def _table(entries: Sequence[Entry]) -> dg.TableMetadataValue:
    """The most urgent entries; all of them are in ``DATA_DIR/delivery``."""
    columns = ["state", "receiver", "id", "customer_id", "kind", "day", "reason"]
    columns += ["url", "headers", "body"]
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({name: str(getattr(entry, name)) for name in columns})
            for entry in entries[:_ROWS_SHOWN]
        ],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )


policy_actions_delivery = _asset(
    "policy_actions",
    "Policy actions at the usage API: each sent until it is taken, in order within a customer.",
    deliver_actions,
    [
        dg.AssetCheckSpec(
            ARRIVED,
            asset=["delivery", "policy_actions"],
            # A failed run is what people are told about.
            blocking=True,
            description="The usage API took every action that is due, or delivery is off.",
        ),
        dg.AssetCheckSpec(
            NOTHING_TO_DECIDE,
            asset=["delivery", "policy_actions"],
            description="No delivered action has lost its cause to late data.",
        ),
    ],
)
alerts_delivery = _asset(
    "alerts",
    "Alerts at every webhook that subscribes to them, signed; each sent until it is taken.",
    deliver_alerts,
    [
        dg.AssetCheckSpec(
            ARRIVED,
            asset=["delivery", "alerts"],
            description="Every receiver took every alert.",
        )
    ],
)
