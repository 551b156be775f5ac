"""No answer holds a run for longer than its deadline, however little of it comes however often."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import pytest
import requests
from test_connectors_session import self_signed

from orchestration.sources.folder import FeedProblem
from orchestration.sources.services import session
from orchestration.sources.services.session import PoliteSession, TooMuch, in_words
from orchestration.sources.usagebox.client import Window, asking

SECONDS = 1.0
DRIP = 0.02

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve, certificate: Path | None = None) -> Iterator[tuple[str, list[int]]]:
    """A server on 127.0.0.1 that answers each connection by ``serve``; counts the connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    met: list[int] = []

    def answer(client: socket.socket) -> None:
        # Whoever hangs up ends it.
        with suppress(OSError, ssl.SSLError), client:
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                client = context.wrap_socket(client, server_side=True)
            client.recv(1 << 16)
            serve(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                met.append(1)
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http{'s' * bool(certificate)}://127.0.0.1:{listener.getsockname()[1]}", met
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def drip(client: socket.socket, beginning: bytes, endlessly: bytes) -> None:
    client.sendall(beginning)
    while True:
        client.sendall(endlessly)
        time.sleep(DRIP)


HEAD = b"HTTP/1.1 200 OK\r\n"
SERVED: dict[str, Serve] = {
    "status line": lambda client: drip(client, b"HTTP/1.1 200 ", b"O"),
    "one header": lambda client: drip(client, HEAD + b"X: ", b"x"),
    "headers": lambda client: drip(client, HEAD, b"Set-Cookie: a=b\r\n"),
    "100 Continue": lambda client: drip(client, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": lambda client: drip(client, HEAD + b"Content-Length: 99999\r\n\r\n", b" "),
    "body until the end": lambda client: drip(client, HEAD + b"Connection: close\r\n\r\n", b" "),
    "chunks": lambda client: drip(
        client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"
    ),
    "one chunk": lambda client: drip(
        client, HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b" "
    ),
    "a busy service's body": lambda client: drip(
        client, b"HTTP/1.1 503 Busy\r\nContent-Length: 99999\r\n\r\n", b" "
    ),
    "nothing": lambda client: time.sleep(60),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(session, "ANSWER_SECONDS", SECONDS)


@pytest.mark.parametrize("what", SERVED)
def test_an_answer_that_drips_ends_at_the_deadline(what: str) -> None:
    with serving(SERVED[what]) as (url, met):
        began = time.monotonic()
        with pytest.raises(requests.RequestException) as caught:
            PoliteSession(backoff_seconds=0.001, retries=0).get(url, timeout=(5, 30))
        took = time.monotonic() - began

    assert took < 3 * SECONDS
    assert len(met) == 1
    if not what.startswith("a busy"):
        assert isinstance(caught.value, TooMuch)
        assert in_words(caught.value)[0] == "the answer is too large or takes too long"


def test_a_deadline_is_not_tried_again() -> None:
    """Or each retry would take as long again."""
    with serving(SERVED["headers"]) as (url, met), pytest.raises(TooMuch):
        PoliteSession(backoff_seconds=0.001).get(url)

    assert len(met) == 1


@pytest.mark.parametrize("what", ["headers", "body until the end"])
def test_it_holds_over_tls_too(what: str, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "certificate.pem")
    with serving(SERVED[what], certificate) as (url, _):
        began = time.monotonic()
        with pytest.raises(TooMuch):
            PoliteSession(retries=0).get(url, verify=str(certificate), timeout=(5, 30))

    assert time.monotonic() - began < 3 * SECONDS


def test_a_slow_answer_within_the_deadline_is_taken() -> None:
    def serve(client: socket.socket) -> None:
        for byte in HEAD + b"Content-Length: 4\r\n\r\nfine":
            client.sendall(bytes([byte]))
            time.sleep(0.005)

    with serving(serve) as (url, _):
        assert PoliteSession(retries=0).get(url).content == b"fine"


def test_each_exchange_has_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second one on the same connection, after the first one's time would be up."""
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.5)

    def serve(client: socket.socket) -> None:
        for _ in range(3):
            time.sleep(0.3)
            client.sendall(HEAD + b"Content-Length: 4\r\n\r\nfine")
            client.recv(1 << 16)

    with serving(serve) as (url, met):
        asked = PoliteSession(retries=0)
        assert [asked.get(url).content for _ in range(3)] == [b"fine"] * 3
    assert len(met) == 1


def test_an_engine_that_drips_is_a_problem_by_name() -> None:
    window = Window.of_days("acme", date(2026, 1, 30), date(2026, 1, 31))
    with (
        serving(SERVED["one header"]) as (url, _),
        asking(url, None, parallel=1, backoff_seconds=0.001) as engine,
        pytest.raises(FeedProblem, match=r"acme.*takes too long"),
    ):
        list(engine.tallies([window]))
