"""Faults on demand, for the processes of a run: with this folder on PYTHONPATH, Python loads it first.

``FAULT_LOG`` names a file: every point at which a fault could strike is written there, a line each.
``FAULT=<process>:<n>:<what>`` strikes at the n-th point of ``run`` (the process of the job, at
what it does to files of ``DATA_DIR``) or of ``dbt`` (its child, at the statements it sends to the
warehouse). What: ``kill`` ends that process outright, ``kill-parent`` the one that started it,
``full`` makes the disk full from that point on.
"""

import errno
import os
import signal
import sys

_PROCESS = (
    "dbt"
    if any(argument.endswith("bound_dbt.py") for argument in sys.orig_argv)
    else "run"
    if sys.orig_argv[1:4] == ["-m", "gpu_credits", "bill"]
    else None
)
_LOG = os.environ.get("FAULT_LOG")
_FAULT = os.environ.get("FAULT", "").split(":")
_FILE_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link"}


class _Points:
    def __init__(self) -> None:
        self.passed = 0

    def __call__(self, what: str) -> None:
        self.passed += 1
        if _LOG:
            with open(_LOG, "a", encoding="utf-8") as log:
                log.write(f"{_PROCESS}\t{self.passed}\t{what}\n")
        if len(_FAULT) != 3 or _FAULT[0] != _PROCESS or self.passed < int(_FAULT[1]):
            return
        if _FAULT[2] == "full":
            if not what.startswith(("os.remove", "os.rmdir")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)
        elif self.passed == int(_FAULT[1]):
            victim = os.getppid() if _FAULT[2] == "kill-parent" else os.getpid()
            os.kill(victim, signal.SIGKILL)


def _watch_files(point: _Points) -> None:
    home = os.path.realpath(os.environ["DATA_DIR"])
    places = tuple(
        os.path.join(home, place) + os.sep
        for place in ("landing", "warehouse", "seeds", "archive", "published")
    )

    def hook(event: str, arguments: tuple) -> None:
        if event == "subprocess.Popen":
            if "bound_dbt" in str(arguments[0]):
                point("starts dbt")
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes | os.PathLike) or not (
                flags & (os.O_WRONLY | os.O_RDWR)
            ):
                return
        elif event in _FILE_EVENTS:
            path = arguments[1] if event in {"os.rename", "os.symlink"} else arguments[0]
        else:
            return
        path = os.path.abspath(os.fsdecode(path))
        if path.startswith(places):
            point(f"{event} {os.path.relpath(path, home)}")

    sys.addaudithook(hook)


def _watch_statements(point: _Points) -> None:
    from dbt.adapters.duckdb.environments import local

    wrapped = local.DuckDBCursorWrapper.execute

    def execute(self, sql, bindings=None):
        point(" ".join(sql.split())[:80])
        return wrapped(self, sql, bindings)

    local.DuckDBCursorWrapper.execute = execute


if _PROCESS == "run" and "DATA_DIR" in os.environ:
    _watch_files(_Points())
elif _PROCESS == "dbt" and "--version" not in sys.orig_argv:
    _watch_statements(_Points())
