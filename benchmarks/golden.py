"""Golden books: does this tree bill what another revision bills, table by table, row by row?

``python -m benchmarks.golden REVISION FOLDER`` bills with that revision's code and with the code of this
tree, and names every published table that differs; exit code 0 only if none does. The books are

- ``whole``: the sample in one run,
- ``nights``: its first half in one run, then night by night,
- ``upgrade``: its first half with that revision, then one run with this tree in the same folder,
- ``feeds``: with ``--seeds``, ``--feeds`` and ``--days``, feeds of your own in one run.

Books of the revision stay in FOLDER and are not billed again; a table that only one side has is
named, and columns that only one side has are left out and named. Every change that is to change no
figure is judged with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from orchestration.settings import PROJECT_ROOT, Settings

_FIRST, _HALF, _LAST = date(2026, 1, 5), date(2026, 2, 2), date(2026, 2, 15)


Run = tuple[date, date]


@dataclass(frozen=True)
class Golden:
    """Books to bill: with which seeds and feeds, and which runs."""

    name: str
    seeds: Path
    feeds: Path
    runs: tuple[Run, ...]
    """First and last delivery day of every run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Bill both ways and compare; returns 1 if anything differs, and 0 if nothing does."""
    parser = argparse.ArgumentParser(prog="benchmarks.golden", description=__doc__)
    parser.add_argument("revision", help="commit whose books are the golden ones")
    parser.add_argument("folder", type=Path, help="where feeds and books are kept")
    parser.add_argument("--only", nargs="+", choices=("whole", "nights", "upgrade", "feeds"))
    parser.add_argument("--seeds", type=Path)
    parser.add_argument("--feeds", type=Path)
    parser.add_argument("--days", nargs=2, type=date.fromisoformat, metavar=("FROM", "TO"))
    asked = parser.parse_args(arguments)
    folder = asked.folder.resolve()
    golden = _checkout(asked.revision, folder)
    found = 0
    for books in _all_books(asked, folder):
        if asked.only and books.name not in asked.only:
            continue
        before = folder / "golden" / golden.name / books.name
        if not (before / "done").exists():
            shutil.rmtree(before, ignore_errors=True)
            _bill(golden, books, books.runs, before)
            (before / "done").touch()
        after = folder / "now" / books.name
        shutil.rmtree(after, ignore_errors=True)
        earlier = 1 if books.name == "upgrade" else 0
        _bill(golden, books, books.runs[:earlier], after)
        _bill(PROJECT_ROOT, books, books.runs[earlier:], after)
        # Controls speak of what a run worked out; a warehouse of another layout is worked out anew.
        but = {"billing_controls"} if earlier else set()
        differences = list(
            compare(before / "published" / "current", after / "published" / "current", but)
        )
        for line in differences or ["identical"]:
            print(f"{books.name}: {line}", flush=True)
        found += len(differences)
    return 1 if found else 0


def _checkout(revision: str, folder: Path) -> Path:
    """The tree of a revision, in a folder of its name."""
    name = _git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    tree = folder / "trees" / name
    if not tree.is_dir():
        _git("worktree", "add", "--detach", str(tree), name)
    return tree


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True
    ).stdout


def _all_books(asked: argparse.Namespace, folder: Path) -> Iterator[Golden]:
    feeds, seeds = folder / "sample_feeds", PROJECT_ROOT / "seeds"
    if not feeds.is_dir():
        subprocess.run(
            [sys.executable, "-m", "gpu_credits", "sample", str(feeds)],
            cwd=PROJECT_ROOT,
            check=True,
        )
    yield Golden("whole", seeds, feeds, ((_FIRST, _LAST),))
    nights = [_HALF + timedelta(days=n) for n in range(1, (_LAST - _HALF).days + 1)]
    yield Golden("nights", seeds, feeds, ((_FIRST, _HALF), *((day, day) for day in nights)))
    yield Golden("upgrade", seeds, feeds, ((_FIRST, _HALF), (nights[0], _LAST)))
    if asked.feeds and asked.seeds and asked.days:
        first, last = asked.days
        yield Golden("feeds", asked.seeds.resolve(), asked.feeds.resolve(), ((first, last),))


def _bill(tree: Path, books: Golden, runs: Sequence[Run], place: Path) -> None:
    """Bill some runs with a tree's code."""
    names = {name.upper() for name in Settings.model_fields}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in names},
        "SEEDS_DIR": str(books.seeds),
        "FEEDS_URL": str(books.feeds),
        "DATA_DIR": str(place),
        "BOOKS_OPEN_ON": books.runs[0][0].isoformat(),
        "PYTHONPATH": str(tree),
    }
    # Revisions from before there was one command.
    command = ["gpu_credits", "bill"] if (tree / "gpu_credits").is_dir() else ["orchestration.bill"]
    for number, (first, last) in enumerate(runs, start=1):
        print(
            f"{books.name}: {first} to {last} with {tree.name} ({number} of {len(runs)})",
            file=sys.stderr,
            flush=True,
        )
        subprocess.run(
            [sys.executable, "-m", *command, first.isoformat(), last.isoformat()],
            cwd=tree,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def compare(before: Path, after: Path, but: Set[str] = frozenset()) -> Iterator[str]:
    """What differs between two publications, but for some tables; a line each."""
    tables = [{path.name for path in place.iterdir() if path.is_dir()} for place in (before, after)]
    for table in sorted((tables[0] ^ tables[1]) - but):
        yield f"{table}: only {'before' if table in tables[0] else 'after'}"
    for table in sorted((tables[0] & tables[1]) - but):
        places = [f"'{place / table}/*.parquet'" for place in (before, after)]
        left, right = (duckdb.sql(f"from {place} limit 0").columns for place in places)
        for column in sorted(set(left) ^ set(right)):
            yield f"{table}.{column}: only {'before' if column in left else 'after'}"
        columns = ", ".join(f'"{name}"' for name in left if name in right)
        for side, (one, other) in (("before", places), ("after", places[::-1])):
            rows = duckdb.sql(
                f"select {columns} from {one} except all select {columns} from {other}"
            ).fetchall()
            if rows:
                yield f"{table}: {len(rows)} rows only {side}, such as {rows[0]}"


if __name__ == "__main__":
    sys.exit(main())
