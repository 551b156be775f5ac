"""The charts of the pages, as shapes for inline SVG.

Drawn by hand: a chart library took a tenth of a second a page and drew the same lines (see
benchmarks/gauge_pages.py). Colours come from the stylesheet, so that one drawing serves light, dark
and paper; no name of a customer or cluster gets into a drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from orchestration.pages.read_models import Gauge, UseDay
from orchestration.pages.shapes import Drawing, Plot, Size
from orchestration.pages.slices import WINDOW_DAYS
from orchestration.pages.words import percent

SERIES = 5
"""How many kinds of use a chart tells apart; the last one is all others."""

HORIZON_DAYS = 42
"""How far into the future a projection is drawn at most."""

# One for screens and paper, one for phones: shrunk letters could not be read there.
WIDE = Size(width=920, height=270, font=14, weeks=10)
NARROW = Size(width=320, height=224, font=13, weeks=4)


@dataclass(frozen=True)
class Series:
    """A kind of use in a chart: cluster and accelerator, or all others together."""

    number: int
    cluster: str | None
    accelerator: str | None


def burn_down(gauge: Gauge, size: Size) -> Drawing | None:
    """What was left at the end of each day, and how it goes on at the pace of the last week.

    A day's point is what depletion is measured with; what expired at its end is a mark below it.

    Returns:
        None when nothing was ever left to draw.
    """
    if not any(day.before_expiry for day in gauge.days):
        return None
    first, today = gauge.days[0].date, len(gauge.days) - 1
    ahead = (_horizon(gauge) - gauge.as_of).days
    top = max(float(day.before_expiry) for day in gauge.days)
    drawing = Drawing(size)
    plot = Plot(drawing, max(today + ahead, 1), 0.0, top * 1.06)
    plot.figures()
    plot.days(first)
    history = [(float(number), float(day.before_expiry)) for number, day in enumerate(gauge.days)]
    drawing.add("path", "area", d=f"M{plot.path([*history, (today, 0.0), (0.0, 0.0)])}Z")
    drawing.add("path", "line", d=f"M{plot.path(history)}")
    _expiries(gauge, drawing, plot)
    paces = gauge.projected_range
    if ahead and paces:
        slow = _falling(gauge.balance, paces.slowest_daily, today, ahead)
        fast = _falling(gauge.balance, paces.fastest_daily, today, ahead)
        drawing.add("path", "band", d=f"M{plot.path([*slow, *fast[::-1]])}Z")
    if ahead and (paces or gauge.mean_daily_use > 0):
        falling = _falling(gauge.balance, gauge.mean_daily_use, today, ahead)
        # Down to the day on which nothing is left, and not along the bottom from there.
        gone = next((number for number, (_, left) in enumerate(falling) if left <= 0), ahead)
        drawing.add("path", "ahead", d=f"M{plot.path(falling[: gone + 1])}")
        if gauge.used_up_on:
            day = (gauge.used_up_on - first).days
            if day <= today + ahead:
                drawing.add("circle", "dot", cx=plot.x(day), cy=plot.y(0.0), r=5.0)
    if gauge.capacity > 0:
        _threshold_lines(gauge, drawing, plot, today + ahead)
    return drawing


def use_by_day(gauge: Gauge, size: Size) -> Drawing | None:
    """Credits used on each of the last days, stacked by kind of use; corrections hang below zero.

    Returns:
        None when no credits were used.
    """
    if not gauge.use_days:
        return None
    first = gauge.as_of - timedelta(days=WINDOW_DAYS - 1)
    numbers = {
        (series.cluster, series.accelerator): series.number for series in series_of(gauge.use_days)
    }
    used: dict[tuple[int, int], Decimal] = {}
    for use in gauge.use_days:
        key = (use.date - first).days, numbers.get((use.cluster, use.accelerator), SERIES)
        used[key] = used.get(key, Decimal(0)) + use.credits
    bars: list[tuple[int, int, float, float]] = []
    levels: dict[tuple[int, bool], float] = {}
    for (day, number), credits in sorted(used.items()):
        start = levels.get((day, credits > 0), 0.0)
        levels[day, credits > 0] = start + float(credits)
        bars.append((day, number, start, start + float(credits)))
    low, high = min(0.0, *levels.values()), max(0.0, *levels.values())
    room = 0.06 * (high - low)
    drawing = Drawing(size)
    plot = Plot(drawing, WINDOW_DAYS, low - room if low else 0.0, high + room)
    plot.figures()
    plot.days(first, shift=0.5)
    for day, number, start, end in bars:
        plot.bar((day + 0.08, day + 0.92), (start, end), f"k{number}")
    if low < 0:
        _name_of_the_lowest(gauge, drawing, plot, levels, first)
    cycle = (gauge.cycle_start - first).days
    if cycle > 0:
        x = plot.x(cycle)
        drawing.add("line", "cycle", x1=x, x2=x, y1=plot.top, y2=plot.bottom)
    return drawing


def _name_of_the_lowest(
    gauge: Gauge,
    drawing: Drawing,
    plot: Plot,
    levels: Mapping[tuple[int, bool], float],
    first: date,
) -> None:
    """Says at the lowest bar what bars below zero are."""
    place, _ = min(levels, key=lambda key: levels[key])
    moment = first + timedelta(days=place)
    refunded = any(day.refunded > 0 for day in gauge.days if day.date == moment)
    late = 2 * place > WINDOW_DAYS
    drawing.label(
        plot.x(place if late else place + 1) + (-4 if late else 4),
        plot.y(levels[place, False]),
        "refund" if refunded else "correction",
        "name",
        "end" if late else "start",
    )


def series_of(use_days: Iterable[UseDay]) -> list[Series]:
    """The kinds of use that a chart tells apart, largest first; the last stands for all others."""
    totals: dict[tuple[str, str], Decimal] = {}
    for use in use_days:
        key = (use.cluster, use.accelerator)
        totals[key] = totals.get(key, Decimal(0)) + use.credits
    ordered = sorted(totals, key=lambda key: (-totals[key], key))
    if len(ordered) <= SERIES:
        return [Series(number, *key) for number, key in enumerate(ordered, 1)]
    named = [Series(number, *key) for number, key in enumerate(ordered[: SERIES - 1], 1)]
    return [*named, Series(SERIES, None, None)]


def bars_by_month(months: Sequence[tuple[date, Sequence[Decimal]]], size: Size) -> Drawing | None:
    """Groups of bars, one group a month, one bar a figure.

    Returns:
        None without a month.
    """
    if not months:
        return None
    figures = [float(figure) for _, group in months for figure in group]
    low, high = min(0.0, *figures), max(0.0, *figures) or 1.0
    drawing = Drawing(size)
    plot = Plot(drawing, len(months), low * 1.06, high * 1.06)
    plot.figures()
    for place, (month, group) in enumerate(months):
        width = min(0.7 / len(group), 0.2)
        start = place + 0.5 - width * len(group) / 2
        for number, figure in enumerate(group):
            at = start + number * width
            plot.bar((at, at + 0.94 * width), (0.0, float(figure)), f"k{number + 1}")
        drawing.label(
            plot.x(place + 0.5), plot.bottom + 1.5 * size.font, f"{month:%b %Y}", "axis", "middle"
        )
    return drawing


def _horizon(gauge: Gauge) -> date:
    """The last day that a burn-down shows: when the credits are gone, at most six weeks ahead."""
    if gauge.balance <= 0:
        return gauge.as_of
    ends = [gauge.as_of + timedelta(days=HORIZON_DAYS)]
    if gauge.last_expiry_on:
        ends.append(gauge.last_expiry_on)
    paces = gauge.projected_range
    if gauge.used_up_on and (paces is None or paces.latest):
        latest = paces.latest if paces and paces.latest else gauge.used_up_on
        ends.append(max(latest, gauge.used_up_on) + timedelta(days=1))
    return max(min(ends), gauge.as_of + timedelta(days=1))


def _falling(balance: Decimal, daily: Decimal, today: int, ahead: int) -> list[tuple[float, float]]:
    """What is left on each coming day at a pace; never below nothing."""
    return [
        (today + day, float(max(balance - daily * day, Decimal(0)))) for day in range(ahead + 1)
    ]


def _expiries(gauge: Gauge, drawing: Drawing, plot: Plot) -> None:
    """From what was there down to what was left, and a cross, where credits expired."""
    arm = 0.35 * drawing.size.font
    for number, day in enumerate(gauge.days):
        if day.expired <= 0:
            continue
        x, y = plot.x(number), plot.y(float(day.before_expiry - day.expired))
        drawing.add("line", "lost", x1=x, x2=x, y1=plot.y(float(day.before_expiry)), y2=y)
        cross = f"M{x - arm:.1f} {y - arm:.1f}l{2 * arm:.1f} {2 * arm:.1f}m0 {-2 * arm:.1f}"
        drawing.add("path", "cross", d=f"{cross}l{-2 * arm:.1f} {2 * arm:.1f}")


def _threshold_lines(gauge: Gauge, drawing: Drawing, plot: Plot, end: int) -> None:
    """What is left at each threshold, over the cycle; named where two names have room."""
    font = drawing.size.font
    start = max((gauge.cycle_start - gauge.days[0].date).days, 0)
    # Beside the jump of a new cycle, on the side that has more room.
    late = 2 * start > end
    lines = [(plot.y(float(t.remaining)), t.depletion) for t in gauge.thresholds]
    for y, _ in lines:
        drawing.add("line", "threshold", x1=plot.x(start), x2=plot.right, y1=y, y2=y)
    if len(lines) > 1 and abs(lines[0][0] - lines[1][0]) < font + 4:
        return
    for y, depletion in lines:
        x = plot.x(start) + (-4 if late else 4)
        drawing.label(x, y - 4, f"{percent(depletion)} used", "name", "end" if late else "start")
