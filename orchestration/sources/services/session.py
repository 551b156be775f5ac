"""Asking a service over HTTPS: bounded, patient, and silent about tokens.

Retries, back-off and Retry-After are urllib3's; the limits on time and size are ours.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

import requests
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError
from urllib3.util.retry import Retry

from orchestration.addresses import is_on_this_machine, is_safe
from orchestration.sources.exchange import Exchange, OutOfTime, WatchedAdapter

RETRIES = 5
CONNECT_SECONDS = 10
READ_SECONDS = 60
ANSWER_SECONDS = 300
"""How long one exchange may take, from the request to the last byte of its answer."""
ANSWER_BYTES = 64 << 20
LONGEST_WAIT_SECONDS = 120
"""No back-off and no Retry-After makes a request wait longer, unless a session says otherwise."""

_BUSY = frozenset({429, 500, 502, 503, 504})
_SAID_CHARACTERS = 160
# These write URLs or parameters, in which ENTSO-E's token is.
_TALKATIVE = (
    "entsoe.decorators",
    "entsoe.entsoe",
    "requests.sessions",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)


class Busy(requests.RequestException):
    """The service still answered 429 or 5xx after the last try.

    Attributes:
        said: how its last answer begins, printable. It may repeat the request's URL and headers.
    """

    def __init__(self, status: int, tries: int, said: str = "") -> None:
        self.status = status
        self.tries = tries
        self.said = said
        super().__init__(f"status {status}")


class TooMuch(requests.RequestException):
    """An answer is too large or takes too long to read."""


class TooLarge(TooMuch):
    """An answer is too large: asking for less of it can help."""


class _Retry(Retry):
    """urllib3's retries, with a wait before the first of them, too."""

    def get_backoff_time(self) -> float:
        """Seconds to wait before the next try: exponential, with jitter."""
        first = self.backoff_factor + random.uniform(0, self.backoff_jitter)
        return super().get_backoff_time() or first


class _Adapter(WatchedAdapter):
    """Sends a request with retries and timeouts, and reads its answer within the limits."""

    def __init__(self, answer_bytes: int, answer_seconds: float | None, retry: _Retry) -> None:
        self._answer_bytes = answer_bytes
        self._answer_seconds = answer_seconds
        self._retry = retry
        super().__init__(max_retries=retry)

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # type: ignore[override]
        """Send a request and read the whole answer.

        Raises:
            Busy: 429 or 5xx until the last try.
            TooMuch: the answer goes beyond the session's bytes or seconds.
        """
        if not is_safe(request.url or ""):
            raise requests.exceptions.InvalidSchema("only https is spoken")
        how |= {"stream": True, "timeout": how.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)}
        if is_on_this_machine(request.url or ""):
            how["proxies"] = {}
        repeats = request.method in (self._retry.allowed_methods or ())
        for tries_left in (1, 0) if repeats else (0,):
            with Exchange(self._answer_seconds or ANSWER_SECONDS) as exchange:
                try:
                    response = super().send(request, **how)
                except OutOfTime:
                    raise TooMuch("the answer takes too long") from None
                if response.status_code in _BUSY:
                    said = _beginning(response)
                    response.close()
                    tries = 1 + int(self._retry.total or 0) * repeats
                    raise Busy(response.status_code, tries, said)
                try:
                    self._read(response, exchange)
                    break
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                    # The answer broke off: urllib3 retries only up to the answer's head.
                    response.close()
                    if not tries_left:
                        raise
        return response

    def _read(self, response: requests.Response, exchange: Exchange) -> None:
        content = bytearray()
        try:
            for piece in response.iter_content(1 << 16):
                content += piece
                if len(content) > self._answer_bytes:
                    raise TooLarge("the answer is too large")
        except Exception:
            response.close()
            if not exchange.is_over:
                raise
        # An answer that is cut off can look like a whole one.
        if exchange.is_over:
            response.close()
            raise TooMuch("the answer takes too long") from None
        # Where requests keeps what its ``content`` gives; nothing public takes a body read elsewhere.
        response._content = bytes(content)


def _beginning(response: requests.Response) -> str:
    """How an answer begins, as printable text; as much of it as has come."""
    try:
        begun: bytes = response.raw.read1(2 * _SAID_CHARACTERS, decode_content=True)
    except (HTTPError, OSError):
        return ""
    text = " ".join(begun.decode("utf-8", "replace").split())
    return "".join(letter for letter in text if letter.isprintable())[:_SAID_CHARACTERS]


