"""What a delivery had when it was landed does not vanish when it is landed again, unless a person
says so; and what is landed by mistake can be taken back before it is billed.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import command
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.books.plan import BilledState, _basis, make_plan
from orchestration.landing import files, land_usage, prepare_landing, usage, withdrawals
from orchestration.settings import Settings
from orchestration.sources.folder import FolderSource

DAY = date(2026, 1, 7)
LATER = DAY + timedelta(days=1)


def row(event_id: str, quantity: Any = 60, meter: str = "gpu_minute", day: date = DAY) -> dict:
    return {
        "event_id": event_id,
        "customer_id": "acme",
        "meter": meter,
        "quantity": quantity,
        "ts": f"{day}T10:00:00Z",
        "metadata": {"cluster": "c1"},
    }


class Feed:
    """A feed folder and a data folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "feeds"
        (self.folder / "usage").mkdir(parents=True)
        self.settings = Settings(data_dir=root / "data", feeds_url=str(self.folder))
        self.landing = self.settings.landing_dir

    def land(self, *rows: dict | str, day: date = DAY) -> files.Delivery:
        lines = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
        (self.folder / "usage" / f"usage_{day}.jsonl").write_text(lines, encoding="utf-8")
        return land_usage(FolderSource(str(self.folder)), day, self.landing)

    def landed(self, under: str = "") -> list[str]:
        parts = (self.landing / under).glob("usage/usage_day=*/delivery_day=*/part.parquet")
        return sorted(
            id_ for p in parts for id_ in pq.ParquetFile(p).read()["event_id"].to_pylist()
        )

    def refusals(self) -> tuple[str, ...]:
        plan = make_plan(self.settings, DAY, LATER)
        return plan.refusals if plan else ()

    def accept(self, monkeypatch: pytest.MonkeyPatch, reason: str = "double export, CFO") -> int:
        monkeypatch.setenv("DATA_DIR", str(self.settings.data_dir))
        monkeypatch.setenv("FEEDS_URL", str(self.folder))
        return command("accept-withdrawal", str(DAY), "--reason", reason)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(tmp_path)


def test_an_id_that_is_gone_holds_the_delivery(feed):
    feed.land(row("e1"), row("e2", "3600", "gpu_second"), row("e3", 0.5, "gpu_hour"))
    feed.land(row("other", day=LATER), day=LATER)

    delivery = feed.land(row("e1"))

    assert "nothing_withdrawn" in delivery.problem
    assert "2 event ids" in delivery.problem
    assert "90.000000 GPU minutes" in delivery.problem
    assert "(such as e2, e3)" in delivery.problem
    assert f"make accept-withdrawal DAY={DAY}" in delivery.problem
    # The old one stays, and nothing is published meanwhile: the books begin with this day.
    assert feed.landed() == ["e1", "e2", "e3", "other"]
    assert any("nothing_withdrawn" in reason for reason in feed.refusals())


def test_a_refused_day_is_in_the_way_wherever_it_lies(feed):
    """The last one, too: books to the day before it would be published over what was."""
    prepare_landing(feed.landing)
    feed.land(row("e1"))
    feed.land(row("e2", day=LATER), row("e3", day=LATER), day=LATER)
    feed.land(row("e2", day=LATER), day=LATER)

    plan = make_plan(feed.settings, DAY, DAY)

    assert [reason for reason in plan.refusals if "(such as e3)" in reason]


def test_whole_again_it_is_released(feed):
    feed.land(row("e1"), row("e2"))
    feed.land(row("e1"))

    delivery = feed.land(row("e1"), row("e2"), row("e3"))

    assert delivery.problem is None
    assert feed.landed() == ["e1", "e2", "e3"]
    assert withdrawals.held(feed.landing, DAY) is None


def test_what_is_accepted_is_landed_and_what_it_replaced_is_kept(feed, monkeypatch, capsys):
    old = feed.land(row("e1"), row("e2"), "bad")
    assert feed.land(row("e1"), "bad").problem

    assert feed.accept(monkeypatch) == 0
    assert "1 event ids of 60.000000 GPU minutes" in capsys.readouterr().out
    delivery = feed.land(row("e1"), "bad")

    assert delivery.problem is None
    assert feed.landed() == ["e1"]
    assert feed.landed(f"replaced/usage/{DAY}/{old.content_sha256}") == ["e1", "e2"]
    [accepted] = files.rows_of(feed.landing / f"accepted_withdrawals/usage/{DAY}.parquet")
    assert accepted["reason"] == "double export, CFO"
    assert accepted["content_sha256"] == delivery.content_sha256
    # Once more just so is nothing new.
    assert feed.land(row("e1"), "bad").problem is None


def test_another_withdrawal_is_asked_about_again(feed, monkeypatch):
    feed.land(row("e1"), row("e2"), row("e3"))
    assert feed.land(row("e1"), row("e2")).problem
    feed.accept(monkeypatch)

    # Another file, then the accepted file lacking more than was accepted.
    assert feed.land(row("e1")).problem
    feed.land(row("e1"), row("e2"), row("e3"), row("e4"))
    assert "2 event ids" in feed.land(row("e1"), row("e2")).problem


