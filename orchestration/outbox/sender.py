"""Sending: in order within a lane, side by side across lanes, a receipt for every step.

A lane is what must stay in order: the actions of one customer. One that fails keeps back what
follows it in its lane and nothing else; a receiver that answers nobody is left alone until the
next run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from orchestration.sources.services.session import PoliteSession, in_words, unlogged
from orchestration.store.receipts import Outcome

LANES_AT_ONCE = 8
VAIN_LANES = 8
"""So many lanes in a row without an answer, and nothing more is sent to the receiver in a run."""
RUN_SECONDS = 1800
"""After so long no further request of a run is begun."""

# The last retry of a request stays within the five minutes that a signature is believed.
_RETRIES = 4
_LONGEST_WAIT_SECONDS = 30
_TIMEOUT_SECONDS = (5, 20)
# Only the status counts, and what is wrong in a few words.
_ANSWER_BYTES = 1 << 20
_PROBLEM_BYTES = 64 << 10
_DETAIL_CHARACTERS = 200
# Printable ASCII but the escape itself: an id that holds nothing else is its own key.
_PLAIN = "!#$&'()*+,/:;=?@[]"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Request:
    """One POST, as it is sent but for what the receiver's ``auth`` adds."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    outcome: Outcome
    detail: str
    is_final: bool = False
    """Whether the receiver wants nothing more at all."""


@dataclass(frozen=True)
class Result(Generic[Item]):
    """What became of an item of a lane; without an outcome it was not sent."""

    item: Item
    outcome: Outcome | None
    detail: str


