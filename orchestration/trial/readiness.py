"""Judge seeds and feeds before anything is billed: all that is wrong at once, and what would be billed.

The judges are those of a night: the seeds' contract, landing, the gates, and the models that set rows
aside. They work in a scratch folder that is removed; DATA_DIR is only read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestration import landing
from orchestration.books.plan import RunPlan, make_plan, write_plan
from orchestration.errors import PlainError
from orchestration.gates.needs import needed_feeds
from orchestration.gates.suites import FEEDS
from orchestration.gates.verdicts import judge_feeds
from orchestration.night.bill_days import book_days
from orchestration.printable import printable
from orchestration.seeds.staging import SeedError, check_seeds, stage_seeds
from orchestration.settings import Settings, SettingsError
from orchestration.sources.arrivals import Arrivals, arrivals, spans
from orchestration.sources.usagebox.source import usage_source
from orchestration.trial.books_apart import (
    build_apart,
    days_of,
    land_prices,
    land_usage,
    settings_apart,
)
from orchestration.trial.row_outcomes import MODELS, Fate, Unbilled, rows_by_day, unbilled

_KINDS_SHOWN = 30
_NAMES_SHOWN = 5
_FIGURES = ("delivered", "billed", "repeated", "in conflict", "to be cured", "set aside")
_WITHOUT_TESTS = ("build", "--exclude-resource-type", "test", "unit_test", "--select")
_CURES: dict[Fate, str] = {
    "set_aside": "have it delivered again as it should be",
    "curable": "enter it in the seeds, or correct it there",
    "conflict": "deliver what is new under an id of its own, or as a correction",
}

Say = Callable[[str], None]


class DaysUnknown(PlainError):
    """Nobody can say which delivery days are meant; the message says how to."""


@dataclass
class Readiness:
    """What was found, printed as it is found.

    Attributes:
        seeds_wrong: whether the seeds or a setting have to be corrected.
        stops: whether something in the feeds keeps them from being billed.
        unbilled: rows that would not be billed.
    """

    say: Say
    seeds_wrong: bool = False
    stops: bool = False
    unbilled: int = 0

    @property
    def exit_code(self) -> int:
        """2 if seeds or settings are wrong, else 1 if feeds are, else 0."""
        return 2 if self.seeds_wrong else 1 if self.stops or self.unbilled else 0


def judge_readiness(settings: Settings, first: date | None, last: date | None, say: Say) -> int:
    """Judge the seeds, and the deliveries of some days, and say what is wrong and would be billed.

    Args:
        settings: as a billing would have them.
        first: the first delivery day; without it, the day the books open, or the first that is there.
        last: the last one; without it, the last that is there.
        say: takes what is found, paragraph by paragraph.

    Returns:
        The exit code: 0 if nothing is wrong, 1 if something in the feeds is, 2 if seeds or settings are.

    Raises:
        DaysUnknown: usage is asked of an engine, and no days are named.
        FeedProblem: the feed folder cannot be read.
    """
    found = Readiness(say)
    there = None
    try:
        there = arrivals(settings)
        if there is None and (first is None or last is None):
            raise DaysUnknown("Usage is asked of USAGE_URL: name the delivery days, FROM and TO.")
    except SettingsError as error:
        found.seeds_wrong = True
        say(f"Settings\n  {error}")
    if there and there.there:
        first = first or settings.books_open_on or there.there[0]
        last = last or max(first, there.there[-1])
    _judge_seeds(settings, first, last, found)
    if found.seeds_wrong and there is None and not settings.usage_url:
        return found.exit_code
    if first is None or last is None:
        found.stops = True
        say(f"Usage\n  no delivery is in {there.where if there else 'the feed folder'}")
        return found.exit_code
    days = days_of(first, last)
    if there:
        _say_arrivals(there, first, last, found)
        days = [day for day in days if day in there.there]
    if days:
        with TemporaryDirectory(prefix="gpu-credits-check-") as scratch:
            opened = settings.books_open_on or first
            _judge_feeds(settings_apart(settings, Path(scratch), opened), days, found)
    say(_conclusion(found, first, last))
    return found.exit_code


def _judge_seeds(
    settings: Settings, first: date | None, last: date | None, found: Readiness
) -> None:
    books = book_days(settings, first, last) if first and last else None
    try:
        seeds = check_seeds(settings.seeds_dir, books)
    except SeedError as error:
        found.seeds_wrong = True
        lines = str(error).splitlines()[1:]
        found.say("\n".join([f"Seeds in {settings.seeds_dir}, to be corrected", *lines]))
        return
    rows = sum(map(len, seeds.values()))
    for_days = f", for books from {books.open_on} to {books.last_day}" if books else ""
    found.say(f"Seeds in {settings.seeds_dir}\n  nothing is wrong with {rows:,} rows{for_days}")


def _say_arrivals(there: Arrivals, first: date, last: date, found: Readiness) -> None:
    lines = [f"Deliveries in {there.where}"]
    came = [day for day in there.there if first <= day <= last]
    if came:
        lines.append(f"  {len(came)} of {(last - first).days + 1} days are there: {spans(came)}")
    if problem := there.problem(first, last):
        found.stops = True
        lines.append(f"  {problem}")
    if others := [day for day in there.there if not first <= day <= last]:
        lines.append(f"  not looked at, outside of {first} to {last}: {spans(others)}")
    if unread := there.source.unread_usage():
        more = f" and {len(unread) - _NAMES_SHOWN:,} more" if len(unread) > _NAMES_SHOWN else ""
        named = printable(", ".join(unread[:_NAMES_SHOWN]))
        lines.append(f"  never read, since not called usage_<day>: {named}{more}")
    found.say("\n".join(lines))


def _judge_feeds(scratch: Settings, days: list[date], found: Readiness) -> None:
    """Land what is there, have it judged, and say what would become of each row."""
    landed = []
    if not (found.seeds_wrong and scratch.usage_url):
        if not found.seeds_wrong:
            stage_seeds(scratch.seeds_dir, scratch.staged_seeds_dir)
        landed += land_usage(scratch, days, usage_source(scratch))
    # Which feeds are needed, only seeds that can be read can say.
    needed = (
        frozenset()
        if found.seeds_wrong
        else needed_feeds(scratch.seeds_dir, scratch.reporting_currency)
    )
    landed += land_prices(scratch, days, needed)
    if refused := [
        reason
        for each in landed
        if (
            reason := landing.refusal(
                scratch.landing_dir, each.feed, each.delivery_day, scratch.max_incurable_share
            )
        )
    ]:
        found.stops = True
        found.say("\n".join(["Refused", *(f"  {reason}" for reason in refused)]))
    plan = make_plan(scratch, days[0], days[-1])
    if found.seeds_wrong:
        found.say("What would be billed cannot be said before the seeds are right.")
    elif plan:
        _say_gates(scratch, plan, found)
        write_plan(plan, scratch)
        build_apart(scratch, [*_WITHOUT_TESTS, *MODELS])
    _say_rows(scratch, landed, found, is_built=bool(plan) and not found.seeds_wrong)


def _say_gates(scratch: Settings, plan: RunPlan, found: Readiness) -> None:
    verdicts = judge_feeds(scratch, FEEDS, plan)
    broken = [
        (verdict.feed, each) for verdict in verdicts for each in verdict.findings if not each.passed
    ]
    found.stops |= any(each.stops for _, each in broken)
    expected = sum(len(verdict.findings) for verdict in verdicts)
    lines = [f"Checks of the feeds: {expected - len(broken)} of {expected} expectations hold"]
    lines += [f"  {feed}: {each}" for feed, each in broken]
    found.say("\n".join(lines))


def _say_rows(
    scratch: Settings, landed: list[landing.Delivery], found: Readiness, *, is_built: bool
) -> None:
    """The rows of each delivery by what becomes of them, then the kinds of those not billed."""
    lines = []
    if is_built:
        lines = ["Delivery day " + "".join(f"{name:>12}" for name in _FIGURES)]
        for row in rows_by_day(scratch, landed):
            figures = (
                row.delivered,
                row.billed,
                row.repeated,
                row.conflicts,
                row.curable,
                row.set_aside,
            )
            lines.append(f"  {row.day} " + "".join(f"{figure:>12,}" for figure in figures))
    for each in landed:
        if each.file_name and (not is_built or each.delivery_day is None):
            lines.append(
                f"  {each.file_name}: {each.landed_rows:,} of "
                f"{each.delivered_rows:,} rows can be read, {each.rejected_rows:,} are set aside"
            )
    found.say("\n".join(["What would become of the rows", *lines]))
    kinds = unbilled(scratch, is_built=is_built)
    found.unbilled = sum(kind.rows for kind in kinds)
    if not kinds:
        return
    files = {(each.feed, each.delivery_day): each.file_name for each in landed}
    shown = [_kind(kind, files[kind.feed, kind.day]) for kind in kinds[:_KINDS_SHOWN]]
    if len(kinds) > _KINDS_SHOWN:
        shown.append(f"  and {len(kinds) - _KINDS_SHOWN:,} more kinds")
    found.say("\n".join(["Rows that would not be billed", *shown]))


def _kind(kind: Unbilled, file: str) -> str:
    # Files of feeds without a day are named in the detail; there may be several.
    where = f"{file}, line {kind.line}" if kind.day else f"line {kind.line}"
    rows = "1 row" if kind.rows == 1 else f"{kind.rows:,} rows, the first"
    return printable(
        f"  {kind.feed} {kind.reason}: {rows} in {where}: {kind.detail}; {_CURES[kind.fate]}"
    )


def _conclusion(found: Readiness, first: date, last: date) -> str:
    again = f"gpu-credits bill {first} {last}"
    if found.seeds_wrong:
        return "Nothing could be billed: correct the seeds, then check again."
    if found.stops:
        return "Nothing would be billed: put right what is named above, then check again."
    if found.unbilled:
        return f"It can be billed, but for {found.unbilled:,} rows: {again}"
    return f"Nothing is wrong. Bill with: {again}"
