"""Sample feeds: invented deliveries for the companies in ``seeds/``, shaped like real ones.

What belongs here: who works when, how energy and GPU prices move, and the defects that the
warehouse has to survive. What does not: anything that reads the seeds or bills;
``tests/test_sample.py`` holds the names used here against the seeds.

One day's usage file is a function of ``(seed, day)`` alone, so a longer sample only adds files.
"""

import csv
import gzip
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.errors import PlainError

OPENS_ON = date(2026, 1, 5)
"""First delivery day of the sample; a Monday. The seeds' dates are chosen around it."""
CLOSES_ON = date(2026, 2, 15)
"""Last delivery day of the sample: 42 days, in which every customer closes a billing cycle."""

PLAIN_DAY = date(2026, 1, 6)
"""Delivered as ``.jsonl``; every other day is ``.jsonl.gz`` ..."""
PARQUET_DAY = date(2026, 1, 7)
"""... except this one, delivered as ``.parquet``."""

LATE_SHARE = 0.08
REPEAT_SHARE = 0.005
CORRECTION_SHARE = 0.001
LONGEST_DELAY_DAYS = 25
"""No row is delivered later than this after its usage day."""
OLDEST_USAGE = OPENS_ON - timedelta(days=3)
"""Files from ``OPENS_ON`` on hold no usage of an earlier day."""

BAD_WEEKDAYS = (1, 3, 4, 6)
"""Days of a sample week (0 = Monday) that bring one row to refuse."""
REFUNDED_USE = date(2026, 1, 26)
REFUNDED_ON = date(2026, 2, 1)
"""Pixel Pantry's largest job of the first date is voided on the second: a Sunday, on which it
uses nothing, after its cycle has closed. So the day's posted usage is negative: a refund."""

Row = dict[str, Any]
"""One usage row, shaped as the meter writes it (JSON types)."""


# --------------------------------------------------------------------------------------
# Who works when
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """One kind of job of one customer: parallel lanes that run slice after slice."""

    customer: str
    job: str
    cluster: str
    gpu_types: tuple[str | None, ...]
    """Spellings the scheduler reports, one chosen per slice; None = not reported."""
    families: tuple[str | None, ...]
    lanes: tuple[int, int, int]
    """Jobs side by side on weekdays, Saturdays, Sundays."""
    hours: tuple[int, int]
    """UTC hours ``[from, to)`` in which slices start."""
    gpus: tuple[float, ...]
    """GPUs of a slice, one chosen per slice; fractions are shares of one GPU."""
    minutes: tuple[int, int]
    """Shortest and longest slice."""
    busy: float = 0.8
    """Share of its time that a lane is occupied."""
    meter: str = "gpu_minute"
    runs: tuple[tuple[date, date], ...] = ((date.min, date.max),)
    """First and last days it runs."""
    energy_cost_per_gpu_hour: float = 0.0
    """USD per GPU hour that the rack's own meter reports; 0 = not metered."""
    offset: str = "Z"
    """How its clock writes the UTC offset."""
    reports_duration: bool = True

    def lanes_on(self, day: date) -> int:
        """Lanes open on ``day``, 0 outside the workload's runs."""
        if not any(first <= day <= last for first, last in self.runs):
            return 0
        return self.lanes[max(0, day.weekday() - 4)]


def _from(day: str) -> tuple[tuple[date, date], ...]:
    return ((date.fromisoformat(day), date.max),)


def _until(day: str) -> tuple[tuple[date, date], ...]:
    """Runs whose last day is the one before ``day``, as ``ends_on`` of a subscription."""
    return ((date.min, date.fromisoformat(day) - timedelta(days=1)),)


PREMIERES = (
    (date(2026, 1, 17), date(2026, 1, 18)),
    (date(2026, 2, 7), date(2026, 2, 8)),
)
"""Night Owl's two weekends on a burst pack: more GPUs than the plan's base concurrency."""

L40S = ("L40S", "NVIDIA L40S", None)
L4 = ("nvidia-l4", "L4")
A100 = ("NVIDIA A100-SXM4-80GB", "a100-80g", "A100", None)
H100 = ("nvidia-h100-80gb-hbm3", "H100", None)
H200 = ("nvidia-h200-141gb-hbm3e", "H200")
INFERENTIA2 = ("inf2", "inferentia2", None)

