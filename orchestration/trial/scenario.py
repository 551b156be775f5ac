"""A scenario: a folder with the seeds that are to be changed, laid over the seeds that bill today."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.errors import PlainError
from orchestration.seeds.staging import SeedError, check_seeds, seed_contracts, seed_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 200
"""Of all scenarios of a replay together: they name a folder."""


class ScenarioError(PlainError, ValueError):
    """A scenario cannot be read as one; the message names its folder and what to do."""


@dataclass(frozen=True)
class Scenario:
    """Seeds to replay with.

    Attributes:
        name: of its folder; names what is published.
        folder: holds ``catalog/*.csv``, and ``contracts/*.csv`` or ``fleet/*.csv`` if they differ
            too. A file replaces the whole seed; a seed without one is as it bills today.
    """

    name: str
    folder: Path


def plain_name(path: str) -> str:
    """The last part of a path or URL, if it can name a folder.

    Raises:
        ScenarioError: it has other characters than letters, digits, dot, hyphen and underscore.
    """
    name = path.rstrip("/").rpartition("/")[2]
    if not _NAME.fullmatch(name):
        raise ScenarioError(
            f"{path!r}: its last part must be letters, digits, '.', '-' and '_', and start with a "
            "letter or a digit: it names what is published"
        )
    return name


def read_scenarios(folders: Sequence[str | Path]) -> list[Scenario]:
    """Find out what the folders hold.

    Raises:
        ScenarioError: a folder is missing, holds no seed or a CSV file that is none, a link leads
            out of it, or two folders have one name.
    """
    found = []
    for folder in (Path(folder).expanduser().resolve() for folder in folders):
        if not folder.is_dir():
            raise ScenarioError(f"The scenario {str(folder)!r} is not a folder")
        found.append(Scenario(plain_name(str(folder)), folder))
        _check_files(folder)
    if not found:
        raise ScenarioError("No scenario is named: give the folder of its seeds")
    twice = [name for name, count in Counter(s.name for s in found).items() if count > 1]
    if twice:
        raise ScenarioError(f"Two scenarios have one name: {', '.join(twice)}; rename a folder")
    if len(replay_name(found)) > _LONGEST_NAME:
        raise ScenarioError("The scenarios' names are too long together: rename their folders")
    return found


def replay_name(scenarios: Sequence[Scenario]) -> str:
    """What the comparison of these scenarios is published under."""
    return "+".join(scenario.name for scenario in scenarios)


def lay_over(seeds_dir: Path, scenario: Scenario | None, target: Path) -> None:
    """Write the seeds that a scenario bills with: its own files, the others from ``seeds_dir``.

    A copy also where nothing is changed: what a replay bills with cannot change while it runs.

    Raises:
        SeedError: they break their contract, with file, row and column; names the scenario.
        ScenarioError: a link in the scenario leads out of its folder.
    """
    for contract in seed_contracts():
        path = contract.file
        own = _own_file(scenario.folder, path) if scenario else None
        source = own or seed_file(contract, seeds_dir)
        if source.exists():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / path)
    try:
        check_seeds(target)
    except SeedError as error:
        if scenario is None:
            raise
        raise SeedError(
            f"Scenario {scenario.name} ({scenario.folder} over {seeds_dir}): {error}"
        ) from None


def _seed_paths() -> list[str]:
    return [contract.file for contract in seed_contracts()]


def _own_file(folder: Path, path: str) -> Path | None:
    """A seed of a scenario, if it has that one.

    Raises:
        ScenarioError: it is somewhere else: whoever proposes a scenario could have any file read that
            the job may read, and quoted where it breaks a contract.
    """
    own = folder / path
    if not os.path.lexists(own):
        return None
    # Not resolve(): that breaks off at links that go round in circles.
    real = Path(os.path.realpath(own))
    if not real.is_relative_to(os.path.realpath(folder)) or not real.is_file():
        raise ScenarioError(
            f"The scenario {str(folder)!r}: {path} is no file in that folder, but a link to "
            "somewhere else or no file at all; put the file itself there"
        )
    return real


def _check_files(folder: Path) -> None:
    """A misspelt file would be passed over, and the replay would show no difference."""
    known = _seed_paths()
    own = {path for path in known if _own_file(folder, path)}
    files = sorted(own | {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")})
    unknown = [file for file in files if file not in known]
    if unknown:
        raise ScenarioError(
            f"The scenario {str(folder)!r} holds {', '.join(unknown[:5])}, which is no seed; "
            f"seeds are {', '.join(known)}"
        )
    if not files:
        raise ScenarioError(
            f"The scenario {str(folder)!r} changes nothing: put the changed seeds into it, for "
            "example catalog/credit_rates.csv"
        )
