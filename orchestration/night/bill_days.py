"""Land, bill, check and publish delivery days in one run: what runs at night, without a server."""

from __future__ import annotations

import gc
import sys
from contextlib import redirect_stdout
from datetime import date

from orchestration.books.late import landed_days
from orchestration.errors import PlainError
from orchestration.night.failures import FailedRun, failed_run, published_by
from orchestration.night.instance import use_instance
from orchestration.night.notify import notify
from orchestration.printable import printable_lines
from orchestration.seeds.staging import BookDays, check_seeds
from orchestration.settings import Settings, load_settings, without_credentials
from orchestration.sources.arrivals import require_arrivals


def bill_days(first: date, last: date) -> int:
    """Run the nightly job over a range of delivery days, both included.

    Returns:
        The exit code: 0 only if it published.

    Raises:
        SettingsError: a setting is wrong; nothing was begun.
        SeedError: the seeds are, or they cannot follow on those that were billed.
        MissingDeliveries: a delivery day that was asked for isn't there.
    """
    settings = load_settings()
    before = published_by(settings.published_dir)
    try:
        check_seeds(settings.seeds_dir, book_days(settings, first, last))
        require_arrivals(settings, first, last)
        use_instance(settings)
        return _bill(settings, first, last)
    except Exception as error:
        is_known = isinstance(error, PlainError)
        problem = str(error) if is_known else f"{type(error).__name__}: {error}"
        after = published_by(settings.published_dir)
        run = FailedRun(
            "none",
            first.isoformat(),
            last.isoformat(),
            (problem,),
            has_published=None if None in (before, after) else before != after,
        )
        # Whoever ends the command says what a PlainError says.
        notify(settings, run, log=_say_nothing if is_known else _complain, warn=_complain)
        raise


def book_days(settings: Settings, first: date, last: date) -> BookDays:
    """The days that the books will cover, before anything of them is landed."""
    days = [first, last, *landed_days(settings.landing_dir)]
    return BookDays(settings.books_open_on or min(days), max(days))


def _complain(text: str) -> None:
    print(printable_lines(text), file=sys.stderr)


def _say_nothing(_: str) -> None:
    pass


def _bill(settings: Settings, first: date, last: date) -> int:
    # What is imported lives until the process ends, so looking for garbage hardly finds any.
    gc.set_threshold(50_000)
    # Imported late: the settings and seeds are checked before seconds go into importing Dagster.
    import dagster as dg

    from orchestration.definitions import defs
    from orchestration.night.summary import summarize

    job = defs().resolve_job_def("nightly")
    range_tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    source = without_credentials(settings.feeds_url)
    if settings.usage_url:
        source += f", usage from {settings.usage_url}"
    print(f"Billing deliveries {first} to {last} from {source}", flush=True)
    settings.console_log.parent.mkdir(parents=True, exist_ok=True)
    # A run from here keeps no history: thousands of events would take longer than the billing.
    with (
        dg.DagsterInstance.ephemeral() as instance,
        settings.console_log.open("w", encoding="utf-8") as log,
        redirect_stdout(log),
    ):
        result = job.execute_in_process(
            run_config={"loggers": {"console": {}}},
            instance=instance,
            tags=range_tags,
            raise_on_error=False,
        )
    if not result.success:
        run = failed_run(result.run_id, range_tags, result.all_events, settings.published_dir)
        notify(settings, run, log=_say_nothing, warn=_complain)
        if settings.console_log.stat().st_size:
            _complain(f"What dbt said is in {settings.console_log}")
        _complain(f"{run.title}. {run.outcome}")
        for problem in run.problems:
            _complain(f"  - {problem}")
        return 1
    print(summarize(settings))
    return 0