# fmt: off
WORKLOADS = (
    Workload("frame-forge", "render", "fra-render", L40S, ("video-diffusion", "upscaler"),
             (2, 1, 1), (6, 18), (0.5, 0.5, 1), (10, 60), busy=0.67),
    Workload("frame-forge", "finetune", "abi-train", H100, ("video-diffusion",),
             (1, 0, 0), (19, 22), (0.5, 1), (20, 90)),
    Workload("babel-lab", "pretrain", "abi-train", H100, ("llm-70b",),
             (3, 3, 3), (0, 24), (4,), (15, 180), busy=0.93),
    Workload("babel-lab", "pretrain-wide", "abi-train", H100, ("llm-70b",),
             (1, 1, 1), (0, 24), (2,), (15, 180), busy=0.93, runs=_from("2026-01-26")),
    Workload("babel-lab", "align", "fra-train", H200, ("llm-70b", "llm-8b"),
             (2, 1, 1), (0, 24), (2, 3, 4), (20, 120)),
    Workload("babel-lab", "evaluate", "abi-train", ("AMD Instinct MI300X",), ("llm-8b", None),
             (2, 2, 2), (0, 24), (1, 2, 2), (10, 60), busy=0.75),
    Workload("gene-harbor", "fold", "ost-green", A100, ("protein-folding",),
             (3, 3, 3), (0, 24), (1, 2, 2), (20, 120), energy_cost_per_gpu_hour=0.0131),
    Workload("gene-harbor", "screen", "fra-train", H200, ("protein-folding", "docking"),
             (1, 0, 0), (7, 17), (0.5, 1), (15, 60), busy=0.7),
    Workload("night-owl-studio", "comp", "fra-render", L40S, ("renderer",),
             (3, 0, 0), (8, 22), (0.5,), (10, 45), busy=0.6),
    Workload("night-owl-studio", "premiere", "ost-green", A100, ("renderer",),
             (0, 5, 5), (8, 20), (1,), (15, 60), busy=0.92, runs=PREMIERES),
    Workload("night-owl-studio", "premiere-light", "fra-render", L4, ("renderer",),
             (0, 3, 3), (8, 20), (1,), (15, 60), busy=0.92, runs=PREMIERES),
    Workload("night-owl-studio", "premiere-hero", "fra-render", L40S, ("renderer",),
             (0, 3, 3), (8, 20), (1,), (15, 60), busy=0.92, runs=PREMIERES),
    Workload("night-owl-studio", "premiere-spill", "fra-overflow", L40S, ("renderer",),
             (0, 2, 2), (9, 19), (1,), (20, 60), runs=PREMIERES),
    Workload("chat-harbor", "assistant", "abi-infer", INFERENTIA2, ("llm-8b",),
             (6, 6, 6), (0, 24), (1,), (15, 60), meter="gpu_second"),
    Workload("chat-harbor", "rerank", "fra-render", L4, ("embedder", None),
             (6, 5, 5), (0, 24), (0.5, 0.5, 1), (10, 40), meter="gpu_millisecond", busy=0.7,
             reports_duration=False),
    Workload("chat-harbor", "vision", "fra-render", L40S, ("vlm-13b",),
             (2, 2, 2), (0, 24), (0.5, 1), (10, 40), meter="gpu_second"),
    Workload("chat-harbor", "distill", "abi-infer", ("trn2",), ("llm-8b",),
             (1, 1, 1), (0, 18), (1,), (30, 150), meter="gpu_hour"),
    Workload("lane-logic", "perception", "abi-lane", A100, ("perception",),
             (4, 3, 3), (0, 24), (1, 2, 2), (20, 150), offset="-06:00"),
    Workload("lane-logic", "simulate", "abi-lane", ("L40S",), ("simulator",),
             (3, 2, 2), (12, 24), (1,), (15, 60), offset="-06:00"),
    Workload("lane-logic", "label", "abi-train", H100, ("auto-label",),
             (1, 0, 0), (14, 22), (0.5, 1), (15, 60), busy=0.6),
    Workload("pixel-pantry", "thumbnails", "fra-render", L4, ("image-gen",),
             (2, 1, 0), (8, 17), (0.25, 0.5, 1, 1), (10, 45), busy=0.7),
    Workload("agri-scan", "tiles", "ost-green", A100, ("segmentation",),
             (2, 1, 1), (18, 24), (0.5, 1, 1, 2), (15, 75), runs=_from("2026-01-20")),
    Workload("tutor-tree", "homework", "ost-green", ("a100-80g",), ("llm-8b",),
             (1, 1, 1), (13, 19), (0.25, 0.5), (10, 40), busy=0.75, runs=_until("2026-01-19")),
    Workload("tutor-tree", "tutor", "ost-green", ("a100-80g", None), ("llm-8b", "speech"),
             (2, 2, 1), (11, 20), (0.25, 0.5, 1), (10, 50), runs=_from("2026-01-19")),
    Workload("retro-render", "remaster", "fra-render", L40S, ("upscaler",),
             (2, 0, 0), (7, 16), (0.5, 1, 1), (15, 60), busy=0.75, runs=_until("2026-01-24")),
)
# fmt: on


