"""What landed against the engine's own sums: nothing lost, nothing twice, no false alarm."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from usagebox_engine import MeteringEngine, event, serving

from orchestration.gates import reconciliation
from orchestration.landing import files, land_usage, prepare_landing
from orchestration.settings import Settings
from orchestration.sources.folder import FolderSource
from orchestration.sources.usagebox.client import Tally, asking
from orchestration.sources.usagebox.rows import counted, feed_row
from orchestration.sources.usagebox.source import UsageBoxSource
from orchestration.store.tables import write_table

FIRST, SECOND = date(2026, 1, 7), date(2026, 1, 8)
NOW = datetime(2026, 1, 20, 2, 30, tzinfo=UTC)


class Books:
    """An engine, and a landing that is filled from it."""

    def __init__(self, folder: Path, engine: MeteringEngine, address: str) -> None:
        self.settings = Settings(data_dir=folder)
        self.engine = engine
        self.accounts = ["acme", "beta"]
        self._address = address

    @property
    def source(self) -> UsageBoxSource:
        return UsageBoxSource(
            self._address,
            lambda: asking(self._address, None, parallel=4, backoff_seconds=0.001),
            self.accounts,
            FolderSource("/nonexistent"),
            self.settings.usagebox_dir,
            lookback_days=4,
            now=lambda: NOW,
        )

    def land(self, *days: date) -> None:
        prepare_landing(self.settings.landing_dir)
        for day in days:
            delivery = land_usage(self.source, day, self.settings.landing_dir)
            assert delivery.problem is None

    def differences(self, *asked: date) -> list[reconciliation.Difference]:
        self.engine.asked.clear()
        return reconciliation.differences(self.source, self.settings, asked)

    def part(self, usage_day: date, delivery_day: date) -> Path:
        return files.usage_part(self.settings.landing_dir, usage_day, delivery_day)


@pytest.fixture
def books(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    engine = MeteringEngine(
        [
            # Before the first delivery, then two of each delivery, one of them late.
            event("e0", "2026-01-06T09:00:00Z", "2026-01-06T10:00:00Z"),
            event("e1", "2026-01-07T09:00:00Z", "2026-01-07T10:00:00Z", quantity=7),
            event("e2", "2026-01-07T10:00:00Z", "2026-01-07T11:00:00Z", account_id="beta"),
            event("e3", "2026-01-06T09:30:00Z", "2026-01-08T10:00:00Z", unit="gpu_second"),
            event("e4", "2026-01-08T09:00:00Z", "2026-01-08T11:00:00Z", quantity=5),
            # Set aside, and with a quantity that is none of the contract's.
            event("e5", "2026-01-08T09:00:00Z", "2026-01-08T11:00:00Z", meter_id="tokens"),
        ]
    )
    with serving(engine) as address:
        yield Books(tmp_path / "data", engine, address)


def test_a_sound_landing_is_a_question_for_every_day_that_landed_and_for_the_days_between(books):
    books.land(FIRST, SECOND)
    assert books.differences(SECOND) == []
    assert sorted(books.engine.questions("usage")) == [
        ("acme", "2026-01-04T00:00:00Z", "2026-01-06T00:00:00Z"),
        ("acme", "2026-01-06T00:00:00Z", "2026-01-07T00:00:00Z"),
        ("acme", "2026-01-07T00:00:00Z", "2026-01-08T00:00:00Z"),
        ("acme", "2026-01-08T00:00:00Z", "2026-01-09T00:00:00Z"),
        ("beta", "2026-01-04T00:00:00Z", "2026-01-09T00:00:00Z"),
    ]
    assert books.engine.questions("events") == []


def test_what_is_ingested_after_the_last_delivery_is_no_difference(books):
    books.land(FIRST, SECOND)
    books.engine.events += [
        event("e6", "2026-01-07T09:00:00Z", "2026-01-09T00:00:00Z"),
        event("e7", "2026-01-08T09:00:00Z", "2026-01-20T02:29:00Z", account_id="beta"),
    ]
    assert books.differences(SECOND) == []
    # The sums alone could not say so: the raw events of both days were looked at.
    asked = books.engine.questions("events")
    assert {(account, start[:10]) for account, start, _ in asked} == {
        ("acme", "2026-01-07"),
        ("beta", "2026-01-08"),
    }


def test_a_delivery_of_which_only_one_day_has_landed_is_no_difference(books):
    books.land(SECOND)
    assert books.differences(SECOND) == []


def test_a_row_that_is_lost_is_named_with_both_figures(books):
    books.land(FIRST, SECOND)
    books.part(FIRST, FIRST).unlink()
    found = books.differences(SECOND)
    assert [str(each) for each in found] == [
        "account 'acme', usage day 2026-01-07: the engine has 1 events, quantity 7; "
        "landed are 0 events, quantity 0 (land again 2026-01-07)",
        "account 'beta', usage day 2026-01-07: the engine has 1 events, quantity 60; "
        "landed are 0 events, quantity 0 (land again 2026-01-07)",
    ]


def test_a_row_that_landed_twice_is_found(books):
    books.land(FIRST, SECOND)
    part = books.part(SECOND, SECOND)
    rows = pq.ParquetFile(part).read()
    write_table(pa.concat_tables([rows, rows]), part)
    [found] = books.differences(SECOND)
    assert (found.account, found.usage_day) == ("acme", SECOND)
    # One row of that day was set aside; it counts once on both sides.
    assert (found.engine, found.landed) == (Tally(2, 65), Tally(3, 70))
    assert found.deliveries == (SECOND,)


def test_a_row_that_was_set_aside_and_is_lost_is_found(books):
    books.land(FIRST, SECOND)
    rejected = files.of_delivery(books.settings.landing_dir, "rejected", "usage", SECOND)
    write_table(pq.ParquetFile(rejected).read().slice(0, 0), rejected)
    [found] = books.differences(SECOND)
    assert (found.engine, found.landed) == (Tally(2, 65), Tally(1, 5))


def test_rows_that_swap_days_are_found_though_their_sum_is_right(books):
    books.land(FIRST, SECOND)
    moved, stays = books.part(date(2026, 1, 6), SECOND), books.part(SECOND, SECOND)
    rows = pq.ParquetFile(moved).read().to_pylist()
    for row in rows:
        row["usage_day"] = SECOND
    both = [*pq.ParquetFile(stays).read().to_pylist(), *rows]
    write_table(pa.Table.from_pylist(both, schema=files.USAGE), stays)
    moved.unlink()
    assert [(d.usage_day, d.engine, d.landed) for d in books.differences(SECOND)] == [
        (date(2026, 1, 6), Tally(1, 60), Tally()),
        (SECOND, Tally(2, 65), Tally(3, 125)),
    ]


def test_an_engine_that_forgot_an_event_is_found(books):
    books.land(FIRST, SECOND)
    books.engine.events = [e for e in books.engine.events if e["event_id"] != "e4"]
    [found] = books.differences(SECOND)
    assert (found.engine, found.landed) == (Tally(1, 60), Tally(2, 65))


def test_a_customer_who_was_entered_late_is_found_with_the_days_to_land_again(books):
    books.accounts = ["acme"]
    books.land(FIRST, SECOND)
    assert books.differences(SECOND) == []
    books.accounts = ["acme", "beta"]
    [found] = books.differences(SECOND)
    assert (found.account, found.deliveries) == ("beta", (FIRST,))
    books.land(FIRST)
    assert books.differences(SECOND) == []


def test_deliveries_of_a_folder_are_not_held_against_the_engine(books, tmp_path):
    """The 7th was delivered by a folder, with a row that the engine never had."""
    feeds = tmp_path / "feeds" / "usage"
    feeds.mkdir(parents=True)
    row = (
        '{"event_id":"f1","customer_id":"acme","meter":"gpu_minute","quantity":0.5,'
        '"ts":"2026-01-07T00:00:00Z","metadata":{"cluster":"c1"}}\n'
    )
    (feeds / f"usage_{FIRST}.jsonl").write_text(row, encoding="utf-8")
    prepare_landing(books.settings.landing_dir)
    land_usage(FolderSource(str(feeds.parent)), FIRST, books.settings.landing_dir)
    books.land(SECOND)
    assert books.differences(SECOND) == []
    books.part(SECOND, SECOND).unlink()
    [found] = books.differences(SECOND)
    assert found.deliveries == (SECOND,)


# --- the check ------------------------------------------------------------------------------------


def test_the_check_passes_or_says_what_differs(books):
    books.land(FIRST, SECOND)
    result = reconciliation.check(books.source, books.settings, [SECOND], [])
    assert (result.passed, result.description) == (True, None)
    books.part(SECOND, SECOND).unlink()
    result = reconciliation.check(books.source, books.settings, [SECOND], [])
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    assert "account 'acme', usage day 2026-01-08: the engine has 2 events" in result.description
    [record] = result.metadata["differences"].records
    assert record.data["land_again"] == "2026-01-08"
    assert reconciliation.check_spec().blocking


def test_the_check_names_some_and_counts_the_rest(books, monkeypatch):
    monkeypatch.setattr(reconciliation, "SHOWN", 1)
    books.land(FIRST, SECOND)
    books.part(FIRST, FIRST).unlink()
    result = reconciliation.check(books.source, books.settings, [SECOND], [])
    assert result.description.endswith("; and 1 more")
    assert result.metadata["differing_days"].value == 2


def test_the_check_does_not_pass_if_the_engine_does_not_answer(books):
    books.land(FIRST)
    books.engine.fault = lambda path, query: (404, {}, b"")
    result = reconciliation.check(books.source, books.settings, [FIRST], [])
    assert not result.passed
    assert "not compared: usage feed, UsageBox, account 'acme'" in result.description


def test_the_check_does_not_pass_over_a_delivery_with_a_problem(books):
    result = reconciliation.check(books.source, books.settings, [FIRST], ["it is empty"])
    assert not result.passed
    assert books.engine.asked == []


def test_the_check_does_not_apply_to_a_folder(tmp_path):
    settings = Settings(data_dir=tmp_path)
    result = reconciliation.check(FolderSource(str(tmp_path)), settings, [FIRST], [])
    assert result.passed
    assert "does not apply" in result.description


def test_a_row_too_long_to_be_kept_is_counted_all_the_same(books):
    """Landing keeps the beginning of a row of more than 4 MB."""
    books.engine.events.append(
        event("x" * 5_000_000, "2026-01-08T09:00:00Z", "2026-01-08T11:00:00Z", quantity=-3)
    )
    books.land(SECOND)
    assert books.differences(SECOND) == []
    [raw] = [
        row["raw"]
        for row in pq.ParquetFile(
            files.of_delivery(books.settings.landing_dir, "rejected", "usage", SECOND)
        )
        .read()
        .to_pylist()
        if row["reason"] == "malformed"
    ]
    assert len(raw) < 1_000_000
    assert counted(raw) == ("acme", SECOND, Tally(1, -3))


@pytest.mark.parametrize("quantity", [0, -7, 10**40, 1.5, "60", None, True])
@pytest.mark.parametrize("account", ['a"b', "a\\", "größe", ","])
def test_what_a_row_counts_for_is_what_the_event_counts_for(account, quantity):
    of = event("e", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z", quantity=quantity)
    row = feed_row(of | {"account_id": account})
    assert counted(row) == (account, SECOND, Tally.of(quantity))
