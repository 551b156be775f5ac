"""The marks that stand on a page many times: days, figures, names and charts, as HTML.

Written here and not as macros of a template, where each costs ten times as much: a page has some
hundred of them. All text in them is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from markupsafe import Markup, escape

from orchestration.pages import words
from orchestration.pages.shapes import Drawing, element


def on(day: date) -> Markup:
    """A day, for people and for readers."""
    return Markup(f'<time datetime="{day.isoformat()}">{words.day(day)}</time>')


def figure(value: Decimal, places: int = 2) -> Markup:
    """A figure, rounded for people and exact for readers."""
    return Markup(f'<data value="{value:f}">{escape(words.amount(value, places))}</data>')


def name(text: str) -> Markup:
    """A name that somebody else chose; it cannot turn the text around it."""
    return Markup(f"<bdi>{escape(words.plain(text))}</bdi>")


def swatch(kind: int) -> Markup:
    """The colour of a kind of use, as it is in the charts."""
    return Markup(
        '<svg viewBox="0 0 12 12" aria-hidden="true">'
        f'<rect class="k{kind}" width="12" height="12" rx="2"/></svg>'
    )


def chart(drawings: Mapping[str, Drawing], label: str) -> Markup:
    """A chart in each of its sizes, of which the stylesheet shows one."""
    lines = [f'<div role="img" aria-label="{escape(label)}">']
    for fit, drawing in drawings.items():
        size = drawing.size
        lines.append(
            f'<svg class="chart {fit}" viewBox="0 0 {size.width} {size.height}" aria-hidden="true">'
        )
        shapes = (element(shape, {"class": shape.style}) for shape in drawing.shapes)
        lines.append("".join(shapes) + "</svg>")
    return Markup("\n".join([*lines, "</div>"]))
