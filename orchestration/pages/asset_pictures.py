"""Pictures that finance looks at on the publication in the Dagster UI: drawn from what was published.

Numbers become floats here, and only here: as places on a chart.
"""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path
from typing import Any

import altair as alt
import duckdb

_PARTS = (
    ("burn", "burn_revenue", 1),
    ("overage", "overage_revenue", 1),
    ("burst", "burst_revenue", 1),
    ("energy", "energy_revenue", 1),
    ("dedicated", "dedicated_revenue", 1),
    ("direct cost", "direct_cost", -1),
    ("idle cost", "idle_cost", -1),
)


def margin_waterfall(published: Path) -> str | None:
    """How the last month's revenue became its margin, as Markdown with a picture.

    Args:
        published: the folder of a publication.

    Returns:
        None when nothing is booked yet.
    """
    with duckdb.connect(str(published / "marts.duckdb"), read_only=True) as marts:
        [row] = marts.execute(
            "select max(month), "
            + ", ".join(f"sum({column})" for _, column, _ in _PARTS)
            + " from margin_monthly where month = (select max(month) from margin_monthly)"
        ).fetchall()
    month: date | None = row[0]
    if month is None:
        return None
    steps: list[dict[str, Any]] = []
    level = 0.0
    for order, ((name, _, sign), amount) in enumerate(zip(_PARTS, row[1:], strict=True)):
        change = sign * float(amount)
        steps.append(_step(order, name, level, level + change, "revenue" if sign > 0 else "cost"))
        level += change
    steps.append(_step(len(steps), "gross margin", 0.0, level, "margin"))
    base = alt.Chart(alt.Data(values=steps), title=f"From revenue to margin, {month:%B %Y}").encode(
        x=alt.X("part:N", sort=alt.SortField("order"), title=None, axis=alt.Axis(labelAngle=-30))
    )
    bars = base.mark_bar().encode(
        y=alt.Y("start:Q", title="reporting currency"),
        y2="end:Q",
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(
                domain=["revenue", "cost", "margin"], range=["#2b6cb0", "#c05621", "#2f855a"]
            ),
            title=None,
        ),
    )
    labels = base.mark_text(dy=-7, fontSize=11).encode(y="top:Q", text="label:N")
    return _markdown((bars + labels).properties(width=560, height=300), "Margin waterfall")


def cost_trend(published: Path) -> str | None:
    """What a GPU minute cost, day by day and accelerator, as Markdown with a picture.

    Args:
        published: the folder of a publication.

    Returns:
        None when no pool was busy yet.
    """
    with duckdb.connect(str(published / "marts.duckdb"), read_only=True) as marts:
        rows = marts.execute(
            "select cost_date, accelerator, sum(total_cost - unallocated_cost) / sum(busy_minutes) "
            "from gpu_minute_costs where busy_minutes > 0 group by all order by all"
        ).fetchall()
    if not rows:
        return None
    values = [
        {"day": f"{day:%Y-%m-%d}", "accelerator": accelerator, "cost": float(cost)}
        for day, accelerator, cost in rows
    ]
    chart = (
        alt.Chart(alt.Data(values=values), title="Amortized cost of a GPU minute")
        .mark_line(point=len({value["day"] for value in values}) == 1)
        .encode(
            x=alt.X("utcyearmonthdate(day):T", title=None, scale=alt.Scale(type="utc")),
            y=alt.Y("cost:Q", title="reporting currency per GPU minute"),
            color=alt.Color("accelerator:N", title=None),
        )
        .properties(width=560, height=300)
    )
    return _markdown(chart, "Cost of a GPU minute")


def _step(order: int, part: str, start: float, end: float, kind: str) -> dict[str, Any]:
    return {
        "order": order,
        "part": part,
        "start": start,
        "end": end,
        "top": max(start, end),
        "kind": kind,
        "label": f"{end - start:,.0f}",
    }


def _markdown(chart: Any, alternative: str) -> str:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(chart.to_json())
    encoded = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f"![{alternative}](data:image/svg+xml;base64,{encoded})"
