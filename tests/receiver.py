"""A receiver of actions and alerts that acts once per key, and misbehaves as a test wants it to."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HEADERS = {"content-type": "text/plain"}


@dataclass(frozen=True)
class Asked:
    """One request as it came in; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Misbehaving:
    """A server on 127.0.0.1; ``behave`` says what it does with a key's n-th request.

    A behaviour is a status to answer with, or words: ``act`` in front of it acts first. Known words
    are ``drop`` (hang up without an answer), ``hang`` (say nothing until the client gives up) and
    ``half`` (an answer that breaks off). Statuses 2xx act anyway.
    """

    def __init__(self, behave: Callable[[str, int], str | int] = lambda key, n: 200) -> None:
        self.behave = behave
        self.headers = dict(HEADERS)
        self.body = b"thank you"
        self.asked: list[Asked] = []
        self.acted: list[str] = []
        self.bodies: dict[str, dict[str, Any]] = {}
        self.after_the_answer: list[str] = []
        """Keys that came again although a 2xx had gone out for them."""
        self._answered: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *of: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def forget_who_was_answered(self) -> None:
        """From now on a key may come again: the sender was killed before it wrote its receipt."""
        self._answered.clear()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        key = headers.get("idempotency-key") or headers["webhook-id"]
        with self._lock:
            self.asked.append(Asked(request.path, headers, body))
            if key in self._answered:
                self.after_the_answer.append(key)
            self._counts[key] += 1
            turn = self._counts[key]
        words = str(self.behave(key, turn)).split()
        answer = words[-1]
        with self._lock:
            takes = "act" in words or answer.startswith("2")
            if takes and key not in self.bodies:
                self.acted.append(key)
                self.bodies[key] = json.loads(body)
            if answer.startswith("2"):
                self._answered.add(key)
        if answer == "hang":
            self._closing.wait(10)
        if answer in ("hang", "drop"):
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(200 if answer == "half" else int(answer))
        for name, value in self.headers.items():
            request.send_header(name, value)
        length = len(self.body) + (5 if answer == "half" else 0)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(self.body)
        if answer == "half":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def misbehaving(
    behave: Callable[[str, int], str | int] = lambda key, n: 200,
) -> Iterator[Misbehaving]:
    receiver = Misbehaving(behave)
    try:
        yield receiver
    finally:
        receiver.close()


def in_turn(**schedules: list[str | int]) -> Callable[[str, int], str | int]:
    """Behave as listed for a key's first requests (its name with _ for anything odd), then well."""

    def behave(key: str, turn: int) -> str | int:
        listed = schedules.get("".join(c if c.isalnum() else "_" for c in key), [])
        return listed[turn - 1] if turn <= len(listed) else 200

    return behave


def action(customer: str, kind: str, day: str, **changes: Any) -> dict[str, Any]:
    """A row of policy_actions; its alert is of the same day unless told otherwise."""
    alert_id = changes.pop("alert_id", f"{customer}/{day}")
    return {
        "action_id": f"{alert_id}/{kind}",
        "alert_id": alert_id,
        "customer_id": customer,
        "action": kind,
        "effective_on": date.fromisoformat(day),
        "payload": json.dumps({"action": kind, "effective_on": day}, separators=(",", ":")),
        "is_superseded": False,
        **changes,
    }


def alert(customer: str, kind: str, day: str, **changes: Any) -> dict[str, Any]:
    """A row of credit_alerts."""
    raised_on = date.fromisoformat(day)
    return {
        "alert_id": f"{customer}/2026-01-05/{kind}/{day}",
        "customer_id": customer,
        "cycle_start": date(2026, 1, 5),
        "raised_on": raised_on,
        "alert_type": kind,
        "depletion": Decimal("0.960000"),
        "balance": Decimal("0.000000"),
        "threshold": None if kind == "burst_cap" else Decimal("0.950000"),
        **changes,
    }


_ACTIONS = pa.schema(
    [
        ("action_id", pa.string()),
        ("alert_id", pa.string()),
        ("customer_id", pa.string()),
        ("action", pa.string()),
        ("effective_on", pa.date32()),
        ("payload", pa.string()),
        ("is_superseded", pa.bool_()),
    ]
)
_ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),
        ("customer_id", pa.string()),
        ("cycle_start", pa.date32()),
        ("raised_on", pa.date32()),
        ("alert_type", pa.string()),
        ("depletion", pa.decimal128(18, 6)),
        ("balance", pa.decimal128(38, 6)),
        ("threshold", pa.decimal128(18, 6)),
    ]
)
_GAUGES = pa.schema([("customer_id", pa.string()), ("status", pa.string())])


def publish(
    data_dir: Path,
    last_day: str,
    *,
    actions: list[dict[str, Any]] | None = None,
    alerts: list[dict[str, Any]] | None = None,
    capped: list[str] | None = None,
) -> None:
    """Replace the current publication by one with the tables that delivery reads."""
    current = data_dir / "published" / "current"
    for table, schema, rows in (
        ("policy_actions", _ACTIONS, actions or []),
        ("credit_alerts", _ALERTS, alerts or []),
        ("fuel_gauges", _GAUGES, [{"customer_id": c, "status": "capped"} for c in capped or []]),
    ):
        (current / table).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), current / table / "part-0.parquet")
    (current / "manifest.json").write_text(json.dumps({"last_delivery_day": last_day}))
