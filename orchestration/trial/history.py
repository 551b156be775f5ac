"""Bill existing usage files on trial, to start with: usage that was metered before this warehouse existed.

It is billed with today's seeds into books of its own, ``$DATA_DIR/staging/<name of HISTORY>``, and
what the seeds do not know yet is listed. The real books are not touched.
"""

from __future__ import annotations

import os
import shutil
from datetime import date
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from orchestration.books.warehouse import writer_lock
from orchestration.pages.words import amount
from orchestration.printable import printable
from orchestration.settings import Settings
from orchestration.sources.arrivals import require_arrivals
from orchestration.sources.folder import FolderSource
from orchestration.trial.books_apart import (
    bill_apart,
    days_of,
    land_feeds,
    settings_apart,
    waiting,
)
from orchestration.trial.scenario import ScenarioError, plain_name

_ROWS = 20


def import_history(settings: Settings, history: str, first: date, last: date) -> Settings:
    """Land and bill delivery days of a folder of feeds into books of their own.

    Args:
        settings: of the real books. Feeds that the folder has no file of (prices, say) come from
            where they say.
        history: a folder, or any URL that fsspec opens, with ``usage/usage_<day>`` in it.
        first, last: the delivery days, both included. The books open on the first.

    Returns:
        The settings of the books that were made; an earlier import of this name is gone.

    Raises:
        ScenarioError: the folder isn't there, its name cannot name books, or it lies within the books.
        MissingDeliveries: a day has no usage file.
        NotBilled, NothingToBill, NotPublishable: nothing was billed; the message says why.
    """
    staging = settings.data_dir / "staging"
    books = settings_apart(settings, staging / plain_name(history), first, usage_url="")
    _refuse_no_history(settings, books, history)
    require_arrivals(books.apart(feeds_url=history), first, last)
    with writer_lock(settings.apart(data_dir=staging)):
        shutil.rmtree(books.data_dir, ignore_errors=True)
        land_feeds(books, days_of(first, last), instead=FolderSource(history))
        bill_apart(books, first, last, f"import of {first} to {last}")
    return books


def _refuse_no_history(settings: Settings, books: Settings, history: str) -> None:
    """What is read must be there, and stay: an import begins by removing the books of its name.

    Raises:
        ScenarioError: names the folder that is in the way.
    """
    if books.data_dir.is_symlink():
        raise ScenarioError(
            f"{books.data_dir} is a link, and an import writes books only where it says: remove it"
        )
    try:
        files, place = fsspec.core.url_to_fs(history)
    except (ValueError, ImportError, OSError):
        # Whoever reads it says what is wrong with it.
        return
    if not isinstance(files, LocalFileSystem):
        return
    folder = Path(os.path.realpath(place))
    for own in (settings.data_dir, books.data_dir):
        if folder.is_relative_to(os.path.realpath(own)):
            raise ScenarioError(
                f"HISTORY={history} lies in {own}, where the job keeps its own books, and an import "
                "replaces what is there: put the files into a folder of their own"
            )
    if not folder.is_dir():
        raise ScenarioError(f"HISTORY={history} is not a folder")


def unmapped(settings: Settings) -> list[str]:
    """Say which usage of books apart waits for a seed edit, the most GPU minutes first."""
    rows = waiting(settings).sort_by([("gpu_minutes", "descending")]).to_pylist()
    if not rows:
        return ["Everything that can be billed is mapped: no row waits for a seed."]
    lines = ["Usage that waits for a seed edit"]
    for row in rows[:_ROWS]:
        kind = row["gpu_type"] or "(no GPU type)"
        lines.append(
            f"  {row['reason']:<22} {amount(row['gpu_minutes'], 0):>12} GPU minutes in "
            f"{row['rows']:>8,} rows  {printable(row['customer_id'])}, {printable(row['cluster'])}, "
            f"{printable(kind)}, {printable(row['model_family'])}"
        )
    if len(rows) > _ROWS:
        lines.append(f"  and {len(rows) - _ROWS:,} more kinds of it, see rejected_rows")
    return lines
