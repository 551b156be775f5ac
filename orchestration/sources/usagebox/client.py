"""Asking a UsageBox engine: its sums and its events, many windows at once, nothing half answered.

The engine (usagedb 0.4) has no pagination and answers every error with status 500 and a plain
text. So events are asked for an hour at a time, and every answer is checked before it is believed.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from threading import local
from typing import Any, TypeGuard, TypeVar
from urllib.parse import quote

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from orchestration.sources.folder import FeedProblem
from orchestration.sources.services.session import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Busy,
    PoliteSession,
    TooLarge,
    in_words,
    pause,
    unlogged,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A parsed answer takes some ten times its size, and there is one for every request under way.
_ANSWER_BYTES = 8 << 20
_SMALLEST = timedelta(minutes=1)
# How often an answer is asked for that comes whole and yet is no JSON.
_UNREADABLE_TRIES = 3
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_MS = timedelta(milliseconds=1)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MS

Event = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True, order=True)
class Window:
    """The use of one account from an instant (UTC) on until before another."""

    account: str
    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, account: str, first: date, end: date) -> Window:
        """The UTC days from ``first`` on until before ``end``."""
        midnights = (datetime.combine(day, time(), UTC) for day in (first, end))
        return cls(account, *midnights)

    def __str__(self) -> str:
        return f"account {self.account!r}, {rfc3339(self.start)} to {rfc3339(self.end)}"

    @property
    def length(self) -> timedelta:
        """From start to end."""
        return self.end - self.start

    def halves(self) -> tuple[Window, Window]:
        """Two windows that make up this one; what is longer than a day is cut at a midnight."""
        half = timedelta(self.length.days // 2) if self.length > DAY else self.length / 2
        middle = self.start + half
        return Window(self.account, self.start, middle), Window(self.account, middle, self.end)

    def hours(self) -> Iterator[Window]:
        """The windows of an hour that make up this one."""
        for number in range(self.length // HOUR):
            start = self.start + number * HOUR
            yield Window(self.account, start, start + HOUR)


@dataclass(frozen=True)
class Tally:
    """How many events, and the sum of their quantities, whatever their units."""

    events: int = 0
    quantity: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.events + other.events, self.quantity + other.quantity)

    def __str__(self) -> str:
        return f"{self.events:,} events, quantity {self.quantity:,}"

    @classmethod
    def of(cls, quantity: object) -> Tally:
        """One event's. What is no integer counts as 0: landing sets its row aside."""
        return cls(1, quantity if is_integer(quantity) else 0)


class Engine:
    """A UsageBox engine that is being asked; see ``asking``."""

    def __init__(
        self,
        address: str,
        token: SecretStr | None,
        pool: ThreadPoolExecutor,
        *,
        in_flight: int,
        backoff_seconds: float,
        read_seconds: float,
        answer_bytes: int,
    ) -> None:
        self._address, self._token, self._pool = address, token, pool
        self._in_flight = in_flight
        self._backoff_seconds, self._answer_bytes = backoff_seconds, answer_bytes
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._own = local()

    def tallies(self, windows: Iterable[Window]) -> Iterator[Tally]:
        """The engine's own sums over raw events, in the order of the windows.

        Raises:
            FeedProblem: names the first window without a usable answer.
        """
        return self._each(self._tally, windows)

    def events(
        self, windows: Iterable[Window], read: Callable[[Window, list[Event]], Result]
    ) -> Iterator[Result]:
        """What ``read`` makes of the raw events in each window, in the order of the windows.

        ``read`` runs beside other requests. In the events that it gets, account and instants are
        those that were asked for; nothing else is checked.

        Raises:
            FeedProblem: names the first window without a usable answer.
        """
        return self._each(lambda window: read(window, self._events(window)), windows)

    def _each(self, ask: Callable[[Window], Result], windows: Iterable[Window]) -> Iterator[Result]:
        """Ask in parallel; only a few answers wait, however many windows there are."""
        under_way: deque[Future[Result]] = deque()
        for window in windows:
            under_way.append(self._pool.submit(ask, window))
            if len(under_way) >= self._in_flight:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _tally(self, window: Window) -> Tally:
        answer = self._ask(window, "usage", {"source": "raw"})
        lines = answer.get("lines") if answer else None
        if not isinstance(lines, list):
            raise wrong_answer(window, "the answer to the question for sums has no lines")
        total = Tally()
        for line in lines:
            count, quantity = (_summed(line, name) for name in ("count", "quantity"))
            if count is None or quantity is None:
                raise wrong_answer(window, "a sum has no whole count or no whole quantity")
            total += Tally(count, quantity)
        return total

    def _events(self, window: Window) -> list[Event]:
        answer = self._ask(window, "usage/events", {})
        if answer is None:
            if window.length <= _SMALLEST:
                raise wrong_answer(window, "a minute's answer is too large")
            return [event for half in window.halves() for event in self._events(half)]
        events = answer.get("events")
        if not isinstance(events, list):
            raise wrong_answer(window, "the answer to the question for events has none")
        for event in events:
            _check_event(event, window)
        return events

    def _ask(self, window: Window, what: str, also: dict[str, str]) -> dict[str, Any] | None:
        """The JSON object that answers a question, or None if it is too large."""
        if window.account in (".", ".."):
            raise wrong_answer(window, "no URL can hold that id", "Rename the customer")
        url = f"{self._address}/v1/accounts/{quote(window.account, safe='')}/{what}"
        asked = {"from": rfc3339(window.start), "to": rfc3339(window.end), **also}
        problem: FeedProblem
        # Raised outside of `except`: an error of the HTTP libraries holds the request's headers.
        for tries in range(1, _UNREADABLE_TRIES + 1):
            try:
                response = self._session().get(
                    url, params=asked, auth=_Bearer(self._token), timeout=self._timeout
                )
                if response.status_code != 200:
                    raise requests.HTTPError(response=response)
                answer = json.loads(response.content, parse_constant=_refuse_constant)
            except TooLarge:
                return None
            except RecursionError:
                problem = wrong_answer(window, "the answer is nested too deep")
                break
            except requests.RequestException as error:
                problem = self._failed(window, error)
                break
            except ValueError:
                problem = wrong_answer(
                    window, f"the answer was no JSON, {tries} times", "Land the feed again later"
                )
                if tries < _UNREADABLE_TRIES:
                    pause(tries, self._backoff_seconds)
                continue
            if isinstance(answer, dict):
                return answer
            problem = wrong_answer(window, "the answer is no JSON object")
            break
        raise problem

    def _session(self) -> PoliteSession:
        """The session of this thread: its connection to the engine stays open."""
        if not hasattr(self._own, "session"):
            self._own.session = PoliteSession(
                backoff_seconds=self._backoff_seconds, answer_bytes=self._answer_bytes
            )
        session: PoliteSession = self._own.session
        return session

    def _failed(self, window: Window, error: requests.RequestException) -> FeedProblem:
        wrong, cure = in_words(error, "USAGEBOX_API_KEY", asked="USAGE_URL")
        if isinstance(error, Busy) and error.said:
            said = error.said
            if self._token:
                said = said.replace(self._token.get_secret_value(), "***")
            wrong += f", at last saying {said!r}"
        return wrong_answer(window, wrong, cure)


