"""Delivered text as lines: pieces of bounded size, each line with its number in the file.

What a line says is the business of the modules that read one feed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

# A piece is held several times over while it is typed: 16 MB keep a landing below half a GB, and a
# row costs some hundred bytes however short its line is.
PIECE_BYTES = 16 << 20
PIECE_LINES = 1 << 17

MAX_LINE_BYTES = 4 << 20
"""A longer line is no row that anyone meant; parsed, it could take a hundred times its size."""
KEPT_BYTES = 64 << 10
"""How much is kept of a line that is too long."""

LINES = pa.schema([("line_number", pa.int64()), ("line", pa.string())])

_BOM = b"\xef\xbb\xbf"


class Stream(Protocol):
    """Bytes that are read once, front to back."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; fewer only at the end."""
        ...


@dataclass(frozen=True)
class UnreadableLine:
    """A line that no feed can read: its number, its text as far as it can be kept, what is wrong."""

    line_number: int
    raw: str
    wrong: str


@dataclass(frozen=True)
class Lines:
    """Some consecutive lines: the readable ones as a table, the others with what is wrong.

    Attributes:
        table: ``line_number`` (from 1) and ``line`` (without its line end), schema LINES; without
            lines that hold nothing but white space.
        unreadable: lines that are not UTF-8 or too long.
        unended: the file's last line if no line end follows it, else None; of a line that is too
            long, its beginning and more than MAX_LINE_BYTES.
    """

    table: pa.Table
    unreadable: list[UnreadableLine]
    unended: bytes | None


def read_lines(stream: Stream, piece_bytes: int = PIECE_BYTES) -> Iterator[Lines]:
    """Read a stream to its end in pieces of whole lines, about ``piece_bytes`` each.

    A byte order mark at the start and CRLF line ends are tolerated. However long a line is, not
    much more than MAX_LINE_BYTES of it are held.
    """
    line_number = 1
    rest = b""
    dropped = 0
    at_start = True
    while data := stream.read(piece_bytes):
        if at_start:
            data = data.removeprefix(_BOM)
            at_start = False
        if dropped and b"\n" in data:
            tail, _, data = data.partition(b"\n")
            too_long = _too_long(line_number, rest, len(rest) + dropped + len(tail))
            yield Lines(LINES.empty_table(), [too_long], None)
            line_number, rest, dropped = line_number + 1, b"", 0
        end = data.rfind(b"\n") + 1
        begun, rest = rest, data[end:] if end else rest + data
        if len(rest) > MAX_LINE_BYTES:
            dropped += len(rest) - MAX_LINE_BYTES - 1
            rest = rest[: MAX_LINE_BYTES + 1]
        if end:
            whole = b"".join((begun, memoryview(data)[:end]))
            del data, begun
            line_number += yield from _split(whole, line_number, ended=True)
    if dropped:
        too_long = _too_long(line_number, rest, len(rest) + dropped)
        yield Lines(LINES.empty_table(), [too_long], rest)
    elif rest:
        yield from _split(rest, line_number, ended=False)


def readable(line: bytes) -> str:
    """A line that is not UTF-8 as text: its odd bytes are written as ``\\xNN``."""
    return line.decode("utf-8", "backslashreplace")


def _too_long(line_number: int, beginning: bytes, size: int) -> UnreadableLine:
    return UnreadableLine(
        line_number,
        readable(beginning[:KEPT_BYTES]),
        f"the line has {size:,} bytes, more than {MAX_LINE_BYTES:,}; "
        f"its first {KEPT_BYTES:,} are kept",
    )


def _split(data: bytes, first_number: int, *, ended: bool) -> Generator[Lines, None, int]:
    """Lines of a text, from few enough delivered ones at a time, the blank ones dropped.

    Returns how many line ends there are.
    """
    unended = None if ended else data.rpartition(b"\n")[2].removesuffix(b"\r")
    try:
        text = _text(data)
    except pa.ArrowInvalid:
        ends = data.count(b"\n")
        parts = _decoded(data, first_number)
    else:
        lines = pc.split_pattern(text, "\n").values
        ends = len(lines) - 1
        parts = _sliced(lines, data, first_number)
    waiting: Lines | None = None
    for table, unreadable in parts:
        if waiting:
            yield waiting
        waiting = Lines(table, unreadable, None)
    if waiting:
        yield replace(waiting, unended=unended)
    return ends


def _sliced(
    lines: pa.StringArray, data: bytes, first_number: int
) -> Iterator[tuple[pa.Table, list[UnreadableLine]]]:
    """The lines of a text that is UTF-8, and those that are too long."""
    numbers = pa.arange(first_number, first_number + len(lines))
    kept = pa.table([numbers, lines], schema=LINES)
    if lines and not lines[-1].as_py():
        # Behind the last line end.
        kept = kept.slice(0, len(lines) - 1)
    begins_black = pc.match_substring_regex(kept["line"], "^[!-~]")
    if not pc.all(begins_black, min_count=0).as_py():
        is_blank = pc.equal(pc.utf8_trim_whitespace(kept["line"]), "")
        kept = kept.filter(pc.invert(is_blank))
    if b"\r" in data:
        stripped = pc.replace_substring_regex(kept["line"], "\r$", "")
        kept = kept.set_column(1, "line", stripped)
    sizes = pc.binary_length(kept["line"])
    unreadable: list[UnreadableLine] = []
    if (pc.max(sizes).as_py() or 0) > MAX_LINE_BYTES:
        for row in kept.filter(pc.greater(sizes, MAX_LINE_BYTES)).to_pylist():
            line = row["line"].encode()
            unreadable.append(_too_long(row["line_number"], line, len(line)))
        kept = kept.filter(pc.less_equal(sizes, MAX_LINE_BYTES))
    for start in range(0, max(kept.num_rows, 1), PIECE_LINES):
        part = kept.slice(start, PIECE_LINES)
        is_last = start + PIECE_LINES >= kept.num_rows
        last = None if is_last else part["line_number"][-1].as_py()
        earlier = [line for line in unreadable if last is None or line.line_number < last]
        unreadable = unreadable[len(earlier) :]
        if part.num_rows or earlier:
            yield part, earlier


def _decoded(data: bytes, first_number: int) -> Iterator[tuple[pa.Table, list[UnreadableLine]]]:
    """The lines of a text of which some are not UTF-8, one by one."""
    lines = data.removesuffix(b"\n").split(b"\n")
    for start in range(0, len(lines), PIECE_LINES):
        numbers: list[int] = []
        good: list[str] = []
        unreadable: list[UnreadableLine] = []
        part = lines[start : start + PIECE_LINES]
        for number, delivered in enumerate(part, first_number + start):
            line = delivered.removesuffix(b"\r")
            if len(line) > MAX_LINE_BYTES:
                unreadable.append(_too_long(number, line, len(line)))
                continue
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                unreadable.append(UnreadableLine(number, readable(line), "the line is not UTF-8"))
                continue
            if text and not text.isspace():
                numbers.append(number)
                good.append(text)
        yield pa.table([numbers, good], schema=LINES), unreadable


def _text(data: bytes) -> pa.StringArray:
    """One string over the bytes themselves, or ArrowInvalid if they are not UTF-8."""
    offsets = pa.array([0, len(data)], pa.int32()).buffers()[1]
    text = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data))
    text.validate(full=True)
    return text
