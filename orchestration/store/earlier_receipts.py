"""Receipts as the release before kept them, for one release: Parquet, and a journal for each run.

A run wrote ``<name>.jsonl`` and folded it into ``<name>.parquet`` at its end; where both are there, the
journal is the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.store.files import put, remove
from orchestration.store.locks import owners_lock

ASIDE = "receipts_before_sqlite"
"""Where the files are kept, below the archive, once their receipts are taken over."""

# A run of the release before, which may still be under way, ends after half an hour.
_PATIENCE_SECONDS = 1800


def earlier_files(folder: Path, but: str) -> list[Path]:
    """The files of a kind that the release before left, by name; ``but`` is not one of them."""
    found = [*folder.glob("*.parquet"), *folder.glob("*.jsonl")]
    return sorted(path for path in found if path.name != but)


@contextmanager
def no_earlier_run(archive: Path) -> Iterator[None]:
    """Wait until no run of the release before sends, and keep others of it out.

    Raises:
        LockBusy: one still sends.
    """
    with ExitStack() as held:
        for path in sorted((archive.parent / "delivery").glob("*.lock")):
            held.enter_context(owners_lock(path, _PATIENCE_SECONDS))
        yield


def read_earlier(
    files: Sequence[Path], schema: pa.Schema, key: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The receipts of these files in the order that they had: by the clock, then by their key.

    Raises:
        ValueError: one cannot be read; the message names it and the cure.
    """
    journals = {path.stem for path in files if path.suffix == ".jsonl"}
    rows: list[dict[str, Any]] = []
    for path in files:
        if path.suffix == ".jsonl":
            last = {tuple(row[name] for name in key): row for row in _journal(path, schema)}
            rows += last.values()
        elif path.stem not in journals:
            try:
                rows += pq.read_table(path, schema=schema, partitioning=None).to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise ValueError(
                    f"{path}: not the receipts of a run ({error}). Nothing is sent until it is put "
                    "back from your backup, or moved away (what it stood for is then sent again, "
                    "under the same key)"
                ) from None
    return sorted(rows, key=lambda row: (row["sent_at"], *(row[name] for name in key)))


def put_aside(archive: Path, files: Sequence[Path]) -> None:
    """Move files whose receipts are taken over to where nobody looks for any."""
    for path in files:
        put(path, archive / ASIDE / path.parent.name / path.name)
    for folder in {path.parent for path in files}:
        remove(folder / ".lock")
        with suppress(OSError):  # It holds what is still needed.
            folder.rmdir()


def _journal(path: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The receipts of a journal; what a killed run left of its last line was never a receipt."""
    *lines, _unfinished = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            for name, type_ in (("effective_on", date), ("sent_at", datetime)):
                if name in schema.names:
                    row[name] = type_.fromisoformat(row[name])
            yield {name: row[name] for name in schema.names}
        except (ValueError, TypeError, KeyError):
            raise ValueError(
                f"{path}, line {number}: not a receipt. Nothing is sent until the line is mended, or "
                "taken out if nothing can be read from it (what it stood for is then sent again, under "
                "the same key)"
            ) from None
