"""Landed files: their schemas, where they lie, and where they are staged.

Nothing here knows what a delivered row looks like.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.printable import printable
from orchestration.sources.folder import FeedProblem
from orchestration.store.durable import put
from orchestration.store.tables import put_table, write_table

_STAGING = ".staging"
EXAMPLE = (
    '{"event_id": "e-1", "customer_id": "acme", "meter": "gpu_minute", "quantity": 60, '
    '"ts": "2026-01-31T10:00:00Z", "metadata": {"cluster": "c1"}}'
)
"""A row of usage with all that is required, to show to whoever delivers."""

AMOUNT = pa.decimal128(18, 6)
PRICE = pa.decimal128(18, 9)
# From a billionth to a billion, with 12 decimals.
RATE = pa.decimal128(22, 12)
MINUTES = pa.decimal128(38, 6)

# Quantities and money in millionths, exact whole numbers: sums of them cost nothing to speak of.
USAGE = pa.schema(
    [
        ("event_id", pa.string()),
        ("kind", pa.string()),
        ("corrects_event_id", pa.string()),
        ("customer_id", pa.string()),
        ("meter", pa.string()),
        ("quantity_micro", pa.int64()),
        ("ts", pa.timestamp("us")),
        ("usage_day", pa.date32()),
        ("delivery_day", pa.date32()),
        ("line_number", pa.int64()),
        ("start_us", pa.int64()),
        ("duration_us", pa.int64()),
        ("cluster", pa.string()),
        ("gpu_type", pa.string()),
        ("model_family", pa.string()),
        ("energy_cost_micro", pa.int64()),
        ("payload_rest", pa.string()),
        ("raw", pa.string()),
    ]
)
REJECTED = pa.schema(
    [
        ("feed", pa.string()),
        ("delivery_date", pa.date32()),
        ("line_number", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("raw", pa.string()),
    ]
)
TOUCHED = pa.schema([("delivery_day", pa.date32()), ("usage_day", pa.date32())])
COLLISIONS = pa.schema([("delivery_day", pa.date32()), ("event_id", pa.string())])
DELIVERIES = pa.schema(
    [
        ("feed", pa.string()),
        ("delivery_day", pa.date32()),
        ("file_name", pa.string()),
        ("delivered_rows", pa.int64()),
        ("landed_rows", pa.int64()),
        ("rejected_rows", pa.int64()),
        ("content_sha256", pa.string()),
        ("problem", pa.string()),
    ]
)
ENERGY_PRICES = pa.schema(
    [
        ("zone", pa.string()),
        ("interval_start", pa.timestamp("us")),
        ("resolution_minutes", pa.int32()),
        ("price_per_kwh", PRICE),
        ("currency", pa.string()),
        ("sequence", pa.int64()),
    ]
)
ENERGY_MIX = pa.schema(
    [
        ("zone", pa.string()),
        ("ts_utc", pa.timestamp("us")),
        ("carbon_gco2_kwh_lca", AMOUNT),
        ("renewable_pct", AMOUNT),
        ("sequence", pa.int64()),
    ]
)
GPU_PRICES = pa.schema(
    [
        ("observed_at", pa.timestamp("us")),
        ("provider", pa.string()),
        ("region", pa.string()),
        ("gpu_type", pa.string()),
        ("price_per_gpu_hour", PRICE),
        ("currency", pa.string()),
        ("price_kind", pa.string()),
        ("sequence", pa.int64()),
        ("raw", pa.string()),
    ]
)
FX_RATES = pa.schema(
    [
        ("rate_date", pa.date32()),
        ("currency", pa.string()),
        ("usd_per_unit", RATE),
        ("sequence", pa.int64()),
    ]
)
SNAPSHOTS: dict[str, tuple[str, pa.Schema]] = {
    "energy": ("energy/prices.parquet", ENERGY_PRICES),
    "carbon": ("carbon/mix.parquet", ENERGY_MIX),
    "gpu": ("gpu/prices.parquet", GPU_PRICES),
    "fx": ("fx/rates.parquet", FX_RATES),
}


@dataclass(frozen=True)
class Delivery:
    """What is landed of one delivery, and the problem that kept the newest attempt out, if any.

    With a problem the counts are those of the earlier landing that still stands (0 if there is
    none), while file name and hash are those of the file that could not be used.
    """

    feed: str
    delivery_day: date | None
    file_name: str
    delivered_rows: int
    landed_rows: int
    rejected_rows: int
    content_sha256: str
    problem: str | None = None
    rejected_by_reason: Mapping[str, int] = field(default_factory=dict)
    touched_days: tuple[date, ...] = ()

    def record(self) -> pa.Table:
        """The delivery's row in ``deliveries/``."""
        return pa.Table.from_pylist(
            [{name: getattr(self, name) for name in DELIVERIES.names}], schema=DELIVERIES
        )


def has_usage(landing: Path, usage_day: date) -> bool:
    """Whether there is a file of rows that were used on a day; a crash may leave folders without."""
    return any(_usage_folder(landing, usage_day).glob("*/part.parquet"))


def usage_part(landing: Path, usage_day: date, delivery_day: date) -> Path:
    """Where the rows of one delivery lie that were used on one day."""
    delivery = f"delivery_day={delivery_day.isoformat()}"
    return _usage_folder(landing, usage_day) / delivery / "part.parquet"


def _usage_folder(landing: Path, usage_day: date) -> Path:
    return landing / "usage" / f"usage_day={usage_day.isoformat()}"


