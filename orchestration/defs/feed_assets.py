"""Feeds: land each delivery as Parquet, untouched, and say whether it can be billed.

A feed never cleans. Curing, de-duplicating and pricing belong to the models, so landing a day
twice always leaves the same rows.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg
import duckdb

from orchestration.books.warehouse import writer_lock
from orchestration.gates import reconciliation
from orchestration.gates.holds import hold
from orchestration.gates.needs import needed_feeds
from orchestration.landing import (
    Delivery,
    interrupted_usage,
    land_energy_mix,
    land_energy_prices,
    land_fx_rates,
    land_gpu_prices,
    land_usage,
    prepare_landing,
    refusal,
    withdrawals,
)
from orchestration.partitions import delivery_day
from orchestration.settings import Settings
from orchestration.sources.folder import FoundUsage
from orchestration.sources.services.live import price_source
from orchestration.sources.services.wanted import LiveFeed
from orchestration.sources.usagebox.source import usage_source

OWNERS = ["team:billing"]
COMPLETE = "delivery_is_complete"

# A feed may be asked again when its store does not answer; a failed check is a fact, not a flake.
RETRY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL)

# The seeds, a setting, a fault of the job itself: asking again gives the same answer.
_LASTING = (ValueError, TypeError, LookupError, AttributeError, AssertionError, duckdb.Error)
_LASTING_NUMBERS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)


@contextmanager
def at_once_if_it_lasts() -> Iterator[None]:
    """Fail without a retry for what no retry cures: a full disk, a broken seed, a wrong setting.

    Raises:
        dagster.Failure: instead of such an error. Any other passes as it is, to be tried again.
    """
    try:
        yield
    except Exception as error:
        lasts = isinstance(error, _LASTING) or (
            isinstance(error, OSError) and error.errno in _LASTING_NUMBERS
        )
        if not lasts:
            raise
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error


# Deliveries are due by 01:30, the night begins at 02:30: at 03:30 each feed must have been landed in
# it. A window as long as a day would let the night before count, and show a missed one a day late.
DUE = dg.FreshnessPolicy.cron(deadline_cron="30 3 * * *", lower_bound_delta=timedelta(hours=1))

Land = Callable[..., Delivery]


def asked_days(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[date]:
    """The delivery days of a run, in order: its partition, or the range of a backfill."""
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


@dg.asset(
    key=["landing", "usage"],
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[
        dg.AssetCheckSpec(
            COMPLETE,
            asset=["landing", "usage"],
            blocking=True,
            description="Every delivery asked for is there, whole, and few of its rows are incurable.",
        ),
        dg.AssetCheckSpec(
            withdrawals.CHECK,
            asset=["landing", "usage"],
            blocking=True,
            description="No delivery that was landed again lacks an event that only it had, unless "
            "a person accepted it.",
        ),
        reconciliation.check_spec(),
    ],
    freshness_policy=DUE,
    retry_policy=RETRY,
    group_name="feeds",
    kinds={"python", "parquet"},
    owners=OWNERS,
)
def usage(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """GPU usage as it was metered: one row per slice, landed by usage day and delivery day."""
    with at_once_if_it_lasts():
        yield from _land_usage_of(context, settings)


def _land_usage_of(
    context: dg.AssetExecutionContext, settings: Settings
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    source = usage_source(settings)
    deliveries = []
    with writer_lock(settings):
        prepare_landing(settings.landing_dir)
        interrupted = interrupted_usage(settings.landing_dir)
    for day in sorted({*asked_days(context), *interrupted}):
        found = FoundUsage(source, day)
        # A billing reads what is landed; nothing is landed while one runs.
        with writer_lock(settings):
            delivery = land_usage(
                found,
                day,
                settings.landing_dir,
                conflict_days=settings.conflict_days,
                max_bytes=settings.max_delivery_bytes,
            )
        deliveries.append(delivery)
        context.log.info(
            f"{day}: {delivery.delivered_rows:,} rows delivered, {delivery.landed_rows:,} landed, "
            f"{delivery.rejected_rows:,} set aside"
            + (f" - {delivery.problem}" if delivery.problem else "")
        )
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(d.landed_rows for d in deliveries),
            "delivered_rows": sum(d.delivered_rows for d in deliveries),
            "set_aside_rows": sum(d.rejected_rows for d in deliveries),
            "deliveries": _table(deliveries),
        }
    )
    days = [d.delivery_day for d in deliveries if d.delivery_day]
    problems = [problem for day in days if (problem := _refusal(settings, "usage", day))]
    held = [day for day in days if withdrawals.held(settings.landing_dir, day)]
    withdrawn = [problem for day in held if (problem := _refusal(settings, "usage", day))]
    yield _usage_check(COMPLETE, [problem for problem in problems if problem not in withdrawn])
    yield _usage_check(withdrawals.CHECK, withdrawn)
    reconciled = reconciliation.check(source, settings, asked_days(context), problems)
    hold(
        settings,
        reconciliation.RECONCILED,
        None if reconciled.passed else reconciled.description or "it failed",
    )
    yield reconciled


def _usage_check(name: str, problems: list[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not problems,
        # As text: what a problem quotes from a delivery must not become a link or a picture.
        metadata={"problems": dg.MetadataValue.text("\n".join(problems) or "none")},
        description="; ".join(problems) or None,
    )


def _refusal(settings: Settings, feed: str, day: date | None) -> str | None:
    """Why a landed delivery may not be billed; the plan of a billing asks the same."""
    return refusal(settings.landing_dir, feed, day, settings.max_incurable_share)


def _price_feed(
    key: str, description: str, land: Land, live: LiveFeed | None = None
) -> dg.AssetsDefinition:
    """A feed that is one growing file (or one per zone) rather than a file per day."""

    @dg.asset(
        key=["landing", key],
        description=description,
        partitions_def=delivery_day,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                COMPLETE,
                asset=["landing", key],
                blocking=True,
                description="The feed's files are there, whole, and few of their rows are incurable.",
            )
        ],
        freshness_policy=DUE,
        retry_policy=RETRY,
        group_name="feeds",
        kinds={"python", "parquet"},
        owners=OWNERS,
    )
    def feed(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        with at_once_if_it_lasts():
            days = asked_days(context)
            source = price_source(settings, live, days[0], days[-1])
            with writer_lock(settings):
                prepare_landing(settings.landing_dir)
                delivery = land(
                    source,
                    settings.landing_dir,
                    max_bytes=settings.max_delivery_bytes,
                    needed=needed_feeds(settings.seeds_dir, settings.reporting_currency),
                )
            yield dg.MaterializeResult(
                metadata={
                    "dagster/row_count": delivery.landed_rows,
                    "delivered_rows": delivery.delivered_rows,
                    "set_aside_rows": delivery.rejected_rows,
                    "set_aside_by_reason": dict(delivery.rejected_by_reason),
                }
            )
            problem = _refusal(settings, delivery.feed, None)
            yield dg.AssetCheckResult(
                check_name=COMPLETE,
                passed=problem is None,
                metadata={"problem": problem or "none"},
                description=problem,
            )

    return feed


energy_price = _price_feed(
    "energy_price",
    "Energy prices by zone and interval, in the currency of the market, stored in UTC.",
    land_energy_prices,
    live="energy",
)
energy_mix = _price_feed(
    "energy_mix",
    "Carbon intensity and renewable share of the grid, by zone and hour. A zone may have none.",
    land_energy_mix,
    live="carbon",
)
gpu_price = _price_feed(
    "gpu_price",
    "Observed market prices of GPU hours, by provider and price kind.",
    land_gpu_prices,
)
fx_rate = _price_feed(
    "fx_rate",
    "Exchange rates into the reporting currency, carried forward over days without one.",
    land_fx_rates,
)


def _table(deliveries: list[Delivery]) -> dg.TableMetadataValue:
    columns = {
        "delivery_day": "string",
        "file": "string",
        "delivered": "int",
        "landed": "int",
        "set_aside": "int",
        "problem": "string",
    }
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "delivery_day": str(d.delivery_day),
                    "file": d.file_name,
                    "delivered": d.delivered_rows,
                    "landed": d.landed_rows,
                    "set_aside": d.rejected_rows,
                    "problem": d.problem or "",
                }
            )
            for d in deliveries
        ],
        schema=dg.TableSchema([dg.TableColumn(name, type_) for name, type_ in columns.items()]),
    )
