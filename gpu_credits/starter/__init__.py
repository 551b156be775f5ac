"""What ``gpu-credits init`` writes: seeds, feeds and settings to begin with, small enough to follow by hand.

The files lie in ``files/`` as they are written, but for ``.env``, which lies there as ``env``; what each
column of a seed means is written from the seeds' contract.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from orchestration.errors import PlainError
from orchestration.seeds.contracts import CONTRACTS_FILE, SeedContract, seed_contracts

OPENS_ON = date(2026, 1, 5)
"""The day that the books of the starter open, and its first delivery day."""
CLOSES_ON = date(2026, 1, 7)
"""Its last delivery day."""

_FILES = Path(__file__).with_name("files")
_NAMES = {"env": ".env"}
_SEEDS_PAGE = "seeds/README.md"
_DOC_BLOCK = re.compile(r"{% docs (\w+) %}\s*(.*?)\s*{% enddocs %}", re.DOTALL)
_DOC = re.compile(r"{{ doc\('(\w+)'\) }}")


class StarterError(PlainError):
    """The starter cannot be written where it was asked for; the message says why. Nothing was."""


def write_starter(folder: Path) -> list[Path]:
    """Write the starter into a folder, which is made if it isn't there.

    Returns:
        The files that were written.

    Raises:
        StarterError: a file of it is there already, or the folder cannot be written.
    """
    folder = folder.expanduser().absolute()
    contents = _contents()
    there = [name for name in contents if (folder / name).exists()]
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise StarterError(
            f"{folder} has {', '.join(there[:3])}{more} already, and no file is ever overwritten; "
            "name another folder."
        )
    written = []
    try:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not one that came there meanwhile, either.
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
            written.append(path)
    except OSError as error:
        raise StarterError(f"{error.filename} cannot be written: {error.strerror}.") from None
    return written


def _contents() -> dict[str, str]:
    """What is written, by path below the folder."""
    found = {
        path.relative_to(_FILES).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(_FILES.rglob("*"))
        if path.is_file()
    }
    found = {_NAMES.get(name, name): content for name, content in found.items()}
    return {**found, _SEEDS_PAGE: _seeds_page()}


def _seeds_page() -> str:
    """What every column of every seed means, by the contract that the seeds are held to."""
    described = yaml.safe_load(CONTRACTS_FILE.read_text(encoding="utf-8"))["seeds"]
    blocks = dict(_DOC_BLOCK.findall(CONTRACTS_FILE.with_name("docs.md").read_text("utf-8")))
    by_name = {seed["name"]: seed for seed in described}
    parts = [
        "# Seeds",
        "What people edit: `catalog/` is what you sell, `fleet/` what you run, `contracts/` who buys. "
        "CSV with commas in UTF-8; the first row names the columns, and there are no comments. A day "
        "is written YYYY-MM-DD. `valid_from` is the first day of a row and `valid_to` the first day "
        "after it, empty while it holds: to change a price, end the row and add another. "
        "`gpu-credits check` names whatever is wrong, by file, row and column.",
    ]
    for contract in sorted(seed_contracts(), key=lambda each: each.folder):
        seed = by_name[contract.name]
        may_lack = " The file may be absent." if contract.optional_file else ""
        rows = [_row(contract, column, blocks) for column in seed["columns"]]
        parts += [
            f"## {contract.file}",
            f"{seed['description']}{may_lack}",
            "\n".join(["| column | needed | what it is |", "| --- | --- | --- |", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


def _row(contract: SeedContract, column: dict[str, Any], blocks: dict[str, str]) -> str:
    name = column["name"]
    meaning = _DOC.sub(lambda found: " ".join(blocks[found[1]].split()), column["description"])
    of_these = contract.values.get(name)
    one_of = f" One of {', '.join(of_these)}." if of_these else ""
    needed = "yes" if name in contract.required else ""
    return f"| `{name}` | {needed} | {meaning}{one_of} |"
