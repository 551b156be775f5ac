"""Charts that stand alone: in the Dagster UI, beside a comparison, in a document.

No stylesheet reaches them, and a page's policy may forbid them one of their own: each carries the
light colours of the pages as attributes, and white below them, so that it reads on any ground.
Names on them come from elsewhere; they are escaped.
"""

from __future__ import annotations

import base64
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

from markupsafe import escape

from orchestration.pages.shapes import Drawing, Plot, Size, element, ticks
from orchestration.pages.words import amount
from orchestration.pages.words import day as on
from orchestration.printable import printable

_SIZE = Size(width=720, height=360, font=13, weeks=8)
_EDGE = 12.0
_LEFT = 60.0
"""Where a plot begins: the figures of its axis stand left of it."""
_BAR = 16.0
"""Height of a bar that lies, with the gap to the next one."""
_NAME = 40
"""Letters of a name at most; what is more is left out in the middle."""


@dataclass(frozen=True)
class Kind:
    """What a colour stands for; the colour by its name in the stylesheet."""

    name: str
    colour: str


PALETTE = ("s1", "s2", "s3", "s4", "ahead")
GREY = "s5"
# Lines of one colour are told apart.
_DASHES = ("none", "7 4", "2 3")


def waterfall(
    title: str, unit: str, steps: Sequence[tuple[str, Decimal, Kind]], end: tuple[str, Kind]
) -> str:
    """How steps up and down lead from nothing to what is left, as SVG.

    Args:
        title: of the picture.
        unit: of the figures.
        steps: name, change and kind of each.
        end: name and kind of what is left.
    """
    levels = [Decimal(0)]
    for _, change, _ in steps:
        levels.append(levels[-1] + change)
    columns = [
        *(
            (name, start, start + change, kind)
            for (name, change, kind), start in zip(steps, levels, strict=False)
        ),
        (end[0], Decimal(0), levels[-1], end[1]),
    ]
    drawing = Drawing(_SIZE)
    kinds = list(dict.fromkeys(kind for _, _, _, kind in columns))
    top = _head(drawing, title, unit, kinds)
    low, high = float(min(levels)), float(max(levels)) or 1.0
    plot = Plot(drawing, len(columns), low * 1.06, high * 1.08, top)
    plot.left, plot.right = _LEFT, _SIZE.width - 1.5 * _EDGE
    # In full where that leaves no figure over its neighbour.
    room = plot.x(1) - plot.x(0)
    in_full = all(
        _width(amount(stop - start, 0), _SIZE.font) < room for _, start, stop, _ in columns
    )
    plot.figures()
    for place, (name, start, stop, kind) in enumerate(columns):
        across, colour = (place + 0.12, place + 0.88), _colours()[kind.colour]
        plot.bar(across, (float(start), float(stop)), "", fill=colour)
        middle = plot.x(place + 0.5)
        drawing.label(middle, plot.bottom + 1.5 * _SIZE.font, name, "name", "middle")
        above = plot.y(float(max(start, stop))) - 5
        change = stop - start
        text = amount(change, 0) if in_full else f"{amount(change.scaleb(-6), 1)}M"
        drawing.label(middle, above, text, "name", "middle")
    for place, level in enumerate(levels[1:]):
        y = plot.y(float(level))
        x1, x2 = plot.x(place + 0.88), plot.x(place + 1.12)
        drawing.add("line", "zero", x1=x1, x2=x2, y1=y, y2=y)
    _zero(drawing, (plot.left, plot.right), (plot.y(0.0), plot.y(0.0)))
    return _svg(drawing, title)


