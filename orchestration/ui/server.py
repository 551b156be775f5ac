"""Open the Dagster UI on this machine's own address, with the run history of ``DATA_DIR``.

What ``dagster dev`` starts, but with ``orchestration.ui.front`` before the UI: the web server here, and
the daemon, which starts nights and late deliveries, in a process beside it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.types import ASGIApp

from orchestration.night.instance import set_writer_slots, use_instance
from orchestration.settings import Settings
from orchestration.ui.front import Front

HOST, PORT = "127.0.0.1", 3000
_WORKSPACE = "workspace.yaml"
# Dagster's own for its web server: milliseconds for a statement, seconds for a connection, and how many.
_DATABASE = (15_000, 3_600, 20)
_SECONDS_TO_END = 60


@contextmanager
def ui(workspace: str = _WORKSPACE) -> Iterator[ASGIApp]:
    """The UI as an ASGI application, with its front, for the instance of this process.

    Args:
        workspace: the file that names the code location.
    """
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(*_DATABASE)
        with WorkspaceProcessContext(
            instance,
            workspace_load_target=WorkspaceFileTarget([workspace]),
            version=__version__,
            code_server_log_level="warning",
        ) as context:
            yield Front(create_app_from_workspace_process_context(context))


def serve(settings: Settings) -> int:
    """Serve the UI until it is interrupted or the daemon ends; 0 if it was interrupted."""
    use_instance(settings)
    set_writer_slots()
    # uvicorn hands a signal on when it has ended; so that what was started ends, too.
    signal.signal(signal.SIGTERM, _interrupt)
    with _listener() as listener, _daemon() as daemon, ui() as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        threading.Thread(target=_end_with, args=(server, daemon), daemon=True).start()
        print(f"The Dagster UI: http://{HOST}:{listener.getsockname()[1]}", flush=True)
        try:
            server.run([listener])
        except KeyboardInterrupt:
            return 0
        if daemon.poll() is not None:
            print("Dagster's daemon has ended, so the UI ends, too", file=sys.stderr)
            return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listener() -> socket.socket:
    """A socket on this machine's own address; at another port if somebody has the usual one."""
    try:
        return socket.create_server((HOST, PORT))
    except OSError:
        return socket.create_server((HOST, 0))


@contextmanager
def _daemon() -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon, as long as the block runs."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-w", _WORKSPACE, "--log-level", "info"]
    )
    try:
        yield daemon
    finally:
        daemon.send_signal(signal.SIGINT)
        try:
            daemon.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            daemon.kill()


def _end_with(server: uvicorn.Server, daemon: subprocess.Popen[bytes]) -> None:
    daemon.wait()
    server.should_exit = True
