"""Delivered text as lines: pieces of bounded size, each line with its number in the file.

What a line says is the business of the modules that read one feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.sources import DeliveredStream

# A piece is held several times over while it is typed: 16 MB keep a landing below half a GB.
PIECE_BYTES = 16 << 20

LINES = pa.schema([("line_number", pa.int64()), ("line", pa.string())])

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """Some consecutive lines: the readable ones as a table, the others with what is wrong.

    Attributes:
        table: ``line_number`` (from 1) and ``line`` (without its line end), schema LINES.
        undecodable: lines that are not UTF-8, as (line number, bytes).
        unended: the file's last line if no line end follows it, else None.
    """

    table: pa.Table
    undecodable: list[tuple[int, bytes]]
    unended: bytes | None


def read_lines(stream: DeliveredStream, piece_bytes: int = PIECE_BYTES) -> Iterator[Lines]:
    """Read a stream to its end in pieces of whole lines, about ``piece_bytes`` each.

    A byte order mark at the start and CRLF line ends are tolerated.
    """
    line_number = 1
    rest = b""
    at_start = True
    while data := stream.read(piece_bytes):
        if at_start:
            data = data.removeprefix(_BOM)
            at_start = False
        end = data.rfind(b"\n") + 1
        if not end:
            rest += data  # A line that is longer than a piece.
            continue
        whole = rest + data[:end] if rest else data[:end]
        rest = data[end:]
        del data
        yield _split(whole, line_number, ended=True)
        line_number += whole.count(b"\n")
    if rest:
        yield _split(rest, line_number, ended=False)


def readable(line: bytes) -> str:
    """A line that is not UTF-8 as text: its odd bytes are written as ``\\xNN``."""
    return line.decode("utf-8", "backslashreplace")


def _split(data: bytes, first_number: int, *, ended: bool) -> Lines:
    undecodable: list[tuple[int, bytes]] = []
    try:
        lines = pc.split_pattern(_text(data), "\n").values
        if ended:
            lines = lines.slice(0, len(lines) - 1)
        numbers = pa.array(range(first_number, first_number + len(lines)), pa.int64())
    except pa.ArrowInvalid:
        good_numbers: list[int] = []
        good: list[str] = []
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), first_number):
            try:
                good.append(line.decode("utf-8"))
                good_numbers.append(number)
            except UnicodeDecodeError:
                undecodable.append((number, line.removesuffix(b"\r")))
        lines, numbers = pa.array(good, pa.string()), pa.array(good_numbers, pa.int64())
    if b"\r" in data:
        lines = pc.replace_substring_regex(lines, "\r$", "")
    unended = None if ended else data.rpartition(b"\n")[2].removesuffix(b"\r")
    return Lines(pa.table([numbers, lines], schema=LINES), undecodable, unended)


def _text(data: bytes) -> pa.StringArray:
    """One string over the bytes themselves, or ArrowInvalid if they are not UTF-8."""
    offsets = pa.array([0, len(data)], pa.int32()).buffers()[1]
    text = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data))
    text.validate(full=True)
    return text