class Receiver:
    """Somebody who takes POSTs and acts once on one that comes twice.

    Args:
        secrets: what no log and no report may hold: tokens, and URLs that are as good as one.
        auth: adds to a request what proves where it comes from.
        backoff_seconds: the first wait before a retry.
        timeout_seconds: to connect, and to wait for the next bytes; a whole try may take twice as long.
    """

    def __init__(
        self,
        *,
        secrets: Sequence[str] = (),
        auth: AuthBase | None = None,
        backoff_seconds: float = 1.0,
        timeout_seconds: tuple[float, float] = _TIMEOUT_SECONDS,
    ) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) > 1)
        # Without one, requests would look for a password in the home folder.
        self._auth = auth or (lambda request: request)
        self._timeout = timeout_seconds
        self._session = PoliteSession(
            retries=_RETRIES,
            longest_wait_seconds=_LONGEST_WAIT_SECONDS,
            backoff_seconds=backoff_seconds,
            answer_bytes=_ANSWER_BYTES,
            # One that says nothing is asked again; one that drips has twice as long, once.
            answer_seconds=2 * timeout_seconds[1],
            repeats_posts=True,
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def post(self, request: Request) -> Answer:
        """Send a request, with retries, and say what became of it.

        Never raises for the receiver: whatever it answers is its own affair, and nobody else's.
        """
        try:
            response = self._session.post(
                request.url,
                data=request.body,
                headers={"User-Agent": "gpu-credit-warehouse", **request.headers},
                auth=self._auth,
                timeout=self._timeout,
            )
        except requests.TooManyRedirects:
            return Answer(Outcome.REFUSED, "the service redirects to another address", True)
        except requests.RequestException as error:
            return Answer(Outcome.UNANSWERED, in_words(error)[0])
        except Exception as error:
            # A header that the HTTP libraries cannot read raises whatever it raises in them. Its text
            # may hold anything, so only its kind is said.
            return Answer(
                Outcome.UNANSWERED, f"the answer cannot be understood ({type(error).__name__})"
            )
        status = response.status_code
        detail = f"status {status}{self._problem(response)}"
        if 200 <= status < 300:
            return Answer(Outcome.DELIVERED, detail)
        if 400 <= status < 500 and status not in (408, 425):
            return Answer(Outcome.REFUSED, detail, is_final=status in (401, 410))
        return Answer(Outcome.UNANSWERED, detail)

    def unlogged(self) -> ExitStack:
        """Keep the secrets out of what the HTTP libraries log.

        Enter it before any thread sends and leave it after the last: a log record that meets a
        list of filters while it changes may miss one.
        """
        stack = ExitStack()
        for secret in self._secrets:
            stack.enter_context(unlogged(secret))
        return stack

    def _problem(self, response: requests.Response) -> str:
        """What the receiver says in the standard form (RFC 9457); nothing else of it is repeated."""
        if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
            return ""
        if len(response.content) > _PROBLEM_BYTES:
            return ""
        try:
            said = json.loads(response.content.decode("utf-8", "replace"))
        # No JSON, numbers of more digits than Python reads, or nested deeper than it goes.
        except (ValueError, RecursionError):
            return ""
        words = [said.get("detail"), said.get("title")] if isinstance(said, dict) else []
        text = next((word for word in words if isinstance(word, str) and word), "")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        return f": {printable[:_DETAIL_CHARACTERS]}" if printable.strip() else ""


class Bearer(AuthBase):
    """Adds a bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def header_text(text: str) -> str:
    """A text as a header may hold it: itself, or percent-encoded where it is not plain ASCII."""
    return quote(text, safe=_PLAIN)


def path_of(url: str) -> str:
    """The part of a URL that HTTP libraries log."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


class Dispatch(Generic[Item]):
    """Sends lanes of items to one receiver.

    Args:
        receiver: takes the requests.
        request: makes an item's request.
        record: writes an item's receipt; called before it is sent and after it was answered.
    """

    def __init__(
        self,
        receiver: Receiver,
        request: Callable[[Item], Request],
        record: Callable[[Item, Outcome, str], None],
    ) -> None:
        self._receiver = receiver
        self._request = request
        self._record = record
        self._lock = threading.Lock()
        self._stopped = ""
        self._in_vain = 0

    def send(self, lanes: Sequence[Sequence[Item]]) -> list[Result[Item]]:
        """Send every item that can be sent, and say of each what became of it.

        Raises:
            OSError: a receipt could not be written. What was answered before has its receipt.
        """
        self._ends = time.monotonic() + RUN_SECONDS
        with ThreadPoolExecutor(LANES_AT_ONCE) as pool:
            try:
                return [result for lane in pool.map(self._send_lane, lanes) for result in lane]
            except BaseException:
                self._stop("the run was interrupted")
                raise

    def _send_lane(self, lane: Sequence[Item]) -> list[Result[Item]]:
        results: list[Result[Item]] = []
        kept_back = ""
        for item in lane:
            kept_back = kept_back or self._stopped or self._out_of_time()
            if kept_back:
                results.append(Result(item, None, kept_back))
                continue
            try:
                self._record(item, Outcome.UNANSWERED, "sent, no answer yet")
                answer = self._receiver.post(self._request(item))
                self._record(item, answer.outcome, answer.detail)
            except BaseException:
                self._stop("the run was interrupted")
                raise
            self._learn(answer)
            results.append(Result(item, answer.outcome, answer.detail))
            if answer.outcome is not Outcome.DELIVERED:
                kept_back = "what comes before it in its order was not delivered"
        return results

    def _learn(self, answer: Answer) -> None:
        """Leave the receiver alone if it wants nothing more, or answers nobody."""
        with self._lock:
            self._in_vain = self._in_vain + 1 if answer.outcome is Outcome.UNANSWERED else 0
            vain = self._in_vain >= VAIN_LANES
        if answer.is_final or vain:
            self._stop(f"nothing more was sent to the receiver in this run: {answer.detail}")

    def _out_of_time(self) -> str:
        if time.monotonic() < self._ends:
            return ""
        return f"the run had no time left after {RUN_SECONDS:,} s"

    def _stop(self, why: str) -> None:
        with self._lock:
            self._stopped = self._stopped or why


def as_json(body: Any) -> bytes:
    """A body as it is sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