@contextmanager
def staging(landing: Path, name: str) -> Iterator[Path]:
    """A private folder in the landing's file system, from where files are moved into place.

    It is emptied first, because a crash may have left files in it. It is removed at the end, but
    only emptied if landing failed: one that is there while nobody lands tells of a landing that
    did not come to its end.
    """
    folder = landing / _STAGING / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        for left in folder.iterdir():
            left.unlink() if left.is_file() else shutil.rmtree(left, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def interrupted(landing: Path, feed: str) -> list[str]:
    """The landings of a feed that did not come to their end, by what followed it in their names."""
    prefix = f"{feed}-"
    return sorted(
        folder.name.removeprefix(prefix) for folder in landing.glob(f"{_STAGING}/{prefix}*")
    )


def of_delivery(landing: Path, kind: str, feed: str, day: date | None) -> Path:
    """Where a small table about one delivery lies: touched, rejected, collisions, deliveries."""
    return landing / kind / feed / f"{day.isoformat() if day else 'all'}.parquet"


def landed_files(landing: Path, day: date) -> list[Path]:
    """All that lies in the landing of one usage delivery: its rows by usage day, and its records."""
    rows = landing.glob(f"usage/usage_day=*/delivery_day={day.isoformat()}/part.parquet")
    records = (
        of_delivery(landing, kind, "usage", day)
        for kind in ("deliveries", "rejected", "collisions", "touched")
    )
    return sorted(rows) + [path for path in records if path.exists()]


def standing_sha256(landing: Path, feed: str, day: date | None) -> str:
    """The hash of the file whose rows are landed, also while a later one could not be used."""
    delivery = landed_delivery(landing, feed, day)
    if delivery is None or delivery.problem is None:
        return delivery.content_sha256 if delivery else "unknown"
    rows = rows_of(of_delivery(landing, "standing", feed, day))
    return str(rows[0]["content_sha256"]) if rows else "unknown"


def touched_days(landing: Path, day: date | None) -> tuple[date, ...]:
    """The usage days that the landings of a delivery day touched so far; none without a day."""
    rows = rows_of(of_delivery(landing, "touched", "usage", day))
    return tuple(sorted(row["usage_day"] for row in rows))


def record_problem(
    landing: Path, stage: Path, problem: FeedProblem, day: date | None, sha256: str
) -> Delivery:
    """Write down why a delivery could not be used. What was landed of it before stays."""
    path = of_delivery(landing, "deliveries", problem.feed, day)
    rejected = of_delivery(landing, "rejected", problem.feed, day)
    nothing = Delivery(problem.feed, day, "", 0, 0, 0, "")
    standing = landed_delivery(landing, problem.feed, day) or nothing
    delivery = replace(
        standing,
        file_name=problem.file,
        content_sha256=sha256,
        problem=str(problem),
        rejected_by_reason=_reasons(rejected),
        touched_days=touched_days(landing, day),
    )
    if day and standing.problem is None and standing is not nothing:
        # The record will hold the hash of what could not be used.
        put_table(standing.record(), of_delivery(landing, "standing", problem.feed, day))
    write_table(delivery.record(), stage / "problem.parquet")
    put(stage / "problem.parquet", path)
    return delivery


def landed_delivery(landing: Path, feed: str, day: date | None) -> Delivery | None:
    """What was written down when a delivery was landed; None if it never was."""
    rows = rows_of(of_delivery(landing, "deliveries", feed, day))
    return Delivery(**rows[0]) if rows else None


def refusal(landing: Path, feed: str, day: date | None, max_incurable_share: Decimal) -> str | None:
    """Why a landed delivery may not be billed, or None; also None if it was never landed."""
    delivery = landed_delivery(landing, feed, day)
    if delivery is None:
        return None
    if delivery.problem:
        return delivery.problem
    if delivery.rejected_rows <= max_incurable_share * delivery.delivered_rows:
        return None
    share = Decimal(delivery.rejected_rows) / delivery.delivered_rows
    examples = _examples(of_delivery(landing, "rejected", feed, day))
    like = f" (a right row: {EXAMPLE})" if feed == "usage" else ""
    return (
        f"{delivery.file_name}: {share:.1%} of its rows are incurable ({examples}), more than "
        f"MAX_INCURABLE_SHARE={max_incurable_share} allows; have it delivered again{like}, or "
        "raise the setting to accept it"
    )


def _examples(rejected: Path) -> str:
    """The three commonest reasons of rejection, each with its first line and what is wrong there."""
    with duckdb.connect(":memory:") as connection:
        reasons = connection.execute(
            "select reason, count(*), min(line_number), left(arg_min(detail, line_number), 120) "
            "from read_parquet($1, hive_partitioning = false) "
            "group by reason order by count(*) desc, reason limit 3",
            [glob.escape(str(rejected))],
        ).fetchall()
    return "; ".join(
        f"{count:,} {reason}, first in line {line}: {printable(detail)}"
        for reason, count, line, detail in reasons
    )


def _reasons(rejected: Path) -> dict[str, int]:
    """How many rows a landing rejected for each reason."""
    if not rejected.exists():
        return {}
    with pq.ParquetFile(rejected) as landed:
        counts = pc.value_counts(landed.read(["reason"])["reason"]).to_pylist()
    return dict(sorted((count["values"], count["counts"]) for count in counts))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a small landed file, or none if it isn't there."""
    if not path.exists():
        return []
    # Not pq.read_table: a folder named like key=value above would add a column.
    with pq.ParquetFile(path) as landed:
        rows: list[dict[str, Any]] = landed.read().to_pylist()
    return rows
