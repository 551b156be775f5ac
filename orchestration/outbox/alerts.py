"""Alerts as signed webhooks, by the Standard Webhooks convention (``docs/outbox.md``)."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from standardwebhooks import Webhook

from orchestration.outbox.report import Entry, Mode, Report, state_of
from orchestration.outbox.sender import (
    Dispatch,
    Receiver,
    Request,
    Result,
    as_json,
    header_text,
    path_of,
)
from orchestration.outbox.turns import first_day, one_at_a_time
from orchestration.publication.current import CurrentPublication
from orchestration.settings import Settings
from orchestration.store.receipts import Outcome, Receipts, alert_receipts

NAME = "alerts"
TYPE = "credit_alert.raised"
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


@dataclass(frozen=True)
class WebhookAlert:
    """A published alert."""

    raised_on: date
    alert_id: str
    customer_id: str
    cycle_start: date
    alert_type: str
    depletion: Decimal
    balance: Decimal
    threshold: Decimal | None

    def body(self) -> dict[str, Any]:
        """What is posted: the same bytes however often it is sent. Amounts are text, to be exact."""
        return {
            "type": TYPE,
            "timestamp": f"{self.raised_on}T00:00:00Z",
            "data": {
                "alert_id": self.alert_id,
                "customer_id": self.customer_id,
                "cycle_start": str(self.cycle_start),
                "raised_on": str(self.raised_on),
                "alert_type": self.alert_type,
                "depletion": f"{self.depletion:f}",
                "balance": f"{self.balance:f}",
                "threshold": None if self.threshold is None else f"{self.threshold:f}",
            },
        }


@dataclass(frozen=True)
class Subscriber:
    """A receiver of alerts.

    Its address may hold a token, so it is known by its host and a part of the address's hash.
    """

    url: str

    @property
    def name(self) -> str:
        """How it is called in receipts and lists."""
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:8]
        return f"{urlsplit(self.url).netloc}#{digest}"

    @property
    def shown_url(self) -> str:
        """Its address without what may be a token."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/..."


