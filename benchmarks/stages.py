"""One stage of the nightly job in a process of its own: ``python -m benchmarks.stages STAGE FROM TO``.

The same calls as the assets in ``orchestration/defs`` make, without Dagster, with the same settings
from the environment, so that a stage's CPU and memory are its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from orchestration.books.dbt import run_dbt
from orchestration.books.warehouse import writer_lock
from orchestration.settings import Settings, load_settings

EVENT_PASS = "gpu_credit_warehouse.usage"
"""The models from delivered events to rated usage, as dbt selects them."""


def land_usage(settings: Settings, first: date, last: date) -> None:
    """Land the usage deliveries."""
    from orchestration import landing
    from orchestration.sources.usagebox.source import usage_source

    source = usage_source(settings)
    with writer_lock(settings):
        landing.prepare_landing(settings.landing_dir)
    for n in range((last - first).days + 1):
        with writer_lock(settings):
            landing.land_usage(
                source,
                first + timedelta(days=n),
                settings.landing_dir,
                conflict_days=settings.conflict_days,
                max_bytes=settings.max_delivery_bytes,
            )


def land_prices(settings: Settings, first: date, last: date) -> None:
    """Land the feeds that are one growing file: energy, energy mix, GPU prices, exchange rates."""
    from orchestration import landing
    from orchestration.sources.folder import FolderSource

    source = FolderSource(settings.feeds_url)
    with writer_lock(settings):
        landing.prepare_landing(settings.landing_dir)
        for land in (
            landing.land_energy_prices,
            landing.land_energy_mix,
            landing.land_gpu_prices,
            landing.land_fx_rates,
        ):
            land(source, settings.landing_dir, max_bytes=settings.max_delivery_bytes)


def gates(settings: Settings, first: date, last: date) -> None:
    """Judge what is landed."""
    from orchestration.books.plan import make_plan
    from orchestration.gates.suites import FEEDS
    from orchestration.gates.verdicts import judge_feeds

    with writer_lock(settings):
        plan = make_plan(settings, first, last)
        if plan:
            judge_feeds(settings, list(FEEDS), plan)


def bill(settings: Settings, first: date, last: date) -> None:
    """Plan, and have dbt build and test the warehouse."""
    from orchestration.night.billing import billing_run

    with billing_run(settings, first, last) as run:
        _dbt(settings, run.dbt_arguments)


def event_pass(settings: Settings, first: date, last: date) -> None:
    """Build again, with the plan that is there, the models from delivered events to rated usage."""
    with writer_lock(settings):
        _dbt(settings, ["run", "--select", EVENT_PASS])


def publish(settings: Settings, first: date, last: date) -> None:
    """Publish."""
    from orchestration.publication.publish import marts_of
    from orchestration.publication.publish import publish as publish_marts

    manifest = Path(settings.dbt_environment()["DBT_TARGET_PATH"]) / "manifest.json"
    marts = marts_of(json.loads(manifest.read_text(encoding="utf-8")))
    with writer_lock(settings):
        publish_marts(settings, marts, "benchmark")


def pages(settings: Settings, first: date, last: date) -> None:
    """Draw every customer's page, and finance's."""
    from orchestration.pages.build import build_pages
    from orchestration.pages.finance_page import build_finance_page

    with writer_lock(settings):
        build_pages(settings)
        build_finance_page(settings)


def start_up(settings: Settings, first: date, last: date) -> None:
    """Only what the job does before its first step: settings, the dbt manifest, the definitions."""
    from orchestration.definitions import defs

    defs().resolve_job_def("nightly")


def _dbt(settings: Settings, arguments: list[str]) -> None:
    run_dbt(settings, arguments, log=sys.stdout).check_returncode()


STAGES: dict[str, Callable[[Settings, date, date], None]] = {
    stage.__name__: stage
    for stage in (land_usage, land_prices, gates, bill, event_pass, publish, pages, start_up)
}


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in STAGES:
        sys.exit(f"{__doc__}\n{', '.join(STAGES)}")
    STAGES[sys.argv[1]](load_settings(), *map(date.fromisoformat, sys.argv[2:]))
