"""Policy actions go out: every action arrives, none acts twice, whatever the receiver does."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from conftest import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from receiver import Misbehaving, action, in_turn, misbehaving, publish

from orchestration.outbox.actions import send_actions, settle
from orchestration.outbox.alerts import send_alerts
from orchestration.outbox.due import SendState
from orchestration.outbox.report import Report
from orchestration.outbox.sender import Receiver
from orchestration.outbox.turns import OutboxBusy
from orchestration.publication.current import NothingPublished
from orchestration.publication.publish import prepare_archive
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.store.locks import owners_lock
from orchestration.store.receipts import FILE, DamagedReceipts, Journal, Outcome, action_receipts

DAY = "2026-01-21"
TOKEN = "5ec2e7-t0ken"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def api() -> Iterator[Misbehaving]:
    with misbehaving() as receiver:
        yield receiver


def switched_on(data_dir: Path, api: Misbehaving, **more: Any) -> Settings:
    """Settings with sending on for every day of the tests, unless told otherwise."""
    on = {"send_policy_actions": True, "outbox_from": "2026-01-01", **more}
    return Settings(data_dir=data_dir, policy_api_url=api.url, policy_api_token=TOKEN, **on)


def night(of: Settings, timeout: float = 5) -> Report:
    """Send once, hardly waiting between tries."""
    return send_actions(
        of, Receiver(secrets=[TOKEN], backoff_seconds=0.0001, timeout_seconds=(timeout, timeout))
    )


def states(report: Report) -> dict[str, str]:
    return {entry.id: entry.state.value for entry in report.entries}


CAP, UNCAP = (
    action("a", "cap_usage", DAY),
    action("a", "uncap_usage", "2026-01-23", alert_id=f"a/{DAY}"),
)
OTHER = action("b", "notify", DAY)


def test_an_action_is_sent_as_documented(tmp_path: Path, api: Misbehaving) -> None:
    """The document is valid, and what arrives is what it says: path, headers and body."""
    document = yaml.safe_load((PROJECT_ROOT / "docs" / "policy_api.yaml").read_text("utf-8"))
    validate(document)
    publish(tmp_path, DAY, actions=[CAP])
    report = send_actions(switched_on(tmp_path, api))

    [asked] = api.asked
    assert asked.path in document["paths"]
    body = json.loads(asked.body)
    schema = {"$ref": "#/components/schemas/PolicyAction", "components": document["components"]}
    OAS31Validator(schema).validate(body)
    example = document["paths"][asked.path]["post"]["requestBody"]["content"]["application/json"]
    OAS31Validator(schema).validate(example["example"])
    assert body == {
        "action_id": f"a/{DAY}/cap_usage",
        "alert_id": f"a/{DAY}",
        "customer_id": "a",
        "action": "cap_usage",
        "effective_on": DAY,
    }
    assert asked.headers["idempotency-key"] == f"a/{DAY}/cap_usage"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["content-type"] == "application/json"
    assert states(report) == {CAP["action_id"]: "sent"}


@pytest.mark.parametrize(
    "first_tries",
    [
        [500],
        [503, 503],
        [429],
        ["drop"],
        ["act drop"],
        ["act drop", "act drop"],
        ["act 500"],
        ["half"],
        ["act half"],
        ["act hang"],
        ["hang"],
        [500, "act hang", 429, "act drop"],
    ],
    ids=str,
)
def test_it_is_tried_again_and_acted_on_once(
    tmp_path: Path, api: Misbehaving, first_tries: list[str | int]
) -> None:
    api.behave = lambda key, turn: first_tries[turn - 1] if turn <= len(first_tries) else 200
    publish(tmp_path, DAY, actions=[CAP])
    report = night(switched_on(tmp_path, api), timeout=0.3)
    assert states(report) == {CAP["action_id"]: "sent"}
    assert api.acted == [CAP["action_id"]]
    assert len(api.asked) == len(first_tries) + 1
    assert len({asked.body for asked in api.asked}) == 1


def test_what_has_its_receipt_is_never_sent_again(tmp_path: Path, api: Misbehaving) -> None:
    """Nor by an old night that runs again, nor after the list of the last run is lost."""
    on = switched_on(tmp_path, api)
    publish(tmp_path, DAY, actions=[CAP, OTHER])
    night(on)
    publish(tmp_path, "2026-01-23", actions=[CAP, UNCAP, OTHER])
    assert states(night(on)) == {UNCAP["action_id"]: "sent"}
    publish(tmp_path, DAY, actions=[CAP, OTHER])
    assert night(on).entries == []
    assert len(api.asked) == 3
    receipts = action_receipts(on.archive_dir).rows()
    assert [row["action_id"] for row in receipts][-1] == UNCAP["action_id"]
    assert {row["outcome"] for row in receipts} == {"delivered"}
    assert len(receipts) == 3


def test_a_failing_action_keeps_back_its_own_customer_only(
    tmp_path: Path, api: Misbehaving
) -> None:
    api.behave = lambda key, turn: 422 if key == CAP["action_id"] else 200
    api.headers = {"content-type": "application/problem+json"}
    api.body = json.dumps({"title": f"no such customer {TOKEN}\n"}).encode()
    on = switched_on(tmp_path, api)
    publish(tmp_path, "2026-01-23", actions=[UNCAP, CAP, OTHER])
    report = night(on)
    assert states(report) == {
        CAP["action_id"]: "refused",
        UNCAP["action_id"]: "waits",
        OTHER["action_id"]: "sent",
    }
    assert [entry.state for entry in report.entries] == ["refused", "waits", "sent"]
    refused = report.of(SendState.REFUSED)[0]
    assert refused.reason == "status 422: no such customer *** "
    assert "before it" in report.of(SendState.WAITS)[0].reason
    assert len(api.asked) == 2

    api.behave = lambda key, turn: 200
    assert set(states(night(on)).values()) == {"sent"}
    assert api.acted == [OTHER["action_id"], CAP["action_id"], UNCAP["action_id"]]


def test_a_receiver_that_answers_nobody_is_left_alone(tmp_path: Path, api: Misbehaving) -> None:
    """And the next night those come first that were not tried, so that no one waits for ever."""
    on = switched_on(tmp_path, api)
    many = [action(f"c{number:02}", "notify", DAY) for number in range(40)]
    publish(tmp_path, DAY, actions=many)
    api.behave = lambda key, turn: 503
    report = night(on)
    tried = {asked.headers["idempotency-key"] for asked in api.asked}
    assert 8 <= len(tried) <= 16
    assert report.counts == {SendState.UNANSWERED: len(tried), SendState.WAITS: 40 - len(tried)}
    assert all("in this run" in entry.reason for entry in report.of(SendState.WAITS))
    api.asked.clear()
    api.behave = lambda key, turn: 503 if key in tried else 200
    report = night(on)
    assert report.counts[SendState.SENT] == 40 - len(tried)
    assert {entry.id for entry in report.of(SendState.UNANSWERED, SendState.WAITS)} == tried


@pytest.mark.parametrize("status", [401, 410, 302])
def test_a_receiver_that_wants_nothing_is_not_asked_again(
    tmp_path: Path, api: Misbehaving, status: int
) -> None:
    api.behave = lambda key, turn: status
    api.headers = {"Location": "/elsewhere"}
    many = [action(f"c{number:02}", "notify", DAY) for number in range(40)]
    publish(tmp_path, DAY, actions=many)
    report = night(switched_on(tmp_path, api))
    assert len(api.asked) <= 16
    assert {asked.path for asked in api.asked} == {"/v1/policy-actions"}
    assert report.counts[SendState.REFUSED] == len(api.asked)
    assert report.counts[SendState.WAITS] == 40 - len(api.asked)


def test_a_run_ends_when_its_time_is_up(tmp_path: Path, api: Misbehaving, monkeypatch) -> None:
    monkeypatch.setattr("orchestration.outbox.sender.RUN_SECONDS", 0)
    publish(tmp_path, DAY, actions=[CAP])
    report = night(switched_on(tmp_path, api))
    assert (report.counts, api.asked) == ({SendState.WAITS: 1}, [])
    assert "no time left" in report.entries[0].reason


def test_a_crash_between_answer_and_receipt_sends_the_same_key_again(
    tmp_path: Path, api: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Journal.write

    def full_disk(self: Journal, row: Any, outcome: Outcome, detail: str) -> None:
        if row["action_id"] == CAP["action_id"] and outcome is Outcome.DELIVERED:
            raise OSError(28, "No space left on device")
        write(self, row, outcome, detail)

    on = switched_on(tmp_path, api)
    publish(tmp_path, "2026-01-23", actions=[CAP, UNCAP])
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", full_disk)
        with pytest.raises(OSError, match="No space"):
            night(on)
    assert api.acted == [CAP["action_id"]]
    assert states(night(on)) == {CAP["action_id"]: "sent", UNCAP["action_id"]: "sent"}
    assert [asked.headers["idempotency-key"] for asked in api.asked] == [
        CAP["action_id"],
        CAP["action_id"],
        UNCAP["action_id"],
    ]
    assert api.acted == [CAP["action_id"], UNCAP["action_id"]]


def test_a_killed_run_loses_no_receipt_and_sends_only_the_last_again(
    tmp_path: Path, api: Misbehaving
) -> None:
    """Method: kill -9 of the sending process while the third of one customer's actions is acted on."""
    actions = [action("a", "notify", f"2026-01-{day}") for day in (10, 11, 12, 13)]
    publish(tmp_path, DAY, actions=actions)
    on = switched_on(tmp_path, api)
    third_came = threading.Event()

    def behave(key: str, turn: int) -> str | int:
        if key != actions[2]["action_id"] or turn > 1:
            return 200
        third_came.set()
        return "act hang"

    api.behave = behave
    environment = {
        **os.environ,
        "DATA_DIR": str(tmp_path),
        "POLICY_API_URL": api.url,
        "SEND_POLICY_ACTIONS": "on",
        "OUTBOX_FROM": "2026-01-01",
    }
    sender = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from orchestration.outbox.actions import send_actions\n"
            "from orchestration.settings import load_settings\n"
            "send_actions(load_settings())",
        ],
        cwd=PROJECT_ROOT,
        env=environment,
    )
    assert third_came.wait(60)
    sender.send_signal(signal.SIGKILL)
    sender.wait()

    # The books are billed before anything is sent again: they meet all three.
    prepare_archive(on)
    archive = f"'{on.archive_dir}/delivered_actions/*.parquet'"
    outcomes = duckdb.sql(f"select outcome from {archive} order by effective_on").fetchall()
    assert outcomes == [("delivered",), ("delivered",), ("unanswered",)]

    assert states(night(on)) == {a["action_id"]: "sent" for a in actions[2:]}
    assert api.acted == [a["action_id"] for a in actions]
    assert len(api.asked) == 5
    assert api.after_the_answer == []


