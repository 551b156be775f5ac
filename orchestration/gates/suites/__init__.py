"""What is expected of each landed feed: suites of Great Expectations, as data in the YAML files here.

An error means that a delivery is not what billing may rest on, so nothing may be billed from it. A
warning means that it is unlike other days: a person should look, but a feed may be small, late or
strange and still be right. How far that may go before it is an error is for the operator to say:
MAX_VOLUME_CHANGE and MAX_FEED_AGE_DAYS. What landing itself promises of each row is not asked again.

``docs/checks.md`` lists all of them and says how to change one; tests/test_checks_doc.py compares.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestration.gates.gate import Check, FeedKey, Gate
from orchestration.settings import Settings

FEEDS: tuple[FeedKey, ...] = ("usage", "energy_price", "energy_mix", "gpu_price", "fx_rate")
"""The feeds as their assets are called: ``landing/<feed>``."""

CHECKS: dict[Check, str] = {
    "schema": "What is landed has the columns and types that the models read.",
    "ranges": "No value is impossible, and few are implausible.",
    "volume": "All that was landed is there, and it is about as much as in the last four weeks.",
    "freshness": "The newest rows are as new as they should be.",
    "unmapped_share": "Few rows are of customers, clusters or accelerators that no seed knows.",
}

_FOLDER = Path(__file__).parent
_CURE = "docs/checks.md shows an entry"


class SuiteError(ValueError):
    """A suite file cannot be used: which, which entry of it, what is wrong, and the cure."""

    def __init__(self, file: str, entry: str, wrong: str, cure: str = _CURE) -> None:
        super().__init__(f"orchestration/gates/suites/{file}, {entry}: {wrong}. {cure}.")


def suite(feed: FeedKey, settings: Settings, folder: Path = _FOLDER) -> tuple[Gate, ...]:
    """The gates of a feed. One that names a setting counts only if the setting has a value.

    Raises:
        SuiteError: a suite file cannot be used.
    """
    files = ["every_feed.yml", f"{feed}.yml"]
    if feed != "usage":
        files.insert(1, "every_price_feed.yml")
    accepted = {f"{field}_is_there" for field in settings.fields_gone}
    found: dict[str, Gate] = {}
    for gate in (gate for file in files for gate in _entries(folder / file)):
        if gate.name in found:
            wrong = f"an entry of {found[gate.name].file} has that name, too"
            raise SuiteError(gate.file, gate.name, wrong, "Rename one of them")
        found[gate.name] = gate.model_copy(update={"limits": _limits(gate, settings)})
    return tuple(
        gate
        for gate in found.values()
        if gate.name not in accepted and None not in gate.limits.values()
    )


def fingerprint(gates: tuple[Gate, ...]) -> str:
    """Changes when anything that the gates expect does."""
    return hashlib.sha256(repr(gates).encode()).hexdigest()[:16]


@cache
def _entries(path: Path) -> list[Gate]:
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        wrong = f"it is not YAML: {' '.join(str(error).split())}"
        raise SuiteError(path.name, "the file", wrong, "Put texts with a colon in quotes") from None
    if not isinstance(listed, list):
        raise SuiteError(path.name, "the file", "it is no list of entries")
    return [_entry(path.name, number, written) for number, written in enumerate(listed, 1)]


def _entry(file: str, number: int, written: Any) -> Gate:
    if not isinstance(written, dict):
        raise SuiteError(file, f"entry {number}", f"{written!r} is no entry")
    try:
        return Gate.model_validate({**written, "file": file})
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise SuiteError(file, str(written.get("name", f"entry {number}")), wrong) from None


def _limits(gate: Gate, settings: Settings) -> dict[str, Any]:
    """The columns of a pair that are no measures: numbers, and settings by their public names."""
    limits: dict[str, Any] = {}
    for column in gate.pair:
        if column.isupper():
            limits[column] = getattr(settings, column.lower(), "")
            if not isinstance(limits[column], int | Decimal | None):
                wrong = f"no number can be set as {column}"
                raise SuiteError(gate.file, gate.name, wrong)
        elif column.lstrip("-")[:1].isdigit():
            limits[column] = Decimal(column)
    return limits
