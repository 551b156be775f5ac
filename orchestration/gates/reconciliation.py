"""What landed against the engine's own sums: the check that nothing was lost or taken in twice.

The engine's sums know no day of ingestion, and the landing has only what was ingested on the days
that were delivered. So for an account and a usage day, what should be there is what landed from
this engine, set aside or not, and what was seen to be ingested on other days (before the first
delivery, or since the last). If that equals the engine's sum, all is well. If not, something may
have been ingested since, or be missing: the raw events of that day are asked for again and
compared delivery by delivery. Their days of ingestion are over, so this answer is sure.

Days of which the run landed something are compared one by one; the others were when they landed,
so for them it is enough that the sum over all days between is right.
"""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq

from orchestration.books.warehouse import writer_lock
from orchestration.landing.files import of_delivery, staging
from orchestration.settings import Settings
from orchestration.sources.folder import FeedProblem, Source
from orchestration.sources.usagebox.client import DAY, Tally, Window
from orchestration.sources.usagebox.rows import counted
from orchestration.sources.usagebox.seen import moved
from orchestration.sources.usagebox.source import FEED, AccountDay, UsageBoxSource, hours_of
from orchestration.store.duck import connect

RECONCILED = "landed_equals_engine"
SHOWN = 10
_BATCH_ROWS = 20_000

Landed = dict[AccountDay, dict[date, Tally]]
"""What landed, by account and usage day, and by delivery day."""


@dataclass(frozen=True)
class Difference:
    """An account's usage day of which something else landed than the engine has."""

    account: str
    usage_day: date
    engine: Tally
    landed: Tally
    deliveries: tuple[date, ...]
    """The delivery days on which they differ."""

    def __str__(self) -> str:
        again = ", ".join(map(str, self.deliveries))
        return (
            f"account {self.account!r}, usage day {self.usage_day}: the engine has {self.engine}; "
            f"landed are {self.landed} (land again {again})"
        )


def differences(
    source: UsageBoxSource, settings: Settings, asked: Sequence[date]
) -> list[Difference]:
    """Compare everything landed on the usage days that some deliveries may hold.

    Args:
        source: the engine that delivered.
        asked: the delivery days of a run, in order.

    Returns:
        Every account and usage day that differs, both figures over this engine's deliveries.

    Raises:
        FeedProblem: the engine does not answer.
        WriterBusy: another run is landing or billing.
    """
    landing = settings.landing_dir
    first, end = asked[0] - timedelta(days=source.lookback_days), asked[-1] + DAY
    with writer_lock(settings):
        delivered = _deliveries(landing, source.deliveries)
        landed = _landed(landing, delivered, first, end)
    known = source.seen().ingested(lambda day: day not in delivered)
    for (account, usage_day), by_delivery in landed.items():
        others = known[account].get(usage_day, Tally())
        known[account][usage_day] = sum(by_delivery.values(), others)
    changed: dict[str, set[date]] = defaultdict(set)
    for (account, usage_day), by_delivery in landed.items():
        if not by_delivery.keys().isdisjoint(asked):
            changed[account].add(usage_day)
    windows = [
        window
        for account in source.accounts
        for window in _apart(Window.of_days(account, first, end), changed[account])
    ]
    found: dict[AccountDay, dict[date, Tally]] = defaultdict(lambda: defaultdict(Tally))
    with source.ask() as engine:
        days = moved(engine, windows, known)
        for hour in hours_of(engine, days):
            for day, tally in hour.ingested.items():
                found[hour.of][day] += tally
    differing = []
    for account, usage_day in days:
        engine_has, we_have = (
            {day: tally for day, tally in of[account, usage_day].items() if day in delivered}
            for of in (found, landed)
        )
        if engine_has != we_have:
            unequal = (d for d in {*engine_has, *we_have} if engine_has.get(d) != we_have.get(d))
            differing.append(
                Difference(
                    account,
                    usage_day,
                    engine=sum(engine_has.values(), Tally()),
                    landed=sum(we_have.values(), Tally()),
                    deliveries=tuple(sorted(unequal)),
                )
            )
    return differing


def _apart(window: Window, usage_days: set[date]) -> Iterator[Window]:
    """Windows that make up this one, each of the days on its own: two errors may add up to none."""
    start = window.start.date()
    for day in sorted(usage_days):
        if start < day:
            yield Window.of_days(window.account, start, day)
        start = day + DAY
        yield Window.of_days(window.account, day, start)
    if start < window.end.date():
        yield Window.of_days(window.account, start, window.end.date())


