"""The usage feed from an engine: asked over HTTP, written as a delivery, landed like any other."""

import gzip
import hashlib
import json
import logging
import random
import shutil
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from usagebox_engine import MeteringEngine, event, milliseconds, serving

from orchestration.landing import land_usage, prepare_landing
from orchestration.settings import PROJECT_ROOT, SettingsError, load_settings
from orchestration.sources.folder import FeedProblem, FolderSource, FoundUsage
from orchestration.sources.services import session
from orchestration.sources.usagebox.address import engine_address, folder_name
from orchestration.sources.usagebox.client import asking
from orchestration.sources.usagebox.rows import feed_row
from orchestration.sources.usagebox.seen import Seen
from orchestration.sources.usagebox.source import UsageBoxSource, hours_of, usage_source

DAY = date(2026, 1, 8)
NOW = datetime(2026, 1, 20, 2, 30, tzinfo=UTC)
TOKEN = "5ec2e7-t0ken/with+signs"


class Site:
    """An engine that is served, and a data folder that is filled from it."""

    def __init__(self, engine: MeteringEngine, address: str, folder: Path) -> None:
        self.engine, self.address, self.folder = engine, address, folder
        self.landing = folder / "landing"

    def source(self, name="data", accounts=("acme", "beta"), now=NOW, token=None, **how):
        limits = {"parallel": 4, "backoff_seconds": 0.001} | how.pop("asking", {})
        return UsageBoxSource(
            self.address,
            lambda: asking(self.address, token and SecretStr(token), **limits),
            accounts,
            FolderSource(str(self.folder / "feeds")),
            self.folder / name / "usagebox",
            now=lambda: now,
            **{"lookback_days": 3} | how,
        )

    def land(self, source, day=DAY):
        prepare_landing(self.landing)
        return land_usage(FoundUsage(source, day), day, self.landing)

    def rows(self):
        return [
            row
            for path in sorted(self.landing.glob("usage/*/*/part.parquet"))
            for row in pq.ParquetFile(path).read().to_pylist()
        ]

    def problem(self, source, day=DAY):
        """What the source says is wrong; nothing of the day may be left behind."""
        with pytest.raises(FeedProblem) as caught:
            source.usage(day)
        assert not list((self.folder / "data").rglob("*.gz"))
        return caught.value


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    engine = MeteringEngine()
    with serving(engine) as address:
        yield Site(engine, address, tmp_path)


def delivered(file):
    """The rows of a delivery."""
    with file.open() as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


# --- what is delivered ----------------------------------------------------------------------------


