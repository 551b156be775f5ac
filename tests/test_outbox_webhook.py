"""Alerts as webhooks: signed as the convention says, each receiver on its own, at least once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from receiver import Misbehaving, alert, misbehaving, publish
from standardwebhooks import Webhook, WebhookVerificationError

from orchestration.outbox.alerts import ID, SIGNATURE, TIMESTAMP, Signature, send_alerts
from orchestration.outbox.due import SendState
from orchestration.outbox.report import Mode, Report
from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings

DAY = "2026-01-21"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NEW_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
PATH = "/hooks/T0-t0ken/B0"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def portal() -> Iterator[Misbehaving]:
    with misbehaving() as receiver:
        yield receiver


@pytest.fixture
def chat() -> Iterator[Misbehaving]:
    with misbehaving() as receiver:
        yield receiver


def subscribed(data_dir: Path, *receivers: Misbehaving, **more: Any) -> Settings:
    urls = " ".join(receiver.url + PATH for receiver in receivers)
    named = {"alert_webhook_secret": SECRET, "outbox_from": "2026-01-01", **more}
    return Settings(data_dir=data_dir, alert_webhook_urls=urls, **named)


def night(of: Settings, timeout: float = 5) -> Report:
    return send_alerts(of, backoff_seconds=0.0001, timeout_seconds=(timeout, timeout))


def is_genuine() -> Callable[[str, dict[str, str], bytes], bool]:
    """The example that the documentation gives to receivers, word for word."""
    text = (PROJECT_ROOT / "docs" / "outbox.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    return namespace["is_genuine"]


CAP = alert("a.b", "hard_cap", DAY)
BURST = alert("c", "burst_cap", DAY)


def signed(secrets: list[str], message_id: str, body: bytes) -> requests.PreparedRequest:
    request = requests.Request("POST", "https://a.example", {ID: message_id}, data=body)
    return Signature(secrets)(request.prepare())


def test_the_signature_is_that_of_the_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convention's own example, which its libraries are tested with; a part of a second is cut."""
    monkeypatch.setattr("orchestration.outbox.alerts.time.time", lambda: 1614265330.999)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    asked = signed([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    assert asked.headers[TIMESTAMP] == "1614265330"
    assert asked.headers[SIGNATURE] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.text(min_size=1), st.binary(min_size=24, max_size=64), st.integers(0, 2**33))
def test_what_is_signed_is_what_the_convention_says(text: str, key: bytes, now: int) -> None:
    """Id, time and the bytes that are sent, with dots between: computed here without the library."""
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestration.outbox.alerts.time.time", lambda: now + 0.5)
        asked = signed(["whsec_" + base64.b64encode(key).decode()], "a/b", body)
    digest = hmac.new(key, f"a/b.{now}.".encode() + body, hashlib.sha256).digest()
    assert asked.headers[TIMESTAMP] == str(now)
    assert asked.headers[SIGNATURE] == f"v1,{base64.b64encode(digest).decode()}"
    assert asked.body == body


def test_a_receiver_verifies_an_alert_with_the_documented_lines_or_the_library(
    tmp_path: Path, portal: Misbehaving
) -> None:
    publish(tmp_path, DAY, alerts=[CAP, BURST])
    night(subscribed(tmp_path, portal))
    verify = is_genuine()
    assert len(portal.asked) == 2
    for asked in portal.asked:
        assert verify(SECRET, asked.headers, asked.body)
        assert not verify(NEW_SECRET, asked.headers, asked.body)
        assert Webhook(SECRET).verify(asked.body, asked.headers) == json.loads(asked.body)
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW_SECRET).verify(asked.body, asked.headers)
        assert not verify(SECRET, asked.headers, asked.body + b" ")
        for name, value in (
            ("webhook-id", "x"),
            ("webhook-timestamp", str(int(asked.headers["webhook-timestamp"]) + 1)),
            ("webhook-timestamp", str(int(time.time()) - 301)),
        ):
            assert not verify(SECRET, {**asked.headers, name: value}, asked.body)


def test_an_alert_is_sent_as_documented(tmp_path: Path, portal: Misbehaving) -> None:
    document = yaml.safe_load((PROJECT_ROOT / "docs" / "policy_api.yaml").read_text("utf-8"))
    hook = document["webhooks"]["creditAlert"]["post"]
    schema = {"$ref": "#/components/schemas/CreditAlert", "components": document["components"]}
    OAS31Validator(schema).validate(hook["requestBody"]["content"]["application/json"]["example"])
    publish(tmp_path, DAY, alerts=[CAP, BURST])
    night(subscribed(tmp_path, portal))
    for asked in portal.asked:
        OAS31Validator(schema).validate(json.loads(asked.body))
        for parameter in hook["parameters"]:
            OAS31Validator(parameter["schema"]).validate(asked.headers[parameter["name"]])
    by_id = {asked.headers["webhook-id"]: json.loads(asked.body) for asked in portal.asked}
    assert by_id[f"a%2Eb/2026-01-05/hard_cap/{DAY}"] == {
        "type": "credit_alert.raised",
        "timestamp": f"{DAY}T00:00:00Z",
        "data": {
            "alert_id": f"a.b/2026-01-05/hard_cap/{DAY}",
            "customer_id": "a.b",
            "cycle_start": "2026-01-05",
            "raised_on": DAY,
            "alert_type": "hard_cap",
            "depletion": "0.960000",
            "balance": "0.000000",
            "threshold": "0.950000",
        },
    }
    assert by_id[f"c/2026-01-05/burst_cap/{DAY}"]["data"]["threshold"] is None


