"""Feeds of any size: usage of N events a day, with the seeds and the price feeds that bill it.

``python -m benchmarks.feeds FOLDER --events 1000000 --customers 2000 [--history 21]`` writes
``FOLDER/seeds`` and ``FOLDER/feeds``. Every customer is a copy of one of the sample's companies:
its plan, its workloads, its spellings. What a line holds is a function of the day and the line's
number alone, so the same arguments give the same bytes (with the pinned DuckDB, whose hash it is).

Of the lines, 5 % repeat an earlier one (a tenth of them one of the day before; one in a thousand
with another quantity, which is a conflict), 10 % are late by 1 to 20 days unless told otherwise,
0.5 % are bad, in seven ways. A tenth of the customers cause a third of the use.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration import sample
from orchestration.settings import PROJECT_ROOT

COMPANIES = (
    "frame-forge",
    "babel-lab",
    "gene-harbor",
    "night-owl-studio",
    "chat-harbor",
    "lane-logic",
    "pixel-pantry",
)
"""The companies of the sample that customers are copies of: those whose plan never ends."""
DEDICATED_CLUSTERS = 20
"""Copies of Lane Logic that have a dedicated cluster of their own; the others share one."""
_DEDICATED = "abi-lane"
_CHUNK = 500_000
_MEAN_SLICE_GPU_MINUTES = 45
_SAMPLE_GPUS = 70


@dataclass(frozen=True)
class Volume:
    """How much a night brings, and how much every night before it brought."""

    events: int
    customers: int
    night: date = sample.OPENS_ON + timedelta(days=21)
    """The delivery day that is measured."""
    history: int = 21
    """Delivery days before it; late rows reach back 20 days."""
    history_events: int = 1_000
    """Lines of each of them."""
    late_percent: int = 10
    """Of a hundred lines, how many were used on an earlier day."""

    @property
    def first_day(self) -> date:
        """The first delivery day, on which the books open."""
        return self.night - timedelta(days=self.history)

    def events_on(self, day: date) -> int:
        """Lines of a delivery day; 0 for a day without one."""
        if day == self.night:
            return self.events
        return self.history_events if self.first_day <= day < self.night else 0


def write_all(folder: Path, volume: Volume) -> None:
    """Write seeds and feeds below ``folder``."""
    write_seeds(folder / "seeds", volume)
    write_price_feeds(folder / "feeds", volume.first_day, volume.night)
    for n in range(volume.history + 1):
        write_usage(folder / "feeds", volume.first_day + timedelta(days=n), volume)


# --------------------------------------------------------------------------------------
# Seeds
# --------------------------------------------------------------------------------------


def write_seeds(folder: Path, volume: Volume) -> None:
    """Write the sample's seeds with its customers, and the fleet that serves them, multiplied.

    Plans are bought in a quantity that about covers a customer's share of the use, so that some
    have credits left at the end of a cycle and some run out.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT_ROOT / "seeds", folder)
    plans = {row["sku"]: int(row["included_credits"]) for row in _rows(folder / "catalog/plans")}
    customers = {row["customer_id"]: row for row in _rows(folder / "contracts/customers")}
    contracts = {
        kind: _by_customer(_rows(folder / f"contracts/{kind}"))
        for kind in ("subscriptions", "orders")
    }
    written: dict[str, list[dict[str, str]]] = defaultdict(list)
    for number in range(volume.customers):
        company = COMPANIES[number % len(COMPANIES)]
        name = f"{company}-{number:06d}"
        written["customers"].append(
            customers[company]
            | {
                "customer_id": name,
                "customer_name": f"{customers[company]['customer_name']} {number}",
                "billing_anchor_day": str(1 + number % 28),
            }
        )
        for row in contracts["subscriptions"][company]:
            copied = {"subscription_id": f"{row['subscription_id']}-{number:06d}"}
            if row["cluster"]:
                if not _has_dedicated(number):
                    continue
                copied["cluster"] = f"{row['cluster']}-{number:06d}"
            else:
                credits = 30 * 2 * _MEAN_SLICE_GPU_MINUTES * _share(number, volume) * volume.events
                copied["quantity"] = str(max(1, math.ceil(0.9 * credits / plans[row["sku"]])))
            written["subscriptions"].append(row | {"customer_id": name} | copied)
        for row in contracts["orders"][company]:
            copied = {"order_id": f"{row['order_id']}-{number:06d}", "customer_id": name}
            written["orders"].append(row | copied)
    for kind, rows in written.items():
        _write_rows(folder / f"contracts/{kind}", rows)
    (folder / "contracts/adjustments.csv").unlink()
    _write_fleet(folder, volume)


