"""The usage feed from a UsageBox engine: one delivery file for every day that is asked for.

The engine is asked by the instant of use, a delivery is the events of one day of ingestion. So a
delivery day asks for the use of all the days that it may hold. Asking for each hour of them would
be 24 questions for every account and day of the lookback, and the same events every night. The
engine's sums say first what has changed: only days whose sum is not what was seen before are asked
for, hour by hour. A day's sum can only stay as it was if nothing was ingested for it.

An account that is not among the customers cannot be asked for: with this source its use is not an
``unknown_customer`` but unseen until the customer is entered.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import duckdb
import pyarrow as pa
from filelock import FileLock, Timeout

from orchestration.landing.files import staging
from orchestration.seeds.staging import check_seeds
from orchestration.settings import Settings
from orchestration.sources.folder import FeedFile, FeedProblem, FolderSource, Source, UndatedFeed
from orchestration.sources.usagebox.address import engine_address, folder_name
from orchestration.sources.usagebox.client import (
    DAY,
    Engine,
    Event,
    Tally,
    Window,
    asking,
    ingested_on,
    wrong_answer,
)
from orchestration.sources.usagebox.rows import feed_row, order_in_delivery
from orchestration.sources.usagebox.seen import Seen, moved
from orchestration.store.duck import connect
from orchestration.store.durable import put

FEED = "usage"
DAYS_AHEAD = 366
"""Use from a clock that runs ahead by up to this is delivered, too, and set aside by landing."""
SETTLING = timedelta(minutes=10)
"""What was ingested in the last moments of a day may only be visible a little later."""
_PATIENCE_SECONDS = 600
_BATCH_HOURS = 256
_BATCH_LINES = 20_000
_ROWS = pa.schema(
    [("ingested_at_ms", pa.int64()), ("event_id", pa.string()), ("line", pa.string())]
)


AccountDay = tuple[str, date]
"""An account and a usage day."""


@dataclass(frozen=True)
class Hour:
    """What the engine has of an account in one hour of use.

    Attributes:
        ingested: all of its events, counted by the day of their ingestion.
        rows: those of one delivery, as milliseconds of ingestion, id and line of the feed.
    """

    of: AccountDay
    ingested: dict[date, Tally]
    rows: list[tuple[int, str, str]]


class UsageBoxSource:
    """Usage from a UsageBox engine; every other feed from the folder.

    Args:
        address: of the engine, see ``engine_address``.
        ask: opens the engine, see ``asking``.
        accounts: who is asked for.
        folder: the source of the other feeds.
        store: the folder that holds what engines have delivered; may be missing.
        lookback_days: how many days before its delivery day use may have happened.
        now: the clock; only says whether a day is over.
    """

    def __init__(
        self,
        address: str,
        ask: Callable[[], AbstractContextManager[Engine]],
        accounts: Sequence[str],
        folder: Source,
        store: Path,
        *,
        lookback_days: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.address, self.ask = address, ask
        self.accounts = sorted(set(accounts))
        self.lookback_days = lookback_days
        self._folder, self._now = folder, now
        self._name = folder_name(address)
        self._place = store / self._name

    @property
    def deliveries(self) -> str:
        """What the names of this engine's delivery files begin with."""
        return f"usagebox/{self._name}/"

    def seen(self) -> Seen:
        """What the engine had when it was last asked."""
        return Seen(self._place / "seen.parquet")

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """List the files of a feed in the folder."""
        return self._folder.files(feed)

    def usage(self, day: date) -> FeedFile:
        """Ask for everything ingested on a UTC day, and write it down as the day's delivery.

        An earlier delivery of the day is replaced, but only once every account has answered.

        Raises:
            FeedProblem: the day is not over, the engine does not answer, or it has nothing.
        """
        self._check_over(day)
        if not self.accounts:
            raise FeedProblem(
                FEED, "contracts/customers.csv", "there is nobody to ask for", "Enter a customer"
            )
        self._place.mkdir(parents=True, exist_ok=True)
        name = f"usage_{day.isoformat()}.jsonl.gz"
        try:
            with FileLock(self._place / ".lock", timeout=_PATIENCE_SECONDS, mode=0o600):
                self._deliver(day, self._place / name)
        except Timeout:
            pass
        else:
            path = self._place / name
            return FeedFile(FEED, self.deliveries + name, lambda: cast(BinaryIO, path.open("rb")))
        raise FeedProblem(
            FEED,
            self.deliveries + name,
            "another run has been asking the engine for ten minutes",
            "Land the day again when that run has ended",
        )

    def _check_over(self, day: date) -> None:
        over = datetime.combine(day, time(), UTC) + DAY + SETTLING
        if self._now() < over:
            raise FeedProblem(
                FEED,
                f"UsageBox, delivery day {day}",
                "the day is not over, more may be ingested",
                f"Land it after {over:%Y-%m-%d %H:%M} UTC",
            )

    def _deliver(self, day: date, path: Path) -> None:
        seen = self.seen()
        first = day - timedelta(days=self.lookback_days)
        windows = [
            Window.of_days(account, first, day + timedelta(days=1 + DAYS_AHEAD))
            for account in self.accounts
        ]
        with (
            self.ask() as engine,
            staging(self._place, f"usage-{day}") as stage,
            connect(stage) as connection,
        ):
            days = moved(engine, windows, seen.ingested(lambda ingested: ingested != day))
            for each in days:
                seen.forget(*each)
            rows = 0
            for hours in _batches(hours_of(engine, days, day)):
                for hour in hours:
                    seen.add(*hour.of, hour.ingested)
                rows += _keep([row for hour in hours for row in hour.rows], connection)
            if not rows:
                raise FeedProblem(
                    FEED,
                    f"UsageBox, delivery day {day}",
                    f"the engine took in nothing for any of {len(self.accounts)} accounts",
                    "Check USAGE_URL and the meter, then land the day again",
                )
            _write(connection, stage / path.name)
            put(stage / path.name, path)
            # A run of many days is held against the engine as a whole, from its first day back.
            seen.save(stage, first - timedelta(days=self.lookback_days))


