"""The Dagster UI: only its own pages change anything, and nothing changes by a GET."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from asgi_server import Server, served
from dagster import DagsterInstance
from starlette.types import Message, Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from orchestration.ui import server as ui_module
from orchestration.ui.front import Front

LIMIT = 'mutation { setConcurrencyLimit(concurrencyKey: "k", limit: %d) }'
SUBSCRIPTION = "subscription { locationStateChangeEvents { event { message } } }"
VERSION = "{ version }"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """Dagster's own web server behind the front, with a run history of its own and no code."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DAGSTER_HOME", str(folder))
    patch.setenv("NO_PROXY", "127.0.0.1")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}", encoding="utf-8")
    (folder / "workspace.yaml").write_text("load_from: []", encoding="utf-8")
    with ui_module.ui(str(folder / "workspace.yaml")) as app, served(app) as running:
        yield running
    patch.undo()


@pytest.fixture
def limit(server: Server) -> Iterator[Callable[[], int]]:
    """The limit of a pool as Dagster has it; 1 at first."""
    with DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("k", 1)
        yield lambda: storage.get_concurrency_info("k").slot_count


def post(server: Server, query: str, **headers: str) -> requests.Response:
    return requests.post(
        f"{server.url}/graphql",
        json={"query": query},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=30,
    )


def test_the_ui_works_by_its_own_pages(server, limit):
    assert server.get("/").status_code == 200
    assert post(server, VERSION, Origin=server.url).json()["data"]["version"]
    port = server.url.rpartition(":")[2]
    for name in ("localhost", "LOCALHOST", "[::1]"):
        host = f"{name}:{port}"
        answer = post(server, VERSION, Host=host, Origin=f"http://{host.lower()}")
        assert answer.status_code == 200
    answer = post(server, LIMIT % 2, Origin=server.url, Sec_Fetch_Site="same-origin")
    assert answer.status_code == 200, answer.text
    assert limit() == 2


@pytest.mark.parametrize(
    "query",
    [
        LIMIT % 3,
        "query a { version } " + (LIMIT % 3).replace("mutation", "mutation b"),
        "fragment f on Query { version } " + LIMIT % 3,
        "# a query\n" + LIMIT % 3,
        SUBSCRIPTION,
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_get_changes_nothing(server, limit, query, accept):
    for path in ("/graphql", "/graphql?query={version}&operationName=b"):
        sign = "&" if "?" in path else "?"
        answer = server.get(f"{path}{sign}query={quote(query)}", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert limit() == 1


def test_a_get_may_ask(server):
    assert server.get(f"/graphql?query={quote(VERSION)}").json()["data"]["version"]
    # What cannot be read is Dagster's to refuse; what would take all day to read is not read.
    assert server.get("/graphql?query={").status_code == 400
    assert server.get("/graphql?query=" + "{a" * 20_000).status_code in (400, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
        {"Host": "evil.example:3000", "Origin": "http://evil.example:3000"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_name_and_another_page_are_refused(server, limit, headers):
    answer = requests.post(
        f"{server.url}/graphql", json={"query": LIMIT % 4}, headers=headers, timeout=30
    )
    assert answer.status_code == 403
    assert limit() == 1
    # A form needs no leave of the browser's to be sent somewhere else.
    answer = requests.post(
        f"{server.url}/graphql?query={quote(LIMIT % 4)}", data="x", headers=headers, timeout=30
    )
    assert answer.status_code == 403
    assert limit() == 1
    if "Sec-Fetch-Site" not in headers:
        assert server.get("/server_info", headers=headers).status_code == 403


def test_subscriptions_go_on_working(server):
    address = server.url.replace("http", "ws") + "/graphql"
    for origin in (None, server.url):
        with connect(address, subprotocols=["graphql-ws"], origin=origin) as socket:  # type: ignore[arg-type, list-item]
            socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(socket.recv(30)) == {"type": "connection_ack"}
            start = {"id": "1", "type": "start", "payload": {"query": SUBSCRIPTION}}
            socket.send(json.dumps(start))
            with pytest.raises(TimeoutError):
                # Silence: an error would have been said.
                socket.recv(0.5)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_subscription_of_another_page_is_refused(server, origin):
    address = server.url.replace("http", "ws") + "/graphql"
    with pytest.raises(InvalidStatus, match="403"), connect(address, origin=origin):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"127.0.0.1:3000"), (b"host", b"127.0.0.1:3000")],
        [
            (b"host", b"127.0.0.1:3000"),
            (b"origin", b"http://127.0.0.1:3000"),
            (b"origin", b"http://evil.example"),
        ],
    ],
    ids=["no name", "two names", "two pages"],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_whoever_is_nobody_or_two_is_refused(headers, kind):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it came through")

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    scope = {"type": kind, "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(Front(app)(scope, receive, send))
    assert sent[0].get("status", sent[0].get("code")) in (403, 1008)


def test_the_ui_is_bound_to_this_machine():
    with ui_module._listener() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