def _write_fleet(folder: Path, volume: Volume) -> None:
    """As many GPUs as the use needs, and a copy of Lane Logic's cluster for each that has one."""
    busy = volume.events * _MEAN_SLICE_GPU_MINUTES / 1_440
    factor = max(1, math.ceil(2 * busy / _SAMPLE_GPUS))
    owners = [n for n in range(volume.customers) if _has_dedicated(n)]
    for kind in ("clusters", "pools", "procurement_lots"):
        rows = []
        for row in _rows(folder / f"fleet/{kind}"):
            more = {"gpu_count": str(factor * int(row["gpu_count"]))} if "gpu_count" in row else {}
            rows.append(row | more)
            if row["cluster"] != _DEDICATED:
                continue
            for number in owners:
                copied = {"cluster": f"{_DEDICATED}-{number:06d}"}
                if "lot_id" in row:
                    copied["lot_id"] = f"{row['lot_id']}-{number:06d}"
                rows.append(row | copied)
        _write_rows(folder / f"fleet/{kind}", rows)


def _has_dedicated(number: int) -> bool:
    step = len(COMPANIES)
    return number % step == COMPANIES.index("lane-logic") and number < DEDICATED_CLUSTERS * step


def _share(number: int, volume: Volume) -> float:
    """The share of the events that a customer causes: the first ones most."""
    return math.sqrt((number + 1) / volume.customers) - math.sqrt(number / volume.customers)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_customer(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        found[row["customer_id"]].append(row)
    return found


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# --------------------------------------------------------------------------------------
# Feeds
# --------------------------------------------------------------------------------------


def write_price_feeds(folder: Path, first: date, last: date) -> None:
    """Write the sample's energy, GPU price and exchange-rate feeds of delivery days."""
    sample.generate_sample(folder, first, last)
    for file in (folder / "usage").iterdir():
        file.unlink()


# Draws are hashes of the day, the number of the line and the name of what is drawn. Everything
# about an event is drawn for the line that it first stood on, so that a repeat is a repeat.
_LINES = """
with

slots as (
    select range as slot, $day as day, hash($day, range, 'repeat') as draw
    from range($first::bigint, $last::bigint)
),

origins as (
    select
        slot, day, draw,
        slot % 20 = 19 as is_repeat,
        slot % 20 = 19 and draw % 1000 = 999 as is_conflict,
        slot % 20 = 19 and draw % 10 = 9 and $events_before >= 20 as is_from_before,
        case
            when slot % 20 <> 19 then slot
            when draw % 10 = 9 and $events_before >= 20
                then 20 * (draw // 10 % ($events_before::ubigint // 20))::bigint
            else slot - 19 - 20 * (draw // 10 % (1 + slot::ubigint // 20))::bigint
        end + case when slot % 20 = 19 then (draw // 7 % 19)::bigint else 0 end as n
    from slots
),

events as (
    select
        n, is_conflict,
        case when is_from_before then $day_before else day end as d,
        is_repeat,
        least(
            floor($customers * power(hash(d, n, 'customer') / 18446744073709551616.0, 2)),
            $customers - 1
        )::bigint as number
    from origins
),

kinds as (
    select
        events.*,
        workloads.*,
        list_extract(gpu_types, 1 + (hash(d, n, 'type') % len(gpu_types))::int) as gpu_type,
        list_extract(families, 1 + (hash(d, n, 'family') % len(families))::int) as family,
        list_extract(gpus, 1 + (hash(d, n, 'gpus') % len(gpus))::int) as gpu_count,
        d - case
            when hash(d, n, 'late') % 100 >= $late_percent then 0
            when hash(d, n, 'delay') % 100 < 55 then 1 + (hash(d, n, 'days') % 2)::int
            when hash(d, n, 'delay') % 100 < 83 then 3 + (hash(d, n, 'days') % 5)::int
            else 8 + (hash(d, n, 'days') % 13)::int
        end as usage_day,
        first_second + (hash(d, n, 'start') % (last_second - first_second)::ubigint)::bigint
            as start_s,
        shortest_s + (hash(d, n, 'length') % (longest_s - shortest_s + 1)::ubigint)::bigint
            as wanted_s,
        case when hash(d, n, 'bad') % 1000 < 5 then hash(d, n, 'way') % $ways end as bad
    from events
    inner join workloads
        on
            workloads.company_number = events.number % len($jobs)
            -- One match a line: the order of the lines stays as it is.
            and workloads.job_number
            = hash(d, n, 'job') % list_extract($jobs, 1 + (events.number % len($jobs))::int)
),

slices as (
    select
        *,
        least(wanted_s, greatest(86400 - start_s, 1800)) as seconds,
        company || '-' || lpad(number::varchar, 6, '0') as customer,
        case
            when cluster = $dedicated and number < $dedicated_until
                then cluster || '-' || lpad(number::varchar, 6, '0')
            else cluster
        end as its_cluster,
        usage_day + to_seconds(start_s) as used_at
    from kinds
),

fields as (
    select
        *,
        customer || strftime(usage_day, '-%Y%m%d-') || job || strftime(d, '-%m%d-') || n as event_id,
        case meter
            when 'gpu_millisecond' then cast((gpu_count * seconds * 1000)::bigint as varchar)
            else cast(round(gpu_count * seconds / case meter
                when 'gpu_second' then 1 when 'gpu_minute' then 60 else 3600
            end + case when is_conflict then 60 else 0 end, 6) as varchar)
        end as quantity,
        case
            when utc_offset = 'Z' then strftime(used_at, '%Y-%m-%dT%H:%M:%SZ')
            else strftime(used_at + to_hours(left(utc_offset, 3)::int), '%Y-%m-%dT%H:%M:%S')
                || utc_offset
        end as ts
    from slices
),

lines as (
    select
        bad,
        '{"event_id":"' || event_id
        || '","customer_id":"' || case when bad = 5 then 'shadow-works' else customer end
        || '","meter":"' || case when bad = 4 then 'tpu_minute' else meter end
        || '","quantity":' || case bad when 0 then 'null' when 3 then '-60.5' else quantity end
        || ',"ts":"' || case when bad = 2 then left(ts, 19) else ts end
        || '","metadata":{"cluster":"' || its_cluster || '"'
        || case
            when bad = 6 then ',"gpu_type":"gb300-nvl72"'
            else coalesce(',"gpu_type":"' || gpu_type || '"', '')
        end
        || coalesce(',"model_family":"' || family || '"', '')
        || case when reports_duration then ',"duration_s":' || seconds else '' end
        || ',"gpu_count":' || gpu_count
        || case
            when energy_cost_per_gpu_hour > 0
                then ',"energy_cost":' || round(gpu_count * seconds / 3600 * energy_cost_per_gpu_hour, 6)
            else ''
        end
        || ',"job":"' || job || '"}}' as line
    from fields
)

select case when bad = 1 then left(line, 120) else line end || chr(10) as line from lines
"""
_WAYS = 7
"""Ways to be bad in ``_LINES``: five incurable (one of them cut off), two that a seed edit cures."""


def write_usage(folder: Path, day: date, volume: Volume) -> Path:
    """Write a delivery day's ``usage_<day>.jsonl.gz``; return the file."""
    path = folder / "usage" / f"usage_{day}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    day_before = day - timedelta(days=1)
    events = volume.events_on(day)
    with (
        duckdb.connect(":memory:") as connection,
        path.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
    ):
        jobs = _load_workloads(connection)
        for first in range(0, events, _CHUNK):
            lines = connection.sql(
                _LINES,
                params={
                    "day": day,
                    "day_before": day_before,
                    "first": first,
                    "last": min(first + _CHUNK, events),
                    "events_before": volume.events_on(day_before),
                    "customers": volume.customers,
                    "jobs": jobs,
                    "dedicated": _DEDICATED,
                    "dedicated_until": DEDICATED_CLUSTERS * len(COMPANIES),
                    "ways": _WAYS,
                    "late_percent": volume.late_percent,
                },
            ).to_arrow_table()
            column = lines["line"].cast(pa.large_string()).combine_chunks()
            packed.write(_bytes_of(column))
    return path


def _bytes_of(column: pa.Array | pa.ChunkedArray) -> memoryview:
    """The texts of a column, one after the other."""
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    _, offsets, data = array.buffers()
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]