# --------------------------------------------------------------------------------------
# Usage
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleLine:
    """One line of one usage file, and why it is there."""

    day: date
    line: Row | str
    """A string is a line that isn't JSON."""
    kind: str
    """``on_time``, ``late``, ``correction``, ``duplicate``, ``conflict`` or ``bad/<reason>``."""


def _number(value: float) -> int | float:
    """A whole number as an int, else rounded to the 6 decimals that the meter keeps."""
    return int(value) if value == int(value) else round(value, 6)


def _quantity(meter: str, gpus: float, seconds: int) -> int | float:
    """GPU time of a slice in the meter's own unit, at most 6 decimals."""
    if meter == "gpu_millisecond":
        return int(gpus * seconds * 1000)
    per_unit = {"gpu_second": 1, "gpu_minute": 60, "gpu_hour": 3600}[meter]
    return round(gpus * seconds / per_unit, 6)


def _timestamp(moment: datetime, offset: str = "Z") -> str:
    """RFC 3339 of a UTC instant, written as ``Z`` or as a whole-hour offset like ``-06:00``."""
    if offset != "Z":
        moment += timedelta(hours=int(offset[:3]))
    return f"{moment:%Y-%m-%dT%H:%M:%S}{offset}"


def _slices(seed: int, day: date, work: Workload) -> Iterator[Row]:
    """The rows a workload really used on ``day``, lane by lane, cut at midnight."""
    random = Random(f"{seed}/{day}/{work.customer}/{work.job}")
    midnight = datetime.combine(day, time(), UTC)
    number = 0
    for _ in range(work.lanes_on(day)):
        clock = work.hours[0] * 3600 + random.randrange(1200)
        while clock < work.hours[1] * 3600:
            wanted = random.randrange(work.minutes[0] * 60, work.minutes[1] * 60 + 1)
            # A short slice may run on past midnight; the meter cuts a long one there.
            seconds = min(wanted, max(86_400 - clock, 1_800))
            gpus = random.choice(work.gpus)
            gpu_type = random.choice(work.gpu_types)
            family = random.choice(work.families)
            jitter = random.uniform(0.9, 1.1)
            if random.random() < work.busy:
                number += 1
                metadata: Row = {"cluster": work.cluster}
                if gpu_type is not None:
                    metadata["gpu_type"] = gpu_type
                if family is not None:
                    metadata["model_family"] = family
                if work.reports_duration:
                    metadata["duration_s"] = seconds
                metadata["gpu_count"] = _number(gpus)
                if work.energy_cost_per_gpu_hour:
                    cost = gpus * seconds / 3600 * work.energy_cost_per_gpu_hour * jitter
                    metadata["energy_cost"] = round(cost, 6)
                metadata["job"] = work.job
                yield {
                    "event_id": f"{work.customer}-{day:%Y%m%d}-{work.job}-{number:03d}",
                    "customer_id": work.customer,
                    "meter": work.meter,
                    "quantity": _quantity(work.meter, gpus, seconds),
                    "ts": _timestamp(midnight + timedelta(seconds=clock), work.offset),
                    "metadata": metadata,
                }
            clock += seconds + random.randrange(30, 240)


