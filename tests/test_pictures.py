"""The pictures on the publication: drawn from the marts, with the figures that stand in them."""

from __future__ import annotations

import base64

import duckdb
import pytest

from orchestration.pages.asset_pictures import cost_trend, margin_waterfall


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