CUSTOMERS = ("a", "b", "c")
FAILURES = (500, 429, 422, "drop", "act drop", "act 500", "act half")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_action_arrives_once_and_in_order_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Random failures of the receiver and random deaths of the sender, night after night.

    Method: each key gets a schedule of failures, each night may die at its n-th receipt, written
    or not. When the schedules are used up, every action has arrived exactly once, each customer's
    in the order of their days, and what was answered with 2xx and has a receipt never came again.
    """
    tmp_path = tmp_path_factory.mktemp("nights")
    actions = [
        action(customer, "notify", f"2026-01-{10 + number}")
        for customer in CUSTOMERS
        for number in range(data.draw(st.integers(0, 3), label=f"actions of {customer}"))
    ]
    schedules = {
        a["action_id"]: data.draw(st.lists(st.sampled_from(FAILURES), max_size=8)) for a in actions
    }
    deaths = data.draw(st.lists(st.integers(1, 6), max_size=3), label="receipts until a death")
    write = Journal.write

    with misbehaving() as api, pytest.MonkeyPatch.context() as patch:
        api.behave = lambda key, turn: (schedules[key][turn - 1 : turn] or [200])[0]
        publish(tmp_path, DAY, actions=actions)
        on = switched_on(tmp_path, api)
        for _ in range(40):
            left = deaths.pop(0) if deaths else None

            def dying(self: Journal, row: Any, outcome: Outcome, detail: str) -> None:
                nonlocal left
                if left is not None:
                    left -= 1
                    if left <= 0:
                        api.forget_who_was_answered()
                        raise KeyboardInterrupt
                write(self, row, outcome, detail)

            patch.setattr(Journal, "write", dying)
            try:
                report = night(on)
            except KeyboardInterrupt:
                continue
            if set(report.counts) <= {SendState.SENT}:
                break
    assert sorted(api.acted) == sorted(a["action_id"] for a in actions)
    for customer in CUSTOMERS:
        mine = [a["action_id"] for a in actions if a["customer_id"] == customer]
        assert [key for key in api.acted if key in mine] == mine
    assert api.after_the_answer == []
    assert night(on).entries == []


def test_a_dry_run_shows_the_requests_and_sends_none(tmp_path: Path, api: Misbehaving) -> None:
    off = switched_on(tmp_path, api, send_policy_actions=False)
    publish(tmp_path, "2026-01-23", actions=[CAP, UNCAP, OTHER])
    report = send_actions(off)
    assert api.asked == []
    assert report.counts == {SendState.WOULD_BE_SENT: 3}
    assert not (off.archive_dir / "policy_actions_began.json").exists()
    listed = json.loads((off.outbox_dir / "policy_actions.json").read_text("utf-8"))
    assert listed["mode"] == "dry run, nothing is sent"

    send_actions(switched_on(tmp_path, api))
    sent = {asked.headers["idempotency-key"]: asked for asked in api.asked}
    for entry in listed["entries"]:
        asked = sent[entry["id"]]
        assert entry["body"].encode() == asked.body
        assert entry["url"] == api.url + asked.path
        for header in entry["headers"].splitlines():
            name, value = header.split(": ")
            assert asked.headers[name.lower()] == value
    assert TOKEN not in json.dumps(listed)


def test_switching_on_sends_no_history_but_the_caps_that_hold(
    tmp_path: Path, api: Misbehaving
) -> None:
    """A year of books; sending is switched on as of 21 January and fails on its first night."""
    history = [
        action("a", "notify", "2025-03-02"),
        action("a", "cap_usage", "2025-03-05"),
        action("a", "uncap_usage", "2025-04-05", alert_id="a/2025-03-05"),
        action("b", "cap_usage", "2026-01-09"),
        action("c", "cap_burst", "2026-01-20"),
    ]
    of_the_day = action("c", "cap_burst", DAY)
    on = switched_on(tmp_path, api, outbox_from=None)
    publish(tmp_path, DAY, actions=[*history, of_the_day])
    api.behave = lambda key, turn: 503
    report = night(on)
    assert report.too_old == 4
    assert set(states(report)) == {"b/2026-01-09/cap_usage", f"c/{DAY}/cap_burst"}

    # The first day stays the one of the first night, though the books are a day older.
    uncap = action("b", "uncap_usage", "2026-01-22", alert_id="b/2026-01-09")
    publish(tmp_path, "2026-01-22", actions=[*history, of_the_day, uncap])
    api.behave = lambda key, turn: 200
    report = night(on)
    # Nothing holds of the cap now; its end is sent in case the cap got through unanswered.
    assert states(report) == {of_the_day["action_id"]: "sent", uncap["action_id"]: "sent"}
    assert report.first_days == {"usage API": date(2026, 1, 21)}


def test_a_superseded_action_is_shown_until_a_person_settles_it(
    tmp_path: Path, api: Misbehaving, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    on = switched_on(tmp_path, api)
    told = [
        action("cause gone", "cap_usage", DAY),
        action("moved", "cap_usage", DAY),
        action("told", "notify", DAY),
    ]
    publish(tmp_path, DAY, actions=told)
    night(on)
    gone = [{**row, "is_superseded": True} for row in told]
    moved = action("moved", "cap_usage", "2026-01-20")
    publish(tmp_path, "2026-01-22", actions=[*gone, moved], capped=["moved"])
    report = night(on)
    reasons = {entry.customer_id: entry.reason for entry in report.of(SendState.SUPERSEDED)}
    assert reasons == {
        "cause gone": "the usage API was told last that cause gone is capped, the books say not "
        "capped: see to it there, then settle this action",
        "moved": "the usage API was told last that moved is capped, and so say the books: "
        "nothing to undo",
        "told": "the customer was told of a depletion that the books no longer show",
    }
    # Its place was taken by a cap of another day; that one is sent.
    assert [entry.id for entry in report.of(SendState.SENT)] == [moved["action_id"]]

    for name, value in {"DATA_DIR": tmp_path, "SEEDS_DIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    both = [told[0]["action_id"], told[2]["action_id"]]
    assert command("settle", "--reason", "cap lifted, told them", *both) == 0
    assert [entry.customer_id for entry in night(on).entries] == ["moved"]
    assert len(api.asked) == 4
    assert command("settle", "--reason", "x", "no/such/action", told[1]["action_id"]) == 2
    assert [entry.customer_id for entry in night(on).entries] == ["moved"]
    assert "'no/such/action' is published as of 2026-01-22" in capsys.readouterr().err


def test_an_unanswered_cap_without_cause_is_not_sent_again(
    tmp_path: Path, api: Misbehaving
) -> None:
    """It may have been acted on; the books no longer want it, so a person looks."""
    on = switched_on(tmp_path, api)
    publish(tmp_path, DAY, actions=[CAP])
    api.behave = lambda key, turn: "act 500"
    night(on)
    api.asked.clear()
    for capped, by_books in ([], "not capped"), (["a"], "capped"):
        publish(tmp_path, DAY, actions=[{**CAP, "is_superseded": True}], capped=capped)
        [entry] = night(on).of(SendState.SUPERSEDED)
        assert entry.reason == (
            "the usage API was told last (or not: it did not answer) that a is capped, "
            f"the books say {by_books}: see to it there, then settle this action"
        )
    assert api.asked == []


def test_a_cap_found_late_does_not_turn_back_a_newer_one(tmp_path: Path, api: Misbehaving) -> None:
    """Late data shows a cap and its end before a cap that is in force: sent now, they would lift it."""
    on = switched_on(tmp_path, api)
    standing = action("a", "cap_usage", "2026-01-20")
    publish(tmp_path, "2026-01-20", actions=[standing])
    night(on)
    late = [
        action("a", "cap_usage", "2026-01-10"),
        action("a", "uncap_usage", "2026-01-12", alert_id="a/2026-01-10"),
        action("a", "notify", "2026-01-09"),
    ]
    publish(tmp_path, DAY, actions=[*late, standing], capped=["a"])
    report = night(on)
    assert states(report) == {
        late[0]["action_id"]: "overtaken",
        late[1]["action_id"]: "overtaken",
        late[2]["action_id"]: "sent",
    }
    # Once that cap is known to be without cause, the late ones are the last word again.
    publish(tmp_path, DAY, actions=[*late, {**standing, "is_superseded": True}])
    assert states(night(on)) == {
        standing["action_id"]: "superseded",
        late[0]["action_id"]: "sent",
        late[1]["action_id"]: "sent",
    }


def test_settling_a_refused_action_lets_the_next_one_through(
    tmp_path: Path, api: Misbehaving
) -> None:
    api.behave = lambda key, turn: 404 if key == CAP["action_id"] else 200
    on = switched_on(tmp_path, api)
    publish(tmp_path, "2026-01-23", actions=[CAP, UNCAP])
    night(on)
    settle(on, [CAP["action_id"]], "never was a customer there")
    assert states(night(on)) == {UNCAP["action_id"]: "sent"}
    [detail] = [
        r["detail"] for r in action_receipts(on.archive_dir).rows() if r["outcome"] == "settled"
    ]
    assert detail == "never was a customer there"


def test_odd_ids_stand_in_a_header(tmp_path: Path, api: Misbehaving) -> None:
    odd = action("Zoë & Co\r\nX-Evil: 1", "notify", DAY)
    publish(tmp_path, DAY, actions=[odd])
    night(switched_on(tmp_path, api))
    [asked] = api.asked
    assert asked.headers["idempotency-key"] == (f"Zo%C3%AB%20&%20Co%0D%0AX-Evil:%201/{DAY}/notify")
    assert json.loads(asked.body)["action_id"] == odd["action_id"]
    assert "x-evil" not in asked.headers


def test_no_log_and_no_list_has_the_token(
    tmp_path: Path, api: Misbehaving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.behave = in_turn(**{f"a_{DAY.replace('-', '_')}_cap_usage": [503, "drop"]})
    publish(tmp_path, DAY, actions=[CAP])
    night(switched_on(tmp_path, api))
    assert len(api.asked) == 3
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert TOKEN not in caplog.text
    assert all(TOKEN.encode() not in path.read_bytes() for path in written)


def test_receipts_that_cannot_be_read_send_nothing(
    tmp_path: Path, api: Misbehaving, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    on = switched_on(tmp_path, api)
    publish(tmp_path, DAY, actions=[CAP, OTHER])
    night(on)
    path = on.archive_dir / FILE
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedReceipts, match=rf"{FILE} cannot be read .*backup.*OUTBOX_FROM"):
        night(on)
    with pytest.raises(DamagedReceipts, match=FILE):
        prepare_archive(on)
    for name, value in {"DATA_DIR": tmp_path, "SEEDS_DIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    assert command("settle", "--reason", "x", CAP["action_id"]) == 1
    assert str(path) in capsys.readouterr().err
    assert len(api.asked) == 2


def test_the_lists_of_the_release_before_go(tmp_path: Path, api: Misbehaving) -> None:
    """Under its own lock, in case a run of it still writes them."""
    old = tmp_path / "delivery"
    old.mkdir()
    for kind in ("policy_actions", "alerts"):
        for ending in ("json", "parquet", "lock"):
            (old / f"{kind}.{ending}").touch()
    publish(tmp_path, DAY, actions=[CAP])
    on = switched_on(tmp_path, api)
    with owners_lock(old / "policy_actions.lock", 0), pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestration.outbox.turns.PATIENCE_SECONDS", 0.1)
        with pytest.raises(OutboxBusy, match=r"delivery/policy_actions\.lock"):
            night(on)
    assert api.asked == []
    night(on)
    assert sorted(path.name for path in old.iterdir()) == [
        f"alerts.{ending}" for ending in ("json", "lock", "parquet")
    ]
    send_alerts(on)
    assert not old.exists()
    assert (on.outbox_dir / "policy_actions.json").exists()


def test_without_a_publication_nothing_is_sent(tmp_path: Path, api: Misbehaving) -> None:
    with pytest.raises(NothingPublished, match="bill a day first"):
        night(switched_on(tmp_path, api))
