"""The profiles of the price feeds: one row for the whole snapshot, one for each part of it.

A part is a zone, a currency, or a provider and kind of price. How new a part is and how many rows
it has is measured only if the seeds need it: an old price that nobody uses is nobody's business.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.gates.gate import FeedKey
from orchestration.gates.measures import AMOUNT, SCHEMA, columns_found, ratio, share, times
from orchestration.gates.needs import Needs
from orchestration.landing.files import PRICE, RATE, SNAPSHOTS, landed_delivery, staging
from orchestration.store.duck import connect

LANDED: dict[FeedKey, str] = {
    "energy_price": "energy",
    "energy_mix": "carbon",
    "gpu_price": "gpu",
    "fx_rate": "fx",
}
"""The price feeds, and what the landing calls them."""

WHOLE = "the whole feed"
FEWEST_TO_COMPARE = 4
"""Usual rows a week below which a change in their number says nothing."""
WEEKS_BACK = 4
MOST_PARTS = 200
_LONGEST_NAME = 80

_COMMON = [
    *SCHEMA,
    ("rows", pa.int64()),
    ("recorded_rows", pa.int64()),
    ("kept_share", AMOUNT),
    ("wanted_rows", pa.int64()),
    ("newest_age_days", pa.int64()),
    ("week_rows", pa.int64()),
    ("usual_week_rows", pa.int64()),
    ("change", AMOUNT),
]


@dataclass(frozen=True)
class _Snapshot:
    """How the snapshot of a feed is measured.

    Attributes:
        day: SQL, the UTC day of a row.
        part: the columns that name a part.
        has_currency: whether its prices are in one.
        measures: SQL aggregates over a part, by the name that ``finish`` or the profile knows.
        columns: what the profile has besides _COMMON.
        finish: turns the aggregates of a part into these columns.
    """

    day: str
    part: tuple[str, ...]
    has_currency: bool
    measures: dict[str, str]
    columns: list[tuple[str, pa.DataType]]
    finish: Callable[[dict[str, Any], Needs], dict[str, Any]] = lambda part, _: part


def _times_default(part: dict[str, Any], needs: Needs) -> dict[str, Any]:
    default = needs.zones.get(part["part"][0])
    typical = part["typical_price"]
    if not default or typical is None:
        return part
    return {**part, "times_default": ratio(typical, default)}


def _times_in_a_month(part: dict[str, Any], _: Needs) -> dict[str, Any]:
    low, high = part["month_low"], part["month_high"]
    return {**part, "times_in_a_month": ratio(high, low)} if low else part


_MEASURED: dict[FeedKey, _Snapshot] = {
    # Prices are measured to 6 decimals: with all of theirs and a rate's, the largest would overflow.
    "energy_price": _Snapshot(
        day="interval_start::date",
        part=("zone",),
        has_currency=True,
        measures={
            "typical_price": (
                "quantile_disc(abs(price_per_kwh::decimal(18, 6) * rate), 0.5) "
                "filter (where day > $as_of - 7 and day <= $as_of)"
            ),
        },
        columns=[("times_default", AMOUNT)],
        finish=_times_default,
    ),
    "energy_mix": _Snapshot(
        day="ts_utc::date",
        part=("zone",),
        has_currency=False,
        measures={
            "lowest_carbon": "min(carbon_gco2_kwh_lca)",
            "highest_carbon": "max(carbon_gco2_kwh_lca)",
            "lowest_renewable": "min(renewable_pct)",
            "highest_renewable": "max(renewable_pct)",
        },
        columns=[
            (f"{end}_{of}", AMOUNT)
            for of in ("carbon", "renewable")
            for end in ("lowest", "highest")
        ],
    ),
    "gpu_price": _Snapshot(
        day="observed_at::date",
        part=("provider", "price_kind"),
        has_currency=True,
        measures={
            "lowest_price": "min(price_per_gpu_hour)",
            "highest_price": "max((price_per_gpu_hour::decimal(18, 6) * rate)::decimal(36, 6))",
        },
        columns=[("lowest_price", PRICE), ("highest_price", AMOUNT)],
    ),
    "fx_rate": _Snapshot(
        day="rate_date",
        part=("currency",),
        has_currency=False,
        measures={
            "month_low": "min(usd_per_unit) filter (where day > $as_of - 31 and day <= $as_of)",
            "month_high": "max(usd_per_unit) filter (where day > $as_of - 31 and day <= $as_of)",
        },
        columns=[("times_in_a_month", AMOUNT)],
        finish=_times_in_a_month,
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a snapshot lies, and the copy of it that was billed last, if there is one."""

    landing: Path
    billed: Path
    reporting_currency: str


def snapshot_profile(feed: FeedKey, place: Place, needs: Needs, as_of: date) -> pa.Table:
    """Measure a price feed as it is landed.

    Args:
        feed: one of LANDED.
        place: where its snapshot lies.
        needs: what the seeds need.
        as_of: the last delivery day. Rows of later days are no news.

    Returns:
        A row for the whole feed and for each part. Prices are in the reporting currency where a
        rate is known, else they are not measured. Without the declared columns there is only the
        first row, which says so.
    """
    how = _MEASURED[feed]
    landed_as = LANDED[feed]
    name, declared = SNAPSHOTS[landed_as]
    path = place.landing / name
    columns = columns_found([path], declared)
    record = landed_delivery(place.landing, landed_as, None)
    whole: dict[str, Any] = {
        "of": WHOLE,
        "landed_columns": columns.landed,
        "declared_columns": columns.declared,
        "recorded_rows": record.landed_rows if record else None,
    }
    schema = pa.schema([*_COMMON, *how.columns])
    rows = [whole]
    if columns.as_declared:
        total = pq.read_metadata(path).num_rows
        billed = pq.read_metadata(place.billed).num_rows if place.billed.exists() else 0
        parts = [how.finish(part, needs) for part in _measure(how, path, place, as_of)]
        whole |= {"rows": total, "kept_share": share(total, billed)}
        needed = _needed(feed, place, needs, parts)
        rows += _shown(parts, [name for name, _ in how.columns])
        rows += [{"of": f"{of} (needed)", **_news(own, as_of)} for of, own in needed.items()]
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in rows], schema=schema
    )


