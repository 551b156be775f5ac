"""Late usage: a file that differs from what was landed of its day is billed, once."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import fsspec
import pytest
from conftest import Books, days

from orchestration.books.late import look
from orchestration.books.plan import BilledState
from orchestration.settings import Settings
from orchestration.sources.folder import FeedProblem, FolderSource, content_sha256

LANDED = days("2026-01-05", "2026-01-07")
MIDDLE = LANDED[1]


@pytest.fixture(scope="module")
def landed(tmp_path_factory, sample_feeds: Path) -> Path:
    """Feeds, and a landing of their first three days."""
    home = tmp_path_factory.mktemp("late")
    shutil.copytree(sample_feeds, home / "feeds")
    Books(Settings(data_dir=home / "data", feeds_url=str(home / "feeds"))).land(LANDED)
    return home


@pytest.fixture
def settings(landed: Path, tmp_path: Path) -> Settings:
    shutil.copytree(landed, tmp_path, dirs_exist_ok=True)
    return Settings(data_dir=tmp_path / "data", feeds_url=str(tmp_path / "feeds"))


def file_of(settings: Settings, day: date) -> Path:
    [path] = (Path(settings.feeds_url) / "usage").glob(f"usage_{day}.*")
    return path


def change(path: Path) -> None:
    """Another content; what is in it is for landing to find out."""
    path.write_bytes(path.read_bytes() + b"more")


def looked(settings: Settings, seen: dict[date, str] | None = None):
    return look(FolderSource(settings.feeds_url), settings, seen or {})


def later(path: Path) -> None:
    """Its time changes, its content doesn't."""
    os.utime(path, (1, 1))


def test_what_was_landed_is_not_late(settings):
    found = looked(settings)
    assert found.late == {}
    # Deliveries after the last landed day are for the night.
    assert sorted(found.seen) == LANDED


def test_a_changed_file_is_late_once(settings):
    before = looked(settings)
    change(file_of(settings, MIDDLE))
    changed = looked(settings, before.seen)
    assert list(changed.late) == [MIDDLE]
    assert looked(settings, changed.seen).late == {}
    # It comes once more as something else.
    change(file_of(settings, MIDDLE))
    again = looked(settings, changed.seen)
    assert list(again.late) == [MIDDLE]
    assert again.late[MIDDLE] != changed.late[MIDDLE]


def test_a_file_delivered_again_as_it_was_is_not_late(settings):
    before = looked(settings)
    later(file_of(settings, MIDDLE))
    found = looked(settings, before.seen)
    assert found.late == {}
    assert found.seen[MIDDLE] != before.seen[MIDDLE]


def test_content_that_was_billed_is_not_late(settings):
    """Landed otherwise since, but the books hold what the file says."""
    state = BilledState(settings)
    file = file_of(settings, MIDDLE)
    shutil.copyfile(file_of(settings, LANDED[0]), file)
    assert list(looked(settings).late) == [MIDDLE]
    settings.warehouse_dir.mkdir()
    settings.warehouse_file.touch()
    content = FolderSource(settings.feeds_url).usage(MIDDLE)
    state._update({"deliveries": {MIDDLE.isoformat(): content_sha256([content])}})
    assert looked(settings).late == {}


def test_a_missing_delivery_is_late_when_it_comes(settings):
    file = file_of(settings, MIDDLE)
    kept = file.read_bytes()
    file.unlink()
    Books(settings).land([MIDDLE])
    missing = looked(settings)
    assert missing.late == {}
    assert MIDDLE not in missing.seen
    file.write_bytes(kept + kept)
    assert list(looked(settings, missing.seen).late) == [MIDDLE]


def test_a_day_that_was_never_asked_for_is_late_if_a_later_one_is_landed(settings):
    """A gap: nothing of the day was landed, not even that it was missing."""
    record = settings.landing_dir / "deliveries" / "usage" / f"{MIDDLE}.parquet"
    record.unlink()
    assert list(looked(settings).late) == [MIDDLE]


def test_a_second_file_for_a_day_is_for_the_run_to_refuse(settings):
    before = looked(settings)
    file = file_of(settings, MIDDLE)
    other = ".parquet" if file.suffix != ".parquet" else ".jsonl"
    (file.parent / f"usage_{MIDDLE}{other}").write_text("{}\n")
    assert list(looked(settings, before.seen).late) == [MIDDLE]


def test_files_of_other_names_and_days_that_do_not_exist_are_left_alone(settings):
    before = looked(settings)
    for name in ("usage_2026-01-06.csv.zip", "usage_2026-02-31.jsonl", "notes.txt"):
        (Path(settings.feeds_url) / "usage" / name).write_text("x")
    assert looked(settings, before.seen) == before


def test_a_look_that_takes_too_long_goes_on_the_next_time(settings):
    source = FolderSource(settings.feeds_url)
    seen: dict[date, str] = {}
    assert look(source, settings, seen, seconds=-1).seen == {}
    for day in LANDED:
        change(file_of(settings, day))
    found = look(source, settings, seen)
    # The newest is read first, the oldest is run first.
    assert list(found.late) == LANDED


def test_any_file_system_that_fsspec_opens_is_watched(settings):
    memory = fsspec.filesystem("memory")
    here = Path(settings.feeds_url) / "usage"
    try:
        for path in here.iterdir():
            memory.pipe(f"/late/usage/{path.name}", path.read_bytes())
        source = FolderSource("memory://late")
        before = look(source, settings, {})
        assert before.late == {}
        name = f"/late/usage/{file_of(settings, MIDDLE).name}"
        memory.pipe(name, memory.cat(name) + b"more")
        assert list(look(source, settings, before.seen).late) == [MIDDLE]
    finally:
        memory.rm("/late", recursive=True)


def test_an_unreadable_folder_is_named_without_its_address():
    with pytest.raises(FeedProblem) as error:
        FolderSource("nothing-like-it://user:secret@host/feeds").usage_fingerprints()
    assert "secret" not in str(error.value)


# The sensor.


@pytest.fixture
def late_usage(location):
    """The sensor, asked with other settings than those of the code location."""
    from orchestration.defs.sensors import late_usage

    return late_usage


def tick(late_usage, settings: Settings, cursor: str | None = None) -> dg.SensorResult:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = late_usage(context, settings=settings)
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_sensor_asks_for_a_run_of_the_day_once(late_usage, settings):
    first = tick(late_usage, settings)
    assert first.run_requests == []
    assert "No usage file differs" in str(first.skip_reason)
    change(file_of(settings, MIDDLE))
    second = tick(late_usage, settings, first.cursor)
    [request] = second.run_requests
    assert request.partition_key == "2026-01-06"
    looks = json.loads(second.cursor)["2026-01-06"]
    assert request.run_key == f"2026-01-06:{looks}"
    assert tick(late_usage, settings, second.cursor).run_requests == []


def test_the_sensor_leaves_an_engine_to_the_night(late_usage, settings):
    engine = Settings(data_dir=settings.data_dir, usage_url="usagebox+https://box")
    skipped = late_usage(dg.build_sensor_context(), settings=engine)
    assert "every night asks it" in str(skipped.skip_message)


def test_the_sensor_says_why_it_cannot_look(late_usage, settings):
    gone = Settings(data_dir=settings.data_dir, feeds_url="nothing-like-it://host/feeds")
    skipped = late_usage(dg.build_sensor_context(), settings=gone)
    assert "Check FEEDS_URL" in str(skipped.skip_message)
