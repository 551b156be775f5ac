"""Folders that readers see whole: filled beside the current one, then switched to in one step.

``<root>/current`` is a link to the newest of ``<root>/publications/<name>``. A reader that has the
old one open keeps it. What a killed writer left half-built is never linked, and cleared next time.

Which version is newer is counted, not read off a clock: a version's name ends in a number that is
one higher than any there. Names of earlier releases, which end in the time, come before all of them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.store.durable import flush, make_folder

_NUMBERED = re.compile(r".*-v(\d{1,12})")


@contextmanager
def new_version(root: Path, name: str, *, kept: int) -> Iterator[Path]:
    """Give a folder to fill; when the block ends without an error, readers see it.

    Args:
        root: the folder that holds ``current``.
        name: how the version's name begins, for people; its number follows.
        kept: how many versions stay, this one included. The one that readers see stays in any case.
    """
    versions = root / "publications"
    make_folder(versions)
    # First of all: a full disk may be full of these.
    for unfinished in versions.glob(".*"):
        _remove(unfinished)
    number = 1 + max((_place(path)[0] for path in versions.iterdir()), default=0)
    name = f"{name}-v{number:06d}"
    staged = versions / f".{name}"
    staged.mkdir()
    try:
        yield staged
        _flush(staged)
        os.replace(staged, versions / name)
        flush(versions)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _switch(root / "current", versions / name)
    _prune(root, versions, kept)


def _prune(root: Path, versions: Path, kept: int) -> None:
    """Remove the oldest versions; what ``current`` points to is none of them, whatever its name."""
    seen = (root / "current").resolve()
    finished = sorted(versions.iterdir(), key=_place)
    for old in finished[:-kept]:
        if old.resolve() != seen:
            _remove(old)


def _place(version: Path) -> tuple[int, str]:
    """What orders the versions: the number; of earlier releases, whose names have none, the time."""
    numbered = _NUMBERED.fullmatch(version.name)
    return (int(numbered[1]), "") if numbered else (0, version.name.rpartition("-")[2])


def _remove(version: Path) -> None:
    if version.is_dir() and not version.is_symlink():
        shutil.rmtree(version)
    else:
        version.unlink()


def _flush(folder: Path) -> None:
    """Write every file below a folder to disk, so that a power cut leaves no hole in it."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def _switch(current: Path, version: Path) -> None:
    """Point ``current`` at a version: a new link takes the old one's name in one step."""
    link = current.with_name(".current")
    link.unlink(missing_ok=True)
    link.symlink_to(version.relative_to(current.parent), target_is_directory=True)
    os.replace(link, current)
    flush(current.parent)
