"""What every drawing is made of: shapes, and a plot that knows where a figure is.

Numbers become floats here, and in what draws with it, and only as places on a drawing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from markupsafe import escape


@dataclass(frozen=True)
class Size:
    """A drawing in CSS pixels at its natural size.

    Attributes:
        width: of the whole drawing.
        height: of the whole drawing.
        font: height of the letters.
        weeks: how many dates stand below it at most; they are whole weeks apart.
    """

    width: int
    height: int
    font: int
    weeks: int


@dataclass(frozen=True)
class Shape:
    """An SVG element: its tag, its class in the stylesheet, its places, and its text if any."""

    tag: str
    style: str
    places: Mapping[str, str]
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """An SVG drawing; later shapes lie over earlier ones."""

    size: Size
    shapes: list[Shape] = field(default_factory=list)

    def add(self, tag: str, style: str, text: str = "", **places: float | str) -> None:
        """Add a shape; a place is in pixels, to a tenth, or text."""
        self.shapes.append(
            Shape(
                tag,
                style,
                {
                    name.replace("_", "-"): place if isinstance(place, str) else _tenths(place)
                    for name, place in places.items()
                },
                text,
            )
        )

    def label(self, x: float, y: float, text: str, style: str, anchor: str = "start") -> None:
        """Add a text; its baseline is at ``y``."""
        self.add("text", style, text, x=x, y=y, text_anchor=anchor, font_size=str(self.size.font))


class Plot:
    """The inside of a chart: days from left to right, figures from bottom to top."""

    def __init__(
        self, drawing: Drawing, units: float, low: float, high: float, top: float | None = None
    ) -> None:
        size = drawing.size
        self._drawing = drawing
        self.left, self.right = 3.6 * size.font, size.width - 8.0
        self.top, self.bottom = top or size.font, size.height - 2.0 * size.font
        self._units = units
        self._low, self._high = low, high

    def x(self, unit: float) -> float:
        """Where a day is, or a column."""
        return self.left + (self.right - self.left) * unit / self._units

    def y(self, figure: float) -> float:
        """Where a figure is."""
        share = (figure - self._low) / (self._high - self._low)
        return self.bottom - (self.bottom - self.top) * share

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """A line through points of day and figure, without the command that begins it."""
        return "L".join(f"{_tenths(self.x(u))} {_tenths(self.y(f))}" for u, f in points)

    def figures(self) -> None:
        """Lines and figures on the left, at round distances."""
        for figure, text in ticks(self._low, self._high, 6):
            y = self.y(figure)
            self._drawing.add("line", "rule", x1=self.left, x2=self.right, y1=y, y2=y)
            below = y + 0.35 * self._drawing.size.font
            self._drawing.label(self.left - 6, below, text, "axis", "end")

    def days(self, first: date, shift: float = 0.0) -> None:
        """Dates along the bottom, whole weeks apart, ``shift`` days right of their midnight."""
        last = math.floor(self._units)
        step = 7 * max(1, math.ceil(last / (7 * self._drawing.size.weeks)))
        for day in range(0, last, step):
            moment = first + timedelta(days=day)
            x = self.x(day + shift)
            self._drawing.add("line", "rule", x1=x, x2=x, y1=self.bottom, y2=self.bottom + 5)
            below = self.bottom + 1.5 * self._drawing.size.font
            # The last one would stick out where it stands near the edge.
            fits = x + 2 * self._drawing.size.font < self._drawing.size.width
            self._drawing.label(
                x if fits else self._drawing.size.width,
                below,
                f"{moment.day} {moment:%b}",
                "axis",
                "middle" if fits else "end",
            )

    def bar(
        self, across: tuple[float, float], up: tuple[float, float], style: str, **look: str
    ) -> None:
        """A bar that stands, from one figure up or down to another."""
        x1, x2 = self.x(across[0]), self.x(across[1])
        y1, y2 = sorted((self.y(up[0]), self.y(up[1])))
        height = max(y2 - y1, 0.5)
        self._drawing.add("rect", style, x=x1, y=y1, width=x2 - x1, height=height, **look)


def ticks(low: float, high: float, most: int) -> Iterator[tuple[float, str]]:
    """Round figures from ``low`` to ``high``, about ``most``, and how they read on an axis."""
    step = _round_step((high - low) / most)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step, _short(number * step)


def element(shape: Shape, look: Mapping[str, str]) -> str:
    """A shape as an element.

    Args:
        shape: its tag and places are ours; only its text may come from elsewhere.
        look: attributes that hold where its places say nothing else.
    """
    attributes = "".join(f' {name}="{value}"' for name, value in ({**look, **shape.places}).items())
    start = f"<{shape.tag}{attributes}"
    return f"{start}>{escape(shape.text)}</{shape.tag}>" if shape.text else f"{start}/>"


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is no less."""
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= least * 0.999999)


def _short(figure: float) -> str:
    """A figure on an axis: 1500000 is 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(figure) >= size:
            return f"{figure / size:g}{letter}".replace("-", "−")
    return f"{figure:g}".replace("-", "−")


def _tenths(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")