def hours_of(
    engine: Engine, days: Iterable[AccountDay], delivery_day: date | None = None
) -> Iterator[Hour]:
    """Ask for all hours of some accounts' usage days, in their order.

    Args:
        delivery_day: the day of ingestion whose events are wanted as rows.

    Raises:
        FeedProblem: an hour got no usable answer.
    """

    def read(window: Window, events: list[Event]) -> Hour:
        ingested: dict[date, Tally] = defaultdict(Tally)
        rows = []
        for event in events:
            taken_in = ingested_on(event)
            ingested[taken_in] += Tally.of(event.get("quantity"))
            if taken_in == delivery_day:
                try:
                    rows.append((*order_in_delivery(event), feed_row(event)))
                except RecursionError:
                    raise wrong_answer(window, "an event is nested too deep") from None
        return Hour((window.account, window.start.date()), ingested, rows)

    windows = (
        hour for account, day in days for hour in Window.of_days(account, day, day + DAY).hours()
    )
    return engine.events(windows, read)


def _batches(hours: Iterator[Hour]) -> Iterator[list[Hour]]:
    """Some hours at a time, so that their rows are kept together; most hours have few."""
    while batch := list(islice(hours, _BATCH_HOURS)):
        yield batch


def _keep(rows: list[tuple[int, str, str]], connection: duckdb.DuckDBPyConnection) -> int:
    """Put rows where they can be sorted, whatever their number; returns how many."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    connection.register("batch", pa.table(columns, schema=_ROWS))
    connection.execute("create table if not exists delivered as select * from batch limit 0")
    connection.execute("insert into delivered select * from batch")
    connection.unregister("batch")
    return len(rows)


def _write(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the kept rows as a delivery; the same rows give the same bytes."""
    lines = connection.sql("select line from delivered order by ingested_at_ms, event_id, line")
    with (
        path.open("wb") as file,
        # The header of a gzip file would hold its name and the time.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed,
    ):
        for batch in lines.to_arrow_reader(_BATCH_LINES):
            packed.write("".join(f"{line}\n" for line in batch["line"].to_pylist()).encode())


def usage_source(settings: Settings) -> Source:
    """The source of usage that the settings name: a UsageBox engine, or the folder of the feeds."""
    folder = FolderSource(settings.feeds_url)
    if not settings.usage_url:
        return folder
    address = engine_address(settings.usage_url)
    return UsageBoxSource(
        address,
        lambda: asking(address, settings.usagebox_api_key, parallel=settings.usagebox_parallel),
        # Today's seeds, not those of the last billing: a new customer is asked for at once.
        [row["customer_id"] for row in check_seeds(settings.seeds_dir)["customers"]],
        folder,
        settings.usagebox_dir,
        lookback_days=settings.usagebox_lookback_days,
    )
