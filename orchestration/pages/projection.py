"""When credits run out: the range around the projected date, and when a threshold is reached.

The projected date itself is the published one (fuel_gauges). Credits are integers of one
millionth here; nothing is rounded before it becomes a whole day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WEEK = 7
LEAST_DAYS = 14
"""Days of history below which there is no range: fewer than eight weeks' paces say too little."""

# A wallet that lasts for centuries has no date worth naming (as in fuel_gauges).
_FAR = 1_000_000


@dataclass(frozen=True)
class PaceRange:
    """Between which paces eight of ten of the last weeks lay, and what that means for the wallet.

    Attributes:
        days: how many days of history it rests on.
        slowest: micro-credits in the week of the slower pace.
        fastest: micro-credits in the week of the faster pace.
        earliest: the day the wallet runs dry at the faster pace; None if its credits expire before.
        latest: the day it does at the slower pace; None if its credits expire before.
    """

    days: int
    slowest: int
    fastest: int
    earliest: date | None
    latest: date | None


def pace_range(
    daily_use: Sequence[int],
    week_used: int,
    balance: int,
    as_of: date,
    last_expiry: date | None,
) -> PaceRange | None:
    """The range of the projection, from how much the pace of a week varied.

    The paces are the sums of every seven days in a row of the history. Of k of them, the slower
    one is at rank ceil(k/10) and the faster one at rank ceil(9k/10). The last week's pace always
    lies within.

    Args:
        daily_use: micro-credits burned and beyond the wallet on each of the last days, oldest first.
        week_used: micro-credits used in the last seven days.
        balance: micro-credits in the wallet.
        as_of: the last of these days.
        last_expiry: the last day on which any of the credits can burn; None if some never expire.

    Returns:
        None when the wallet is empty, the history is too short, or nothing was used in it.
    """
    if balance <= 0 or len(daily_use) < LEAST_DAYS:
        return None
    weeks = sorted(sum(week) for week in _windows(daily_use))
    count = len(weeks)
    slowest = min(weeks[_ceil(count, 10) - 1], week_used)
    fastest = max(weeks[_ceil(9 * count, 10) - 1], week_used)
    if fastest <= 0:
        return None
    return PaceRange(
        days=len(daily_use),
        slowest=slowest,
        fastest=fastest,
        earliest=runs_dry(balance, fastest, as_of, last_expiry),
        latest=runs_dry(balance, slowest, as_of, last_expiry),
    )


@dataclass(frozen=True)
class Unused:
    """What expires before it can burn, at a pace.

    Attributes:
        credits: micro-credits, over all grants.
        first_on: the first day at whose end some expire.
        runs_dry_on: the first day without credits, expiry counted; None if they last for good.
    """

    credits: int
    first_on: date
    runs_dry_on: date | None


def unused(grants: Sequence[tuple[int, date | None]], week_used: int, as_of: date) -> Unused | None:
    """Follow the grants in burning order, day after day at the pace of a week.

    Args:
        grants: micro-credits that are left of each, and the last day on which they can burn.
        week_used: micro-credits used in the last seven days.
        as_of: the day the grants are of.

    Returns:
        None when everything burns in time.
    """
    # In sevenths of a micro-credit, a day's burn is a whole number.
    left = [remaining * WEEK for remaining, _ in grants]
    lost, first_on, today = 0, None, as_of
    for expiry in sorted({expires_on for _, expires_on in grants if expires_on}):
        burn = week_used * (expiry - today).days
        if burn >= sum(left):
            break
        for place, remaining in enumerate(left):
            part = min(remaining, burn)
            left[place] -= part
            burn -= part
        for place, (_, expires_on) in enumerate(grants):
            if expires_on == expiry and left[place]:
                first_on = first_on or expiry
                lost += left[place]
                left[place] = 0
        today = expiry
    if first_on is None:
        return None
    days = sum(left) // week_used if week_used else 0
    lasting = bool(sum(left)) and not week_used
    return Unused(
        credits=lost // WEEK,
        first_on=first_on,
        runs_dry_on=None if lasting else today + timedelta(days=1 + min(days, _FAR)),
    )


def reached_on(missing: int, week: int, as_of: date) -> date | None:
    """The day on which ``missing`` more micro-credits are burned, at the pace of a week.

    Returns:
        None when nothing burned in the week.
    """
    if week <= 0:
        return None
    return as_of + timedelta(days=min(_ceil(missing * WEEK, week), _FAR))


def runs_dry(balance: int, week: int, as_of: date, last_expiry: date | None) -> date | None:
    """The first day without credits at a pace, as fuel_gauges projects it.

    Args:
        balance: micro-credits in the wallet.
        week: micro-credits used in a week.
        as_of: the day the balance is of.
        last_expiry: the last day on which any of the credits can burn; None if some never expire.

    Returns:
        None when nothing is used, or the credits expire before.
    """
    if week <= 0:
        return None
    day = as_of + timedelta(days=1 + min(balance * WEEK // week, _FAR))
    return day if last_expiry is None or day <= last_expiry else None


def _windows(days: Sequence[int]) -> list[Sequence[int]]:
    return [days[start : start + WEEK] for start in range(len(days) - WEEK + 1)]


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