def _delay_days(random: Random) -> int:
    """Days between use and delivery: 0 for most, else 1 to 20, the short ones more often."""
    if random.random() >= LATE_SHARE:
        return 0
    shortest, longest = random.choices([(1, 2), (3, 7), (8, 20)], weights=[55, 28, 17])[0]
    return random.randint(shortest, longest)


def _respelled(row: Row, random: Random) -> Row:
    """The same payload in another spelling: keys in another order, 60 for 60.0."""
    style = random.randrange(3)
    if style == 0:
        return row
    metadata = dict(reversed(row["metadata"].items()))
    respelled = dict(reversed({**row, "metadata": metadata}.items()))
    if style == 2:
        respelled["quantity"] = _number(row["quantity"])
    return respelled


def _corrected(row: Row, share: float) -> Row:
    """A row that takes ``share`` of another's quantity back; a negative share adds to it."""
    whole = share == 1
    metadata = {key: value for key, value in row["metadata"].items() if key != "energy_cost"}
    return {
        "event_id": f"{row['event_id']}-{'void' if whole else 'fix'}",
        "kind": "retraction" if whole else "correction",
        **{key: row[key] for key in ("customer_id", "meter")},
        "quantity": _number(-row["quantity"] * share),
        "ts": row["ts"],
        "metadata": metadata,
        "corrects_event_id": row["event_id"],
    }


def _deliveries_of_usage_day(seed: int, day: date) -> Iterator[SampleLine]:
    """Every line that the use of one day causes, whichever day it is delivered."""
    random = Random(f"{seed}/{day}/delivery")
    conflicting = (day - OPENS_ON).days % 21 == 9
    pantry: list[Row] = []
    for work in WORKLOADS:
        for row in _slices(seed, day, work):
            if work.customer == "pixel-pantry":
                pantry.append(row)
            delay = _delay_days(random)
            delivered_on = day + timedelta(days=delay)
            yield SampleLine(delivered_on, row, "late" if delay else "on_time")
            chance = random.random()
            if chance < REPEAT_SHARE:
                again_on = delivered_on + timedelta(days=random.randrange(2))
                yield SampleLine(again_on, _respelled(row, random), "duplicate")
            elif chance < REPEAT_SHARE + CORRECTION_SHARE:
                share = random.choice([1, 1, 0.25, 0.5, -0.1])
                fixed_on = delivered_on + timedelta(days=random.randint(1, 4))
                yield SampleLine(fixed_on, _corrected(row, share), "correction")
            elif conflicting and not delay:
                conflicting = False
                other = {**row, "quantity": row["quantity"] + 60}
                yield SampleLine(day + timedelta(days=1), other, "conflict")
    if day == REFUNDED_USE:
        largest = max(pantry, key=lambda row: row["quantity"])
        yield SampleLine(REFUNDED_ON, _corrected(largest, 1), "correction")