def _needed(
    feed: FeedKey, place: Place, needs: Needs, parts: list[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """What the seeds need of a feed, by name, and the parts that give it."""
    if feed == "gpu_price":
        return {
            str(market): [part for part in parts if market.covers(*part["part"])]
            for market in needs.markets
        }
    if feed == "fx_rate":
        names = needs.lot_currencies | _energy_currencies(place.landing, needs)
        names -= {place.reporting_currency}
    else:
        names = frozenset(needs.zones)
        if feed == "energy_mix":
            # A zone may have none.
            names &= {part["part"][0] for part in parts}
    return {name: [part for part in parts if part["part"] == (name,)] for name in sorted(names)}


def _news(parts: list[dict[str, Any]], as_of: date) -> dict[str, Any]:
    """How new the parts are together, and how many rows they have had a week."""
    news: dict[str, Any] = {"wanted_rows": sum(part["rows"] for part in parts)}
    newest = max((part["newest_day"] for part in parts if part["newest_day"]), default=None)
    if newest:
        news["newest_age_days"] = (as_of - newest).days
    first = min((part["first_day"] for part in parts if part["first_day"]), default=None)
    if first is None:
        return news
    weeks = [sum(part[f"week_{n}"] for part in parts) for n in range(WEEKS_BACK + 1)]
    # Weeks before the feed began, or that it began in, are not usual ones.
    whole_weeks = min((as_of - first).days + 1, 7 * (WEEKS_BACK + 1)) // 7
    earlier = sorted(weeks[1:whole_weeks])
    news["week_rows"] = weeks[0]
    if earlier:
        usual = earlier[len(earlier) // 2]
        news["usual_week_rows"] = usual
        if usual >= FEWEST_TO_COMPARE:
            news["change"] = times(weeks[0], usual)
    return news


def _measure(how: _Snapshot, path: Path, place: Place, as_of: date) -> list[dict[str, Any]]:
    weeks = {
        f"week_{n}": f"count(*) filter (where day > $as_of - {7 * (n + 1)} "
        f"and day <= $as_of - {7 * n})"
        for n in range(WEEKS_BACK + 1)
    }
    measures: Mapping[str, str] = {
        "rows": "count(*)",
        "first_day": "min(day)",
        "newest_day": "max(day) filter (where day <= $as_of)",
        **weeks,
        **how.measures,
    }
    part = ", ".join(how.part)
    query = f"""
        select [{part}] as part, {", ".join(f"{sql} as {name}" for name, sql in measures.items())}
        from (
            select *, {how.day} as day
            from read_parquet($file, hive_partitioning = false)
            {"left join rates using (currency)" if how.has_currency else ""}
        )
        group by {part}
        order by {part}
    """
    with staging(place.landing, "gates") as spill, connect(spill) as connection:
        if how.has_currency:
            connection.register("rates", _rates(place, as_of))
        table = connection.sql(
            query, params={"file": glob.escape(str(path)), "as_of": as_of}
        ).to_arrow_table()
    return [{**row, "part": tuple(row["part"])} for row in table.to_pylist()]


def _rates(place: Place, as_of: date) -> pa.Table:
    """The newest exchange rate of each currency on a day."""
    name, declared = SNAPSHOTS[LANDED["fx_rate"]]
    path = place.landing / name
    rates: dict[str, Decimal] = {}
    if columns_found([path], declared).as_declared:
        with staging(place.landing, "gates-rates") as spill, connect(spill) as connection:
            rates = dict(
                connection.execute(
                    "select currency, arg_max(usd_per_unit, (rate_date, sequence)) "
                    "from read_parquet($file, hive_partitioning = false) "
                    "where rate_date <= $as_of group by currency",
                    {"file": glob.escape(str(path)), "as_of": as_of},
                ).fetchall()
            )
    rates[place.reporting_currency] = Decimal(1)
    return pa.table({"currency": list(rates), "rate": pa.array(rates.values(), RATE)})


def _energy_currencies(landing: Path, needs: Needs) -> frozenset[str]:
    """The currencies of the energy prices that facilities pay."""
    name, declared = SNAPSHOTS[LANDED["energy_price"]]
    path = landing / name
    if not columns_found([path], declared).as_declared:
        return frozenset()
    with pq.ParquetFile(path) as prices:
        table = prices.read(["zone", "currency"]).group_by(["zone", "currency"]).aggregate([])
    return frozenset(row["currency"] for row in table.to_pylist() if row["zone"] in needs.zones)


def _shown(parts: list[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    """The measures of each part; beyond MOST_PARTS in one row, however many a broken feed has."""
    rows = [
        {"of": _named(part["part"]), **{name: part.get(name) for name in columns}}
        for part in parts[:MOST_PARTS]
    ]
    others = parts[MOST_PARTS:]
    if others:
        row: dict[str, Any] = {"of": f"the {len(others)} others"}
        for name in columns:
            values = [part[name] for part in others if part.get(name) is not None]
            is_least = name.startswith("lowest")
            row[name] = (min if is_least else max)(values, default=None)
        rows.append(row)
    return rows


def _named(part: tuple[str | None, ...]) -> str:
    return ", ".join((value or "unnamed")[:_LONGEST_NAME] for value in part)
