"""The outbox as assets: after the publication, and from it alone, so only what was audited goes out.

The books are published whatever happens here, and the next night sends what was not taken. But a
cap that does not reach the usage API costs money, so the run fails and says which; an alert that a
receiver does not take is a warning.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from orchestration.defs.feed_assets import OWNERS
from orchestration.outbox.actions import send_actions
from orchestration.outbox.alerts import send_alerts
from orchestration.outbox.due import SendState
from orchestration.outbox.report import Entry, Report
from orchestration.partitions import delivery_day
from orchestration.settings import Settings

ARRIVED = "everything_arrived"
NOTHING_TO_DECIDE = "nothing_to_decide"
RENAMED = "renamed"
"""The group of assets under the name that they had in the release before; no night runs them."""
_ROWS_SHOWN = 200
_SAID = 5

_STATES = {
    ARRIVED: (SendState.REFUSED, SendState.UNANSWERED, SendState.WAITS),
    NOTHING_TO_DECIDE: (SendState.SUPERSEDED,),
}


@dataclass(frozen=True)
class Sending:
    """What an asset sends, and the checks of it by name."""

    name: str
    description: str
    send: Callable[[Settings], Report]
    checks: Mapping[str, str]
    fails_run: bool
    """Whether the run fails when not everything arrived: a failed run is what people are told about."""


def _asset(sending: Sending, *, old_name: str = "") -> dg.AssetsDefinition:
    new_key = dg.AssetKey(["outbox", sending.name])
    key = dg.AssetKey([old_name, sending.name]) if old_name else new_key
    checks = [
        dg.AssetCheckSpec(
            name,
            asset=key,
            blocking=sending.fails_run and name == ARRIVED,
            description=description,
        )
        for name, description in sending.checks.items()
    ]

    @dg.asset(
        key=key,
        description=(
            f"Called {new_key.to_user_string()} now, which does the same; the old name goes next."
            if old_name
            else sending.description
        ),
        deps=[dg.AssetKey(["published", "marts"])],
        partitions_def=delivery_day,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=checks,
        group_name=RENAMED if old_name else "outbox",
        kinds={"python"},
        owners=OWNERS,
    )
    def outbox(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        if old_name:
            context.log.warning(
                f"The asset {key.to_user_string()} is called {new_key.to_user_string()} now"
            )
        report = sending.send(settings)
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

    return outbox


def _judged(check: dg.AssetCheckSpec, report: Report) -> dg.AssetCheckResult:
    """Whether a check of a report passes, and what stands in its way."""
    entries = report.of(*_STATES[check.name])
    said = [f"{entry.id} ({entry.receiver}): {entry.reason}" for entry in entries[:_SAID]]
    if len(entries) > _SAID:
        said.append(f"and {len(entries) - _SAID:,} more in DATA_DIR/outbox/{report.name}.json")
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=not entries,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or None,
        metadata={"list": _table(entries)},
    )


def _table(entries: Sequence[Entry]) -> dg.TableMetadataValue:
    """The most urgent entries; all of them are in ``DATA_DIR/outbox``."""
    columns = ["state", "receiver", "id", "customer_id", "kind", "day", "reason"]
    columns += ["url", "headers", "body"]
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({name: str(getattr(entry, name)) for name in columns})
            for entry in entries[:_ROWS_SHOWN]
        ],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )


_ACTIONS = Sending(
    "policy_actions",
    "Policy actions at the usage API: each sent until it is taken, in order within a customer.",
    send_actions,
    {
        ARRIVED: "The usage API took every action that is due, or sending is off.",
        NOTHING_TO_DECIDE: "No action that was sent has lost its cause to late data.",
    },
    fails_run=True,
)
_ALERTS = Sending(
    "alerts",
    "Alerts at every webhook that subscribes to them, signed; each sent until it is taken.",
    send_alerts,
    {ARRIVED: "Every receiver took every alert."},
    fails_run=False,
)
policy_actions_outbox = _asset(_ACTIONS)
alerts_outbox = _asset(_ALERTS)
policy_actions_renamed = _asset(_ACTIONS, old_name="delivery")
alerts_renamed = _asset(_ALERTS, old_name="delivery")
