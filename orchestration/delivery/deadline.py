"""A deadline for a whole answer: however slowly it drips, it ends.

The read timeout of a socket counts from one byte to the next, so an answer of a byte every now and
then would never time out, neither in its head nor in its body. Here the same number of seconds
counts from the request to the last byte of its answer.
"""

from __future__ import annotations

import io
import socket
import time
from functools import partial
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


def limit_whole_answers(session: requests.Session) -> None:
    """Let the read timeout of a session's requests count for the whole of each answer."""
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            _use_pools(adapter.poolmanager)
            adapter.proxy_manager_for = partial(_proxy_manager, adapter.proxy_manager_for)  # type: ignore[method-assign]


def _proxy_manager(make: Any, *of: Any, **how: Any) -> Any:
    manager = make(*of, **how)
    _use_pools(manager)
    return manager


def _use_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Answer(HTTPResponse):
    """An answer that is read up to an instant and no further."""

    def __init__(self, sock: socket.socket, *of: Any, ends: float, **how: Any) -> None:
        super().__init__(sock, *of, **how)
        self.fp = io.BufferedReader(_Source(self.fp.detach(), sock, ends))


class _Source(io.RawIOBase):
    """The bytes of a socket, as long as there is time."""

    def __init__(self, raw: Any, sock: socket.socket, ends: float) -> None:
        self._raw, self._sock, self._ends = raw, sock, ends

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what comes next, if it comes in time.

        Raises:
            TimeoutError: the time for the whole answer is up.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class _Limited:
    """A connection whose timeout, once the request is sent, is that of the whole answer."""

    timeout: float | None

    def getresponse(self) -> Any:
        """Read the head of the answer; its body keeps to the same deadline."""
        assert self.timeout is not None, "whoever limits answers says by how much"
        self.response_class = partial(_Answer, ends=time.monotonic() + self.timeout)
        return super().getresponse()  # type: ignore[misc]


class _Connection(_Limited, HTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Limited, HTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
