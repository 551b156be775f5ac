"""A PostgreSQL server of the tests' own, on a socket in a folder of its own: no port, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a new, empty server, for its superuser; skips where there is none to start."""
    psycopg = pytest.importorskip("psycopg", reason='the extra "postgres" is not installed')
    programs = _programs()
    # Not pytest's folder: a socket's path must be short, and the server's user must get there.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        user = _unprivileged()
        if user:
            shutil.chown(folder, user)
        subprocess.run(
            [
                *(programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust"),
                *("--no-sync", "--encoding=UTF8", "--locale=C"),
            ],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *(programs / "postgres", "-D", folder / "data", "-k", folder),
                    *("-c", "listen_addresses=", "-c", "fsync=off"),
                ],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        url = f"postgresql://postgres@/postgres?host={folder}"
        try:
            while True:
                try:
                    psycopg.connect(url).close()
                    break
                except psycopg.OperationalError:
                    assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
                    time.sleep(0.05)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Where the server's programs are; Debian keeps them out of the PATH."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    places = [place for place in places if (place / "postgres").exists()]
    if not places:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    return places[-1]


def _unprivileged() -> str | None:
    """The user to run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
