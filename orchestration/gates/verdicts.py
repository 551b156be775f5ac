"""The gates of a run: whether what is landed may be billed, and the record of why.

The asset checks judge what a run landed. A billing asks again, by ``refused``: so a delivery that
failed its gates is never billed, whichever assets are run and in whatever order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration.books.plan import BilledState, RunPlan
from orchestration.gates.data_docs import write_data_docs
from orchestration.gates.gate import FeedKey
from orchestration.gates.holds import held
from orchestration.gates.judge import Finding, judge
from orchestration.gates.needs import Needs, read_needs
from orchestration.gates.price_profile import LANDED, Place, snapshot_profile
from orchestration.gates.suites import FEEDS, fingerprint, suite
from orchestration.gates.usage_profile import usage_profile
from orchestration.landing import prepare_landing
from orchestration.landing.files import SNAPSHOTS, landed_delivery
from orchestration.settings import Settings
from orchestration.store.files import put_text


@dataclass(frozen=True)
class Verdict:
    """What the gates of a feed found.

    Attributes:
        as_of: the last delivery day of the books that would be billed.
        judged: what was judged, and the SHA-256 of its content.
        findings: one for every expectation.
        profile: what they were judged by.
    """

    feed: FeedKey
    as_of: date
    judged: dict[str, str]
    findings: tuple[Finding, ...]
    profile: pa.Table

    @property
    def stops(self) -> list[Finding]:
        """The errors: with any of them nothing may be billed."""
        return [finding for finding in self.findings if finding.stops]


def judge_feeds(settings: Settings, feeds: Sequence[FeedKey], plan: RunPlan) -> list[Verdict]:
    """Judge the deliveries that a plan takes in, and write down what was found.

    The caller holds the writer lock: what is judged must not change meanwhile.

    Returns:
        One verdict per feed, in the order of ``feeds``.

    Raises:
        SeedError: the seeds break their contract.
    """
    prepare_landing(settings.landing_dir)
    needs = read_needs(settings.seeds_dir, plan.last_day)
    verdicts = []
    for feed in feeds:
        gates = suite(feed, settings)
        profile = measure(settings, feed, needs, plan)
        verdict = Verdict(
            feed=feed,
            as_of=plan.last_day,
            judged=_contents(settings, feed, plan),
            findings=tuple(judge(gates, profile)),
            profile=profile,
        )
        _write(_record(settings, feed), verdict, fingerprint(gates))
        write_data_docs(
            settings.data_docs_dir, feed, plan.last_day, verdict.findings, verdict.profile
        )
        verdicts.append(verdict)
    return verdicts


def measure(settings: Settings, feed: FeedKey, needs: Needs, plan: RunPlan) -> pa.Table:
    """The profile of what a plan takes in of a feed."""
    if feed == "usage":
        return usage_profile(settings.landing_dir, needs, plan.deliveries)
    name, _ = SNAPSHOTS[LANDED[feed]]
    place = Place(
        landing=settings.landing_dir,
        billed=BilledState(settings).snapshot(name),
        reporting_currency=settings.reporting_currency,
    )
    return snapshot_profile(feed, place, needs, plan.last_day)


def refused(settings: Settings, plan: RunPlan) -> list[str]:
    """Why the checks do not let the plan's deliveries through, each as a sentence; empty if they do.

    What passed just as it is, under the same expectations, is not judged again.
    """
    if holds := held(settings):
        return holds
    unjudged = [feed for feed in FEEDS if not _has_passed(settings, feed, plan)]
    return [
        f"{verdict.feed}: {finding}"
        for verdict in judge_feeds(settings, unjudged, plan)
        for finding in verdict.stops
    ]


def _has_passed(settings: Settings, feed: FeedKey, plan: RunPlan) -> bool:
    record = _record(settings, feed)
    if not record.exists():
        return False
    verdict: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    now = _contents(settings, feed, plan)
    return (
        verdict["passed"]
        and verdict["expectations"] == fingerprint(suite(feed, settings))
        and verdict["as_of"] == plan.last_day.isoformat()
        and verdict["judged"].items() >= now.items()
    )


def _contents(settings: Settings, feed: FeedKey, plan: RunPlan) -> dict[str, str]:
    """What a plan takes in of a feed, and the SHA-256 of its content."""
    landing = settings.landing_dir
    if feed == "usage":
        records = ((day, landed_delivery(landing, "usage", day)) for day in plan.deliveries)
        return {day.isoformat(): record.content_sha256 for day, record in records if record}
    name, _ = SNAPSHOTS[LANDED[feed]]
    snapshot = landing / name
    return {name: hashlib.sha256(snapshot.read_bytes()).hexdigest()} if snapshot.exists() else {}


def _record(settings: Settings, feed: FeedKey) -> Path:
    return settings.quality_dir / "verdicts" / f"{feed}.json"


def _write(path: Path, verdict: Verdict, expectations: str) -> None:
    record = {
        "passed": not verdict.stops,
        "as_of": verdict.as_of.isoformat(),
        "expectations": expectations,
        "judged": verdict.judged,
        "findings": [
            {
                "check": finding.gate.check,
                "name": finding.gate.name,
                "level": finding.gate.level,
                "passed": finding.passed,
                "expected": finding.gate.expected,
                "found": finding.found,
            }
            for finding in verdict.findings
        ],
    }
    put_text(json.dumps(record, indent=1), path)
