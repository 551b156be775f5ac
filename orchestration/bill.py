"""``python -m orchestration.bill FROM TO``: land, bill, check and publish delivery days, in one run.

The same job that runs at night, without a server. Exit code 0 only when it published.
"""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import redirect_stdout
from datetime import date

from orchestration.instance import use_instance
from orchestration.seeds import SeedError
from orchestration.settings import Settings, SettingsError, load_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the nightly job over a range of delivery days, both included."""
    parser = argparse.ArgumentParser(prog="make bill", description=__doc__)
    parser.add_argument("first", type=date.fromisoformat, metavar="FROM")
    parser.add_argument("last", type=date.fromisoformat, metavar="TO")
    asked = parser.parse_args(arguments)
    if asked.last < asked.first:
        parser.error(f"TO={asked.last} lies before FROM={asked.first}")
    try:
        settings = load_settings()
        use_instance(settings)
        return _bill(settings, asked.first, asked.last)
    except (SettingsError, SeedError) as error:
        print(f"Nothing was billed. {error}", file=sys.stderr)
        return 2


def _bill(settings: Settings, first: date, last: date) -> int:
    # Imported late: the settings and seeds are checked before seconds go into importing Dagster.
    import dagster as dg

    from orchestration.definitions import defs
    from orchestration.summary import summarize

    job = defs().resolve_job_def("nightly")
    range_tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    source = re.sub(r"//[^/@]*@", "//***@", settings.feeds_url)
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
        print("\nNot published; what was published before stays as it was.", file=sys.stderr)
        for problem in _problems(result):
            print(f"  - {problem}", file=sys.stderr)
        print(f"What dbt said is in {settings.console_log}", file=sys.stderr)
        return 1
    print(summarize(settings))
    return 0


def _problems(result: object) -> list[str]:
    """Why a run did not publish: failed checks, then failed steps, each once."""
    found: list[str] = []
    for event in result.all_events:  # type: ignore[attr-defined]
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity.value == "ERROR":
                found.append(
                    f"check {check.check_name} of {'/'.join(check.asset_key.path)} failed"
                    + (f": {check.description}" if check.description else "")
                )
        elif event.event_type_value == "STEP_FAILURE":
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                found.append(failure.user_failure_data.description)
            elif failure.error:
                innermost = failure.error
                while innermost.cause:
                    innermost = innermost.cause
                found.append(f"{event.step_key}: {innermost.message.strip()}")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(main())
