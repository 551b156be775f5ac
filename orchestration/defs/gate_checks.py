"""Gates: blocking checks on the landed feeds, so that no model runs on a feed that fails one.

All feeds are judged in one step: importing Great Expectations takes longer than judging.
"""

from collections.abc import Iterator

import dagster as dg

from orchestration.books.late import landed_days
from orchestration.books.plan import make_plan
from orchestration.books.warehouse import writer_lock
from orchestration.defs.feed_assets import asked_days
from orchestration.gates.data_docs import markdown_table, outcome
from orchestration.gates.suites import CHECKS, FEEDS, suite
from orchestration.gates.verdicts import Verdict, judge_feeds
from orchestration.location import settings as location_settings
from orchestration.seeds.staging import BookDays, check_seeds
from orchestration.settings import Settings


@dg.definitions
def gates() -> dg.Definitions:
    """One step with a check per feed and kind of gate."""
    specs = [
        dg.AssetCheckSpec(check, asset=["landing", feed], blocking=True, description=meaning)
        for feed in FEEDS
        for check, meaning in CHECKS.items()
        if any(gate.check == check for gate in suite(feed, location_settings()))
    ]

    @dg.multi_asset_check(
        specs=specs,
        can_subset=True,
        description="Judge what is landed: schema, ranges, volume, freshness, unmapped rows.",
    )
    def feed_gates(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge the deliveries that the run takes in, one result per feed and kind of check."""
        yield from _judge(context, settings)

    return dg.Definitions(asset_checks=[feed_gates])


def _judge(
    context: dg.AssetCheckExecutionContext, settings: Settings
) -> Iterator[dg.AssetCheckResult]:
    asked = sorted(context.selected_asset_check_keys)
    landed = {key.asset_key.path[-1] for key in asked}
    with writer_lock(settings):
        # Checks can be executed by themselves, without a day: then the last one is judged.
        has_days = context.has_partition_key or context.has_partition_key_range
        days = asked_days(context) if has_days else landed_days(settings.landing_dir)[-1:]
        plan = make_plan(settings, days[0], days[-1]) if days else None
        if plan:
            # Before anything is judged: what is wrong with the seeds is said in one answer.
            check_seeds(settings.seeds_dir, BookDays(plan.books_open_on, plan.last_day))
        verdicts = judge_feeds(settings, [f for f in FEEDS if f in landed], plan) if plan else []
    by_feed = {verdict.feed: verdict for verdict in verdicts}
    for key in asked:
        result = _result(settings, key, by_feed.get(key.asset_key.path[-1]))
        if not result.passed:
            feed = key.asset_key.path[-1]
            context.log.warning(f"{feed} {key.name}: {result.description}")
        yield result
    context.log.info(
        "Gates: " + "; ".join(f"{verdict.feed} {outcome(verdict.findings)}" for verdict in verdicts)
    )


def _result(
    settings: Settings, key: dg.AssetCheckKey, verdict: Verdict | None
) -> dg.AssetCheckResult:
    found = [f for f in verdict.findings if f.gate.check == key.name] if verdict else []
    broken = sorted((f for f in found if not f.passed), key=lambda finding: not finding.stops)
    if verdict is None or not verdict.judged:
        said = "No usage is landed without a problem, so there is nothing to judge"
    elif broken:
        said = str(broken[0]) + (f" (and {len(broken) - 1} more)" if len(broken) > 1 else "")
    else:
        judged = sorted(verdict.judged)
        of = judged[0] if len(judged) == 1 else f"{judged[0]} to {judged[-1]}"
        said = f"{len(found)} of {len(found)} expectations hold for {of}"
    stops = any(finding.stops for finding in found)
    metadata: dict[str, dg.MetadataValue] = {
        "expectations": dg.MetadataValue.md(markdown_table(found))
    }
    if verdict:
        page = settings.data_docs_dir / verdict.as_of.isoformat() / f"{verdict.feed}.html"
        metadata["data_docs"] = dg.MetadataValue.path(str(page))
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN
        if broken and not stops
        else dg.AssetCheckSeverity.ERROR,
        description=said,
        metadata=metadata,
    )
