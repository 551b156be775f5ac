"""What a run leaves behind when it dies, and how the next one knows; without starting dbt."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import Books

from orchestration.books.plan import BilledState, make_plan
from orchestration.landing import interrupted_usage, land_usage, prepare_landing, usage
from orchestration.night.billing import NothingToBill, billing_run
from orchestration.seeds.staging import check_seeds
from orchestration.sources.folder import FolderSource

FIRST, SECOND, THIRD = (date(2026, 1, day) for day in (5, 6, 7))


@pytest.fixture
def feeds(sample_feeds: Path, tmp_path: Path) -> Path:
    """Feeds to spoil."""
    return shutil.copytree(sample_feeds, tmp_path / "feeds")


def rewrite(feeds: Path, day: date, change) -> Path:
    """Change each row of a usage delivery."""
    [path] = (feeds / "usage").glob(f"usage_{day}.jsonl*")
    packed = path.suffix == ".gz"
    text = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    # Lines that are no JSON are in the sample on purpose; here they are left out.
    rows = [change(json.loads(line)) for line in text.splitlines() if is_json(line)]
    changed = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(changed) if packed else changed)
    return path


def is_json(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def billed(books, feeds: Path) -> Books:
    """A data folder whose deliveries count as billed; no table is built."""
    made: Books = books(feeds_url=str(feeds))
    made.land([FIRST, SECOND])
    with billing_run(made.settings, FIRST, SECOND):
        made.settings.warehouse_file.touch()
    return made


def test_what_a_killed_run_had_begun_the_next_one_does(books, feeds):
    made = billed(books, feeds)
    state = BilledState(made.settings)
    began = make_plan(made.settings, FIRST, FIRST)
    state.begin(began)
    made.land([THIRD])

    taken_up = make_plan(made.settings, THIRD, THIRD)

    assert set(began.deliveries) < set(taken_up.deliveries)
    assert set(began.touched_days) <= set(taken_up.touched_days)
    assert taken_up.ledger_from == began.ledger_from
    state.begin(taken_up)
    assert set(began.touched_days) <= set(make_plan(made.settings, THIRD, THIRD).touched_days)
    state.complete(taken_up, made.settings, check_seeds(made.settings.seeds_dir))
    assert make_plan(made.settings, THIRD, THIRD).deliveries == (THIRD,)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the job handles it."""


def landed(landing: Path) -> dict[str, list]:
    """Everything that is landed, by file."""
    return {
        str(path.relative_to(landing)): pq.ParquetFile(path).read().to_pylist()
        for path in sorted(landing.rglob("*.parquet"))
        if ".staging" not in path.parts
    }


def test_a_landing_cut_off_anywhere_is_known_and_done_again(tmp_path, feeds, monkeypatch):
    """Method: the n-th change to the landing is the last, for every n; then the day lands again."""
    source = FolderSource(str(feeds))
    whole = tmp_path / "whole"
    prepare_landing(whole)
    land_usage(source, SECOND, whole)
    rewrite(feeds, SECOND, lambda row: row | {"ts": row["ts"].replace("2026-01-06", "2026-01-05")})
    again = shutil.copytree(whole, tmp_path / "again")
    land_usage(source, SECOND, again)
    assert landed(again) != landed(whole)

    cut_off = 0
    while True:
        landing = shutil.copytree(whole, tmp_path / f"cut-{cut_off}")
        left = cut_off

        def counted(change):
            def changed(*arguments):
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return change(*arguments)

            return changed

        with monkeypatch.context() as patched:
            patched.setattr(usage, "put", counted(usage.put))
            patched.setattr(usage, "remove", counted(usage.remove))
            try:
                land_usage(source, SECOND, landing)
            except Killed:
                cut_off += 1
            else:
                break
        assert interrupted_usage(landing) == {SECOND}
        land_usage(source, SECOND, landing)
        assert landed(landing) == landed(again)
        assert interrupted_usage(landing) == set()
    assert cut_off >= 6


def test_a_renamed_field_fails_the_feed_with_its_name(books, feeds):
    def renamed(row):
        row["account"] = row.pop("customer_id", None)
        return row

    rewrite(feeds, SECOND, renamed)
    made: Books = books(feeds_url=str(feeds))
    made.land([FIRST, SECOND])
    with (
        pytest.raises(NothingToBill, match=r"usage_2026-01-06.*missing_customer_id.*line 1"),
        billing_run(made.settings, SECOND, SECOND),
    ):
        pass


def test_a_retyped_field_fails_the_feed_with_its_name_until_the_share_is_accepted(books, feeds):
    rewrite(feeds, SECOND, lambda row: row | {"quantity": {"minutes": row.get("quantity")}})
    made: Books = books(feeds_url=str(feeds))
    made.land([FIRST, SECOND])
    with (
        pytest.raises(NothingToBill, match=r"usage_2026-01-06.*malformed.*quantity is .*deliver"),
        billing_run(made.settings, SECOND, SECOND),
    ):
        pass
    accepted: Books = books(feeds_url=str(feeds), max_incurable_share=1)
    assert make_plan(accepted.settings, SECOND, SECOND).last_day == SECOND


def test_a_retyped_price_fails_its_feed_with_its_name(books, feeds):
    path = next((feeds / "fx").glob("fx_rates.csv*"))
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    at = header.split(",").index("usd_per_unit")
    spoiled = [
        ",".join("EUR 1" if n == at else cell for n, cell in enumerate(row.split(",")))
        for row in rows
    ]
    path.write_text("\n".join([header, *spoiled]) + "\n", encoding="utf-8")
    made: Books = books(feeds_url=str(feeds))
    made.land([FIRST])
    with (
        pytest.raises(NothingToBill, match=r"fx_rates.csv.*usd_per_unit is EUR 1"),
        billing_run(made.settings, FIRST, FIRST),
    ):
        pass


def test_fields_that_nobody_knows_are_kept(tmp_path, feeds):
    rewrite(
        feeds,
        SECOND,
        lambda row: row | {"region_hint": "eu", "metadata": {**row.get("metadata", {}), "rack": 7}},
    )
    prepare_landing(tmp_path / "landing")
    delivery = land_usage(FolderSource(str(feeds)), SECOND, tmp_path / "landing")
    parts = (tmp_path / "landing" / "usage").glob(f"usage_day=*/delivery_day={SECOND}/*.parquet")
    raws = [raw for part in parts for raw in pq.ParquetFile(part).read(["raw"])["raw"].to_pylist()]
    assert len(raws) == delivery.landed_rows > 0
    assert all('"region_hint": "eu"' in raw and '"rack": 7' in raw for raw in raws)