def test_while_the_secret_is_changed_both_verify(tmp_path: Path, portal: Misbehaving) -> None:
    publish(tmp_path, DAY, alerts=[CAP])
    night(subscribed(tmp_path, portal, alert_webhook_secret=f"{NEW_SECRET} {SECRET}"))
    [asked] = portal.asked
    for secret in (SECRET, NEW_SECRET):
        assert is_genuine()(secret, asked.headers, asked.body)
        Webhook(secret).verify(asked.body, asked.headers)


def test_each_receiver_gets_every_alert_whatever_the_other_does(
    tmp_path: Path, portal: Misbehaving, chat: Misbehaving
) -> None:
    alerts = [alert(f"c{number:02}", "pre_alert", DAY) for number in range(20)]
    publish(tmp_path, DAY, alerts=alerts)
    both = subscribed(tmp_path, portal, chat)
    chat.behave = lambda key, turn: "act hang" if turn == 1 else 503
    report = night(both, timeout=0.2)
    assert sorted(portal.acted) == [a["alert_id"] for a in alerts]
    assert report.counts[SendState.SENT] == 20
    late = report.of(SendState.UNANSWERED, SendState.WAITS)
    assert len(late) == 20
    assert {entry.receiver.partition("#")[0] for entry in late} == {f"127.0.0.1:{chat.port}"}

    chat.behave = lambda key, turn: 200
    assert night(both).counts == {SendState.SENT: 20}
    assert len(portal.asked) == 20
    assert sorted(chat.acted) == sorted(portal.acted)
    assert night(both).entries == []
    assert portal.after_the_answer == chat.after_the_answer == []


def test_every_attempt_of_an_alert_has_the_same_id_and_body(
    tmp_path: Path, portal: Misbehaving
) -> None:
    portal.behave = lambda key, turn: [500, "act drop", 422, 200][turn - 1]
    publish(tmp_path, DAY, alerts=[CAP])
    assert night(subscribed(tmp_path, portal)).counts == {SendState.REFUSED: 1}
    assert night(subscribed(tmp_path, portal)).counts == {SendState.SENT: 1}
    assert len(portal.asked) == 4
    assert len({(asked.headers["webhook-id"], asked.body) for asked in portal.asked}) == 1
    assert portal.acted == [f"a%2Eb/2026-01-05/hard_cap/{DAY}"]


def test_a_new_receiver_gets_no_history(
    tmp_path: Path, portal: Misbehaving, chat: Misbehaving
) -> None:
    old = alert("a", "pre_alert", "2026-01-20")
    publish(tmp_path, "2026-01-20", alerts=[old])
    night(subscribed(tmp_path, portal, outbox_from=None))
    publish(tmp_path, DAY, alerts=[old, BURST])
    report = night(subscribed(tmp_path, portal, chat, outbox_from=None))
    assert report.too_old == 1
    assert portal.acted == [old["alert_id"], BURST["alert_id"]]
    assert chat.acted == [BURST["alert_id"]]


def test_no_log_list_or_receipt_has_an_address_or_the_secret(
    tmp_path: Path, portal: Misbehaving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    portal.behave = lambda key, turn: [503, "drop", 200][turn - 1]
    publish(tmp_path, DAY, alerts=[CAP])
    night(subscribed(tmp_path, portal))
    assert [asked.path for asked in portal.asked] == [PATH] * 3
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (PATH, "t0ken", SECRET):
        assert secret not in caplog.text
        assert all(secret.encode() not in content for content in written)


def test_without_a_receiver_nothing_is_listed(tmp_path: Path) -> None:
    publish(tmp_path, DAY, alerts=[CAP])
    report = send_alerts(Settings(data_dir=tmp_path))
    assert (report.mode, report.entries) == (Mode.NO_RECEIVER, [])
    assert report.in_words() == "Alerts (no receiver is named): nothing to send"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"SEND_POLICY_ACTIONS": "on"}, "POLICY_API_URL names no usage API"),
        ({"POLICY_API_URL": "http://usage.example/"}, "only https is spoken"),
        ({"POLICY_API_URL": "https://u:hush@usage.example"}, "POLICY_API_TOKEN"),
        ({"POLICY_API_URL": "usage.example"}, "it needs a scheme and a host"),
        ({"ALERT_WEBHOOK_SECRET": "hush"}, "24 to 64 random bytes"),
        ({"ALERT_WEBHOOK_SECRET": "whsec_aHVzaA=="}, "24 to 64 random bytes"),
        ({"ALERT_WEBHOOK_URLS": "https://a.example/hush"}, "set ALERT_WEBHOOK_SECRET"),
        (
            {
                "ALERT_WEBHOOK_URLS": "https://a.example/x http://a.example/hush",
                "ALERT_WEBHOOK_SECRET": SECRET,
            },
            "URL 2: only https is spoken",
        ),
        ({"ALERT_WEBHOOK_URLS": "https://a.example:x/hush"}, "URL 1: it is not a URL"),
        ({"ALERT_WEBHOOK_URLS": "https://a.example/hush " * 2}, "stands there twice"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_wrong_setting_is_named_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as error:
        load_settings()
    assert "hush" not in str(error.value)
    assert SECRET not in str(error.value)