def test_only_what_is_held_can_be_accepted(feed, monkeypatch, capsys):
    feed.land(row("e1"))

    assert feed.accept(monkeypatch) == 2
    assert "nothing to accept" in capsys.readouterr().err
    assert feed.accept(monkeypatch, reason=" ") == 2


def test_a_row_that_becomes_incurable_withdraws_its_id(feed):
    feed.land(row("e1"), row("e2"))

    assert "(such as e2)" in feed.land(row("e1"), row("e2", "many")).problem


def test_an_empty_day_withdraws_all(feed):
    feed.land(row("e1"))

    assert "1 event ids" in feed.land('{"kind": "no_usage"}').problem


def test_an_id_that_another_delivery_has_is_not_withdrawn(feed):
    feed.land(row("e1"), row("e2"))
    feed.land(row("e2"), day=LATER)

    assert feed.land(row("e1")).problem is None


@pytest.mark.parametrize(
    "change", [{"quantity": 1}, {"ts": f"{DAY - timedelta(days=3)}T00:00:00Z"}]
)
def test_another_payload_withdraws_nothing(feed, change):
    feed.land(row("e1"), row("e2"))

    assert feed.land(row("e1"), row("e2") | change).problem is None


def test_a_missing_file_is_that_and_no_withdrawal(feed):
    feed.land(row("e1"), row("e2"))
    feed.land(row("e1"))
    (feed.folder / "usage" / f"usage_{DAY}.jsonl").unlink()

    delivery = land_usage(FolderSource(str(feed.folder)), DAY, feed.landing)

    assert "the file is missing" in delivery.problem
    assert withdrawals.held(feed.landing, DAY) is None
    # Still compared with what stands.
    assert feed.land(row("e2")).problem


IDS = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(before=IDS, now=IDS, elsewhere=IDS)
@settings(max_examples=25, deadline=None)
def test_exactly_the_ids_that_nobody_has_any_more_are_withdrawn(
    tmp_path_factory, before, now, elsewhere
):
    feed = Feed(tmp_path_factory.mktemp("ids"))
    nothing = '{"kind": "no_usage"}'
    feed.land(*([row(id_) for id_ in before] or [nothing]))
    feed.land(*([row(id_, day=LATER) for id_ in elsewhere] or [nothing]), day=LATER)

    problem = feed.land(*([row(id_, 2) for id_ in now] or [nothing])).problem

    gone = set(before) - set(now) - set(elsewhere)
    assert (problem is not None) == bool(gone)
    if gone:
        held = withdrawals.held(feed.landing, DAY)
        assert (held.ids, held.gpu_minutes) == (len(gone), Decimal(60 * len(gone)))
    ids = before if gone else now
    assert feed.landed() == sorted([*ids, *elsewhere])


def test_a_crash_of_an_accepted_withdrawal_heals(tmp_path, monkeypatch):
    """Method: stop before the n-th change to the landing, for every n, then land again."""
    old = row("e1"), row("e2", day=date(2026, 1, 5)), row("e3", day=date(2026, 1, 6))
    new = (row("e1"),)
    # Each module does it by a name of its own.
    changes = [
        (module, name)
        for module in (usage, withdrawals)
        for name in ("put", "remove")
        if hasattr(module, name)
    ]
    stopped = 0
    for stop in range(20):
        feed = Feed(tmp_path / str(stop))
        kept = feed.land(*old).content_sha256
        feed.land(*new)
        feed.accept(monkeypatch)
        left = [stop]

        def crashing(change, left=left):
            def crash(*paths):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                change(*paths)

            return crash

        with monkeypatch.context() as patched:
            for module, name in changes:
                patched.setattr(module, name, crashing(getattr(module, name)))
            try:
                feed.land(*new)
            except KeyboardInterrupt:
                stopped += 1

        assert feed.land(*new).problem is None
        assert feed.landed() == ["e1"]
        assert feed.landed(f"replaced/usage/{DAY}/{kept}") == ["e1", "e2", "e3"]
        assert [path.name for path in (feed.landing / f"replaced/usage/{DAY}").iterdir()] == [kept]
    assert 4 < stopped < 20


# --- taking a day back ----------------------------------------------------------------------------


def forget(feed: Feed, monkeypatch: pytest.MonkeyPatch, day: date) -> int:
    monkeypatch.setenv("DATA_DIR", str(feed.settings.data_dir))
    monkeypatch.setenv("FEEDS_URL", str(feed.folder))
    return command("forget", str(day))


def billed(feed: Feed, **more: Any) -> BilledState:
    """Let the books be billed to DAY."""
    feed.settings.warehouse_dir.mkdir(parents=True)
    feed.settings.warehouse_file.touch()
    state = BilledState(feed.settings)
    record = files.landed_delivery(feed.landing, "usage", DAY)
    state._update(
        {
            "complete": True,
            "last_day": DAY.isoformat(),
            "first_delivery_day": DAY.isoformat(),
            "basis": _basis(feed.settings, DAY),
            "deliveries": {DAY.isoformat(): record.content_sha256},
            **more,
        }
    )
    return state


