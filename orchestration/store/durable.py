"""How a file takes its name: whole, flushed, in one step.

``put`` is the one place where a staged file becomes what readers see. All others end in it, so that
none can forget a flush: after a power cut a name that was given without one may lead to an empty file.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def put(staged: Path, path: Path) -> None:
    """Move a staged file to its place in one step, replacing what is there.

    Its bytes are on disk before it has the name, and the name is when this returns.
    """
    make_folder(path.parent)
    flush(staged)
    os.replace(staged, path)
    flush(path.parent)


def put_text(text: str, path: Path) -> None:
    """Write a whole text under its name in one step; readers never see half of it."""
    staged = beside(path)
    staged.write_text(text, encoding="utf-8")
    put(staged, path)


def copy(source: Path, path: Path) -> None:
    """Copy a file to its place in one step, replacing what is there."""
    staged = beside(path)
    with source.open("rb") as read, staged.open("wb") as write:
        shutil.copyfileobj(read, write, 1 << 20)
    put(staged, path)


def put_first(content: bytes, path: Path) -> None:
    """Write a file that only its owner may read, unless there is one.

    Of two who try at once, the first one's stays.
    """
    make_folder(path.parent)
    staged = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}.part")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    flush(staged)
    try:
        os.link(staged, path)
    except FileExistsError:
        pass
    finally:
        staged.unlink()
    flush(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there, so that it stays removed after a power cut."""
    path.unlink(missing_ok=True)
    if path.parent.exists():
        flush(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that they stay after a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush(path.parent)


def flush(path: Path) -> None:
    """Have the bytes of a file on disk, or the names in a folder: a rename is only durable then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def beside(path: Path) -> Path:
    """Where a file is staged: what lists its folder by ending must not find one that was left over."""
    make_folder(path.parent)
    return path.with_name(f".{path.name}.part")
