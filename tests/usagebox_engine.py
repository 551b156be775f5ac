"""A metering engine in memory, and a server that answers for it as ``usagebox_api.yaml`` says.

Errors are what the real engine makes them: status 500 and a plain text, also for a bad parameter.
A test that wants another answer sets ``fault``.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Event = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


def milliseconds(instant: str) -> int:
    """An RFC 3339 instant as the engine counts."""
    moment = datetime.fromisoformat(instant)
    if moment.tzinfo is None:
        raise ValueError("premature end of input")
    return (moment - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(milliseconds=1)


def event(name: str, ts: str, ingested: str, /, **changes: Any) -> Event:
    """A good event; ``dimensions`` are merged into those that every event has."""
    dimensions = {"cluster": "c1", "gpu_type": "H100", "duration_s": "3600", "team": "x"}
    made = {
        "event_id": name,
        "kind": "Usage",
        "correction_ref": None,
        "account_id": "acme",
        "subscription_id": None,
        "product_id": "gpu-cloud",
        "meter_id": "gpu_minute",
        "timestamp_ms": milliseconds(ts),
        "quantity": 60,
        "unit": "gpu_minute",
        "source": "scheduler",
        "model_id": None,
        "dimensions": {"inner": dimensions | changes.pop("dimensions", {})},
        "ingested_at_ms": milliseconds(ingested),
    }
    return made | changes


@dataclass
class MeteringEngine:
    """What was ingested, and what is answered.

    Attributes:
        token: what a hosted deployment asks for; None for a bare engine.
        order: shuffles the events of an answer, and the keys of an event.
        fault: an answer to give instead, or None for the usual one.
        asked: every question, as (path, parameters).
    """

    events: list[Event] = field(default_factory=list)
    token: str | None = None
    order: random.Random = field(default_factory=lambda: random.Random(1))
    fault: Callable[[str, dict[str, str]], Answer | None] = lambda path, query: None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def questions(self, last_part: str) -> list[tuple[str, str, str]]:
        """Account, from and to of the questions for ``events`` or ``usage``."""
        return [
            (unquote(path.split("/")[3]), query["from"], query["to"])
            for path, query in self.asked
            if path.endswith(f"/{last_part}")
        ]

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        """Answer a GET."""
        with self._lock:
            self.asked.append((path, query))
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return self.fault(path, query) or self._answer(path, query, headers)
        except (KeyError, ValueError) as error:
            text = f"Internal server error: invalid `from`: {error}"
            return 500, {"Content-Type": "text/plain"}, text.encode()
        finally:
            with self._lock:
                self._at_once -= 1

    def ingest(self, body: bytes, now_ms: int) -> dict[str, int]:
        """Take in a batch; the same id with the same payload is a duplicate, else a conflict."""
        counts: Counter[str] = Counter(accepted=0, duplicates=0, conflicts=0, rejected=0)
        known = {e["event_id"]: e for e in self.events}
        for each in json.loads(body)["events"]:
            new = each | {"ingested_at_ms": now_ms}
            old = known.get(new["event_id"])
            if old is None:
                counts["accepted"] += 1
                self.events.append(new)
                known[new["event_id"]] = new
            else:
                same = old | {"ingested_at_ms": 0} == new | {"ingested_at_ms": 0}
                counts["duplicates" if same else "conflicts"] += 1
        return dict(counts)

    def _answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        if path == "/health":
            return 200, {"Content-Type": "text/plain"}, b"OK"
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"Content-Type": "text/plain"}, b"missing or unknown key"
        parts = [unquote(part) for part in path.split("/")]
        if parts[:3] != ["", "v1", "accounts"]:
            return 404, {}, b""
        begin, end = milliseconds(query["from"]), milliseconds(query["to"])
        found = [
            e
            for e in list(self.events)
            if e["account_id"] == parts[3] and begin <= e["timestamp_ms"] < end
        ]
        if parts[4:] == ["usage"]:
            assert query["source"] == "raw"
            total = str(sum(e["quantity"] for e in found))
            lines = [{"quantity": total, "count": len(found)}]
            return _as_json({"watermark_ms": begin, "lines": lines})
        if parts[4:] == ["usage", "events"]:
            with self._lock:
                return _as_json({"events": [self._shuffled(e) for e in self._sample(found)]})
        return 404, {}, b""

    def _sample(self, found: list[Event]) -> list[Event]:
        return self.order.sample(found, len(found))

    def _shuffled(self, one: Event) -> Event:
        return dict(self.order.sample(list(one.items()), len(one)))


def _as_json(answer: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


@contextmanager
def serving(engine: MeteringEngine):
    """Serve an engine on 127.0.0.1; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._send(*engine.answer(parts.path, dict(parse_qsl(parts.query)), dict(self.headers)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(*_as_json(engine.ingest(body, int(self.headers["X-Now-Ms"]))))

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
                self.wfile.flush()
            except OSError:
                self.close_connection = True
            if headers.get("Connection") == "close":
                self.close_connection = True

        def log_message(self, *of: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with closing(server.socket):
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
