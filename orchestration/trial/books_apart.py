"""Billing apart from the books: the same job in a data folder of its own.

The real books are read once, while their lock is held: what is landed of the window is linked, file
by file. Landing replaces files and never writes into one, so a link keeps what it was given.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration import landing
from orchestration.books.dbt import COLOURS, run_dbt
from orchestration.books.warehouse import failed_controls, read_warehouse
from orchestration.errors import NotDone
from orchestration.gates.needs import needed_feeds
from orchestration.landing.files import SNAPSHOTS, of_delivery, touched_days, usage_part
from orchestration.night.billing import billing_run
from orchestration.publication.publish import marts_of, publish
from orchestration.seeds.staging import stage_seeds
from orchestration.settings import Settings
from orchestration.sources.folder import FeedFile, FoundUsage, Source, UndatedFeed
from orchestration.sources.services.live import price_source
from orchestration.sources.services.wanted import LiveFeed
from orchestration.sources.usagebox.source import usage_source

_PROBLEMS_SHOWN = 5
_KINDS = ("touched", "rejected", "collisions", "deliveries")


class NotBilled(NotDone, RuntimeError):
    """A window could not be billed apart; the message says why. The books are as they were."""


def settings_apart(settings: Settings, data_dir: Path, first: date, **others: Any) -> Settings:
    """Settings for books that open on ``first`` in a folder of their own, and send nothing.

    DuckDB bills them, whatever the real books are billed with: the figures are the same, and a
    schema of Spark's is not in the folder.

    Args:
        settings: of the real books; all that is not named stays as it is there.
        data_dir: where everything is written.
        others: further settings to replace, for example ``seeds_dir``.
    """
    return settings.apart(
        data_dir=data_dir,
        books_open_on=first,
        policy_api_url="",
        send_policy_actions=False,
        alert_webhook_urls=None,
        notify_urls=None,
        publish_postgres_url=None,
        dbt_target="duckdb",
        **others,
    )


def days_of(first: date, last: date) -> list[date]:
    """The days of a window, both ends included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def landed_days(place: Path, days: Iterable[date]) -> list[date]:
    """The days of which a usage delivery is landed, whole or with a problem."""
    return [day for day in days if of_delivery(place, "deliveries", "usage", day).exists()]


def link_landed(place: Path, target: Path, days: Sequence[date]) -> None:
    """Give ``target`` all that is landed of the days' deliveries, and of the feeds without a day.

    Links, where the file system can; copies elsewhere. Whoever lands in ``place`` is kept out by
    the caller, who holds its lock.
    """
    paths = [of_delivery(place, kind, "usage", day) for kind in _KINDS for day in days]
    paths += [
        usage_part(place, usage_day, day) for day in days for usage_day in touched_days(place, day)
    ]
    for feed, (snapshot, _) in SNAPSHOTS.items():
        paths.append(place / snapshot)
        paths += [of_delivery(place, kind, feed, None) for kind in ("rejected", "deliveries")]
    for path in paths:
        if path.exists():
            _link(path, target / path.relative_to(place))
    landing.prepare_landing(target)


def land_feeds(settings: Settings, days: Sequence[date], *, instead: Source | None = None) -> None:
    """Land a window from its feeds, as a night does.

    Args:
        settings: of the books apart; say where the feeds are.
        days: the delivery days.
        instead: a source of usage, and of what else it has, asked instead of the settings' own.

    Raises:
        NotBilled: not one usage delivery can be used.
    """
    # A source that asks for each customer reads them from the staged seeds.
    stage_seeds(settings.seeds_dir, settings.staged_seeds_dir)
    landed = land_usage(settings, days, instead or usage_source(settings))
    problems = [delivery.problem for delivery in landed if delivery.problem]
    if len(problems) == len(days):
        raise NotBilled("Nothing can be billed: " + " ".join(problems[:_PROBLEMS_SHOWN]))
    needed = needed_feeds(settings.seeds_dir, settings.reporting_currency)
    land_prices(settings, days, needed, instead=instead)


def land_usage(settings: Settings, days: Sequence[date], source: Source) -> list[landing.Delivery]:
    """Land the usage of a window, and say what came of each day."""
    place = settings.landing_dir
    landing.prepare_landing(place)
    return [
        landing.land_usage(
            FoundUsage(source, day),
            day,
            place,
            conflict_days=settings.conflict_days,
            max_bytes=settings.max_delivery_bytes,
        )
        for day in days
    ]


