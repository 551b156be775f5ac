"""Draws pages from read models: no script, no request, nothing but what the model holds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from orchestration.pages import marks, words
from orchestration.pages.charts import NARROW, WIDE, burn_down, series_of, use_by_day
from orchestration.pages.read_models import Gauge, Site
from orchestration.pages.shapes import Drawing, Size
from orchestration.pages.slices import WINDOW_DAYS

LONG = 10**9
"""Figures from here on may break at any digit on a phone."""

ROWS = 6
"""Rows of a table that stand open; the rest folds away, so that a page prints on two sheets."""

STALE_HIDDEN = '<div class="notice bad" id="stale" hidden>'
STALE_SHOWN = '<div class="notice bad" id="stale">'
"""A server that knows the time shows this notice once the figures are out of date."""

_TEMPLATES = Path(__file__).with_name("templates")


def content_security_policy() -> str:
    """What the pages allow a browser to do: show their one stylesheet, and nothing else.

    It stands in every page; a server sends it as a header too, with its own ``frame-ancestors``,
    which a page can't set for itself.
    """
    digest = base64.b64encode(hashlib.sha256(_style().encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def gauge_page(gauge: Gauge) -> str:
    """The page of one customer."""
    plan = gauge.plan
    return render(
        "gauge.html",
        gauge=gauge,
        ROWS=ROWS,
        stale=Markup(STALE_HIDDEN),
        badge=words.BADGES[gauge.state],
        notice=words.notice(gauge),
        range_words=words.range_words(gauge),
        pace_words=words.pace_words(gauge),
        coming_words=words.coming_words(gauge),
        refund_words=words.refund_words(gauge),
        expiry_words=words.expiry_words(gauge),
        threshold_words={t.kind: words.threshold_words(gauge, t) for t in gauge.thresholds},
        expiring_words=words.expiring_words(gauge),
        range_method=words.range_method(gauge),
        burn_down_words=words.burn_down_words(gauge) if gauge.days else "",
        last_cycle_day=gauge.cycle_end - timedelta(days=1),
        plan_ended=plan is not None and plan.ends_on is not None and plan.ends_on <= gauge.as_of,
        days_left=(gauge.projected_depletion_date - gauge.as_of).days
        if gauge.projected_depletion_date
        else None,
        tank=_tank(gauge),
        live_grants=[grant for grant in gauge.grants if grant.remaining > 0],
        spent_grants=[grant for grant in gauge.grants if grant.remaining <= 0],
        is_long=any(
            figure >= LONG for figure in (gauge.capacity, *(use.gpu_minutes for use in gauge.uses))
        ),
        shows_cost=any(use.cost_per_gpu_minute is not None for use in gauge.uses),
        burn_down=both_sizes(lambda size: burn_down(gauge, size)),
        use_chart=both_sizes(lambda size: use_by_day(gauge, size)),
        cycle_in_chart=gauge.cycle_start > gauge.as_of - timedelta(days=WINDOW_DAYS - 1),
        series=series_of(gauge.use_days),
    )


def render(template: str, **figures: Any) -> str:
    """Fill a template; every text in it is escaped, the stylesheet excepted."""
    return (
        _environment()
        .get_template(template)
        .render(style=Markup(_style()), policy=content_security_policy(), **figures)
    )


def both_sizes(draw: Callable[[Size], Drawing | None]) -> dict[str, Drawing] | None:
    """A chart drawn for screens and for phones; None where there is nothing to draw."""
    wide, narrow = draw(WIDE), draw(NARROW)
    return {"wide": wide, "narrow": narrow} if wide and narrow else None


@dataclass(frozen=True)
class _Mark:
    """A threshold on the tank: where it is in per cent from the left, and where its name stands."""

    at: Decimal
    y: int
    flipped: bool
    depletion: Decimal


@dataclass(frozen=True)
class _Tank:
    level: Decimal
    top: int
    height: int
    marks: tuple[_Mark, ...]


def _tank(gauge: Gauge) -> _Tank:
    """The gauge as percentages, so that it fits every width; names that would collide are stacked."""
    level = Decimal(0)
    if gauge.capacity > 0:
        # A drop that is there is seen; a tank that isn't full doesn't look it.
        level = min(
            max(_places(100 * gauge.balance / gauge.capacity), Decimal("0.5")), Decimal(100)
        )
        level = level if gauge.balance > 0 else Decimal(0)
    places = sorted((_places(100 * (1 - t.depletion)), t.depletion) for t in gauge.thresholds)
    crowded = len(places) > 1 and places[1][0] - places[0][0] < 25
    rows = 2 if crowded else 1
    marks = tuple(
        _Mark(at, y=14 + 18 * (number if crowded else 0), flipped=at > 70, depletion=depletion)
        for number, (at, depletion) in enumerate(places)
    )
    top = 18 * rows + 6
    return _Tank(level=level, top=top, height=top + 56, marks=marks)


def _places(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _renewable(site: Site) -> str:
    if site.renewable_kwh is None or not site.kwh_with_share:
        return "not known"
    return words.percent(site.renewable_kwh / site.kwh_with_share)


@cache
def _style() -> str:
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "on": marks.on,
        "credits": marks.figure,
        "figure": marks.figure,
        "name": marks.name,
        "chart": marks.chart,
        "swatch": marks.swatch,
    }
    environment.filters |= {
        "amount": words.amount,
        "percent": words.percent,
        "rate": words.rate,
        "day": words.day,
        "instant": words.instant,
        "plain": words.plain,
        "short": words.short,
        "alert_words": words.alert_words,
        "exact": lambda value: f"{value:f}",
        "whole": lambda value: words.amount(value, 0),
        "source": lambda source: words.SOURCES.get(source, source),
        "renewable": _renewable,
    }
    return environment
