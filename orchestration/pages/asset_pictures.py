"""Pictures that finance looks at on the publication in the Dagster UI: drawn from what was published."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from orchestration.pages.pictures import Kind, data_uri, lines, waterfall

_REVENUE, _COST = Kind("revenue", "s1"), Kind("cost", "s2")
_PARTS = (
    ("burn", "burn_revenue", _REVENUE),
    ("overage", "overage_revenue", _REVENUE),
    ("burst", "burst_revenue", _REVENUE),
    ("energy", "energy_revenue", _REVENUE),
    ("dedicated", "dedicated_revenue", _REVENUE),
    ("direct cost", "direct_cost", _COST),
    ("idle cost", "idle_cost", _COST),
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
    drawn = waterfall(
        f"From revenue to margin, {month:%B %Y}",
        "reporting currency",
        [
            (name, -amount if kind is _COST else amount, kind)
            for (name, _, kind), amount in zip(_PARTS, row[1:], strict=True)
        ],
        ("gross margin", Kind("margin", "s3")),
    )
    return f"![Margin waterfall]({data_uri(drawn)})"


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
    series: dict[str, dict[date, float]] = {}
    for day, accelerator, cost in rows:
        series.setdefault(accelerator, {})[day] = float(cost)
    drawn = lines("Amortized cost of a GPU minute", "reporting currency per GPU minute", series)
    return f"![Cost of a GPU minute]({data_uri(drawn)})"
