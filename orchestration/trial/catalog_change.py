"""``python -m orchestration.trial.catalog_change BASE``: may these seeds replace those of BASE?

What was billed for good must still be billed the same, should the books ever be built anew: no
edit may change what holds on a day of a closed cycle. BASE is a folder of seeds or a Git reference
to one; the seeds that are checked are those of SEEDS_DIR. Exit code 1 if an edit reaches back, 2 if
something asked for is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from orchestration.seeds.changes import Books, Closed, Row, Tables, retroactive_edits
from orchestration.seeds.staging import SeedError, check_seeds, seed_contracts
from orchestration.settings import Settings, SettingsError, load_settings


class UnknownBase(ValueError):
    """What to compare with, or what is closed, cannot be found out; the message says what to do."""


def closed_cycles(settings: Settings, customers: list[Row]) -> Closed:
    """What is closed in the books that are published.

    Args:
        settings: say where the publication is.
        customers: the seed, as it was when those books were billed.

    Raises:
        UnknownBase: nothing is published.
    """
    path = settings.published_dir / "current" / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownBase(
            f"Nothing is published in {settings.published_dir}: point DATA_DIR at the books, or "
            "say up to which day everything is closed with --closed-through"
        ) from None
    return Books(
        opened_on=date.fromisoformat(manifest["settings"]["books_open_on"]),
        last_day=date.fromisoformat(manifest["last_delivery_day"]),
        days_until_close=manifest["settings"]["days_until_close"],
    ).closed(customers)


def _base_folder(base: str, seeds_dir: Path, scratch: Path) -> Path:
    """The seeds to compare with: a folder, or those of a Git reference where SEEDS_DIR lies."""
    if Path(base).is_dir():
        return Path(base).resolve()
    commit = _git(seeds_dir, "rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}")
    if commit is None:
        raise UnknownBase(f"{base!r} is neither a folder nor a Git reference in {seeds_dir}")
    for contract in seed_contracts():
        path = contract.file
        content = _git(seeds_dir, "show", f"{commit.strip().decode()}:./{path}")
        if content is not None:
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_bytes(content)
    return scratch


def _base_seeds(folder: Path) -> Tables:
    try:
        return check_seeds(folder)
    except SeedError as error:
        raise UnknownBase(f"The base cannot be compared with. {error}") from None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What Git says; None if it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError:
        raise UnknownBase("Git is not installed: name a folder of seeds as the base") from None
    return done.stdout if done.returncode == 0 else None


def main(arguments: list[str] | None = None) -> int:
    """Check the seeds of SEEDS_DIR against those of a base."""
    parser = argparse.ArgumentParser(prog="make check-catalog", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder of seeds, or a Git reference")
    parser.add_argument(
        "--closed-through",
        type=date.fromisoformat,
        help="last closed day, where the books are out of reach; else DATA_DIR's archive says",
    )
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        with tempfile.TemporaryDirectory() as scratch:
            before = _base_seeds(_base_folder(asked.base, settings.seeds_dir, Path(scratch)))
        after = check_seeds(settings.seeds_dir)
        if asked.closed_through:
            closed = Closed(asked.closed_through, {})
        else:
            closed = closed_cycles(settings, before["customers"])
    except (SettingsError, SeedError, UnknownBase) as error:
        print(f"Not checked. {error}", file=sys.stderr)
        return 2
    edits = retroactive_edits(before, after, closed)
    if edits:
        print(
            f"These edits reach back into closed cycles ({len(edits)} of them; the last cycle "
            f"that closed ended with {closed.through}):",
            *(f"  {edit}" for edit in edits),
            sep="\n",
            file=sys.stderr,
        )
        return 1
    print(
        f"No edit reaches back: what held up to {closed.through} still does"
        if closed.through
        else "No cycle has closed yet: every edit may be made"
    )
    if closed.billed_through:
        # Contracts take effect by themselves.
        open_edits = [
            edit
            for edit in retroactive_edits(before, after, Closed(closed.billed_through, {}))
            if not edit.file.startswith("contracts/")
        ]
        if open_edits:
            first = min(edit.first for edit in open_edits)
            print(
                f"Days of open cycles change, from {first} on. To bill them anew: "
                f"make bill FROM={first} TO={closed.billed_through}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
