"""How connectors ask: retries, limits, TLS, no token in any log. Against a server of our own."""

import datetime as dt
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestration.sources.services.session import Busy, PoliteSession, TooMuch, in_words, unlogged

LOOPBACK = IPv4Address("127.0.0.1")
TOKEN = "5ec2e7-t0ken/with+signs"

Answer = tuple[int, dict[str, str], bytes]
Respond = Callable[[str, dict[str, str]], Answer]


class LocalService:
    """A service on 127.0.0.1 that answers what a test makes up, and remembers what it was asked."""

    def __init__(self, respond: Respond | None = None, certificate: Path | None = None) -> None:
        self.respond = respond or (lambda path, query: (404, {}, b""))
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                service.asked.append((parts.path, query))
                service.headers.append(dict(self.headers))
                status, headers, body = service.respond(parts.path, query)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *of: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def impatient(**how: bool | int) -> PoliteSession:
    """A session that hardly waits between its tries."""
    return PoliteSession(backoff_seconds=0.001, **how)  # type: ignore[arg-type]


def in_turn(*answers: Answer) -> Respond:
    """Answer with one after the other, then with the last for ever."""
    left = list(answers)
    return lambda path, query: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = LocalService()
    yield local
    local.close()


def test_after_429_it_asks_again(service: LocalService) -> None:
    service.respond = in_turn((429, {}, b""), (500, {}, b""), (200, {}, b"fine"))
    assert impatient().get(service.url).content == b"fine"
    assert len(service.asked) == 3


def test_it_waits_as_long_as_the_service_wants(service: LocalService) -> None:
    service.respond = in_turn((429, {"Retry-After": "1"}, b""), (200, {}, b"fine"))
    began = time.monotonic()
    impatient().get(service.url)
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_it_gives_up_on_a_busy_service(service: LocalService, status: int) -> None:
    service.respond = in_turn((status, {}, b""))
    with pytest.raises(Busy) as caught:
        impatient().get(service.url)
    assert len(service.asked) == 6
    assert in_words(caught.value)[0] == f"the service answered 6 times with status {status}"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_it_asks_but_once_if_the_request_is_wrong(service: LocalService, status: int) -> None:
    service.respond = in_turn((status, {}, b"no"))
    assert impatient().get(service.url).status_code == status
    assert len(service.asked) == 1


def test_waits_grow_and_are_bounded() -> None:
    retry = PoliteSession(backoff_seconds=1).get_adapter("https://any").max_retries
    waits = []
    for _ in range(12):
        retry = retry.new(total=20)
        waits.append(retry.get_backoff_time())
        retry = retry.increment("GET", "/", response=None, error=requests.ConnectionError())
    assert 1 <= waits[0] <= 2
    assert waits[2] < waits[4] < waits[6]
    assert max(waits) <= 120
    assert retry.retry_after_max == 120


def test_an_answer_is_read_up_to_the_limit(service: LocalService) -> None:
    service.respond = in_turn((200, {}, b"x" * 5000))
    assert len(impatient(answer_bytes=5000).get(service.url).content) == 5000
    with pytest.raises(TooMuch):
        impatient(answer_bytes=4999).get(service.url)


def test_an_answer_that_breaks_off_is_asked_for_again(service: LocalService) -> None:
    cut = (200, {"Content-Length": "9", "Connection": "close"}, b"half")
    service.respond = in_turn(cut, (200, {}, b"complete!"))
    assert impatient().get(service.url).content == b"complete!"
    service.respond = in_turn(cut)
    with pytest.raises(requests.RequestException):
        impatient().get(service.url)


def test_a_redirect_is_followed_only_where_no_token_is(service: LocalService) -> None:
    service.respond = lambda path, query: (
        (302, {"Location": "/there"}, b"") if path == "/" else (200, {}, b"fine")
    )
    assert impatient(follow_redirects=True).get(service.url).content == b"fine"
    service.asked.clear()
    with pytest.raises(requests.TooManyRedirects) as caught:
        impatient().get(service.url)
    assert len(service.asked) == 1
    assert "redirects" in in_words(caught.value)[0]


def test_only_https_leaves_the_machine() -> None:
    with pytest.raises(requests.exceptions.InvalidSchema):
        impatient().get("http://feeds.example/")


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service = LocalService(certificate=self_signed(tmp_path / "certificate.pem"))
    with pytest.raises(requests.exceptions.SSLError) as caught:
        impatient().get(service.url)
    service.close()
    assert service.asked == []
    assert in_words(caught.value)[0] == "the service's certificate cannot be verified"


def test_no_log_has_the_token(service: LocalService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.respond = in_turn((503, {}, b""), (200, {}, b"fine"))
    with unlogged(TOKEN):
        impatient().get(service.url, params={"securityToken": TOKEN, "other": "shown"})
    assert service.asked[0][1]["securityToken"] == TOKEN
    assert "other=shown" in caplog.text
    assert "securityToken=***" in caplog.text
    assert "5ec2e7" not in caplog.text


def self_signed(path: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that only its readers can trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return path
