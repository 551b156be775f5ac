"""Receivers whose answers are odd: nobody else is any worse off, and the list is written."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from receiver import action, alert, misbehaving, publish

from orchestration.outbox.actions import send_actions
from orchestration.outbox.alerts import send_alerts
from orchestration.outbox.report import Report
from orchestration.outbox.sender import Receiver, Request
from orchestration.settings import Settings

DAY = "2026-01-21"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Bytes = Iterator[bytes]


class Raw:
    """A server on 127.0.0.1 that answers with bytes as they are, to what has ``odd`` in its key."""

    def __init__(self, answer: Callable[[], Bytes], pause: float = 0) -> None:
        self._answer, self._pause = answer, pause
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(1 << 16)
                head, _, body = request.partition(b"\r\n\r\n")
                found = re.search(rb"(?i)content-length: (\d+)", head)
                assert found
                while len(body) < int(found[1]):
                    body += connection.recv(1 << 16)
                if b"odd" not in request:
                    connection.sendall(FINE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                    return
                for piece in self._answer():
                    connection.sendall(piece)
                    if self._closing.wait(self._pause) if self._pause else self._closing.is_set():
                        return
            except OSError:
                pass


def problem(body: bytes) -> Callable[[], Bytes]:
    head = (
        b"HTTP/1.1 422 No\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    return lambda: iter([head + body])


def status(line: bytes, *headers: bytes, body: bytes = b"") -> Callable[[], Bytes]:
    head = b"\r\n".join([b"HTTP/1.1 " + line, *headers, b"Connection: close"])
    return lambda: iter([head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body])


def endless(begin: bytes, more: bytes) -> Callable[[], Bytes]:
    return lambda: chain([begin], repeat(more))


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ODD = {
    "nested": problem(b"[" * 60_000),
    "nested detail": problem(b'{"detail":' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}"),
    "digits": problem(b'{"detail": ' + b"9" * 5000 + b"}"),
    "not UTF-8": problem(b'{"detail": "\xff\xfe\x80"}'),
    "half a pair": problem(b'{"detail": "\\ud800 \\u0000 \\u001b[2J"}'),
    "a list": problem(b'["detail"]'),
    "a large problem": problem(b'{"detail": "' + b"x" * 500_000 + b'"}'),
    "retry after": status(b"503 Busy", b"Retry-After: when the moon is full"),
    "retry after years": status(b"503 Busy", b"Retry-After: " + b"9" * 5000),
    "location": status(b"302 There", b"Location: http://\xff\xfe\x00[/"),
    "redirect": status(b"307 There", b"Location: http://127.0.0.1:1/"),
    "encoding": status(b"200 OK", b"Content-Encoding: gzip", body=b"no gzip"),
    "cookie": status(b"200 OK", b"Set-Cookie: \xff=;;;=\x01; expires=never; domain=[", body=b"x"),
    "status line": lambda: iter([b"HTTP/9.9 banana\r\n\r\n"]),
    "nothing": lambda: iter([b""]),
    "endless body": endless(HEAD + b"\r\n", b"x" * 65536),
    "endless chunks": endless(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"
    ),
    "endless headers": endless(HEAD, b"X-More: " + b"x" * 1000 + b"\r\n"),
    "endless continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
}


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[Raw] = []

    def start(answer: Callable[[], Bytes], pause: float = 0) -> str:
        servers.append(Raw(answer, pause))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()


def night(tmp_path: Path, url: str) -> tuple[Report, dict[str, str]]:
    """Deliver to an API that finds one customer odd; what became of each by the written list."""
    publish(
        tmp_path,
        DAY,
        actions=[
            action("a-good", "notify", DAY),
            action("b-odd", "cap_usage", DAY),
            action("c-good", "notify", DAY),
        ],
    )
    settings = Settings(
        data_dir=tmp_path, send_policy_actions=True, policy_api_url=url, outbox_from=DAY
    )
    report = send_actions(settings, Receiver(backoff_seconds=0.0001, timeout_seconds=(3, 3)))
    listed = json.loads((settings.outbox_dir / "policy_actions.json").read_text("utf-8"))
    return report, {entry["customer_id"]: entry["state"] for entry in listed["entries"]}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer_keeps_nobody_else_waiting(tmp_path: Path, serve, kind: str) -> None:
    began = time.monotonic()
    report, states = night(tmp_path, serve(ODD[kind]))
    assert time.monotonic() - began < 30
    assert states["a-good"] == states["c-good"] == "sent"
    if kind not in ("cookie",):
        assert states["b-odd"] in ("refused", "unanswered")
    for entry in report.entries:
        assert entry.reason.isprintable()
        assert len(entry.reason) < 300


@pytest.mark.parametrize(
    "answer",
    [endless(b"", b"H"), endless(HEAD, b"x"), endless(HEAD + b"\r\n", b"x"), endless(b"", b"")],
    ids=["before the head", "in the head", "in the body", "never"],
)
def test_an_answer_that_drips_ends_at_its_deadline(serve, answer) -> None:
    """A byte every 50 ms never meets a timeout of half a second between two bytes."""
    receiver = Receiver(backoff_seconds=0.0001, timeout_seconds=(0.5, 0.5))
    began = time.monotonic()
    answered = receiver.post(Request(serve(answer, 0.05), {"Idempotency-Key": "odd"}, b"{}"))
    # However busy the machine is: without a deadline it would never end.
    assert time.monotonic() - began < 60
    assert answered.outcome == "unanswered"


def test_an_answer_that_is_slow_but_in_time_counts(serve) -> None:
    whole = HEAD + b"Content-Length: 20\r\n\r\n" + b"x" * 20
    receiver = Receiver(timeout_seconds=(5, 20))
    url = serve(lambda: (whole[n : n + 5] for n in range(0, len(whole), 5)), 0.02)
    assert receiver.post(Request(url, {"Idempotency-Key": "odd"}, b"{}")).outcome == "delivered"


@pytest.mark.parametrize("kind", ["nested", "retry after", "location", "endless body"])
def test_a_receiver_of_alerts_that_answers_oddly_does_not_harm_another(
    tmp_path: Path, serve, kind: str
) -> None:
    publish(tmp_path, DAY, alerts=[alert("odd", "hard_cap", DAY), alert("x", "hard_cap", DAY)])
    with misbehaving() as portal:
        settings = Settings(
            data_dir=tmp_path,
            alert_webhook_urls=f"{serve(ODD[kind])}/hook {portal.url}/hook",
            alert_webhook_secret="whsec_" + "c2VjcmV0IG9mIDI0IGJ5dGVzIG9yIG1vcmU=",
            outbox_from=DAY,
        )
        report = send_alerts(settings, backoff_seconds=0.0001, timeout_seconds=(3, 3))
        assert len(portal.acted) == 2
    assert len(report.entries) == 4
    assert (settings.outbox_dir / "alerts.json").exists()
