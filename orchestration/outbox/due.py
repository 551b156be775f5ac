"""The outbox: which of the published policy actions are to be sent, and why the others are not.

Nothing here speaks to anybody: it compares the publication with the receipts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from orchestration.store.receipts import Outcome

CAP, UNCAP = "cap_usage", "uncap_usage"
_IN_ORDER = ("notify", "auto_purchase", "cap_burst", CAP, UNCAP)


class SendState(StrEnum):
    """Where an action or an alert stands after a run, the most urgent first."""

    REFUSED = "refused"
    """The receiver said that it is wrong; the next run asks once more."""
    UNANSWERED = "unanswered"
    """Sent, but nobody knows whether it was acted on; the next run sends it again."""
    WAITS = "waits"
    """Not sent in this run, because of another one or of the receiver."""
    SUPERSEDED = "superseded"
    """Delivered, and its cause is gone since: a person decides."""
    OVERTAKEN = "overtaken"
    """A newer cap or its end is already delivered: sending it would turn that back."""
    SENT = "sent"
    WOULD_BE_SENT = "would be sent"


@dataclass(frozen=True, order=True)
class Action:
    """A published policy action, ordered as it has to reach the usage API."""

    effective_on: date
    rank: int = field(init=False, repr=False)
    action_id: str
    alert_id: str
    customer_id: str
    action: str
    payload: str
    is_superseded: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", _IN_ORDER.index(self.action))

    @property
    def moves_cap(self) -> bool:
        """Whether it changes whether the customer is capped."""
        return self.action in (CAP, UNCAP)

    def body(self) -> dict[str, Any]:
        """What is posted: the payload, and what it belongs to."""
        return {
            "action_id": self.action_id,
            "alert_id": self.alert_id,
            "customer_id": self.customer_id,
            **json.loads(self.payload),
        }


@dataclass(frozen=True)
class Standing:
    """An action that is not to be sent, its state, and why in words."""

    action: Action
    state: SendState
    reason: str


@dataclass(frozen=True)
class Outbox:
    """What is to be sent, each customer's in order; what is kept back; how many are too old."""

    lanes: list[list[Action]]
    kept_back: list[Standing]
    too_old: int


def sort_outbox(
    actions: Iterable[Action], receipts: Sequence[Mapping[str, Any]], first_day: date
) -> Outbox:
    """Decide what becomes of every published action that has no receipt.

    Args:
        actions: the published actions.
        receipts: every receipt of an action.
        first_day: actions that took effect earlier are too old, save a cap that still holds.

    Returns:
        Customers whose actions went unanswered before come last, so that one on whom the usage
        API chokes keeps nobody else waiting.
    """
    actions = sorted(actions)
    done = {
        row["action_id"]
        for row in receipts
        if row["outcome"] in (Outcome.DELIVERED, Outcome.SETTLED)
    }
    delivered = {row["action_id"] for row in receipts if row["outcome"] == Outcome.DELIVERED}
    tried = {row["action_id"] for row in receipts} - done
    lifted = {action.alert_id for action in actions if action.action == UNCAP}
    newest: dict[str, date] = {}
    for action in actions:
        if action.moves_cap and action.action_id in delivered and not action.is_superseded:
            newest[action.customer_id] = action.effective_on

    lanes: dict[str, list[Action]] = defaultdict(list)
    kept_back = []
    too_old = 0
    for action in actions:
        if action.is_superseded or action.action_id in done:
            continue
        holds = action.action == CAP and action.alert_id not in lifted
        if action.moves_cap and action.effective_on < newest.get(action.customer_id, date.min):
            newer = newest[action.customer_id]
            reason = f"a cap, or its end, of {newer} is delivered already: this would turn it back"
            kept_back.append(Standing(action, SendState.OVERTAKEN, reason))
        elif action.effective_on < first_day and not holds:
            too_old += 1
        else:
            lanes[action.customer_id].append(action)
    in_turn = sorted(
        lanes.values(), key=lambda lane: (lane[0].action_id in tried, lane[0].customer_id)
    )
    return Outbox(in_turn, kept_back, too_old)


def superseded(
    actions: Iterable[Action], receipts: Sequence[Mapping[str, Any]], capped: frozenset[str]
) -> list[Standing]:
    """The delivered actions whose cause is gone and that nobody has settled, with what to look at.

    Args:
        actions: the published actions.
        receipts: every receipt of an action, in the order of sending.
        capped: the customers that the books have at or above their hard cap today.
    """
    settled = {row["action_id"] for row in receipts if row["outcome"] == Outcome.SETTLED}
    # What the usage API did last, as far as the receipts know.
    last_asked: dict[str, Mapping[str, Any]] = {}
    for row in receipts:
        moved = row["action"] in (CAP, UNCAP) and row["action_id"] not in settled
        if moved and row["outcome"] in (Outcome.DELIVERED, Outcome.UNANSWERED):
            last_asked[row["customer_id"]] = row
    return [
        Standing(action, SendState.SUPERSEDED, _what_to_look_at(action, last_asked, capped))
        for action in sorted(actions)
        if action.is_superseded and action.action_id not in settled
    ]


def _what_to_look_at(
    action: Action, last_asked: Mapping[str, Mapping[str, Any]], capped: frozenset[str]
) -> str:
    customer = action.customer_id
    if not action.moves_cap:
        return {
            "notify": "the customer was told of a depletion that the books no longer show",
            "auto_purchase": "a purchase was announced that the books no longer hold",
            "cap_burst": "bursts were capped for a day on which the books no longer see too many",
        }[action.action]
    if customer not in last_asked:
        return f"no receipt tells what the usage API was told about {customer}: see to it there"
    last = last_asked[customer]
    by_api = last["action"] == CAP
    by_books = customer in capped
    perhaps = " (or not: it did not answer)" if last["outcome"] == Outcome.UNANSWERED else ""
    told = f"the usage API was told last{perhaps} that {customer} is {_word(by_api)}"
    if by_api == by_books and not perhaps:
        return f"{told}, and so say the books: nothing to undo"
    return f"{told}, the books say {_word(by_books)}: see to it there, then settle this action"


def _word(is_capped: bool) -> str:
    return "capped" if is_capped else "not capped"
