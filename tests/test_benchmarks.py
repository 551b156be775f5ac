"""The benchmarks measure what they say: feeds as announced, and every event pass the same result."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import pytest

from benchmarks import night, report, stages
from benchmarks.feeds import Volume, write_all, write_usage
from benchmarks.limit import Job, by_day, by_hour, landing
from benchmarks.measure import Failed, measure
from benchmarks.night import run_night
from benchmarks.peers import with_pandas
from orchestration.settings import PROJECT_ROOT, Settings

NIGHT = date(2026, 1, 7)
VOLUME = Volume(4_000, 60, NIGHT, history=2, history_events=200)
RESULT = (
    "select customer_id, usage_day, posting_date, cluster, accelerator, model_family, "
    "sum(event_count)::bigint, sum(gpu_minutes_micro)::bigint, sum(credits_micro)::bigint "
    "from read_parquet(?) group by all order by all"
)


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feeds")
    write_all(folder, VOLUME)
    return folder


@pytest.fixture(scope="module")
def job(feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The feeds, landed by the benchmark's own stages."""
    settings = Settings(
        seeds_dir=feeds / "seeds",
        feeds_url=str(feeds / "feeds"),
        data_dir=tmp_path_factory.mktemp("data"),
    )
    stages.land_usage(settings, VOLUME.first_day, NIGHT)
    return Job(
        landed=sorted(map(str, settings.landing_dir.glob("usage/*/delivery_day=2026*/*.parquet"))),
        delivered=str(_delivered(feeds)),
        seeds=str(settings.seeds_dir),
        books_open_on=str(VOLUME.first_day),
        days_until_close=3,
        memory_limit="1GB",
        result=str(settings.data_dir / "result.parquet"),
    )


def _delivered(feeds: Path) -> Path:
    return feeds / "feeds" / "usage" / f"usage_{NIGHT}.jsonl.gz"


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def test_the_same_day_is_written_again_byte_by_byte(feeds, tmp_path):
    assert write_usage(tmp_path, NIGHT, VOLUME).read_bytes() == _delivered(feeds).read_bytes()


def test_a_night_has_the_announced_share_of_repeats_late_and_bad_rows(feeds):
    lines = _lines(_delivered(feeds))
    before = set(_lines(feeds / "feeds" / "usage" / "usage_2026-01-06.jsonl.gz"))
    seen = Counter(lines)
    repeats = sum(count - 1 for count in seen.values()) + len(before & set(lines))
    late = sum(f'"ts":"{NIGHT}' not in line and '"ts":"2026-01-08' not in line for line in lines)
    assert len(lines) == VOLUME.events
    assert 0.04 < repeats / len(lines) < 0.06
    assert 0.08 < late / len(lines) < 0.12
    assert len({json.loads(line)["customer_id"] for line in lines if line.endswith("}}")}) > 50


def test_landing_sets_the_bad_rows_aside(job):
    rejected = Path(job.result).parent / "landing" / "rejected" / "usage" / f"{NIGHT}.parquet"
    reasons = dict(
        duckdb.execute(
            "select reason, count(*) from read_parquet(?) group by reason", [str(rejected)]
        ).fetchall()
    )
    assert set(reasons) == {
        *("malformed", "missing_quantity", "naive_timestamp", "negative_quantity"),
        "unknown_meter",
    }
    assert sum(reasons.values()) < 0.05 * VOLUME.events


def test_the_limit_and_the_peers_come_to_the_same_result(job):
    results = {}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        by_day(connection, job)
        results["limit"] = duckdb.execute(RESULT, [job.result]).fetchall()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        by_hour(connection, job)
        by_the_hour = duckdb.execute(RESULT, [job.result]).fetchall()
        landing(connection, job)
        [(parsed,)] = duckdb.execute(
            "select count(*) from read_parquet(?)", [job.result]
        ).fetchall()
    with_pandas(job)
    results["pandas"] = duckdb.execute(RESULT, [job.result]).fetchall()
    readers = PROJECT_ROOT / ".venv" / "readers"
    if (readers / "polars").is_dir():
        described = job.write(Path(job.result).with_name("job.json"))
        subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", "polars", described],
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONPATH": str(readers)},
            check=True,
        )
        results["polars"] = duckdb.execute(RESULT, [job.result]).fetchall()
    assert len(results["limit"]) > 500
    assert all(result == results["limit"] for result in results.values())
    # Credits are rounded by the day, so only events and minutes are the same by the hour.
    assert [row[:-1] for row in by_the_hour] == [row[:-1] for row in results["limit"]]
    assert 0.95 * VOLUME.events < parsed <= VOLUME.events


def test_a_command_is_measured_with_its_children():
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    held = f"import subprocess, sys; b = b'x' * 80_000_000; subprocess.run([sys.executable, '-c', {burn!r}])"
    run = measure([sys.executable, "-c", held])
    assert run.cpu_s >= 0.3
    assert run.peak_mb >= 80
    with pytest.raises(Failed, match="no such thing"):
        measure([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


@pytest.mark.job
@pytest.mark.slow
def test_a_night_is_measured_stage_by_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(night, "peers", lambda volume: {"pandas": {}, "polars": "not here"})
    folder = tmp_path / "bench"
    found = run_night(folder, "tiny", VOLUME, turns=1)
    assert set(found["stages"]) == set(night.STAGES)
    assert {"event pass", "ledger", "cost", "marts", "tests"} <= set(found["dbt"])
    assert {"limit, days", "limit, hours", "pandas", "event pass", "landing"} <= set(
        found["turns_of"]
    )
    assert found["whole"]["cpu_s"] > found["stages"]["bill"]["cpu_s"]
    assert not folder.exists()


def test_the_document_shows_what_was_measured():
    text = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.written(text, report.results()) == text


def test_a_missed_target_is_called_missed():
    night = {"events": 10_000_000, "turns_of": {}}
    for name, spent in {"event pass": 18.1, "limit, days": 10.0, "limit, hours": 12.0}.items():
        night["turns_of"][name] = {"cpu_s": [spent] * 3}
    night["turns_of"] |= {"landing": {"cpu_s": [33.0]}, "limit, landing": {"cpu_s": [20.0]}}
    night["whole"] = {"cpu_s": 2.5 * 32 + 15.0}
    said = {
        row.split(" | ")[0]: row.rsplit(" | ", 1)[1]
        for row in report.targets({"10m": night}).splitlines()
    }
    assert said["| event pass at 10 M lines"] == "**missed** |"
    assert said["| whole night at 10 M lines"] == "met |"
    assert said["| landing JSONL.gz, with rejection"] == "met |"
    assert said["| fixed part of a night"] == " |"
