"""The list that people read: what was sent, what waits and why, as JSON and as Parquet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any

import pyarrow as pa

from orchestration.outbox.due import SendState
from orchestration.outbox.sender import Request
from orchestration.settings import Settings
from orchestration.store.files import put_text
from orchestration.store.receipts import Outcome
from orchestration.store.tables import put_table

_ENTRIES = pa.schema(
    [
        ("state", pa.string()),
        ("receiver", pa.string()),
        ("id", pa.string()),
        ("customer_id", pa.string()),
        ("kind", pa.string()),
        ("day", pa.date32()),
        ("reason", pa.string()),
        ("url", pa.string()),
        ("headers", pa.string()),
        ("body", pa.string()),
    ]
)
_IN_ORDER = list(SendState)


class Mode(StrEnum):
    """Whether anything could be sent at all."""

    ON = "on"
    DRY_RUN = "dry run, nothing is sent"
    NO_RECEIVER = "no receiver is named"


@dataclass(frozen=True)
class Entry:
    """One action or alert, where it stands, and the request for it if there is one."""

    state: SendState
    receiver: str
    id: str
    customer_id: str
    kind: str
    day: date
    reason: str
    url: str = ""
    headers: str = ""
    body: str = ""

    def with_request(self, request: Request, url: str) -> Entry:
        """Add the request exactly as it is sent, but for what proves who sends it.

        Args:
            request: what is sent.
            url: its address as it may be shown.
        """
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        return replace(self, url=url, headers=headers, body=request.body.decode())


@dataclass(frozen=True)
class Report:
    """What a run did."""

    name: str
    mode: Mode
    as_of: date
    """The last day of the publication that was sent from."""
    first_days: dict[str, date]
    """The first day that each receiver gets."""
    too_old: int
    """How many were left out because they are older than that."""
    entries: list[Entry]

    @property
    def counts(self) -> dict[SendState, int]:
        """How many entries there are of each state, in the order of urgency."""
        found = Counter(entry.state for entry in self.entries)
        return {state: found[state] for state in _IN_ORDER if found[state]}

    def of(self, *states: SendState) -> list[Entry]:
        """The entries of some states."""
        return [entry for entry in self.entries if entry.state in states]

    def in_words(self) -> str:
        """One sentence."""
        said = ", ".join(f"{count:,} {state}" for state, count in self.counts.items())
        mode = "" if self.mode is Mode.ON else f" ({self.mode})"
        return f"{self.name.replace('_', ' ').capitalize()}{mode}: {said or 'nothing to send'}"

    def write(self, settings: Settings) -> None:
        """Replace the list in ``DATA_DIR/outbox``."""
        self.entries.sort(
            key=lambda entry: (_IN_ORDER.index(entry.state), entry.receiver, entry.id)
        )
        rows = [asdict(entry) | {"state": entry.state.value} for entry in self.entries]
        put_table(
            pa.Table.from_pylist(rows, _ENTRIES), settings.outbox_dir / f"{self.name}.parquet"
        )
        text = json.dumps(self._document(rows), indent=1, default=str, ensure_ascii=False)
        put_text(text, settings.outbox_dir / f"{self.name}.json")

    def _document(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "as_of": self.as_of,
            "first_day": self.first_days,
            "too_old": self.too_old,
            "counts": self.counts,
            "entries": rows,
        }


def state_of(outcome: Outcome | None) -> SendState:
    """The state of something that was due: by what became of it, or none if it was not sent."""
    states = {
        Outcome.DELIVERED: SendState.SENT,
        Outcome.REFUSED: SendState.REFUSED,
        Outcome.UNANSWERED: SendState.UNANSWERED,
    }
    return states[outcome] if outcome else SendState.WAITS