def check_spec() -> dg.AssetCheckSpec:
    """The check on the usage feed. It blocks: books that miss use, or have it twice, are wrong."""
    return dg.AssetCheckSpec(
        RECONCILED,
        asset=["landing", FEED],
        blocking=True,
        description=(
            "What landed of every account and usage day is what the UsageBox engine's own sums "
            "say; where a folder is the source, there is nothing to compare."
        ),
    )


def check(
    source: Source, settings: Settings, asked: Sequence[date], problems: Sequence[str]
) -> dg.AssetCheckResult:
    """Evaluate the check for the deliveries of a run.

    Args:
        problems: why some of them are not to be billed, if so; then nothing is compared.
    """
    if not isinstance(source, UsageBoxSource):
        return _result(True, "does not apply: the folder has no sums of its own")
    if problems:
        return _result(False, "not compared: a delivery has a problem of its own")
    try:
        found = differences(source, settings, asked)
    except FeedProblem as problem:
        return _result(False, f"not compared: {problem}")
    told = "; ".join(map(str, found[:SHOWN]))
    if len(found) > SHOWN:
        told += f"; and {len(found) - SHOWN} more"
    return _result(not found, told or None, found)


def _result(
    passed: bool, told: str | None, found: Sequence[Difference] = ()
) -> dg.AssetCheckResult:
    columns = ("account", "usage_day", "engine", "landed", "land_again")
    return dg.AssetCheckResult(
        check_name=RECONCILED,
        passed=passed,
        description=told,
        metadata={
            "differing_days": len(found),
            "differences": dg.MetadataValue.table(
                records=[
                    dg.TableRecord(
                        {
                            "account": each.account,
                            "usage_day": str(each.usage_day),
                            "engine": str(each.engine),
                            "landed": str(each.landed),
                            "land_again": ", ".join(map(str, each.deliveries)),
                        }
                    )
                    for each in found[:100]
                ],
                schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
            ),
        },
    )


def _deliveries(landing: Path, prefix: str) -> set[date]:
    """The delivery days that stand in the landing as this engine delivered them."""
    found = set()
    for path in (landing / "deliveries" / FEED).glob("*.parquet"):
        with pq.ParquetFile(path) as record:
            for row in record.read(["delivery_day", "file_name", "problem"]).to_pylist():
                if row["file_name"].startswith(prefix) and row["problem"] is None:
                    found.add(row["delivery_day"])
    return found


def _landed(landing: Path, deliveries: set[date], first: date, end: date) -> Landed:
    """What landed of some deliveries on the usage days from ``first`` on until before ``end``."""
    landed: Landed = defaultdict(lambda: defaultdict(Tally))
    for account, usage_day, day, tally in (
        *_typed_rows(landing, deliveries, first, end),
        *_rejected_rows(landing, deliveries),
    ):
        if first <= usage_day < end:
            landed[account, usage_day][day] += tally
    return landed


def _typed_rows(
    landing: Path, deliveries: set[date], first: date, end: date
) -> Iterator[tuple[str, date, date, Tally]]:
    """The rows that were accepted: account, usage day, delivery day, and how many of what."""
    days = [first + timedelta(days=n) for n in range((end - first).days)]
    parts = [
        str(part)
        for usage_day in days
        for part in landing.glob(f"usage/usage_day={usage_day}/delivery_day=*/part.parquet")
        if date.fromisoformat(part.parent.name.partition("=")[2]) in deliveries
    ]
    if not parts:
        return
    with staging(landing, "reconciliation") as stage, connect(stage) as connection:
        rows = connection.sql(
            """
            select customer_id, usage_day, delivery_day, count(*), sum(quantity_micro) // 1000000
            from read_parquet($parts, hive_partitioning = false)
            group by all
            """,
            params={"parts": [glob.escape(part) for part in parts]},
        ).fetchall()
    for account, usage_day, day, events, quantity in rows:
        yield account, usage_day, day, Tally(events, int(quantity))


def _rejected_rows(landing: Path, deliveries: set[date]) -> Iterator[tuple[str, date, date, Tally]]:
    """The rows that were set aside, one by one: the engine has them, too."""
    for day in sorted(deliveries):
        path = of_delivery(landing, "rejected", FEED, day)
        with pq.ParquetFile(path) as rejected:
            for batch in rejected.iter_batches(_BATCH_ROWS, columns=["raw"]):
                for raw in batch["raw"].to_pylist():
                    account, usage_day, tally = counted(raw)
                    yield account, usage_day, day, tally
