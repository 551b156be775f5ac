"""The profile of landed usage: one row of exact measures per delivery day.

DuckDB reads every landed row of these days once and keeps aggregates only, so memory does not grow
with a delivery. Of earlier deliveries only their one-row records are read.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.gates.gate import OPTIONAL_FIELDS
from orchestration.gates.measures import AMOUNT, SCHEMA, columns_found, ratio, share, times
from orchestration.gates.needs import Needs
from orchestration.landing import files
from orchestration.landing.files import Delivery, landed_delivery, usage_part
from orchestration.store.duck import connect

FEWEST_TO_COMPARE = 100
"""Usual rows below which a change in their number says nothing."""
WEEKS_BACK = 4
_DELIVERIES_BACK = 4
_SAMPLED_ROWS = 100_000
_FEWEST_REFERENCES = 5
_MS_PER_HOUR = Decimal(3_600_000)

PROFILE = pa.schema(
    [
        *SCHEMA,
        ("rows", pa.int64()),
        ("recorded_rows", pa.int64()),
        *((f"rows_with_{field}", pa.int64()) for field in OPTIONAL_FIELDS),
        ("newest_age_days", pa.int64()),
        ("largest_slice_gpu_hours", AMOUNT),
        ("fleet_gpu_hours", AMOUNT),
        ("delivered_rows", pa.int64()),
        ("usual_rows", pa.int64()),
        ("change", AMOUNT),
        ("unknown_customers_share", AMOUNT),
        ("unknown_clusters_share", AMOUNT),
        ("unknown_accelerators_share", AMOUNT),
    ]
)

_HAD = """
        count(*) filter (where landed.kind <> 'usage') as has_kind,
        count(landed.gpu_type) as has_gpu_type,
        count(landed.model_family) as has_model_family,
        count(landed.energy_cost_micro) as has_energy_cost,
        count(*) filter (where landed.duration_us > 0) as has_duration_s"""

_MEASURES = f"""
    select
        parts.delivery_day as delivery_day,
        count(*) as rows,
        min(parts.delivery_day - landed.usage_day) as newest_age_days,
        {_HAD},
        count(landed.corrects_event_id) as corrects_another,
        max(landed.quantity_micro::hugeint * case landed.meter
            when 'gpu_millisecond' then 1
            when 'gpu_second' then 1000
            when 'gpu_minute' then 60000
            when 'gpu_hour' then 3600000
        end) // 1000000 as largest_slice_ms,
        count(*) filter (where customers.known is null) as unknown_customers,
        count(*) filter (where clusters.known is null) as unknown_clusters,
        count(*) filter (where landed.gpu_type is not null and accelerators.known is null)
            as unknown_accelerators
    from read_parquet($files, filename = true, hive_partitioning = false) as landed
    inner join parts on landed.filename = parts.filename
    left join customers on landed.customer_id = customers.known
    left join clusters on landed.cluster = clusters.known
    left join accelerators on landed.gpu_type = accelerators.known
    group by parts.delivery_day