GAP = DAY + timedelta(days=3)


def test_a_day_after_a_gap_is_taken_back(feed, monkeypatch, capsys):
    prepare_landing(feed.landing)
    feed.land(row("e1"))
    billed(feed)
    wrong = feed.land(row("e9", day=GAP), row("e8"), day=GAP)
    assert make_plan(feed.settings, DAY, DAY).missing_days

    assert forget(feed, monkeypatch, GAP) == 0

    plan = make_plan(feed.settings, DAY, DAY)
    assert (plan.missing_days, plan.last_day) == ((), DAY)
    assert feed.landed() == ["e1"]
    kept = feed.settings.archive_dir / "forgotten_usage" / str(GAP) / wrong.content_sha256
    assert str(kept) in capsys.readouterr().out
    assert len(list(kept.glob("usage/*/*/part.parquet"))) == 2
    assert files.landed_delivery(kept, "usage", GAP) is not None


def test_a_billed_day_is_not_taken_back(feed, monkeypatch, capsys):
    feed.land(row("e1"))
    billed(feed)

    assert forget(feed, monkeypatch, DAY) == 2
    assert "was billed" in capsys.readouterr().err
    assert feed.landed() == ["e1"]


def test_a_published_day_is_not_taken_back_without_its_warehouse(feed, monkeypatch, capsys):
    feed.land(row("e1"))
    current = feed.settings.published_dir / "current"
    current.mkdir(parents=True)
    (current / "manifest.json").write_text(json.dumps({"last_delivery_day": str(DAY)}))

    assert forget(feed, monkeypatch, DAY) == 2
    assert "cannot be told" in capsys.readouterr().err


def test_a_day_that_was_never_landed_cannot_be_taken_back(feed, monkeypatch, capsys):
    assert forget(feed, monkeypatch, DAY) == 2
    assert "Nothing is landed" in capsys.readouterr().err


def test_a_day_that_a_cut_off_billing_took_in_rebuilds_the_books(feed, monkeypatch, capsys):
    prepare_landing(feed.landing)
    feed.land(row("e1"))
    feed.land(row("e2", day=LATER), day=LATER)
    unfinished = {
        "deliveries": [str(LATER)],
        "touched_days": [str(LATER)],
        "ledger_from": str(LATER),
    }
    billed(feed, complete=False, unfinished=unfinished)

    assert forget(feed, monkeypatch, LATER) == 0

    assert "builds the books anew" in capsys.readouterr().out
    plan = make_plan(feed.settings, DAY, DAY)
    assert (plan.starts_anew, plan.deliveries) == (True, (DAY,))


# --- a day without use ----------------------------------------------------------------------------

NO_USAGE = '{"kind": "no_usage"}'


@pytest.mark.parametrize(
    "lines", [[NO_USAGE], ["", NO_USAGE, " "], ['{"kind":"no_usage","metadata":{"cluster":null}}']]
)
def test_no_usage_is_a_delivery_without_rows(feed, lines):
    delivery = feed.land(*lines)

    assert delivery.problem is None
    assert (delivery.delivered_rows, delivery.landed_rows, delivery.rejected_rows) == (0, 0, 0)
    assert (delivery.rejected_by_reason, delivery.touched_days) == ({}, ())
    assert files.refusal(feed.landing, "usage", DAY, Decimal("0.05")) is None


@pytest.mark.parametrize(
    "others",
    [[row("e1")], [NO_USAGE], ["bad"], [row("e1"), NO_USAGE]],
)
def test_beside_other_rows_no_usage_is_malformed(feed, others):
    delivery = feed.land(NO_USAGE, *others)

    bad = 1 + sum(isinstance(other, str) for other in others)
    assert delivery.rejected_by_reason == {"malformed": bad}
    assert delivery.delivered_rows == 1 + len(others)
    rejected = files.rows_of(files.of_delivery(feed.landing, "rejected", "usage", DAY))
    assert "says that nothing ran on the day" in rejected[0]["detail"]


def test_no_usage_that_says_more_is_malformed(feed):
    for more in ({"customer_id": "acme"}, {"metadata": {"cluster": "c1"}}, {"quantity": 0}):
        delivery = feed.land({"kind": "no_usage", **more})
        assert delivery.rejected_by_reason == {"malformed": 1}


def test_an_empty_file_is_still_none_and_the_cure_is_named(feed):
    assert '{"kind": "no_usage"}' in feed.land().problem


def test_no_usage_as_parquet(feed):
    import pyarrow as pa

    columns = {name: pa.array([None], pa.string()) for name in ("event_id", "customer_id", "ts")}
    table = pa.table({**columns, "kind": ["no_usage"], "quantity": pa.array([None], pa.float64())})
    pq.write_table(table, feed.folder / "usage" / f"usage_{DAY}.parquet")

    delivery = land_usage(FolderSource(str(feed.folder)), DAY, feed.landing)

    assert (delivery.problem, delivery.delivered_rows) == (None, 0)