class PoliteSession(requests.Session):
    """A session for one service.

    Args:
        follow_redirects: only for a service that gets no token; a redirect could take it along.
        backoff_seconds: the first wait; each further one is twice as long, plus a random part.
        answer_bytes: the largest answer that is read, unpacked.
        answer_seconds: how long one try may take, from the request to the last byte of its answer;
            ANSWER_SECONDS if None.
        retries: how often a request is sent again.
        longest_wait_seconds: no back-off and no Retry-After makes a request wait longer.
        repeats_posts: only for a service that acts once on a POST that it gets twice.
    """

    def __init__(
        self,
        *,
        follow_redirects: bool = False,
        backoff_seconds: float = 1.0,
        answer_bytes: int = ANSWER_BYTES,
        answer_seconds: float | None = None,
        retries: int = RETRIES,
        longest_wait_seconds: int = LONGEST_WAIT_SECONDS,
        repeats_posts: bool = False,
    ) -> None:
        super().__init__()
        self.max_redirects = 5 if follow_redirects else 0
        adapter = _Adapter(
            answer_bytes,
            answer_seconds,
            _Retry(
                total=retries,
                allowed_methods=Retry.DEFAULT_ALLOWED_METHODS
                | ({"POST"} if repeats_posts else set()),
                status_forcelist=_BUSY,
                backoff_factor=backoff_seconds,
                backoff_jitter=backoff_seconds,
                backoff_max=longest_wait_seconds,
                retry_after_max=longest_wait_seconds,
                raise_on_status=False,
            ),
        )
        self.mount("https://", adapter)
        self.mount("http://", adapter)


def pause(tries: int, backoff_seconds: float) -> None:
    """Wait before asking once more for an answer that came but is of no use.

    Args:
        tries: how often it was asked for so far; each further wait is twice as long.
        backoff_seconds: the first wait; a random part of up to as much is added.
    """
    wait = backoff_seconds * 2 ** (tries - 1) + random.uniform(0, backoff_seconds)
    time.sleep(min(wait, LONGEST_WAIT_SECONDS))


def in_words(
    error: Exception, variable: str | None = None, *, asked: str = "the zone's code"
) -> tuple[str, str]:
    """What went wrong with a request, and the cure; never the error's text, which holds the URL.

    Args:
        variable: the environment variable with the service's token, if it has one.
        asked: what to check when the service refuses the request itself.
    """
    later = "Land the feed again later"
    if isinstance(error, requests.TooManyRedirects):
        return "the service redirects to another address", "Check the network and its proxies"
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) and variable:
        return (
            f"the service refuses the token (status {status})",
            f"Check {variable} and what its plan includes",
        )
    if status is not None:
        return f"the service answered with status {status}", f"Check {asked}"
    if isinstance(error, Busy):
        return f"the service answered {error.tries} times with status {error.status}", later
    if isinstance(error, TooMuch):
        return "the answer is too large or takes too long", later
    if isinstance(error, requests.exceptions.SSLError):
        return "the service's certificate cannot be verified", "Check the network and its proxies"
    # After the last try, requests tells a time-out only by what it holds.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    refused = isinstance(reason, NewConnectionError)  # urllib3 counts it among the time-outs
    if isinstance(error, requests.Timeout) or (isinstance(reason, TimeoutError) and not refused):
        return "the service does not answer in time", later
    unreadable = isinstance(error, requests.exceptions.InvalidJSONError)
    if isinstance(error, requests.RequestException) and not unreadable:
        return f"the service cannot be reached ({type(error).__name__})", later
    return (
        f"the answer cannot be understood ({type(error).__name__})",
        f"Check {asked}, and that the extra's package is of the pinned version",
    )


@contextmanager
def unlogged(token: str) -> Iterator[None]:
    """Keep a token out of what the HTTP libraries log, at any level."""

    def redact(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if any(spelling in text for spelling in spellings):
            for spelling in spellings:
                text = text.replace(spelling, "***")
            record.msg, record.args = text, None
        return True

    spellings = {token, quote(token, safe=""), quote_plus(token)}
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(redact)
    try:
        yield
    finally:
        for name in _TALKATIVE:
            logging.getLogger(name).removeFilter(redact)
