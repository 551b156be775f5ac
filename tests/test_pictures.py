"""Charts that stand alone, and those of them on the publication, drawn from its marts."""

from __future__ import annotations

import base64
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from xml.etree import ElementTree

import duckdb
import pytest

from orchestration.pages.asset_pictures import cost_trend, margin_waterfall
from orchestration.pages.pictures import Kind, bars, lines, waterfall

GAIN, LOSS, LEFT = Kind("gain", "s1"), Kind("loss", "s2"), Kind("left", "s3")
HOSTILE = '<script>&"\x00\uffff\u202e' + "x" * 100


@pytest.fixture
def published(tmp_path):
    """A publication of two marts."""
    with duckdb.connect(str(tmp_path / "marts.duckdb")) as marts:
        marts.execute(
            "create table margin_monthly as select date '2026-01-01' as month, 100.0 as burn_revenue, "
            "20.0 as overage_revenue, 0.0 as burst_revenue, 5.0 as energy_revenue, "
            "0.0 as dedicated_revenue, 60.0 as direct_cost, 15.0 as idle_cost"
        )
        marts.execute(
            "create table gpu_minute_costs as select date '2026-01-01' + d::int as cost_date, "
            "'H100' as accelerator, 100.0 as total_cost, 0.0 as unallocated_cost, 50.0 as busy_minutes "
            "from range(3) as days (d)"
        )
    return tmp_path


def svg(markdown):
    prefix = "(data:image/svg+xml;base64,"
    return base64.b64decode(markdown[markdown.index(prefix) + len(prefix) : -1]).decode("utf-8")


def test_the_waterfall_ends_at_revenue_less_cost(published):
    picture = svg(margin_waterfall(published))
    assert "From revenue to margin, January 2026" in picture
    assert ">50<" in picture  # 100 + 20 + 5 - 60 - 15


def test_the_trend_has_a_line_per_accelerator(published):
    assert "H100" in svg(cost_trend(published))


def test_nothing_booked_draws_nothing(published):
    with duckdb.connect(str(published / "marts.duckdb")) as marts:
        marts.execute("delete from margin_monthly")
        marts.execute("delete from gpu_minute_costs")
    assert margin_waterfall(published) is None
    assert cost_trend(published) is None


def read(picture):
    """Its elements by tag; it is XML, or nothing shows it."""
    found = {}
    for element in ElementTree.fromstring(picture).iter():
        found.setdefault(element.tag.rpartition("}")[2], []).append(element)
    return found


def number(element, place):
    return float(element.get(place))


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: waterfall("t", "u", [("up", Decimal(3), GAIN)], ("left", Kind(name, "s3"))),
        lambda name: lines("t", "u", {name: {date(2026, 1, 1): 0.5}}),
        lambda name: bars("t", "u", [GAIN], [(name, [Decimal(-1)]), ("none", [None])]),
    ],
    ids=["waterfall", "lines", "bars"],
)
def test_a_picture_carries_its_colours_and_holds_any_name(draw):
    picture = draw(HOSTILE)
    found = read(picture)
    assert not found.keys() & {"script", "style"}
    assert "class=" not in picture
    assert any(text.text.startswith('<script>&"') for text in found["text"])
    width, height = (number(found["svg"][0], side) for side in ("width", "height"))
    ground = found["rect"][0]
    assert (number(ground, "width"), number(ground, "height")) == (width, height)
    for text in found["text"]:
        assert text.get("fill").startswith("#")
        assert 0 <= number(text, "x") <= width
        assert 0 < number(text, "y") <= height


def test_a_loss_falls_below_zero():
    picture = waterfall(
        "t", "u", [("up", Decimal(10), GAIN), ("down", Decimal(-30), LOSS)], ("left", LEFT)
    )
    shown = read(picture)
    assert {"10", "−30", "−20"} <= {text.text for text in shown["text"]}
    # Ground, three in the legend, three columns; the last hangs from zero to where the loss ends.
    up, down, left = shown["rect"][4:]
    assert number(left, "y") == pytest.approx(number(up, "y") + number(up, "height"), abs=0.2)
    ends = [number(column, "y") + number(column, "height") for column in (down, left)]
    assert ends[0] == pytest.approx(ends[1], abs=0.2)


def test_names_of_lines_that_end_together_do_not_overlap():
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(40)]
    picture = lines("t", "u", {f"GPU-{n}": dict.fromkeys(days, 1.0) for n in range(30)})
    shown = read(picture)
    rows = sorted(number(text, "y") for text in shown["text"] if text.text.startswith("GPU-"))
    assert len(rows) == 30
    assert min(below - above for above, below in pairwise(rows)) >= 13
    assert rows[-1] < number(shown["svg"][0], "height")
    assert len({(p.get("stroke"), p.get("stroke-dasharray")) for p in shown["path"]}) == 15


def test_bars_hold_every_figure_and_leave_out_what_is_none():
    picture = bars(
        *("t", "u", [GAIN, LOSS]),
        [("heading", []), ("a", [Decimal("1234.5"), None]), ("b", [Decimal(-2), Decimal(0)])],
    )
    shown = read(picture)
    assert {"heading", "a", "b", "1,235", "−2", "0"} <= {text.text for text in shown["text"]}
    assert len(shown["rect"]) == 1 + 2 + 3


def test_nothing_but_zeros_can_be_drawn():
    read(waterfall("t", "u", [("up", Decimal(0), GAIN)], ("left", LEFT)))
    read(lines("t", "u", {"a": {date(2026, 1, 1): 0.0}}))
    read(bars("t", "u", [GAIN], [("a", [Decimal(0)])]))
