"""May these seeds replace those of a base, a folder of seeds or a Git reference to one?

What was billed for good must still be billed the same, should the books ever be built anew: no
edit may change what holds on a day of a closed cycle.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from orchestration.errors import PlainError
from orchestration.seeds.changes import Books, Closed, Row, Tables, retroactive_edits
from orchestration.seeds.staging import SeedError, check_seeds, seed_contracts
from orchestration.settings import Settings


class UnknownBase(PlainError, ValueError):
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


@dataclass(frozen=True)
class Judged:
    """Whether edits of the seeds may be made."""

    text: str
    """What is to be said of them."""
    reaches_back: bool
    """Whether one changes what held on a day of a closed cycle."""


def judge_edits(settings: Settings, base: str, closed_through: date | None) -> Judged:
    """Hold the seeds of SEEDS_DIR against those of a base.

    Args:
        settings: say where seeds and books are.
        base: a folder of seeds, or a Git reference.
        closed_through: the last closed day, where the books are out of reach; without it the archive
            of the books says which cycles are closed.

    Raises:
        UnknownBase: what to compare with, or what is closed, cannot be found out.
        SeedError: seeds break their contract.
    """
    with tempfile.TemporaryDirectory() as scratch:
        before = _base_seeds(_base_folder(base, settings.seeds_dir, Path(scratch)))
    after = check_seeds(settings.seeds_dir)
    closed = (
        Closed(closed_through, {})
        if closed_through
        else closed_cycles(settings, before["customers"])
    )
    edits = retroactive_edits(before, after, closed)
    if edits:
        said = (
            f"These edits reach back into closed cycles ({len(edits)} of them; the last cycle "
            f"that closed ended with {closed.through}):"
        )
        return Judged("\n".join([said, *(f"  {edit}" for edit in edits)]), reaches_back=True)
    said = (
        f"No edit reaches back: what held up to {closed.through} still does"
        if closed.through
        else "No cycle has closed yet: every edit may be made"
    )
    return Judged("\n".join([said, *_to_bill_anew(before, after, closed)]), reaches_back=False)


def _to_bill_anew(before: Tables, after: Tables, closed: Closed) -> Iterator[str]:
    """How days of open cycles that an edit changes are billed anew; contracts take effect by themselves."""
    if not closed.billed_through:
        return
    edits = retroactive_edits(before, after, Closed(closed.billed_through, {}))
    firsts = [edit.first for edit in edits if not edit.file.startswith("contracts/")]
    if firsts:
        yield (
            f"Days of open cycles change, from {min(firsts)} on. To bill them anew: "
            f"make bill FROM={min(firsts)} TO={closed.billed_through}"
        )
