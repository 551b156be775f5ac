"""An ASGI application served on this machine, for tests that speak to it as a browser would."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import requests
import uvicorn


class Server:
    """A running server, and how to ask it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET, without following redirects."""
        return requests.get(self.url + path, allow_redirects=False, timeout=30, **arguments)

    def post(self, path: str) -> requests.Response:
        """POST without a body."""
        return requests.post(self.url + path, timeout=30)


@contextmanager
def served(app: Any) -> Iterator[Server]:
    """Serve an application on a free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # From here on a request waits until the server takes it.
        listener.listen()
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", server_header=False)
        )
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(timeout=30)
