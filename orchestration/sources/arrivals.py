"""Which delivery days a feed folder has, said before anything is imported or landed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from orchestration.errors import NotDone
from orchestration.settings import Settings, without_credentials
from orchestration.sources.folder import FeedProblem, FolderSource

_SPANS_NAMED = 8


class MissingDeliveries(NotDone):
    """Delivery days that were asked for have no usage file; the message names them and the cure."""


@dataclass(frozen=True)
class Arrivals:
    """The usage deliveries of a feed folder, by day.

    Attributes:
        there: the days that have a file, in order.
        where: the folder that they are delivered into.
    """

    source: FolderSource
    there: tuple[date, ...]
    where: str

    def missing(self, first: date, last: date) -> list[date]:
        """The days from ``first`` to ``last``, both included, that have no file."""
        asked = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return [day for day in asked if day not in self.there]

    def problem(self, first: date, last: date) -> str | None:
        """What is missing from ``first`` to ``last`` and the cure, or None if nothing is."""
        missing = self.missing(first, last)
        if not missing:
            return None
        asked = (last - first).days + 1
        return (
            f"{len(missing)} of {asked} delivery day{'s' if asked > 1 else ''} "
            f"{'has' if len(missing) == 1 else 'have'} no usage file in {self.where}: "
            f"{spans(missing)}{self._near(missing[0])}. Deliver usage_<day>.jsonl (or .jsonl.gz, or "
            '.parquet); of a day on which nothing ran, the one line {"kind": "no_usage"}'
        )

    def _near(self, day: date) -> str:
        """What lies there under a name like that of a day."""
        try:
            self.source.usage(day)
        except FeedProblem as problem:
            return problem.wrong.removeprefix("the file is missing")
        return ""


def arrivals(settings: Settings) -> Arrivals | None:
    """Look into the feed folder; None if usage is asked of an engine and not in a folder.

    Raises:
        SettingsError: FEEDS_URL names a folder of this machine that isn't there.
        FeedProblem: it cannot be read.
    """
    if settings.usage_url:
        return None
    settings.require_feeds()
    source = FolderSource(settings.feeds_url)
    there = sorted(source.usage_fingerprints())
    where = without_credentials(settings.feeds_url).rstrip("/") + "/usage"
    return Arrivals(source, tuple(there), where)


def require_arrivals(settings: Settings, first: date, last: date) -> None:
    """Make sure that every delivery day asked for is there, before seconds go into a run.

    Raises:
        MissingDeliveries: names the days that are not.
    """
    found = arrivals(settings)
    if found and (problem := found.problem(first, last)):
        raise MissingDeliveries(f"{problem}.")


def spans(days: Iterable[date]) -> str:
    """Days in order, each run of them as its first and last one."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1] = [runs[-1][0], day]
        else:
            runs.append([day])
    named = [" to ".join(map(str, run)) for run in runs[:_SPANS_NAMED]]
    more = len(runs) - _SPANS_NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
