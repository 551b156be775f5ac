"""What ``gpu-credits init`` writes: seeds, feeds and settings to begin with, small enough to follow by hand.

The files lie in ``files/`` as they are written, but for ``.env``, which lies there as ``env``; what each
field means is written as ``docs/inputs.md`` is.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from orchestration.errors import PlainError
from orchestration.inputs_page import feed_part, seed_parts
from orchestration.landing.fields import ALL_FIELDS

OPENS_ON = date(2026, 1, 5)
"""The day that the books of the starter open, and its first delivery day."""
CLOSES_ON = date(2026, 1, 7)
"""Its last delivery day."""

_FILES = Path(__file__).with_name("files")
_NAMES = {"env": ".env"}
_FEEDS_HEAD = """\
# Feeds

What is delivered, a folder per feed; a file may be gzipped (`.gz`). All days are UTC. Replace the files here
by your own. A row that breaks a rule stops no other: it is set aside with its reason, and
`gpu-credits check` lists it.
"""
_SEEDS_HEAD = """\
# Seeds

What people edit: `catalog/` is what you sell, `fleet/` what you run, `contracts/` who buys. CSV with commas
in UTF-8; the first line names the columns, and there are no comments. A day is written YYYY-MM-DD. To change
a price, end its row with a `valid_to` and add another with that day as `valid_from`. `gpu-credits check`
names whatever is wrong, by file, row and column.
"""


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
    feeds = (feed_part(feed, "##") for feed in ALL_FIELDS)
    pages = {
        "feeds/README.md": "\n".join([_FEEDS_HEAD, *feeds]),
        "seeds/README.md": "\n".join([_SEEDS_HEAD, *seed_parts(_FILES / "seeds", "##")]),
    }
    return found | pages