@contextmanager
def asking(
    address: str,
    token: SecretStr | None,
    *,
    parallel: int,
    backoff_seconds: float = 1.0,
    read_seconds: float = READ_SECONDS,
    answer_bytes: int = _ANSWER_BYTES,
) -> Iterator[Engine]:
    """Ask an engine inside a ``with`` block; afterwards nothing is under way any more.

    Args:
        address: what requests start with, see ``engine_address``.
        token: for a hosted deployment; a bare engine asks for none. It is in no log.
        parallel: how many requests run at once.
        backoff_seconds: the first wait before a question is asked again.
        read_seconds: how long to wait for the next part of an answer.
        answer_bytes: the largest answer that is read; a window with more is asked for in halves.
    """
    silence = unlogged(token.get_secret_value()) if token else nullcontext()
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="usagebox")
    with silence:
        try:
            yield Engine(
                address,
                token,
                pool,
                in_flight=2 * parallel,
                backoff_seconds=backoff_seconds,
                read_seconds=read_seconds,
                answer_bytes=answer_bytes,
            )
        finally:
            pool.shutdown(cancel_futures=True)


def wrong_answer(
    window: Window, wrong: str, cure: str = "Check that USAGE_URL names a usagedb 0.4 engine"
) -> FeedProblem:
    """A question that got no usable answer."""
    return FeedProblem("usage", f"UsageBox, {window}", wrong, cure)


def instant(milliseconds: int) -> datetime:
    """The instant (UTC) that the engine counts from 1970 on."""
    return _EPOCH + milliseconds * _MS


def ingested_on(event: Event) -> date:
    """The delivery day of an event: the UTC date on which the engine took it in."""
    return instant(event["ingested_at_ms"]).date()


def rfc3339(moment: datetime) -> str:
    """An instant in UTC as the engine reads it, and as the usage feed has it."""
    return moment.isoformat().replace("+00:00", "Z")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a JSON value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_event(event: object, window: Window) -> None:
    """Refuse an answer with an event that cannot be an answer to what was asked."""
    if not isinstance(event, dict):
        raise wrong_answer(window, "an event is no JSON object")
    named = f"event {str(event.get('event_id'))[:80]!r}"
    if event.get("account_id") != window.account:
        raise wrong_answer(window, f"{named} is of another account")
    for name in ("timestamp_ms", "ingested_at_ms"):
        if not is_integer(event.get(name)) or not 0 <= event[name] <= _LAST_MS:
            raise wrong_answer(window, f"{named} has no usable {name}")
    if not window.start <= instant(event["timestamp_ms"]) < window.end:
        raise wrong_answer(window, f"{named} lies outside of what was asked for")


def _summed(line: object, name: str) -> int | None:
    """A sum as an integer; the engine writes large ones as text."""
    value = line.get(name) if isinstance(line, dict) else None
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if is_integer(value) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Bearer(AuthBase):
    """The token as the engine wants it. It also keeps requests from looking for a .netrc file."""

    def __init__(self, token: SecretStr | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request
