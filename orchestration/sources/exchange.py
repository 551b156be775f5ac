"""A deadline for one exchange over HTTP, from the request to the last byte of the answer.

The time-outs of a socket start anew with every byte that comes: headers or a body that drip, or
interim answers (100 Continue) without end, would hold a run for ever. A watchdog shuts the
connection down when the time is up, whatever it is waiting for.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_here = threading.local()


class OutOfTime(Exception):
    """The time of an exchange is up. No OSError: it must not be tried again."""


class Exchange:
    """The exchanges that this thread makes inside of a ``with`` block, each with its own deadline.

    Connecting has as much time for itself. Only connections of a WatchedAdapter are watched.

    Args:
        seconds: how long one may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._socket: socket.socket | None = None
        self.is_over = False
        """Whether the time of the last one was up before it was done."""

    def __enter__(self) -> Exchange:
        """Watch what this thread does from here on."""
        self._outer: Exchange | None = getattr(_here, "exchange", None)
        _here.exchange = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Watch no longer."""
        _here.exchange = self._outer
        self._call_off()

    def begin(self, connection: HTTPConnection) -> None:
        """Give a connection the whole time, from now on."""
        self._call_off()
        self.is_over = False
        self._socket = None
        self._timer = threading.Timer(self._seconds, self._end, [connection])
        self._timer.daemon = True
        self._timer.start()

    def is_answered_by(self, connection: HTTPConnection) -> None:
        """Remember the socket: a connection that is used once lets go of it before the body."""
        self._socket = connection.sock

    def _call_off(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _end(self, connection: HTTPConnection) -> None:
        if threading.current_thread() is not self._timer:
            return
        self.is_over = True
        # None while it connects, for which there is a time-out; it is told afterwards.
        if sock := self._socket or connection.sock:
            with suppress(OSError):
                # Not TLS's own: that would wait for the other side's consent.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


@contextmanager
def _watched(connection: HTTPConnection, *, begins: bool) -> Iterator[None]:
    """Say of what fails because the time is up that it is."""
    exchange: Exchange | None = getattr(_here, "exchange", None)
    if exchange and begins:
        exchange.begin(connection)
    elif exchange:
        exchange.is_answered_by(connection)
    try:
        yield
    except Exception as error:
        if exchange and exchange.is_over:
            raise OutOfTime from error
        raise
    if exchange and exchange.is_over:
        raise OutOfTime


class _Watched(HTTPConnection):
    """What a connection does, seen by the Exchange around it; over TLS as without."""

    def connect(self) -> None:
        with _watched(self, begins=True):
            super().connect()

    def request(self, *what: Any, **how: Any) -> None:
        with _watched(self, begins=True):
            super().request(*what, **how)

    def getresponse(self) -> Any:
        with _watched(self, begins=False):
            return super().getresponse()


class _SecureConnection(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class WatchedAdapter(HTTPAdapter):
    """An adapter whose connections end when the time of the Exchange around them is up.

    Until the head of the answer is there, ``send`` raises OutOfTime. A body that is then cut off
    may look whole: who read it has to ask ``Exchange.is_over``.
    """

    def init_poolmanager(self, *what: Any, **how: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*what, **how)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **how: Any) -> Any:
        """The pools of connections by a proxy."""
        manager = super().proxy_manager_for(proxy, **how)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
