"""What a file is that is not what its name says: asked only of one that could not be read.

Whoever exported the wrong thing, or the right thing in another dress, has to hear what it is, not
which byte of it is no JSON. Only the beginning of a file is looked at.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass

_MAGIC = (
    (b"\x1f\x8b", "it is gzip under a plain name", "Deliver it with .gz at the end of its name"),
    (b"PK\x03\x04", "it is a zip file or an Excel workbook", "Deliver what is in it, as text"),
    (
        b"PAR1",
        "it is Parquet under another name",
        "Deliver it with .parquet at the end of its name",
    ),
    (b"BZh", "it is packed with bzip2", "Deliver it plain or packed with gzip"),
    (b"\xfd7zXZ", "it is packed with xz", "Deliver it plain or packed with gzip"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd", "Deliver it plain or packed with gzip"),
)
_BOM = b"\xef\xbb\xbf"
_UTF_16_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_PROMETHEUS = re.compile(r"(# (HELP|TYPE) \w|[a-zA-Z_:][\w:]*(\{.*\})? [-+0-9.eNaInf]+\s*$)")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_SHOWN = 200


@dataclass(frozen=True)
class Foreign:
    """What a file is, as a part of a sentence, and what to do about it."""

    what: str
    cure: str


def not_json_lines(head: bytes) -> Foreign | None:
    """What a file is that begins with ``head`` and holds no usable row of JSON; None if unknown."""
    if other := _not_utf_8(head):
        return other
    text = _text(head)
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0].strip() if lines else ""
    one_a_line = "Deliver one JSON object a line, without brackets or commas around them"
    if first.startswith("["):
        return Foreign("it is one JSON array, not a JSON object a line", one_a_line)
    if first.startswith("{"):
        if len(lines) > 1 and not _is_json(first) and lines[1].lstrip()[:1] in {'"', "}"}:
            return Foreign("its JSON objects are spread over several lines", one_a_line)
        return None
    return _not_json(lines)


def _not_json(lines: list[str]) -> Foreign | None:
    """What a text is whose first line does not begin like JSON."""
    first = lines[0] if lines else ""
    if first.lstrip().startswith("<"):
        return Foreign("it is a page of HTML or XML", "Deliver the data, not a page about it")
    if _PROMETHEUS.match(first):
        return Foreign(
            "it is Prometheus text, the state of counters",
            "Deliver metered slices as JSON lines",
        )
    if names := _table(first):
        separator, columns = names
        return Foreign(
            f"it is a table (CSV) with columns between {_SEPARATORS[separator]}, beginning "
            f"{_shown(', '.join(columns))}",
            "Deliver one JSON object a line",
        )
    return None


def not_this_csv(head: bytes, wanted: tuple[str, ...]) -> Foreign | None:
    """What a file is that begins with ``head`` and whose header lacks wanted columns."""
    if other := _not_utf_8(head):
        return other
    lines = _text(head).splitlines() or [""]
    first = lines[0].strip()
    names = ",".join(wanted)
    if first.startswith(("{", "[")):
        return Foreign("it is JSON", f"Deliver CSV whose first line names {names}")
    if first.startswith("<"):
        return Foreign("it is a page of HTML or XML", "Deliver the data, not a page about it")
    if _PROMETHEUS.match(first) and "," not in first.partition("{")[0]:
        return Foreign("it is Prometheus text", f"Deliver CSV whose first line names {names}")
    if first.startswith("#") or first.lower().startswith("sep="):
        return Foreign(
            f"a line stands above its header: {_shown(first)}", "Deliver it without that line"
        )
    found = _table(first)
    if found and found[0] != "," and wanted[0] in [name.lower() for name in found[1]]:
        return Foreign(
            f"its columns are separated by {_SEPARATORS[found[0]]}",
            "Deliver it with commas between them, and points in numbers",
        )
    return None


def _not_utf_8(head: bytes) -> Foreign | None:
    """A container or an encoding that is no text in UTF-8, or other line ends."""
    for magic, what, cure in _MAGIC:
        if head.startswith(magic):
            return Foreign(what, cure)
    if head.startswith(_UTF_16_32) or b"\x00" in head[1:4]:
        return Foreign("it is UTF-16 or UTF-32, not UTF-8", "Deliver it as UTF-8")
    if b"\r" in head and b"\n" not in head:
        return Foreign("its lines end with a carriage return alone", "Deliver it with line feeds")
    return None


def _text(head: bytes) -> str:
    return head.removeprefix(_BOM).decode("utf-8", "replace")


def _table(line: str) -> tuple[str, list[str]] | None:
    """The separator of a line that looks like the header of a table, and the names in it."""
    for separator in sorted(_SEPARATORS, key=line.count, reverse=True):
        names = next(csv.reader([line], delimiter=separator), [])
        if len(names) > 1 and all(re.search(r"\w", name) for name in names):
            return separator, [name.strip() for name in names]
    return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
