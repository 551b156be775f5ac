"""Policy actions go to the usage API (``docs/policy_api.yaml``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from orchestration.errors import PlainError
from orchestration.outbox.due import Action, SendState, Standing, sort_outbox, superseded
from orchestration.outbox.report import Entry, Mode, Report, state_of
from orchestration.outbox.sender import (
    Bearer,
    Dispatch,
    Receiver,
    Request,
    Result,
    as_json,
    header_text,
)
from orchestration.outbox.turns import first_day, one_at_a_time
from orchestration.publication.current import CurrentPublication
from orchestration.settings import Settings
from orchestration.store.receipts import Outcome, Receipts, action_receipts

NAME = "policy_actions"
USAGE_API = "usage API"
_PATH = "/v1/policy-actions"


def send_actions(settings: Settings, receiver: Receiver | None = None) -> Report:
    """Send every published action that is due, or only list them (``SEND_POLICY_ACTIONS=off``).

    Args:
        settings: name the usage API, and where everything lies.
        receiver: the usage API; made from the settings if not given.

    Raises:
        NothingPublished: there is nothing to send from.
        OutboxBusy: another run sends.
        DamagedReceipts: nobody knows what was sent.
        OSError: a receipt could not be written; what it stood for is sent again by the next run.
    """
    is_on = settings.send_policy_actions
    with one_at_a_time(settings, NAME):
        published = CurrentPublication.of(settings)
        actions = _published_actions(published)
        receipts = action_receipts(settings.archive_dir)
        start = first_day(settings, NAME, USAGE_API, published, is_on=is_on)
        outbox = sort_outbox(actions, receipts.rows(), start)
        if is_on:
            api = receiver or _usage_api(settings)
            results = _send(settings, api, receipts, outbox.lanes)
        else:
            results = [Result(action, None, "") for lane in outbox.lanes for action in lane]
        decisions = superseded(actions, receipts.rows(), _capped(published))
        report = Report(
            NAME,
            Mode.ON if is_on else Mode.DRY_RUN,
            published.last_day,
            {USAGE_API: start},
            outbox.too_old,
            [
                *(_sent(settings, result) for result in results),
                *(_kept_back(standing) for standing in [*outbox.kept_back, *decisions]),
            ],
        )
        report.write(settings)
        return report


class UnknownAction(PlainError):
    """An action that is not published cannot be settled."""


def settle(settings: Settings, action_ids: Iterable[str], reason: str) -> None:
    """Write down that a person saw to actions: they are not sent any more, nor listed.

    Raises:
        UnknownAction: one of them is not published; none is settled.
        OutboxBusy: a run sends at the moment.
    """
    with one_at_a_time(settings, NAME):
        published = CurrentPublication.of(settings)
        actions = {action.action_id: action for action in _published_actions(published)}
        asked = sorted(set(action_ids))
        for action_id in asked:
            if action_id not in actions:
                raise UnknownAction(
                    f"No policy action {action_id!r} is published as of {published.last_day}; "
                    f"copy its id from {settings.outbox_dir / NAME}.json"
                )
        with action_receipts(settings.archive_dir).journal() as journal:
            for action_id in asked:
                journal.write(vars(actions[action_id]), Outcome.SETTLED, reason)


def _published_actions(published: CurrentPublication) -> list[Action]:
    columns = [column.name for column in fields(Action) if column.init]
    return [Action(**row) for row in published.rows(NAME, columns)]


def _capped(published: CurrentPublication) -> frozenset[str]:
    gauges = published.rows("fuel_gauges", ["customer_id", "status"])
    return frozenset(row["customer_id"] for row in gauges if row["status"] == "capped")


def _usage_api(settings: Settings) -> Receiver:
    token = settings.policy_api_token.get_secret_value() if settings.policy_api_token else ""
    return Receiver(secrets=[token], auth=Bearer(token) if token else None)


def _send(
    settings: Settings,
    api: Receiver,
    receipts: Receipts,
    lanes: list[list[Action]],
) -> list[Result[Action]]:
    with receipts.journal() as journal, api.unlogged():

        def record(action: Action, outcome: Outcome, detail: str) -> None:
            journal.write(vars(action), outcome, detail)

        return Dispatch(api, lambda action: _request(settings, action), record).send(lanes)


def _request(settings: Settings, action: Action) -> Request:
    return Request(
        settings.policy_api_url + _PATH,
        {
            "Content-Type": "application/json",
            "Idempotency-Key": header_text(action.action_id),
        },
        as_json(action.body()),
    )


def _sent(settings: Settings, result: Result[Action]) -> Entry:
    action = result.item
    request = _request(settings, action)
    state = state_of(result.outcome) if settings.send_policy_actions else SendState.WOULD_BE_SENT
    return _entry(action, state, result.detail).with_request(request, request.url)


def _kept_back(standing: Standing) -> Entry:
    return _entry(standing.action, standing.state, standing.reason)


def _entry(action: Action, state: SendState, reason: str) -> Entry:
    return Entry(
        state=state,
        receiver=USAGE_API,
        id=action.action_id,
        customer_id=action.customer_id,
        kind=action.action,
        day=action.effective_on,
        reason=reason,
    )
