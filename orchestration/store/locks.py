"""Locks between processes, as files that nobody but their owner can open, and so hold.

Any process that can open a file can lock it, even one that may only read it. The operating system
frees a lock when its holder dies.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOCKS = Path("/proc/locks")


class LockBusy(RuntimeError):
    """A lock cannot be had; the message says who has it, as far as the system tells."""


@contextmanager
def owners_lock(path: Path, patience: float) -> Iterator[None]:
    """Hold a lock that only processes of this user can hold.

    Args:
        path: the lock's file; its folder is there.
        patience: seconds to wait for another holder.

    Raises:
        LockBusy: another process still holds it, or its file is a link or another user's, so that
            somebody else could hold it.
    """
    _keep_to_ourselves(path)
    lock = FileLock(path, timeout=patience, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise LockBusy(f"{_holder(path)} holds {path}") from None
    try:
        yield
    finally:
        lock.release()


def _keep_to_ourselves(path: Path) -> None:
    """Close a lock's file that is there to everybody else; refuse one that cannot be closed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError:
        raise LockBusy(
            f"{path} is a link, or another user's file: somebody else could hold this lock. "
            "Remove it, or run this as the owner of the folder"
        ) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise LockBusy(
                f"{path} is no file of {_name(os.geteuid())}, who runs this: somebody else could "
                "hold this lock. Remove it, or run this as the owner of the folder"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            # An earlier release let the group read it.
            os.fchmod(file, 0o600)
    finally:
        os.close(file)


def _holder(path: Path) -> str:
    """Who holds a lock, in words; Linux tells."""
    try:
        inode = path.stat().st_ino
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            # 1: FLOCK  ADVISORY  WRITE <process> <major>:<minor>:<inode> 0 EOF; -> if it waits
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                owner = _name(Path(f"/proc/{words[4]}").stat().st_uid)
                return f"process {words[4]} of {owner}"
    except (OSError, ValueError, IndexError):
        pass
    return "another process"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