def _bad_malformed(row: Row, day: date) -> str:
    """A line cut off in the middle, as a full disk leaves it."""
    line = _json_line(row)
    return line[: len(line) // 2]


def _bad(**changes: Any) -> Callable[[Row, date], Row]:
    """A row with fields replaced; a name that the row itself lacks goes into its metadata."""

    def change(row: Row, day: date) -> Row:
        outer = {key: value for key, value in changes.items() if key in row}
        inner = {key: value for key, value in changes.items() if key not in row}
        return {**row, **outer, "metadata": {**row["metadata"], **inner}}

    return change


def _bad_no_active_plan(row: Row, day: date) -> Row:
    """A customer on a day without a plan: one starts on 20 January, one ends on 24 January."""
    return {**row, "customer_id": "agri-scan" if day < date(2026, 1, 20) else "retro-render"}


BAD_ROWS: dict[str, Callable[[Row, date], Row | str]] = {
    "missing_quantity": _bad(quantity=None),
    "naive_timestamp": lambda row, day: {**row, "ts": row["ts"].removesuffix("Z")},
    "unknown_customer": _bad(customer_id="shadow-works"),
    "malformed": _bad_malformed,
    "negative_quantity": lambda row, day: {**row, "quantity": -row["quantity"]},
    "unknown_meter": _bad(meter="tpu_minute"),
    "unmapped_accelerator": _bad(gpu_type="gb300-nvl72"),
    "no_active_plan": _bad_no_active_plan,
    "unknown_cluster": _bad(cluster="fra-lost"),
    "missing_cluster": _bad(cluster=""),
    "timestamp_out_of_range": lambda row, day: {
        **row,
        "ts": _timestamp(datetime.combine(day, time(9), UTC) + timedelta(days=2)),
    },
}
"""What each reason of ``rejected_rows`` looks like, made from a good row of that day."""


def _bad_deliveries(seed: int, day: date) -> Iterator[SampleLine]:
    """Four days of a week bring one row that the warehouse has to refuse; reasons take turns."""
    week, weekday = divmod((day - OPENS_ON).days, 7)
    if weekday not in BAD_WEEKDAYS:
        return
    turn = week * len(BAD_WEEKDAYS) + BAD_WEEKDAYS.index(weekday)
    reason = list(BAD_ROWS)[turn % len(BAD_ROWS)]
    render = next(work for work in WORKLOADS if work.job == "render")
    good = next(_slices(seed, day, render))
    renamed = {**good, "event_id": f"frame-forge-{day:%Y%m%d}-{reason.replace('_', '-')}"}
    yield SampleLine(day, BAD_ROWS[reason](renamed, day), f"bad/{reason}")


def _is_delivered(used_on: date, delivery: SampleLine) -> bool:
    """Of the use before ``OPENS_ON``, later files hold late rows of three days and no repeats."""
    if used_on >= OPENS_ON or delivery.day < OPENS_ON:
        return True
    return used_on >= OLDEST_USAGE and delivery.kind == "late"


def _usage_files(seed: int, first_day: date, last_day: date) -> dict[date, list[SampleLine]]:
    """The lines of every usage file, in the order in which they arrived."""
    days = _days(first_day, last_day)
    files: dict[date, list[SampleLine]] = {day: [] for day in days}
    for used_on in _days(first_day - timedelta(days=LONGEST_DELAY_DAYS), last_day):
        for delivery in _deliveries_of_usage_day(seed, used_on):
            if delivery.day in files and _is_delivered(used_on, delivery):
                files[delivery.day].append(delivery)
    for day, lines in files.items():
        lines.extend(_bad_deliveries(seed, day))
        Random(f"{seed}/{day}/arrival").shuffle(lines)
    return files


def _json_line(row: Row) -> str:
    return json.dumps(row, separators=(",", ":"))


def _write_usage(folder: Path, day: date, lines: list[SampleLine]) -> Path:
    """Write one delivery day in the format of that day; return the file."""
    if day == PARQUET_DAY:
        path = folder / f"usage_{day}.parquet"
        rows = [delivery.line for delivery in lines if isinstance(delivery.line, dict)]
        pq.write_table(_parquet_table(rows), path)
        return path
    text = "".join(
        (_json_line(line) if isinstance(line, dict) else line) + "\n"
        for line in (delivery.line for delivery in lines)
    )
    if day == PLAIN_DAY:
        path = folder / f"usage_{day}.jsonl"
        path.write_text(text, encoding="utf-8", newline="\n")
        return path
    path = folder / f"usage_{day}.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


METADATA_TYPE = pa.struct(
    [
        ("cluster", pa.string()),
        ("gpu_type", pa.string()),
        ("model_family", pa.string()),
        ("duration_s", pa.int64()),
        ("gpu_count", pa.float64()),
        ("energy_cost", pa.decimal128(18, 6)),
        ("job", pa.string()),
    ]
)
USAGE_SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("kind", pa.string()),
        ("customer_id", pa.string()),
        ("meter", pa.string()),
        ("quantity", pa.decimal128(24, 6)),
        ("ts", pa.string()),
        ("metadata", METADATA_TYPE),
        ("corrects_event_id", pa.string()),
    ]
)
"""Columns of the Parquet delivery: the fields of a JSON line, absent ones null."""