def _load_workloads(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Load the sample's workloads of every day; returns how many each company has."""
    rows = []
    jobs = []
    for company_number, company in enumerate(COMPANIES):
        works = [
            work
            for work in sample.WORKLOADS
            if work.customer == company and work.runs == ((date.min, date.max),)
        ]
        jobs.append(len(works))
        for job_number, work in enumerate(works):
            rows.append(
                {
                    "company_number": company_number,
                    "company": company,
                    "job_number": job_number,
                    "job": work.job,
                    "cluster": work.cluster,
                    "gpu_types": list(work.gpu_types),
                    "families": list(work.families),
                    "gpus": [float(gpus) for gpus in work.gpus],
                    "first_second": work.hours[0] * 3_600,
                    "last_second": work.hours[1] * 3_600,
                    "shortest_s": work.minutes[0] * 60,
                    "longest_s": work.minutes[1] * 60,
                    "meter": work.meter,
                    "energy_cost_per_gpu_hour": work.energy_cost_per_gpu_hour,
                    "utc_offset": work.offset,
                    "reports_duration": work.reports_duration,
                }
            )
    table = pa.Table.from_pylist(rows)
    connection.register("workload_rows", table)
    connection.execute("create table workloads as from workload_rows")
    return jobs


def main() -> None:
    """Write seeds and feeds from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feeds", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000, help="lines of the last day")
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--history", type=int, default=21, help="delivery days before it")
    parser.add_argument("--history-events", type=int, default=1_000, help="lines of each of them")
    asked = parser.parse_args()
    night = sample.OPENS_ON + timedelta(days=asked.history)
    volume = Volume(asked.events, asked.customers, night, asked.history, asked.history_events)
    write_all(asked.folder, volume)
    print(f"{volume.first_day} .. {volume.night} in {asked.folder}")


if __name__ == "__main__":
    main()
