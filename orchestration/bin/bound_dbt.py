#!/usr/bin/env python
"""dbt that cannot outlive the run that started it.

A run that is killed outright takes no child with it: dbt would go on writing the warehouse while
the next run takes the freed lock. So dbt is started through this file, which ties its life to its
parent's before it imports anything else. In a folder of its own, because Python puts a script's
folder on its path, where ``dbt`` must not be ours.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import sys
import threading
import time
from importlib.metadata import version

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have this process killed as soon as its parent ends, however that ends."""
    parent = os.getppid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    # The parent may have ended before the tie was made; it is then somebody else's.
    if os.getppid() != parent or parent == 1:
        os._exit(1)


def _watch(parent: int) -> None:
    """Where the kernel cannot be asked: look ten times a second."""
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)


def main() -> None:
    """Run dbt with this process's arguments."""
    if sys.argv[1:] == ["--version"]:
        # Asked by dagster-dbt before each run. dbt's own answer takes seconds and asks the index.
        print(f"Core: {version('dbt-core')}")
        return
    die_with_parent()
    # One dbt at a time: that of a killed run may still be on its way out.
    alone = os.open(
        os.path.join(os.environ["DATA_DIR"], "dbt.lock"),
        os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW,
        0o600,
    )
    fcntl.flock(alone, fcntl.LOCK_EX)
    # Nearly all that dbt makes lives until it ends, so looking for garbage hardly finds any.
    gc.set_threshold(50_000)
    from dbt.cli.main import cli

    sys.exit(cli())


if __name__ == "__main__":
    main()