"""


def usage_profile(landing: Path, needs: Needs, delivery_days: Sequence[date]) -> pa.Table:
    """Measure the landed deliveries of some days.

    Args:
        landing: the folder that holds everything landed.
        needs: what the seeds know.
        delivery_days: days without a landed delivery are left out.

    Returns:
        A row per delivery as in PROFILE. A delivery with other columns than declared has no
        measures: they could not be read. Hours are GPU hours, shares are between 0 and 1.
    """
    records = {day: landed_delivery(landing, "usage", day) for day in delivery_days}
    landed = {day: record for day, record in records.items() if record and record.landed_rows}
    found = {day: columns_found(_parts(landing, day).values(), files.USAGE) for day in landed}
    whole = [day for day, columns in found.items() if columns.as_declared]
    with files.staging(landing, "gates") as spill, connect(spill) as connection:
        measured = {row["delivery_day"]: row for row in _measure(connection, landing, needs, whole)}
        usual = _Usual(connection, landing)
        usually = {day: usual.fields(day) for day in landed}
    rows = []
    for day, record in sorted(landed.items()):
        row: dict[str, Any] = dict(measured.get(day, {}))
        total = row.get("rows", 0)
        largest_ms = row.pop("largest_slice_ms", None)
        usual_rows = usual.rows(day)
        row |= {
            "of": day.isoformat(),
            "landed_columns": found[day].landed,
            "declared_columns": found[day].declared,
            # A delivery whose parts are all gone has no measures, but that is for the count to say.
            "rows": total if found[day].as_declared else None,
            "recorded_rows": record.landed_rows,
            "largest_slice_gpu_hours": ratio(largest_ms, _MS_PER_HOUR) if largest_ms else None,
            "fleet_gpu_hours": Decimal(24 * needs.fleet_gpus) if needs.fleet_gpus else None,
            "delivered_rows": record.delivered_rows,
            "usual_rows": usual_rows,
            "change": times(record.delivered_rows, usual_rows)
            if usual_rows is not None and usual_rows >= FEWEST_TO_COMPARE
            else None,
        }
        # Without `kind` a correction would be billed as use; what it corrects still gives it away.
        if row.pop("corrects_another", 0) >= _FEWEST_REFERENCES:
            usually[day].add("kind")
        for field in OPTIONAL_FIELDS:
            had = row.pop(f"has_{field}", None)
            enough = field == "kind" or total >= FEWEST_TO_COMPARE
            row[f"rows_with_{field}"] = had if field in usually[day] and enough else None
        for what in ("customers", "clusters", "accelerators"):
            row[f"unknown_{what}_share"] = share(row.pop(f"unknown_{what}", 0), total)
        rows.append({name: row.get(name) for name in PROFILE.names})
    return pa.Table.from_pylist(rows, schema=PROFILE)


def _parts(landing: Path, day: date) -> dict[date, Path]:
    """The landed files of a delivery by usage day."""
    parts = {
        usage_day: usage_part(landing, usage_day, day)
        for usage_day in files.touched_days(landing, day)
    }
    return {usage_day: path for usage_day, path in parts.items() if path.exists()}


def _measure(
    connection: duckdb.DuckDBPyConnection, landing: Path, needs: Needs, days: Iterable[date]
) -> list[dict[str, Any]]:
    parts = [
        {"filename": str(path), "usage_day": usage_day, "delivery_day": day}
        for day in days
        for usage_day, path in _parts(landing, day).items()
    ]
    if not parts:
        return []
    connection.register("parts", pa.Table.from_pylist(parts))
    for name, known in (
        ("customers", needs.customers),
        ("clusters", needs.clusters),
        ("accelerators", needs.accelerators),
    ):
        connection.register(name, pa.table({"known": pa.array(sorted(known), pa.string())}))
    paths = [glob.escape(str(part["filename"])) for part in parts]
    return connection.sql(_MEASURES, params={"files": paths}).to_arrow_table().to_pylist()


class _Usual:
    """What deliveries usually are, by the records and the first rows of earlier ones."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, landing: Path) -> None:
        self._connection = connection
        self._landing = landing
        self._records: dict[date, Delivery | None] = {}
        self._fields: dict[date, set[str]] = {}

    def rows(self, day: date) -> int | None:
        """The median of the rows delivered on the same weekday in the last weeks.

        None if none of these weeks has a delivery that could be used.
        """
        earlier = [self._record(day - timedelta(weeks=n)) for n in range(1, WEEKS_BACK + 1)]
        counts = sorted(record.delivered_rows for record in earlier if record)
        return counts[len(counts) // 2] if counts else None

    def fields(self, day: date) -> set[str]:
        """The optional fields that half of the rows or more had in each of the last deliveries.

        None of them if there were fewer than four in as many weeks that are large enough.
        """
        earlier = (day - timedelta(days=n) for n in range(1, 7 * WEEKS_BACK + 1))
        large = (
            each
            for each in earlier
            if (record := self._record(each)) and record.landed_rows >= FEWEST_TO_COMPARE
        )
        last = list(islice(large, _DELIVERIES_BACK))
        if len(last) < _DELIVERIES_BACK:
            return set()
        return set.intersection(*(self._mostly_there(each) for each in last))

    def _record(self, day: date) -> Delivery | None:
        if day not in self._records:
            record = landed_delivery(self._landing, "usage", day)
            self._records[day] = record if record and not record.problem else None
        return self._records[day]

    def _mostly_there(self, day: date) -> set[str]:
        """The fields that most rows of a delivery have, by a sample of its rows."""
        if day not in self._fields:
            paths = sorted(
                _parts(self._landing, day).values(), key=lambda path: path.stat().st_size
            )
            self._fields[day] = set()
            # A damaged file is for the gates of its own delivery to name.
            if paths and columns_found(paths, files.USAGE).as_declared:
                [(rows, *had)] = self._connection.execute(
                    f"select count(*), {_HAD} from (from read_parquet($1, "
                    f"hive_partitioning = false) limit {_SAMPLED_ROWS}) as landed",
                    [[glob.escape(str(path)) for path in reversed(paths)]],
                ).fetchall()
                for field, count in zip(OPTIONAL_FIELDS, had, strict=True):
                    if 2 * count >= rows:
                        self._fields[day].add(field)
        return self._fields[day]