def land_prices(
    settings: Settings,
    days: Sequence[date],
    needed: Collection[UndatedFeed],
    *,
    instead: Source | None = None,
) -> list[landing.Delivery]:
    """Land the feeds without a day, as a night over a window does, and say what came of each."""
    landed = []
    live: LiveFeed | None
    for land, live in (
        (landing.land_energy_prices, "energy"),
        (landing.land_energy_mix, "carbon"),
        (landing.land_gpu_prices, None),
        (landing.land_fx_rates, None),
    ):
        source = price_source(settings, live, days[0], days[-1])
        landed.append(
            land(
                _FirstThatHas(instead, source) if instead else source,
                settings.landing_dir,
                max_bytes=settings.max_delivery_bytes,
                needed=needed,
            )
        )
    return landed


class _FirstThatHas:
    """A source asked first, and another one for the feeds that the first has no file of."""

    def __init__(self, first: Source, otherwise: Source) -> None:
        self._first, self._otherwise = first, otherwise

    def usage(self, day: date) -> FeedFile:
        """Find a usage delivery in the first."""
        return self._first.usage(day)

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """List the files of a feed that has no delivery day."""
        return self._first.files(feed) or self._otherwise.files(feed)


def bill_apart(settings: Settings, first: date, last: date, run_id: str) -> Path:
    """Bill and publish what is landed of a window in a data folder of its own.

    Returns:
        The publication's folder.

    Raises:
        SeedError: the seeds break their contract.
        NothingToBill: a delivery of the window is missing or refused.
        NotBilled: dbt or a control failed.
        NotPublishable: a control failed that did not stop dbt.
    """
    with billing_run(settings, first, last, of_a_window=True) as run:
        build_apart(settings, run.dbt_arguments)
    target = Path(settings.dbt_environment()["DBT_TARGET_PATH"])
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    publish(settings, marts_of(manifest), run_id)
    return settings.published_dir / "current"


def waiting(settings: Settings) -> pa.Table:
    """The usage that a seed edit would bill, from books apart: what it is and what it lacks.

    Read from the warehouse, which is the only place that has it typed; nobody else writes it.

    Returns:
        Rows by reason, customer, cluster, GPU type, accelerator and model family, with their count
        and GPU minutes.
    """
    with read_warehouse(settings) as warehouse:
        return warehouse.sql(
            "select reason, customer_id, cluster, gpu_type, "
            "coalesce(accelerator, '') as accelerator, model_family, "
            "cast(sum(event_count) as bigint) as rows, "
            "cast(sum(event_minutes_micro) * 0.000001 as decimal(38, 6)) as gpu_minutes "
            "from int_delivered_hours join int_kinds_of_use "
            "using (customer_id, usage_date, delivery_day, cluster, gpu_type, model_family) "
            "where reason is not null group by all order by all"
        ).to_arrow_table()


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # Another file system, or one without links.
        shutil.copyfile(path, target)


def build_apart(settings: Settings, arguments: list[str]) -> None:
    """Run dbt as the nightly job does, in a process of its own: it has the environment of its books.

    Raises:
        NotBilled: it or a control failed.
    """
    settings.warehouse_dir.mkdir(parents=True, exist_ok=True)
    settings.console_log.parent.mkdir(parents=True, exist_ok=True)
    with settings.console_log.open("w", encoding="utf-8") as log:
        done = run_dbt(settings, arguments, log=log)
    if done.returncode:
        raise NotBilled("; ".join(failed_controls(settings) or _dbt_errors(settings)))


def _dbt_errors(settings: Settings) -> list[str]:
    """What dbt said of the nodes that failed, or else its last words."""
    results = Path(settings.dbt_environment()["DBT_TARGET_PATH"]) / "run_results.json"
    if results.exists():
        failed = [
            f"{result['unique_id']}: {' '.join((result['message'] or result['status']).split())}"
            for result in json.loads(results.read_text(encoding="utf-8"))["results"]
            if result["status"] in ("error", "fail")
        ]
        if failed:
            return failed[:_PROBLEMS_SHOWN]
    lines = COLOURS.sub("", settings.console_log.read_text(encoding="utf-8")).splitlines()
    said = [line.strip() for line in lines if line.strip()]
    return ["dbt failed: " + " | ".join(said[-_PROBLEMS_SHOWN:])]
