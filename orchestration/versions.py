"""Folders that readers see whole: filled beside the current one, then switched to in one step.

``<root>/current`` is a link to the newest of ``<root>/publications/<name>``. A reader that has the
old one open keeps it. What a killed writer left half-built is never linked, and cleared next time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.landing.files import sync_folder


@contextmanager
def new_version(root: Path, name: str, *, kept: int) -> Iterator[Path]:
    """Give a folder to fill; when the block ends without an error, readers see it.

    Args:
        root: the folder that holds ``current``.
        name: the version's name. What follows its last ``-`` orders the versions.
        kept: how many versions stay, this one included.
    """
    versions = root / "publications"
    versions.mkdir(parents=True, exist_ok=True)
    # First of all: a full disk may be full of these.
    for unfinished in versions.glob(".*"):
        shutil.rmtree(unfinished)
    staged = versions / f".{name}"
    staged.mkdir()
    try:
        yield staged
        _flush(staged)
        os.replace(staged, versions / name)
        sync_folder(versions)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _switch(root / "current", versions / name)
    finished = sorted(versions.iterdir(), key=lambda path: path.name.rpartition("-")[2])
    for old in finished[:-kept]:
        shutil.rmtree(old)


def _flush(folder: Path) -> None:
    """Write every file below a folder to disk, so that a power cut leaves no hole in it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _switch(current: Path, version: Path) -> None:
    """Point ``current`` at a version: a new link takes the old one's name in one step."""
    link = current.with_name(".current")
    link.unlink(missing_ok=True)
    link.symlink_to(version.relative_to(current.parent), target_is_directory=True)
    os.replace(link, current)
    sync_folder(current.parent)