class Signature(AuthBase):
    """Adds the time and the signature of a webhook.

    Args:
        secrets: each signs; a receiver accepts any that it knows.
    """

    def __init__(self, secrets: list[str]) -> None:
        self._signers = [Webhook(secret) for secret in secrets]

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign the request with the present time."""
        timestamp = int(time.time())
        if not isinstance(request.body, bytes):
            raise TypeError("A message is signed as the bytes that are sent")
        message_id = str(request.headers[ID])
        signed_at = datetime.fromtimestamp(timestamp, UTC)
        body = request.body.decode()
        request.headers[TIMESTAMP] = str(timestamp)
        request.headers[SIGNATURE] = " ".join(
            signer.sign(message_id, signed_at, body) for signer in self._signers
        )
        return request


def send_alerts(settings: Settings, **how: Any) -> Report:
    """Send every published alert to each receiver that has not had it.

    Receivers do not wait for one another. Without receivers nothing is sent.

    Args:
        settings: name the receivers, and where everything lies.
        how: passed on to each ``Receiver``.

    Raises:
        NothingPublished: there is nothing to send from.
        OutboxBusy: another run sends.
        DamagedReceipts: nobody knows what was sent.
        OSError: a receipt could not be written; what it stood for is sent again by the next run.
    """
    subscribers = _subscribers(settings)
    with one_at_a_time(settings, NAME):
        published = CurrentPublication.of(settings)
        receipts = alert_receipts(settings.archive_dir)
        first_days = {
            subscriber: first_day(settings, NAME, subscriber.name, published, is_on=True)
            for subscriber in subscribers
        }
        not_had = _not_had(subscribers, _published_alerts(published), receipts.rows())
        due = {
            subscriber: [alert for alert in alerts if alert.raised_on >= first_days[subscriber]]
            for subscriber, alerts in not_had.items()
        }
        receivers = {
            subscriber: Receiver(
                secrets=[subscriber.url, path_of(subscriber.url)],
                auth=Signature(_keys(settings)),
                **how,
            )
            for subscriber in subscribers
        }
        results = _send(receipts, receivers, due)
        report = Report(
            NAME,
            Mode.ON if subscribers else Mode.NO_RECEIVER,
            published.last_day,
            {subscriber.name: day for subscriber, day in first_days.items()},
            sum(len(not_had[subscriber]) - len(due[subscriber]) for subscriber in subscribers),
            [
                _entry(subscriber, result)
                for subscriber in results
                for result in results[subscriber]
            ],
        )
        report.write(settings)
        return report


def _subscribers(settings: Settings) -> list[Subscriber]:
    urls = settings.alert_webhook_urls
    return [Subscriber(url) for url in (urls.get_secret_value().split() if urls else ())]


def _keys(settings: Settings) -> list[str]:
    secrets = settings.alert_webhook_secret
    return secrets.get_secret_value().split() if secrets else []


def _published_alerts(published: CurrentPublication) -> list[WebhookAlert]:
    columns = [column.name for column in fields(WebhookAlert)]
    return [WebhookAlert(**row) for row in published.rows("credit_alerts", columns)]


def _not_had(
    subscribers: list[Subscriber], alerts: list[WebhookAlert], receipts: list[dict[str, Any]]
) -> dict[Subscriber, list[WebhookAlert]]:
    """What each receiver has not had; last what it did not answer before, as it may never."""
    outcomes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in receipts:
        outcomes[row["receiver"], row["alert_id"]].add(row["outcome"])
    not_had = {}
    for subscriber in subscribers:
        by_alert = {alert: outcomes[subscriber.name, alert.alert_id] for alert in alerts}
        not_had[subscriber] = sorted(
            (alert for alert in alerts if Outcome.DELIVERED not in by_alert[alert]),
            key=lambda alert: (bool(by_alert[alert]), alert.raised_on, alert.alert_id),
        )
    return not_had


def _send(
    receipts: Receipts,
    receivers: dict[Subscriber, Receiver],
    due: dict[Subscriber, list[WebhookAlert]],
) -> dict[Subscriber, list[Result[WebhookAlert]]]:
    """Send to every receiver at once; alerts need no order, so each is a lane of its own."""
    if not any(due.values()):
        return {}
    with receipts.journal() as journal, ExitStack() as stack:

        def send_to(subscriber: Subscriber) -> list[Result[WebhookAlert]]:
            def record(alert: WebhookAlert, outcome: Outcome, detail: str) -> None:
                row = {**vars(alert), "receiver": subscriber.name}
                journal.write(row, outcome, detail)

            def request(alert: WebhookAlert) -> Request:
                return _request(subscriber, alert)

            dispatch = Dispatch(receivers[subscriber], request, record)
            return dispatch.send([[alert] for alert in due[subscriber]])

        for receiver in receivers.values():
            stack.enter_context(receiver.unlogged())
        with ThreadPoolExecutor(len(due)) as pool:
            return dict(zip(due, pool.map(send_to, due), strict=True))


def _request(subscriber: Subscriber, alert: WebhookAlert) -> Request:
    # The signed text is cut at dots, so the id holds none.
    message_id = header_text(alert.alert_id).replace(".", "%2E")
    return Request(
        subscriber.url,
        {"Content-Type": "application/json", ID: message_id},
        as_json(alert.body()),
    )


def _entry(subscriber: Subscriber, result: Result[WebhookAlert]) -> Entry:
    alert = result.item
    return Entry(
        state=state_of(result.outcome),
        receiver=subscriber.name,
        id=alert.alert_id,
        customer_id=alert.customer_id,
        kind=alert.alert_type,
        day=alert.raised_on,
        reason=result.detail,
    ).with_request(_request(subscriber, alert), subscriber.shown_url)