def test_a_delivery_is_what_was_ingested_on_its_day_whenever_it_was_used(site):
    site.engine.events = [
        event("early", "2026-01-08T01:00:00Z", "2026-01-07T23:59:59.999Z"),
        event("first-ms", "2026-01-07T10:00:00Z", "2026-01-08T00:00:00Z"),
        event("b", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z"),
        event("a", "2026-01-08T09:59:59.999Z", "2026-01-08T10:00:00Z", account_id="beta"),
        event("oldest", "2026-01-05T00:00:00Z", "2026-01-08T12:00:00Z"),
        event("too-old", "2026-01-04T23:59:59.999Z", "2026-01-08T12:00:00Z"),
        event("last-ms", "2026-01-08T10:00:00Z", "2026-01-08T23:59:59.999Z"),
        event("late", "2026-01-08T11:00:00Z", "2026-01-09T00:00:00Z"),
        event("nobody", "2026-01-08T11:00:00Z", "2026-01-08T12:00:00Z", account_id="unknown"),
    ]
    file = site.source().usage(DAY)
    assert [row["event_id"] for row in delivered(file)] == [
        "first-ms",
        "a",
        "b",
        "oldest",
        "last-ms",
    ]
    assert file.name == f"usagebox/{folder_name(site.address)}/usage_2026-01-08.jsonl.gz"


def test_from_the_server_to_landed_rows(site):
    site.engine.events = [
        event("e1", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z", unit="gpu_second"),
        event("e2", "2026-01-07T09:00:00Z", "2026-01-08T11:00:00Z", meter_id="input_tokens"),
        event(
            "e3",
            "2026-01-08T10:00:00Z",
            "2026-01-08T12:00:00Z",
            kind="Correction",
            quantity=-7,
            correction_ref={"original_event_id": "e1", "reason": "idle"},
        ),
        event("e4", "2026-01-09T00:00:01Z", "2026-01-08T23:59:59Z"),
    ]
    delivery = site.land(site.source())
    assert (delivery.problem, delivery.landed_rows) == (None, 2)
    assert delivery.rejected_by_reason == {"timestamp_out_of_range": 1, "unknown_meter": 1}
    assert delivery.file_name.endswith("/usage_2026-01-08.jsonl.gz")
    first, correction = site.rows()
    assert (first["event_id"], first["meter"], first["line_number"]) == ("e1", "gpu_second", 1)
    assert (correction["kind"], correction["corrects_event_id"]) == ("correction", "e1")
    assert (correction["quantity_micro"], correction["line_number"]) == (-7_000_000, 3)


def test_what_is_posted_to_the_engine_is_delivered_once(site):
    new = event("e1", "2026-01-08T09:00:00Z", "1970-01-01T00:00:00Z")
    headers = {"X-Now-Ms": str(milliseconds("2026-01-08T10:00:00Z"))}
    batches = [[new, event("e2", "2026-01-08T09:30:00Z", "1970-01-01T00:00:00Z")], [new]]
    batches.append([new | {"quantity": 61}])
    counts = [
        session.PoliteSession()
        .post(f"{site.address}/v1/usage/batch", json={"events": batch}, headers=headers)
        .json()
        for batch in batches
    ]
    assert [(c["accepted"], c["duplicates"], c["conflicts"]) for c in counts] == [
        (2, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]
    assert [row["event_id"] for row in delivered(site.source().usage(DAY))] == ["e1", "e2"]


def test_a_day_that_is_asked_for_again_is_replaced(site):
    site.engine.events = [event("e1", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z")]
    source = site.source()
    site.land(source)
    site.engine.events.append(event("e2", "2026-01-07T09:00:00Z", "2026-01-08T10:00:01Z"))
    delivery = site.land(source)
    assert delivery.landed_rows == 2
    assert {row["event_id"] for row in site.rows()} == {"e1", "e2"}


def test_other_feeds_are_the_folders(site):
    (site.folder / "feeds" / "fx").mkdir(parents=True)
    (site.folder / "feeds" / "fx" / "fx_rates.csv").touch()
    for source in (site.source(), FoundUsage(site.source(now=NOW), DAY)):
        assert [file.name for file in source.files("fx")] == ["fx_rates.csv"]
    assert site.engine.asked != []


# --- what is asked --------------------------------------------------------------------------------


def test_events_are_asked_for_by_account_and_hour_and_only_of_days_that_changed(site):
    site.engine.events = [event("e1", "2026-01-07T09:15:00Z", "2026-01-08T10:00:00Z")]
    site.source().usage(DAY)
    asked = site.engine.questions("events")
    hours = [f"2026-01-07T{hour:02}:00:00Z" for hour in range(24)]
    assert sorted(asked) == [
        ("acme", start, end) for start, end in pairwise([*hours, "2026-01-08T00:00:00Z"])
    ]
    # A quiet account is one question.
    assert [each for each in site.engine.questions("usage") if each[0] == "beta"] == [
        ("beta", "2026-01-05T00:00:00Z", "2027-01-10T00:00:00Z")
    ]


def test_what_was_seen_is_not_asked_for_again(site):
    """Use of the 6th, delivered on the 6th; on the 7th only that of the 7th has changed."""
    site.engine.events = [
        event("e1", "2026-01-06T09:00:00Z", "2026-01-06T10:00:00Z"),
        event("older", "2026-01-04T09:00:00Z", "2026-01-04T10:00:00Z"),
    ]
    source = site.source()
    source.usage(date(2026, 1, 6))
    assert {start[:10] for _, start, _ in site.engine.questions("events")} == {
        "2026-01-04",
        "2026-01-06",
    }
    site.engine.asked.clear()
    site.engine.events.append(event("e2", "2026-01-07T09:00:00Z", "2026-01-07T10:00:00Z"))
    source.usage(date(2026, 1, 7))
    assert {start[:10] for _, start, _ in site.engine.questions("events")} == {"2026-01-07"}
    # An earlier day is asked for again as a whole: what was seen says nothing of that day itself.
    site.engine.asked.clear()
    assert [row["event_id"] for row in delivered(source.usage(date(2026, 1, 6)))] == ["e1"]


def test_late_use_of_a_day_that_was_seen_is_found(site):
    site.engine.events = [event("e1", "2026-01-06T09:00:00Z", "2026-01-06T10:00:00Z")]
    source = site.source()
    source.usage(date(2026, 1, 6))
    # Equal in quantity, so only the count tells; then equal in count, a retraction.
    site.engine.events += [
        event("zero", "2026-01-06T11:00:00Z", "2026-01-07T10:00:00Z", quantity=0),
        event("e2", "2026-01-06T11:00:00Z", "2026-01-08T10:00:00Z", quantity=-60),
    ]
    assert [r["event_id"] for r in delivered(source.usage(date(2026, 1, 8)))] == ["e2"]
    assert [r["event_id"] for r in delivered(source.usage(date(2026, 1, 7)))] == ["zero"]


def killed(*how):
    raise KeyboardInterrupt


def test_a_run_that_dies_before_it_remembers_costs_questions_and_nothing_else(site, monkeypatch):
    site.engine.events = [
        event("e1", "2026-01-07T09:00:00Z", "2026-01-07T10:00:00Z"),
        event("e2", "2026-01-07T09:00:00Z", "2026-01-08T10:00:00Z"),
    ]
    source = site.source()
    with monkeypatch.context() as patch:
        patch.setattr(Seen, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            source.usage(date(2026, 1, 7))
    assert [row["event_id"] for row in delivered(source.usage(DAY))] == ["e2"]
    assert [row["event_id"] for row in delivered(source.usage(date(2026, 1, 7)))] == ["e1"]


def test_the_memory_does_not_grow_for_ever(site):
    site.engine.events = [
        event("old", "2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"),
        event("new", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z"),
    ]
    source = site.source()
    source.usage(date(2026, 1, 1))
    assert remembered_days(site) == [1, 8]
    source.usage(DAY)
    assert remembered_days(site) == [8]


def remembered_days(site):
    [memory] = site.folder.rglob("seen.parquet")
    return [row["usage_day"].day for row in pq.ParquetFile(memory).read().to_pylist()]


def test_another_engine_has_a_memory_of_its_own(site, tmp_path):
    site.engine.events = [event("e1", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z")]
    site.source().usage(DAY)
    other = MeteringEngine([event("e9", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z")])
    with serving(other) as address:
        there = Site(other, address, tmp_path).source()
        assert [row["event_id"] for row in delivered(there.usage(DAY))] == ["e9"]
    assert len(list(tmp_path.rglob("usage_2026-01-08.jsonl.gz"))) == 2


def test_only_so_many_questions_run_at_once(site):
    site.engine.events = [
        event(f"e{hour}", f"2026-01-08T{hour:02}:00:00Z", "2026-01-08T23:00:00Z")
        for hour in range(24)
    ]
    pause = 0.002
    site.engine.fault = lambda path, query: time.sleep(pause)
    site.source(asking={"parallel": 3}).usage(DAY)
    assert 2 <= site.engine.most_at_once <= 3


def test_odd_ids_are_asked_for_as_they_are(site):
    odd = ["a/b?c=d&e#f", "größe 100%", "..%2F..", "a'b\"c;--", "x" * 200]
    site.engine.events = [
        event(f"e{n}", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z", account_id=account)
        for n, account in enumerate(odd)
    ]
    rows = delivered(site.source(accounts=odd).usage(DAY))
    assert {row["customer_id"] for row in rows} == set(odd)


@pytest.mark.parametrize("account", [".", ".."])
def test_an_id_that_no_url_can_hold_is_named(site, account):
    problem = site.problem(site.source(accounts=[account]))
    assert problem.wrong == "no URL can hold that id"
    assert repr(account) in str(problem)
    assert site.engine.asked == []


def test_the_accounts_are_the_customers_of_the_seeds(site, monkeypatch, tmp_path):
    """A customer that was entered since the last billing is asked for, too."""
    seeds = shutil.copytree(PROJECT_ROOT / "seeds", tmp_path / "seeds")
    with (seeds / "contracts" / "customers.csv").open("a", encoding="utf-8") as customers:
        customers.write("a-new-one,A New One,1,false\n")
    monkeypatch.setenv("USAGE_URL", f"usagebox+{site.address}/base/")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SEEDS_DIR", str(seeds))
    source = usage_source(load_settings())
    assert isinstance(source, UsageBoxSource)
    assert source.accounts[0] == "a-new-one"
    assert len(source.accounts) > 1
    with pytest.raises(FeedProblem, match="status 404"):
        source.usage(DAY)
    assert "/base/v1/accounts/a-new-one/usage" in {path for path, *_ in site.engine.asked}
    monkeypatch.delenv("USAGE_URL")
    assert isinstance(usage_source(load_settings()), FolderSource)


# --- the same bytes, whatever the order -----------------------------------------------------------

ACCOUNTS = ("acme", "c/d")
BEGIN = milliseconds("2026-01-05T00:00:00Z")


@st.composite
def histories(draw):
    """Events of two accounts, used and ingested on the days from the 5th to the 7th."""
    instants = st.integers(0, 3 * 24 * 4 - 1).map(lambda n: BEGIN + n * 15 * 60_000)
    made = []
    for number in range(draw(st.integers(1, 25))):
        ts, ingested = sorted([draw(instants), draw(instants)])
        one = event(f"e{number % 20}", "2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z")
        made.append(
            one
            | {
                "account_id": draw(st.sampled_from(ACCOUNTS)),
                "timestamp_ms": ts,
                "ingested_at_ms": ingested,
                "quantity": draw(st.integers(-3, 3)),
                "kind": draw(st.sampled_from(["Usage", "Correction"])),
            }
        )
    return made


def expected(events, day):
    """The delivery of a day, worked out from all events at once."""
    of_day = [
        (e["ingested_at_ms"], e["event_id"], feed_row(e))
        for e in events
        if datetime.fromtimestamp(e["ingested_at_ms"] / 1000, UTC).date() == day
    ]
    return "".join(f"{line}\n" for *_, line in sorted(of_day)).encode()


@contextmanager
def fresh_site(tmp_path_factory):
    engine = MeteringEngine()
    with serving(engine) as address:
        yield Site(engine, address, tmp_path_factory.mktemp("site"))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=histories(),
    seed=st.integers(0, 999),
    parallel=st.integers(1, 6),
    order=st.permutations([date(2026, 1, day) for day in (5, 6, 7)]),
)
def test_a_delivery_has_the_same_bytes_however_it_was_asked_for(
    tmp_path_factory, monkeypatch, events, seed, parallel, order
):
    """Method: days in any order with a memory, against each day asked for on its own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with fresh_site(tmp_path_factory) as site:
        site.engine.events = events
        site.engine.order = random.Random(seed)
        how = {"accounts": ACCOUNTS}
        remembering = site.source("long", asking={"parallel": parallel}, **how)
        for day in order:
            wanted = expected(events, day)
            sources = [remembering, site.source(f"alone-{day}", **how)]
            if not wanted:
                for source in sources:
                    with pytest.raises(FeedProblem, match="took in nothing"):
                        source.usage(day)
                continue
            packed = [source.usage(day).open_raw().read() for source in sources]
            assert gzip.decompress(packed[0]) == wanted
            assert len({hashlib.sha256(each).hexdigest() for each in packed}) == 1


# --- what can go wrong ----------------------------------------------------------------------------


def busy(site, times=1_000_000, answer=(500, {}, b"Internal server error: no space left")):
    """Make the engine answer the first questions with an error."""
    left = [times]

    def fault(path, query):
        left[0] -= 1
        return answer if left[0] >= 0 else None

    site.engine.fault = fault


ONE = [event("e1", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z")]


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"Content-Type": "text/plain"}, b"Internal server error"),
        (429, {"Retry-After": "0"}, b""),
        (503, {}, b""),
        (200, {}, b'{"lines": [{"count": 1, "quan'),
        (200, {}, b'{"lines": [NaN]}'),
        (200, {}, b"\xff\xfe"),
        (200, {"Content-Length": "99", "Connection": "close"}, b'{"lines": ['),
    ],
)
def test_what_may_pass_is_asked_again(site, answer):
    site.engine.events = ONE
    busy(site, times=1, answer=answer)
    assert [row["event_id"] for row in delivered(site.source().usage(DAY))] == ["e1"]


def test_a_wait_that_the_engine_wants_is_waited(site):
    site.engine.events = ONE
    busy(site, times=1, answer=(429, {"Retry-After": "1"}, b""))
    began = time.monotonic()
    site.source(accounts=["acme"]).usage(DAY)
    assert time.monotonic() - began >= 1


EVENTS_500 = (500, {"Content-Type": "text/plain"}, b"Internal server error: \x1b[31mdisk\n is full")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (
            EVENTS_500,
            "the service answered 6 times with status 500, "
            "at last saying 'Internal server error: [31mdisk is full'",
        ),
        ((429, {}, b""), "the service answered 6 times with status 429"),
        ((404, {}, b"no"), "the service answered with status 404"),
        ((401, {}, b"no"), "the service refuses the token (status 401)"),
        ((302, {"Location": "http://127.0.0.1/"}, b""), "redirects to another address"),
        ((204, {}, b""), "the service answered with status 204"),
        ((200, {}, b""), "the answer was no JSON, 3 times"),
        ((200, {}, b'{"events": ['), "the answer was no JSON, 3 times"),
        ((200, {}, b"[" * 100_000), "the answer is nested too deep"),
        ((200, {}, b"[]"), "the answer is no JSON object"),
        ((200, {}, b'{"events": {}}'), "the answer to the question for events has none"),
        ((200, {}, b'{"lines": []}'), "the answer to the question for events has none"),
        ((200, {}, b'{"events": [7]}'), "an event is no JSON object"),
    ],
)
def test_an_hour_without_a_usable_answer_is_a_problem_and_nothing_lands(site, answer, wrong):
    site.engine.events = ONE
    hour = "2026-01-08T09:00:00Z"
    site.engine.fault = lambda path, query: (
        answer if path.endswith("events") and query["from"] == hour else None
    )
    problem = site.problem(site.source())
    assert wrong in problem.wrong
    assert problem.file == (
        "UsageBox, account 'acme', 2026-01-08T09:00:00Z to 2026-01-08T10:00:00Z"
    )
    assert problem.cure
    delivery = site.land(site.source())
    assert (delivery.landed_rows, delivery.problem) == (0, str(problem))


def event_with(**changes):
    return json.dumps({"events": [ONE[0] | changes]}).encode()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (event_with(account_id="beta"), "event 'e1' is of another account"),
        (event_with(account_id=None), "event 'e1' is of another account"),
        (event_with(timestamp_ms="1767862800000"), "event 'e1' has no usable timestamp_ms"),
        (event_with(timestamp_ms=True), "event 'e1' has no usable timestamp_ms"),
        (event_with(timestamp_ms=10**30), "event 'e1' has no usable timestamp_ms"),
        (event_with(ingested_at_ms=None), "event 'e1' has no usable ingested_at_ms"),
        (event_with(ingested_at_ms=1.5), "event 'e1' has no usable ingested_at_ms"),
        (
            event_with(timestamp_ms=milliseconds("2026-01-08T10:00:00Z")),
            "event 'e1' lies outside of what was asked for",
        ),
    ],
)
def test_an_event_that_was_not_asked_for_is_a_problem(site, body, wrong):
    site.engine.events = ONE
    site.engine.fault = lambda path, query: (
        (200, {}, body)
        if path.endswith("events") and query["from"] == "2026-01-08T09:00:00Z"
        else None
    )
    assert wrong in site.problem(site.source()).wrong


def test_an_event_that_is_nested_too_deep_to_be_written_is_a_problem():
    nested = ONE[0]
    for _ in range(5000):
        nested = ONE[0] | {"more": nested}

    class Deep:
        def events(self, windows, read):
            yield read(next(windows), [nested])

    with pytest.raises(FeedProblem, match=r"'acme'.*an event is nested too deep"):
        list(hours_of(Deep(), [("acme", DAY)], DAY))


@pytest.mark.parametrize(
    "lines",
    [
        None,
        {},
        [3],
        [{}],
        [{"count": 1}],
        [{"count": 1, "quantity": 1.5}],
        [{"count": True, "quantity": 1}],
        [{"count": 1, "quantity": "1e3"}],
        [{"count": 1, "quantity": "9" * 5000}],
    ],
)
def test_sums_that_are_none_are_a_problem(site, lines):
    body = json.dumps({"lines": lines}).encode()
    busy(site, answer=(200, {}, body))
    problem = site.problem(site.source(accounts=["acme"]))
    assert problem.wrong.startswith(("the answer to the question for sums", "a sum has no whole"))
    assert "'acme', 2026-01-05T00:00:00Z to" in problem.file


def test_sums_may_be_numbers_or_text_in_one_line_or_many(site):
    site.engine.events = ONE * 2
    both = [{"count": "1", "quantity": "60"}, {"count": 1, "quantity": 60}]

    def fault(path, query):
        _, _, body = site.engine._answer(path, query, {})
        answer = json.loads(body)
        if answer.get("lines", [{}])[0].get("count") == 2:
            return 200, {}, json.dumps({"lines": both}).encode()
        return 200, {}, body if "events" in answer else b'{"lines": []}'

    site.engine.fault = fault
    assert len(delivered(site.source(accounts=["acme"]).usage(DAY))) == 2


def test_the_problem_is_that_of_the_first_account_whoever_answers_first(site):
    site.engine.events = ONE
    site.engine.fault = lambda path, query: (
        (404, {}, b"")
        if path.endswith("usage") and query["from"].startswith("2026-01-05")
        else None
    )
    for _ in range(3):
        assert "account 'a1'" in site.problem(site.source(accounts=["a3", "a2", "a1"])).file


def test_a_slow_engine_is_not_waited_for_for_ever(site):
    site.engine.fault = lambda path, query: time.sleep(0.3)
    source = site.source(accounts=["acme"], asking={"read_seconds": 0.02})
    assert site.problem(source).wrong == "the service does not answer in time"


def test_an_answer_that_never_ends_is_given_up(site, monkeypatch):
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0)
    assert "takes too long" in site.problem(site.source(accounts=["acme"])).wrong


def test_an_hour_with_too_large_an_answer_is_asked_for_in_parts(site):
    site.engine.events = [
        event(f"e{second:04}", "2026-01-08T09:00:00Z", "2026-01-08T10:00:00Z")
        | {"timestamp_ms": milliseconds("2026-01-08T09:00:00Z") + second * 30_000}
        for second in range(120)
    ]
    source = site.source(accounts=["acme"], asking={"answer_bytes": 20_000})
    assert len(delivered(source.usage(DAY))) == 120
    assert max(len(f"{start}{end}") for _, start, end in site.engine.questions("events")) == 40


def test_a_minute_with_too_large_an_answer_is_a_problem(site):
    site.engine.events = [
        event(f"e{n}", "2026-01-08T09:07:05Z", "2026-01-08T10:00:00Z") for n in range(100)
    ]
    problem = site.problem(site.source(accounts=["acme"], asking={"answer_bytes": 20_000}))
    assert problem.wrong == "a minute's answer is too large"
    assert "2026-01-08T09:0" in problem.file


def test_sums_that_are_too_large_are_a_problem(site):
    busy(site, answer=(200, {}, b"[" + b"0," * 20_000 + b"0]"))
    source = site.source(accounts=["acme"], asking={"answer_bytes": 20_000})
    assert "has no lines" in site.problem(source).wrong


@pytest.mark.parametrize(
    "now", [datetime(2026, 1, 8, 23, tzinfo=UTC), datetime(2026, 1, 9, 0, 9, 59, tzinfo=UTC)]
)
def test_a_day_that_is_not_over_is_refused(site, now):
    problem = site.problem(site.source(now=now))
    assert "the day is not over" in problem.wrong
    assert "Land it after 2026-01-09 00:10 UTC" in problem.cure
    assert site.engine.asked == []
    site.engine.events = ONE
    site.source(now=datetime(2026, 1, 9, 0, 10, tzinfo=UTC)).usage(DAY)


def test_a_day_without_a_single_event_is_a_problem(site):
    site.engine.events = [event("e1", "2026-01-07T09:00:00Z", "2026-01-07T10:00:00Z")]
    assert "the engine took in nothing for any of 2 accounts" in str(site.problem(site.source()))


def test_without_customers_there_is_nobody_to_ask_for(site):
    assert "there is nobody to ask for" in str(site.problem(site.source(accounts=[])))


def test_an_engine_that_is_gone_leaves_the_earlier_landing_as_it_was(site):
    site.engine.events = ONE
    source = site.source()
    site.land(source)
    before = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}
    busy(site)
    delivery = site.land(source)
    assert delivery.problem is not None
    assert delivery.landed_rows == 1
    after = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}
    changed = {path.parent.parent.name for path in before if before[path] != after.get(path)}
    assert changed == {"deliveries"}


def test_a_damaged_memory_is_named_with_its_cure(site):
    site.engine.events = ONE
    source = site.source()
    source.usage(DAY)
    [memory] = site.folder.rglob("seen.parquet")
    memory.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(FeedProblem, match=r"seen\.parquet: it is damaged\. Delete it"):
        source.usage(DAY)
    memory.unlink()
    assert len(delivered(source.usage(DAY))) == 1


# --- the token ------------------------------------------------------------------------------------


def test_the_token_is_sent_and_stands_nowhere_else(site, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    site.engine.events, site.engine.token = ONE, TOKEN
    site.land(site.source(token=TOKEN))
    assert {headers["Authorization"] for headers in site.engine.headers} == {f"Bearer {TOKEN}"}
    said = f"Internal server error: you sent Bearer {TOKEN}".encode()
    answers = [(500, {}, said), (401, {}, said), (200, {}, said), (302, {"Location": "/"}, b"")]
    told = []
    for answer in answers:
        busy(site, answer=answer)
        with pytest.raises(FeedProblem) as caught:
            site.source(token=TOKEN).usage(DAY)
        problem = caught.value
        told.append(str(problem))
        assert problem.__context__ is None
        told += traceback.format_exception(problem)
        site.land(site.source(token=TOKEN))
    assert "you sent Bearer ***" in told[0]
    written = [path.read_bytes() for path in site.folder.rglob("*") if path.is_file()]
    written.append(repr(vars(site.source(token=TOKEN))).encode())
    printed = capfd.readouterr()
    for text in (*told, caplog.text, printed.out, printed.err, *(str(each) for each in written)):
        assert "5ec2e7" not in text
    assert "/v1/accounts/acme/usage" in caplog.text


def test_a_wrong_token_is_named_by_its_variable(site):
    site.engine.token = TOKEN
    problem = site.problem(site.source(token="another"))
    assert problem.cure.startswith("Check USAGEBOX_API_KEY")


def test_a_bare_engine_gets_no_token_even_if_the_machine_has_one(site, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password hunter2", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    site.engine.events = ONE
    site.source().usage(DAY)
    assert all("Authorization" not in headers for headers in site.engine.headers)


# --- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address", "folder"),
    [
        ("usagebox+https://meter.example.com", "https://meter.example.com", "meter.example.com"),
        (
            "usagebox+https://meter.example.com:8443/tenants/a-1/",
            "https://meter.example.com:8443/tenants/a-1",
            "meter.example.com_8443_tenants_a-1",
        ),
        ("usagebox+http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1_8080"),
        ("usagebox+http://[::1]:8080", "http://[::1]:8080", "_1_8080"),
    ],
)
def test_an_engine_is_named_by_a_url(url, address, folder):
    assert engine_address(url) == address
    assert folder_name(address) == folder


@pytest.mark.parametrize(
    "url",
    [
        "https://meter.example.com",
        "usagebox://meter.example.com",
        "usagebox+https://",
        "usagebox+ftp://meter.example.com",
        "usagebox+http://meter.example.com",
        "usagebox+https://meter.example.com:99999",
        "usagebox+https://meter.example.com/?key=hunter2",
        "usagebox+https://meter.example.com/#here",
        "usagebox+https://meter.example.com/../admin",
        "usagebox+https://meter.example.com/a b",
    ],
)
def test_a_wrong_url_is_refused_before_anything_runs(monkeypatch, url):
    monkeypatch.setenv("USAGE_URL", url)
    with pytest.raises(SettingsError, match="USAGE_URL"):
        load_settings()


def test_a_password_in_the_url_is_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("USAGE_URL", "usagebox+https://me:hunter2@x@meter.example.com")
    with pytest.raises(SettingsError, match="USAGEBOX_API_KEY") as caught:
        load_settings()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USAGEBOX_LOOKBACK_DAYS", "0"),
        ("USAGEBOX_LOOKBACK_DAYS", "401"),
        ("USAGEBOX_PARALLEL", "0"),
        ("USAGEBOX_PARALLEL", "many"),
    ],
)
def test_limits_are_checked(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_settings_do_not_show_the_token(monkeypatch):
    monkeypatch.setenv("USAGEBOX_API_KEY", TOKEN)
    settings = load_settings()
    assert TOKEN not in repr(settings)
    assert settings.usagebox_api_key.get_secret_value() == TOKEN
    assert settings.usagebox_dir == settings.data_dir / "usagebox"
    assert timedelta(days=settings.usagebox_lookback_days) > timedelta(days=54)
