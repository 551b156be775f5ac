"""The whole job with usage from a metering engine: the books are those of the same usage in files."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Books, days, differences, run_job
from usagebox_engine import Event, MeteringEngine, milliseconds, serving

from orchestration.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.job]

DAYS = days("2026-01-05", "2026-01-07")
_MS = {
    "gpu_millisecond": 1,
    "gpu_second": 1000,
    "gpu_minute": 60_000,
    "gpu_hour": 3_600_000,
}
_KINDS = {"usage": "Usage", "correction": "Correction", "retraction": "Retraction"}


def usable_rows(landed: Path, day: date) -> list[dict[str, Any]]:
    """The rows of a landed delivery that an engine could hold: in whole milliseconds."""
    paths = sorted(landed.glob(f"usage/usage_day=*/delivery_day={day}/part.parquet"))
    rows = []
    for path in paths:
        for line in pq.read_table(path, columns=["raw"])["raw"].to_pylist():
            row = json.loads(line, parse_float=Decimal)
            quantity = Decimal(row["quantity"]) * _MS[row["meter"]]
            if quantity == int(quantity):
                rows.append(row | {"quantity": int(quantity)})
    return rows


def as_event(row: dict[str, Any], day: date, number: int) -> Event:
    metadata = {k: str(v) for k, v in row["metadata"].items() if v not in (None, "")}
    reference = row.get("corrects_event_id")
    return {
        "event_id": row["event_id"],
        "kind": _KINDS[row.get("kind") or "usage"],
        "correction_ref": {"original_event_id": reference} if reference else None,
        "account_id": row["customer_id"],
        "meter_id": "gpu_millisecond",
        "timestamp_ms": milliseconds(row["ts"]),
        "quantity": row["quantity"],
        "unit": "gpu_millisecond",
        "dimensions": {"inner": metadata},
        "ingested_at_ms": milliseconds(f"{day}T12:00:00Z") + number,
    }


def test_the_books_of_an_engine_are_those_of_the_same_usage_in_files(sample_feeds, tmp_path):
    landed = Books(Settings(data_dir=tmp_path / "landed", feeds_url=str(sample_feeds)))
    landed.land(DAYS)
    feeds = tmp_path / "feeds"
    (feeds / "usage").mkdir(parents=True)
    for folder in sample_feeds.iterdir():
        if folder.name != "usage":
            (feeds / folder.name).symlink_to(folder)
    events, known = [], set()
    for day in DAYS:
        # An engine has each event once.
        rows = [
            r
            for r in usable_rows(landed.settings.landing_dir, day)
            if r.get("event_id") not in known
        ]
        rows = list({row["event_id"]: row for row in rows}.values())
        known |= {row["event_id"] for row in rows}
        made = [as_event(row, day, number) for number, row in enumerate(rows)]
        events += made
        lines = "\n".join(json.dumps(row, default=str) for row in map(_as_row, made))
        (feeds / "usage" / f"usage_{day}.jsonl").write_text(lines + "\n", encoding="utf-8")
    assert len(events) > 1000

    shared = {"FEEDS_URL": feeds, "BOOKS_OPEN_ON": DAYS[0]}
    asked = [str(DAYS[0]), str(DAYS[-1])]
    with serving(MeteringEngine(events, token="a-token-of-a-test")) as address:
        from_engine = run_job(
            asked,
            {
                **shared,
                "DATA_DIR": tmp_path / "engine",
                "USAGE_URL": f"usagebox+{address}",
                "USAGEBOX_API_KEY": "a-token-of-a-test",
                "USAGEBOX_LOOKBACK_DAYS": 10,
            },
        )
    assert from_engine.returncode == 0, from_engine.stdout + from_engine.stderr
    assert "a-token-of-a-test" not in from_engine.stdout + from_engine.stderr
    from_files = run_job(asked, {**shared, "DATA_DIR": tmp_path / "files"})
    assert from_files.returncode == 0, from_files.stdout + from_files.stderr

    engine, files = (tmp_path / name / "published" / "current" for name in ("engine", "files"))
    # Rejected rows are shown as they came, and the two came in their own words.
    assert differences(engine, files, but=("billing_controls", "rejected_rows")) == []


def _as_row(event: Event) -> dict[str, Any]:
    """The same use as a line of a file, said independently of the job."""
    instant = datetime.fromtimestamp(event["timestamp_ms"] / 1000, tz=UTC)
    metadata: dict[str, Any] = dict(event["dimensions"]["inner"])
    for name in ("duration_s", "energy_cost"):
        if name in metadata:
            metadata[name] = float(metadata[name])
    reference = event["correction_ref"]
    return {
        "event_id": event["event_id"],
        "kind": event["kind"].lower(),
        "corrects_event_id": reference["original_event_id"] if reference else None,
        "customer_id": event["account_id"],
        "meter": "gpu_millisecond",
        "quantity": event["quantity"],
        "ts": instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "metadata": metadata,
    }
