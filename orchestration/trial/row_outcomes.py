"""What becomes of each delivered row, from books apart of which only the usage was built."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import duckdb

from orchestration.books.warehouse import read_warehouse
from orchestration.landing import Delivery
from orchestration.settings import Settings

MODELS = ("+int_curable_rows", "+usage_conflicts")
"""What dbt has to build for it."""

_BILLED = """
    select delivery_day, cast(sum(event_count) as bigint)
    from int_delivered_hours
    inner join int_kinds_of_use
        using (customer_id, usage_date, delivery_day, cluster, gpu_type, model_family)
    where reason is null
    group by delivery_day
"""
_SET_ASIDE = """
    select feed, delivery_date, line_number, reason, detail, 'set_aside' as fate
    from read_parquet($1, hive_partitioning = false)
"""
_CURABLE = """
    select feed, delivery_date, line_number, reason, detail, 'curable' as fate
    from int_curable_rows
"""
_CONFLICTS = """
    select
        'usage', other_delivery, other_line_number, 'conflict',
        'event_id ' || event_id || ' was delivered otherwise on ' || kept_delivery || ', line '
            || kept_line_number || ', which is billed',
        'conflict'
    from usage_conflicts
"""

Fate = Literal["set_aside", "curable", "conflict"]


@dataclass(frozen=True)
class DayRows:
    """The rows of a usage delivery by what becomes of them; each is in one figure."""

    day: date
    delivered: int
    billed: int
    repeated: int
    conflicts: int
    curable: int
    set_aside: int


@dataclass(frozen=True)
class Unbilled:
    """Rows that are not billed for the same reason: how many, the first of them, and what is wrong."""

    feed: str
    reason: str
    rows: int
    day: date | None
    line: int
    detail: str
    fate: Fate


def rows_by_day(settings: Settings, landed: Sequence[Delivery]) -> list[DayRows]:
    """What becomes of the rows of each usage delivery, once MODELS are built."""
    with read_warehouse(settings) as warehouse:
        billed = dict(warehouse.execute(_BILLED).fetchall())
        curable = dict(
            warehouse.execute(
                "select delivery_date, count(*) from int_curable_rows group by delivery_date"
            ).fetchall()
        )
        conflicts = dict(
            warehouse.execute(
                "select other_delivery, count(*) from usage_conflicts group by other_delivery"
            ).fetchall()
        )
    days = []
    for delivery in landed:
        if (day := delivery.delivery_day) is None:
            continue
        apart = Counter(
            billed=billed.get(day, 0),
            conflicts=conflicts.get(day, 0),
            curable=curable.get(day, 0),
            set_aside=delivery.rejected_rows,
        )
        repeated = delivery.delivered_rows - apart.total()
        days.append(DayRows(day, delivery.delivered_rows, repeated=repeated, **apart))
    return days


def unbilled(settings: Settings, *, is_built: bool) -> list[Unbilled]:
    """The kinds of rows that are not billed, the most frequent first.

    Args:
        settings: of the books apart.
        is_built: whether MODELS are; without them nobody knows which rows a seed edit would cure.
    """
    landing = glob.escape(str(settings.landing_dir))
    parts = [_SET_ASIDE, *((_CURABLE, _CONFLICTS) if is_built else ())]
    sql = f"""
        select
            feed, reason, count(*), (min((delivery_date, line_number)))[1],
            (min((delivery_date, line_number)))[2], detail, fate
        from ({" union all ".join(parts)})
        group by feed, reason, detail, fate
        order by count(*) desc, feed, reason, detail
    """
    files = [f"{landing}/rejected/*/*.parquet"]
    if is_built:
        with read_warehouse(settings) as warehouse:
            rows = warehouse.execute(sql, files).fetchall()
    else:
        with duckdb.connect(":memory:") as connection:
            rows = connection.execute(sql, files).fetchall()
    return [Unbilled(*row) for row in rows]