def _parquet_table(rows: list[Row]) -> pa.Table:
    """JSON rows as one table of ``USAGE_SCHEMA``; decimals exactly as the JSON writes them."""

    def decimal(value: float | None) -> Decimal | None:
        return None if value is None else Decimal(str(value))

    typed = [
        {
            **row,
            "quantity": decimal(row["quantity"]),
            "metadata": {
                **row["metadata"],
                "energy_cost": decimal(row["metadata"].get("energy_cost")),
            },
        }
        for row in rows
    ]
    return pa.Table.from_pylist(typed, schema=USAGE_SCHEMA)


# --------------------------------------------------------------------------------------
# Energy price and mix
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zone:
    """How one bidding zone prices energy, and how its prices are delivered."""

    name: str
    tz: str
    currency: str
    unit: str
    resolution_minutes: int
    timestamp_kind: str
    mean: float
    """Mean price in the zone's currency and unit."""
    swing: float
    """Height of the two daily peaks, as a share of the mean."""
    glut_share: float
    """Share of days with more wind or sun than demand, so some hours priced below zero."""
    renewable_pct: float | None
    """Mean share of renewable energy; None = nobody publishes a mix for the zone."""
    fossil_gco2_kwh: float
    """Life-cycle emissions of the rest of the mix."""
    missing: tuple[tuple[date, int], ...]
    """UTC days and hours that the exchange never published."""


# fmt: off
ZONES = (
    Zone("DE-LU", "Europe/Berlin", "EUR", "kWh", 60, "offset",
         0.094, 0.38, 0.24, 52, 620, ((date(2026, 1, 14), 3),)),
    Zone("ERCOT-WEST", "America/Chicago", "USD", "MWh", 60, "naive_utc",
         31.0, 0.45, 0.44, None, 0, ((date(2026, 1, 21), 17), (date(2026, 2, 3), 5))),
    Zone("SE2", "Europe/Stockholm", "SEK", "kWh", 15, "naive_local",
         0.31, 0.30, 0.16, 96, 230, ((date(2026, 1, 29), 11),)),
)
# fmt: on

REPEATED_PRICE = ("DE-LU", datetime(2026, 1, 10, 6, tzinfo=UTC))
"""Delivered twice with one price."""
RESTATED_PRICE = ("ERCOT-WEST", datetime(2026, 1, 28, 22, tzinfo=UTC))
"""Delivered twice; the second price counts."""


def _bump(hour: float, peak: float, width: float) -> float:
    """1 at the peak hour, falling to 0 over ``width`` hours; round the clock."""
    distance = min((hour - peak) % 24, (peak - hour) % 24)
    return math.exp(-((distance / width) ** 2))


