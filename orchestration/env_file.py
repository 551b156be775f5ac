"""The file of settings beside the environment, ``.env``, and names in either that miss a setting.

A setting of the environment wins over one of the file. Nothing of a value is ever quoted from here.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

NAMED_BY = "ENV_FILE"
_DEFAULT = ".env"

# So alike is a name to the one it misses: one letter of eight, but not DBT_TARGET_PATH to DBT_TARGET.
_MISSPELT = 0.865
_PERHAPS_MEANT = 0.65
_PLACES = ("SEEDS_DIR", "FEEDS_URL", "DATA_DIR", "SPARK_WAREHOUSE_DIR")


class EnvFileError(ValueError):
    """The file cannot be used; the message names it and a line per problem."""


def env_file(environment: Mapping[str, str]) -> Path | None:
    """The file that ENV_FILE names, or ``.env`` of the working directory; None if that isn't there.

    Raises:
        EnvFileError: ENV_FILE names a file that isn't there.
    """
    named = environment.get(NAMED_BY)
    path = Path(named or _DEFAULT).expanduser().absolute()
    if path.exists() or path.is_symlink():
        return path
    if named:
        raise EnvFileError(f"{NAMED_BY}={named!r} is not there: no file {path}")
    return None


def read_env_file(path: Path, known: Collection[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """The settings of a file by name; those that are empty are left out.

    Args:
        path: the file. Relative paths in it are relative to its folder.
        known: the names of all settings.
        renamed: names that the environment may still use, each with the one of today.

    Raises:
        EnvFileError: it cannot be read, or has a line that is no setting.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise EnvFileError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read ({error.strerror})") from None
    problems = []
    for line in parse_stream(io.StringIO(text)):
        if line.error or (line.key and line.value is None):
            wrong = "it does not read NAME=value"
        elif not line.key or line.key.upper() in known:
            continue
        elif line.key.upper() in renamed:
            wrong = f"{line.key} is called {renamed[line.key.upper()]} now"
        else:
            wrong = _unknown(line.key, known)
        first = line.original.string
        number = line.original.line + first[: len(first) - len(first.lstrip())].count("\n")
        problems.append(f"line {number}: {wrong}")
    if problems:
        raise EnvFileError(f"{path} holds settings only (docs/settings.md): {'; '.join(problems)}")
    given = {
        name.upper(): value
        for name, value in dotenv_values(stream=io.StringIO(text)).items()
        if value
    }
    return {name: _from_here(name, value, path.parent) for name, value in given.items()}


def _unknown(name: str, known: Collection[str]) -> str:
    near = meant(name, known)
    # What reads otherwise may be the rest of a secret that was broken over two lines.
    is_a_name = near or re.fullmatch("[A-Z][A-Z0-9_]*", name)
    return f"{name if is_a_name else 'its name'} is no setting{near}"


def _from_here(name: str, value: str, folder: Path) -> str:
    """A value whose path, if it is one, does not depend on the working directory."""
    if name not in _PLACES or "://" in value:
        return value
    return str(folder / Path(value).expanduser())


def misspelt(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """A sentence for each variable that is no setting, but nearly is one that isn't set.

    Variables of the system and of other programs are not named: tests/test_env_file.py has a list.
    """
    names = {name.upper() for name, value in environment.items() if value}
    found = []
    for name in sorted(names - set(known)):
        near = difflib.get_close_matches(name, known, 1, _MISSPELT)
        if near and near[0] not in names:
            found.append(f"{name} is no setting, and nothing reads it{meant(name, known)}")
    return found


def meant(name: str, known: Collection[str]) -> str:
    """The end of a sentence: the settings that may be meant by a name, if any is like it."""
    near = difflib.get_close_matches(name.upper(), known, 2, _PERHAPS_MEANT)
    return f": is {' or '.join(near)} meant?" if near else ""