def lines(title: str, unit: str, series: Mapping[str, Mapping[date, float]]) -> str:
    """Figures over time, a line for each name, which stands at its end, as SVG.

    Args:
        title: of the picture.
        unit: of the figures.
        series: figures by day, by name; none without a day.
    """
    days = [day for figures in series.values() for day in figures]
    values = [value for figures in series.values() for value in figures.values()]
    first, last = min(days), max(days)
    names = {name: _cut(name) for name in series}
    font = _SIZE.font
    # Every name needs a row of its own at the right.
    drawing = Drawing(replace(_SIZE, height=max(_SIZE.height, 100 + 15 * len(series))))
    top = _head(drawing, title, f"{unit}, {on(first)} to {on(last)}", [])
    low, high = min(0.0, *values), max(0.0, *values) or 1.0
    plot = Plot(drawing, max((last - first).days, 1), low * 1.06, high * 1.06, top)
    plot.left = _LEFT
    plot.right = drawing.size.width - _EDGE - max(_width(name, font) for name in names.values()) - 8
    plot.figures()
    plot.days(first)
    _zero(drawing, (plot.left, plot.right), (plot.y(0.0), plot.y(0.0)))
    ends: list[tuple[float, str, str]] = []
    beside = plot.x((last - first).days) + 8
    for number, (name, figures) in enumerate(series.items()):
        colour = _colours()[PALETTE[number % len(PALETTE)]]
        dash = _DASHES[number // len(PALETTE) % len(_DASHES)]
        points = sorted(((day - first).days, value) for day, value in figures.items())
        path = f"M{plot.path((float(day), value) for day, value in points)}"
        drawing.add("path", "line", d=path, stroke=colour, stroke_dasharray=dash)
        x, y = plot.x(points[-1][0]), plot.y(points[-1][1])
        drawing.add("circle", "", cx=x, cy=y, r=3.0, fill=colour)
        ends.append((y, names[name], colour))
    ends.sort()
    rows = _apart([y for y, _, _ in ends], font + 2.0, plot.bottom)
    for y, (_, name, colour) in zip(rows, ends, strict=True):
        drawing.add(
            *("text", "", name),
            x=beside,
            y=y + 0.35 * font,
            fill=colour,
            font_size=str(font),
        )
    return _svg(drawing, title)


def bars(
    title: str,
    unit: str,
    kinds: Sequence[Kind],
    groups: Sequence[tuple[str, Sequence[Decimal | None]]],
    places: int = 0,
) -> str:
    """Groups of bars that lie, each with its figure, as SVG.

    Args:
        title: of the picture.
        unit: of the figures.
        kinds: what each bar of a group is, in order.
        groups: name and figures, None where there is no bar; a name without figures is a heading.
        places: decimals of the figures.
    """
    font = _SIZE.font
    drawing = Drawing(_SIZE)
    top = _head(drawing, title, unit, kinds)
    figures = [figure for _, group in groups for figure in group if figure is not None]
    low, high = float(min(Decimal(0), *figures)), float(max(Decimal(0), *figures))
    names = {name: _cut(name) for name, _ in groups}
    left = _EDGE + 8 + max(_width(names[name], font) for name, group in groups if group)
    # The figures stand beyond the ends of their bars.
    room = 10 + max(_width(amount(figure, places), font) for figure in figures)
    start, stop = left + (room if low else 0), _SIZE.width - _EDGE - (room if high else 0)

    def x(figure: float) -> float:
        return start + (stop - start) * (figure - low) / ((high - low) or 1.0)

    axis = len(drawing.shapes)
    y = top
    for name, group in groups:
        shown = [(kind, f) for kind, f in zip(kinds, group, strict=False) if f is not None]
        height = _BAR * max(len(shown), 1)
        middle = y + height / 2 + 0.35 * font
        if group:
            drawing.label(left - 8, middle, names[name], "name", "end")
        else:
            drawing.label(_EDGE, middle, names[name], "head")
        for number, (kind, figure) in enumerate(shown):
            end, above = x(float(figure)), y + number * _BAR
            x1, x2 = sorted((x(0.0), end))
            colour = _colours()[kind.colour]
            drawing.add(
                *("rect", ""),
                x=x1,
                y=above + 1,
                width=max(x2 - x1, 0.5),
                height=_BAR - 2,
                fill=colour,
            )
            beyond, anchor = (end - 5, "end") if figure < 0 else (end + 5, "start")
            below = above + _BAR / 2 + 0.35 * font
            drawing.label(beyond, below, amount(figure, places), "name", anchor)
        y += height + 8
    over = drawing.shapes[axis:]
    del drawing.shapes[axis:]
    for figure_at, text in ticks(low, high or (0.0 if low else 1.0), 5):
        at = x(figure_at)
        drawing.add("line", "rule", x1=at, x2=at, y1=top, y2=y)
        drawing.label(at, y + 1.3 * font, text, "axis", "middle")
    drawing.shapes.extend(over)
    _zero(drawing, (x(0.0), x(0.0)), (top, y))
    return _svg(replace(drawing, size=replace(_SIZE, height=math.ceil(y + 2 * font))), title)


def data_uri(svg: str) -> str:
    """A picture as an address that needs no request."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def _head(drawing: Drawing, title: str, unit: str, kinds: Sequence[Kind]) -> float:
    """Title, unit and legend.

    Returns:
        Where the plot may begin.
    """
    font = drawing.size.font
    y = _EDGE + font
    drawing.label(_EDGE, y, title, "head")
    y += 1.5 * font
    drawing.label(_EDGE, y, unit, "axis")
    x, y = _EDGE, y + 1.6 * font if kinds else y
    for kind in kinds:
        name = _cut(kind.name)
        wide = 16 + _width(name, font)
        if x > _EDGE and x + wide > drawing.size.width - _EDGE:
            x, y = _EDGE, y + 1.4 * font
        colour = _colours()[kind.colour]
        drawing.add("rect", "", x=x, y=y - 10, width=11.0, height=11.0, fill=colour)
        drawing.label(x + 16, y, name, "name")
        x += wide + 18
    return y + 1.2 * font


def _zero(drawing: Drawing, across: tuple[float, float], down: tuple[float, float]) -> None:
    drawing.add("line", "zero", x1=across[0], x2=across[1], y1=down[0], y2=down[1])


def _apart(wanted: Sequence[float], room: float, bottom: float) -> list[float]:
    """Places from top to bottom, each near the one wanted and ``room`` below the one before."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + room) if places else place)
    below = bottom
    for number in reversed(range(len(places))):
        places[number] = min(places[number], below)
        below = places[number] - room
    return places


def _cut(name: str) -> str:
    """A name that fits beside a bar, without what no SVG may hold."""
    shown = printable(name)
    return shown if len(shown) <= _NAME else f"{shown[: _NAME - 13]}…{shown[-12:]}"


def _width(text: str, font: int) -> float:
    """About how wide a text is: which font draws it is not known."""
    return font * sum(
        1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.6 for letter in text
    )


@cache
def _colours() -> dict[str, str]:
    """The light colours of the pages, by name: the first block of their stylesheet."""
    style = Path(__file__).with_name("templates") / "style.css"
    return dict(re.findall(r"--(\w+): (#\w+);", style.read_text("utf-8").partition("}")[0]))


def _looks() -> dict[str, dict[str, str]]:
    """What a class of the stylesheet is elsewhere, as attributes."""
    colours = _colours()
    return {
        "": {},
        "axis": {"fill": colours["muted"]},
        "name": {"fill": colours["text"]},
        "head": {"fill": colours["text"], "font-weight": "600"},
        "rule": {"stroke": colours["rule"]},
        "zero": {"stroke": colours["muted"]},
        "line": {"fill": "none", "stroke-width": "2", "stroke-linejoin": "round"},
    }


def _svg(drawing: Drawing, title: str) -> str:
    looks, (width, height) = _looks(), (drawing.size.width, drawing.size.height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{width}" height="{height}" fill="{_colours()["page"]}"/>\n'
        + "\n".join(element(shape, looks[shape.style]) for shape in drawing.shapes)
        + "\n</svg>\n"
    )