def _local_hours(tz: str, day: date) -> list[datetime]:
    """The UTC starts of the hours of a local day: 23, 24 or 25 of them."""
    zone = ZoneInfo(tz)
    start = datetime.combine(day, time(), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    return [start + timedelta(hours=hour) for hour in range((end - start) // timedelta(hours=1))]


def _glut(zone: Zone, day: date, seed: int) -> bool:
    """True when the night of ``day``, on a Sunday its noon, has more energy than demand."""
    return Random(f"{seed}/{zone.name}/{day}/glut").random() < zone.glut_share


def _energy_rows(seed: int, zone: Zone, day: date) -> Iterator[Row]:
    """Prices of one local day of a zone, in the order of time."""
    random = Random(f"{seed}/{zone.name}/{day}/price")
    local = ZoneInfo(zone.tz)
    mood = random.uniform(0.8, 1.25) * (0.86 if day.weekday() >= 5 else 1.0)
    glut = _glut(zone, day, seed)
    glut_at = 12.5 if day.weekday() == 6 else 2.5
    for start in _local_hours(zone.tz, day):
        for minute in range(0, 60, zone.resolution_minutes):
            moment = start + timedelta(minutes=minute)
            local_time = moment.astimezone(local)
            hour = local_time.hour + local_time.minute / 60
            shape = 1 + zone.swing * (_bump(hour, 8.5, 2) + 1.2 * _bump(hour, 18.5, 2.5) - 0.45)
            if glut:
                shape -= 1.25 * _bump(hour, glut_at, 2.2)
            price = zone.mean * (mood * shape + random.uniform(-0.05, 0.05))
            if (start.date(), start.hour) in zone.missing:
                continue
            written = {
                "offset": local_time.isoformat(),
                "naive_local": local_time.replace(tzinfo=None).isoformat(),
                "naive_utc": moment.replace(tzinfo=None).isoformat(),
            }[zone.timestamp_kind]
            digits = 2 if zone.unit == "MWh" else 5
            row = {
                "zone": zone.name,
                "interval_start": written,
                "resolution_minutes": zone.resolution_minutes,
                "price": f"{price:.{digits}f}",
                "currency": zone.currency,
                "unit": zone.unit,
                "timestamp_kind": zone.timestamp_kind,
                "tz": zone.tz,
            }
            yield row
            if (zone.name, moment) == REPEATED_PRICE:
                yield row
            if (zone.name, moment) == RESTATED_PRICE:
                yield row | {"price": f"{price * 1.1:.{digits}f}"}


def _mix_rows(seed: int, zone: Zone, day: date) -> Iterator[Row]:
    """Energy mix of one UTC day of a zone, hourly."""
    random = Random(f"{seed}/{zone.name}/{day}/mix")
    windy = random.uniform(-12, 8) + (14 if _glut(zone, day, seed) else 0)
    for hour in range(24):
        if zone.renewable_pct is None:
            return
        sun = 8 * _bump(hour, 11.5, 2.5)
        spread = 0.12 if zone.renewable_pct > 90 else 1.0
        renewable = zone.renewable_pct + spread * (windy + sun + random.uniform(-3, 3))
        renewable = min(renewable, 99.0)
        yield {
            "zone": zone.name,
            "ts_utc": f"{day}T{hour:02d}:00:00Z",
            "carbon_gco2_kwh_lca": f"{18 + zone.fossil_gco2_kwh * (100 - renewable) / 100:.3f}",
            "renewable_pct": f"{renewable:.3f}",
        }


# --------------------------------------------------------------------------------------
# GPU market prices and exchange rates
# --------------------------------------------------------------------------------------

MARKET_PRICES = {
    "H100": 2.15,
    "H200": 2.85,
    "A100": 1.15,
    "L40S": 0.80,
    "L4": 0.36,
    "MI300X": 1.95,
    "inferentia2": 0.33,
    "trainium2": 0.92,
    "B200": 4.40,
}
"""Typical USD per GPU hour. B200 is traded but not in the catalog: kept, unused."""

PROVIDERS = (
    # provider, region, currency, price kinds with their level against the typical price
    ("cumulus", "us-south", "USD", {"spot": 0.82, "on_demand": 1.12}),
    ("nordlys", "eu-north", "EUR", {"spot": 0.88, "on_demand": 1.15}),
    ("gpu-bazaar", "global", "USD", {"market_min": 0.74, "market_median": 1.0}),
)

USD_PER_UNIT = {"EUR": 1.0850, "SEK": 0.0960}
MARKET_HISTORY_WEEKS = 5
RATES_FROM = date(2025, 10, 27)
"""Before the first date in the seeds: a lot bought in EUR needs the rate of its first day."""


def _market_rows(seed: int, day: date) -> Iterator[Row]:
    """GPU price observations of one day; each provider is looked at on two days of a week."""
    year, week, weekday = day.isocalendar()
    for number, (provider, region, currency, kinds) in enumerate(PROVIDERS):
        if weekday not in (1 + number, 4 + number):
            continue
        random = Random(f"{seed}/{provider}/{day}")
        observed_at = f"{day}T{6 + number:02d}:{random.randrange(60):02d}:00Z"
        for accelerator, typical in MARKET_PRICES.items():
            moved = Random(f"{seed}/{accelerator}/{year}-{week}").uniform(0.95, 1.05)
            for price_kind, level in kinds.items():
                usd = typical * level * moved * random.uniform(0.99, 1.01)
                price = usd / USD_PER_UNIT.get(currency, 1.0)
                row = {
                    "observed_at": observed_at,
                    "provider": provider,
                    "region": region,
                    "gpu_type": accelerator,
                    "price_per_gpu_hour": f"{price:.4f}",
                    "currency": currency,
                    "price_kind": price_kind,
                }
                yield row
                if random.random() < 0.02:
                    yield row


def _rate_rows(seed: int, day: date) -> Iterator[Row]:
    """Exchange rates of one day; the central bank rests on weekends."""
    if day.weekday() >= 5:
        return
    for currency, usual in USD_PER_UNIT.items():
        wave = 0.012 * math.sin(day.toordinal() / 17 + len(currency))
        noise = Random(f"{seed}/{currency}/{day}").uniform(-0.002, 0.002)
        rate = usual * (1 + wave + noise)
        yield {"date": day.isoformat(), "currency": currency, "usd_per_unit": f"{rate:.5f}"}


# --------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleSummary:
    """What was written."""

    target: Path
    first_day: date
    last_day: date
    files: tuple[Path, ...]
    """Relative to ``target``, in the order of writing."""
    usage_rows: int
    counts: dict[str, int] = field(default_factory=dict)
    """Usage rows by kind of delivery, see ``SampleLine.kind``."""

    def __str__(self) -> str:
        """What was written, in words and sums."""
        return "\n".join(
            [
                f"{self.usage_rows} usage rows of {self.first_day} .. {self.last_day}"
                f" in {len(self.files)} files under {self.target}",
                *(f"  {kind:<26}{count:>7}" for kind, count in self.counts.items()),
            ]
        )


def _days(first_day: date, last_day: date) -> list[date]:
    return [first_day + timedelta(days=n) for n in range((last_day - first_day).days + 1)]


def _csv(rows: Iterable[Row]) -> str:
    """Rows as CSV text, header from the first row."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()


def generate_sample(
    target: Path, first_day: date, last_day: date, *, seed: int = 7
) -> SampleSummary:
    """Write every feed for the delivery days ``first_day`` .. ``last_day`` (both included).

    The same arguments give the same bytes, and files of earlier calls are replaced, never read.
    """
    if last_day < first_day:
        raise PlainError(f"The last day {last_day} lies before the first day {first_day}")
    target = Path(target)
    written: list[Path] = []

    for folder in ("usage", "energy", "carbon", "gpu", "fx"):
        (target / folder).mkdir(parents=True, exist_ok=True)

    counts: dict[str, int] = {}
    for day, lines in _usage_files(seed, first_day, last_day).items():
        written.append(_write_usage(target / "usage", day, lines))
        for delivery in lines:
            counts[delivery.kind] = counts.get(delivery.kind, 0) + 1

    energy_days = _days(first_day - timedelta(days=2), last_day + timedelta(days=1))
    market_days = _days(first_day - timedelta(weeks=MARKET_HISTORY_WEEKS), last_day)
    rate_days = _days(min(RATES_FROM, first_day - timedelta(days=7)), last_day)
    texts: dict[str, str] = {}
    for zone in ZONES:
        prices = (row for day in energy_days for row in _energy_rows(seed, zone, day))
        texts[f"energy/energy_price_{zone.name}.csv"] = _csv(prices)
        if zone.renewable_pct is not None:
            mix = (row for day in energy_days for row in _mix_rows(seed, zone, day))
            texts[f"carbon/carbon_mix_{zone.name}.csv"] = _csv(mix)
    texts["gpu/gpu_prices.csv.gz"] = _csv(r for day in market_days for r in _market_rows(seed, day))
    texts["fx/fx_rates.csv"] = _csv(row for day in rate_days for row in _rate_rows(seed, day))
    for name, text in texts.items():
        data = text.encode()
        path = target / name
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        written.append(path)

    return SampleSummary(
        target=target,
        first_day=first_day,
        last_day=last_day,
        files=tuple(path.relative_to(target) for path in written),
        usage_rows=sum(counts.values()),
        counts=dict(sorted(counts.items())),
    )
