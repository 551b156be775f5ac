"""Usage events: one delivered JSON line becomes typed columns, or a reason why it cannot.

Lines take one of two lanes to the same columns. The fast lane reads blocks of lines with Arrow's
JSON reader, which is strict about every key and type (a block that it refuses is read again without
the line that it stopped at), and lands the rows of which a look at whole columns shows that they
break no rule. It gives no reasons: whatever it is not certain of is parsed line by line, as are
nested metadata, escapes, numbers beyond a float's 15 digits and what is no JSON at all. There a set
of rules in SQL judges, and says what is wrong.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from orchestration.landing.event_lines import (
    CANDIDATES,
    DAY_S,
    DAY_US,
    DAYS_BACK,
    ELSEWHERE,
    FLOAT_DIGITS,
    KINDS,
    KNOWN_KEYS,
    LIMIT,
    LIMIT_MICRO,
    METERS,
    NUMBER,
    SPELLED,
    TYPED_KEYS,
    candidates_of,
    rules_of,
    short_float,
)
from orchestration.landing.files import USAGE
from orchestration.landing.lines import LINES, PIECE_LINES, Lines

JUDGED = pa.schema([*USAGE, ("rule", pa.string()), ("detail", pa.string())])

# Lines in a block of the fast lane, and in the smaller ones that a block is cut into if it is refused
# without a line being named, or if too many are. Of a whole piece no line is looked for: for each one
# that is found, all that follow are read again.
_BLOCK_LINES = (PIECE_LINES, 1 << 14, 256, 16)
_MOST_NAMED, _NAMED_APART = 4, 64
# So much that was parsed line by line is judged at once.
_WAITING_LINES, _WAITING_CHARACTERS = 1 << 14, 16 << 20
_NAMED_LINE = re.compile(r"in row (\d+)$")
_OFFSET = re.compile(rb"[+-]\d\d:\d\d")
# Only keys that need no quoting, in JSON or in SQL, are learned; others are read line by line.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_MOST_KEYS = 64
_SAMPLED_LINES = 50
# Below this, what a float may have lost of a number is less than half a millionth.
_FLOAT_WHOLE_BELOW = 2.0**33
# Up to here a millionfold float is less than 0.05 from the millionfold number that it stands for,
# so it rounds as the number does if it is not that near to a half.
_FLOAT_ROUNDS_BELOW, _NEAR_HALF = 1e8, 0.06
_EPOCH = date(1970, 1, 1)


class EventParser:
    """Types the lines of one delivery. It learns which keys the delivery's rows have."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, delivery_day: date) -> None:
        self._connection = connection
        self._day = delivery_day
        # Where a key stands and its name, ".key" in metadata, "/key" beside it, and its type.
        self._learned: dict[str, pa.DataType] = {}

    def parse(self, pieces: Iterable[Lines]) -> Iterator[pa.Table]:
        """Type the delivery's lines, some at a time; blank ones are no rows.

        Yields:
            Rows with the columns of USAGE and ``rule``, the first reason why a row is rejected,
            with ``detail``, or NULL. A rejected row has no ``usage_day``. The rows of a table are
            sorted by ``usage_day``, those without at the end, and line.
        """
        waiting: list[dict[str, Any]] = []
        characters = 0
        for lines in pieces:
            read: list[pa.Table] = []
            odd: list[pa.Table] = []
            for block, columns in self._read_blocks(lines.table, _BLOCK_LINES):
                if columns is None:
                    odd.append(block)
                else:
                    read.append(columns)
            if read:
                blocks = pa.concat_tables(read, promote_options="default")
                landed, is_certain = self._land(blocks)
                if not is_certain.all():
                    odd.append(blocks.select(LINES.names).filter(pa.array(~is_certain)))
                if is_certain.any():
                    yield landed.take(self._order(landed, is_certain))
            more = candidates_of(odd, lines.unreadable)
            waiting += more
            characters += sum(len(row["line"]) for row in more)
            if len(waiting) > _WAITING_LINES or characters > _WAITING_CHARACTERS:
                yield self._judge(waiting)
                waiting, characters = [], 0
        if waiting:
            yield self._judge(waiting)

    def _read_blocks(
        self, lines: pa.Table, sizes: tuple[int, ...]
    ) -> Iterator[tuple[pa.Table, pa.Table | None]]:
        """Read lines block by block. Yields each block with its columns, or None if irregular."""
        for start in range(0, lines.num_rows, sizes[0]):
            block = lines.slice(start, sizes[0])
            if sizes[0] == _BLOCK_LINES[0]:
                strange = _strange(block["line"].combine_chunks())
                if strange is not None:
                    yield block.filter(strange), None
                    block = block.filter(pc.invert(strange))
            yield from self._read_refused(block, sizes)

    def _read_refused(
        self, block: pa.Table, sizes: tuple[int, ...]
    ) -> Iterator[tuple[pa.Table, pa.Table | None]]:
        """Read a block, leaving out the lines that the reader refuses, one after the other."""
        learns = sizes[0] in (_BLOCK_LINES[0], _BLOCK_LINES[-1])
        done = 0
        for tried in itertools.count():
            read = self._read_block(block)
            if isinstance(read, _Refused) and learns:
                learns = False
                if self._learn(block):
                    read = self._read_block(block)
            while isinstance(read, _Refused) and read.line is not None:
                # Perhaps it has a key that few lines have.
                if not self._learn(block.slice(read.line, 1)):
                    break
                read = self._read_block(block)
            if isinstance(read, pa.Table):
                yield block, read
                return
            if (
                read.line is None
                or sizes == _BLOCK_LINES
                or done + _NAMED_APART * _MOST_NAMED < tried * _NAMED_APART
            ):
                break
            if not done:
                wrong = pc.match_substring_regex(block["line"], self._no_numbers())
                if pc.any(wrong).as_py():
                    yield block.filter(wrong), None
                    block, done = block.filter(pc.invert(wrong)), 1
                    continue
            before = block.slice(0, read.line)
            if before.num_rows:
                again = self._read_block(before)
                if isinstance(again, _Refused):
                    break
                yield before, again
            yield block.slice(read.line, 1), None
            block = block.slice(read.line + 1)
            done += read.line
            if not block.num_rows:
                return
        if len(sizes) > 1:
            yield from self._read_blocks(block, sizes[1:])
        else:
            yield block, None

    def _read_block(self, block: pa.Table) -> pa.Table | _Refused:
        """Read lines that are not strange with Arrow.

        Returns:
            ``line_number``, ``line`` and a column for each learned key, named by its place and
            name; or the line that has a key or a type that isn't known.
        """
        text = _joined(block["line"].combine_chunks())
        try:
            read = pj.read_json(
                pa.BufferReader(text),
                pj.ReadOptions(use_threads=False, block_size=text.size + 1),
                pj.ParseOptions(
                    explicit_schema=self._json_schema(), unexpected_field_behavior="error"
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            named = _NAMED_LINE.search(str(error))
            return _Refused(int(named[1]) if named and int(named[1]) < block.num_rows else None)
        if read.num_rows != block.num_rows:
            return _Refused(None)
        columns = {"line_number": block["line_number"], "line": block["line"]}
        for label in self._learned:
            place, key = _place_and_key(label)
            values = pc.struct_field(read["metadata"], key) if place == "." else read[key]
            if label in SPELLED and pa.types.is_string(values.type):
                values = _numbers_of_texts(values)
                if isinstance(values, _Refused):
                    return values
            if pa.types.is_floating(values.type) and not _all_finite(values):
                return _Refused(None)
            columns[label] = values
        return pa.table(columns)

    def _json_schema(self) -> pa.Schema:
        places: dict[str, list[pa.Field]] = {".": [], "/": []}
        for label, kind in self._learned.items():
            place, key = _place_and_key(label)
            places[place].append(pa.field(key, kind))
        return pa.schema([*places["/"], pa.field("metadata", pa.struct(places["."]))])

    def _no_numbers(self) -> str:
        """A regular expression for what stands, in most wrong lines, where a number is expected."""
        numbers = [
            re.escape(_place_and_key(label)[1])
            for label, kind in self._learned.items()
            if pa.types.is_floating(kind)
        ]
        return rf'"({"|".join(numbers)})"\s*:\s*[^-0-9n\s]'

    def _learn(self, block: pa.Table) -> bool:
        """Look at a few lines for keys that aren't known; true if something was learned."""
        before = dict(self._learned)
        step = max(1, block.num_rows // _SAMPLED_LINES)
        sample = block["line"].take(pa.array(range(0, block.num_rows, step), pa.int64()))
        for line in sample.to_pylist():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                metadata = row.pop("metadata", None)
                self._learn_keys(row, "/")
                if isinstance(metadata, dict):
                    self._learn_keys(metadata, ".")
        return self._learned != before

    def _learn_keys(self, values: dict[str, Any], place: str) -> None:
        for key, value in values.items():
            label = place + key
            kind = KNOWN_KEYS.get(label) or _ARROW_TYPES.get(type(value))
            if label in SPELLED and isinstance(value, str) and value:
                kind = pa.string()
            if kind is None or not _PLAIN_KEY.fullmatch(key):
                continue
            if label in self._learned:
                # A key that was null so far; one with values of two types keeps the first.
                if pa.types.is_null(self._learned[label]):
                    self._learned[label] = kind
            elif len(self._learned) < _MOST_KEYS:
                self._learned[label] = kind

    def _land(self, read: pa.Table) -> tuple[pa.Table, Flags]:
        """Make landed columns of read ones.

        Returns:
            The rows as in JUDGED, and of which of them it is certain that they are these and break
            no rule.
        """
        text = {name: _given(read, label) for label, name in TYPED_KEYS.items()}
        kind = pc.fill_null(text["kind"], "usage")
        is_usage = _flags(pc.equal(kind, "usage"))
        quantity = _Numbers.of(read, "/quantity")
        energy_cost = _Numbers.of(read, ".energy_cost")
        duration = _Numbers.of(read, ".duration_s")
        instants, is_instant = _instants(_column(read, "/ts", pa.string()))
        days = instants // DAY_US
        start_us = instants - days * DAY_US
        this_day = (self._day - _EPOCH).days
        # Of a longer one it is enough that it is shorter than the limit, however it rounds.
        is_long = (duration.values >= DAY_S) & (duration.values < LIMIT - 1)
        lasts_us = np.where(duration.values >= DAY_S, DAY_US, duration.micro)
        payload_rest, is_spelled = _rest(read)
        certain = (
            is_spelled,
            *(_flags(pc.is_valid(text[n])) for n in ("event_id", "customer_id", "cluster")),
            _flags(pc.is_in(text["meter"], pa.array(METERS))),
            _flags(pc.is_in(kind, pa.array(KINDS))),
            is_usage | _flags(pc.is_valid(text["corrects_event_id"])),
            quantity.is_exact & ((quantity.micro >= 0) | ~is_usage),
            # Even if they are hours.
            np.abs(quantity.micro) < LIMIT_MICRO // 60,
            is_instant & (days <= this_day) & (days >= this_day - DAYS_BACK),
            duration.is_missing
            | is_long
            | (duration.is_exact & (duration.micro >= 0) & (duration.values < DAY_S)),
            energy_cost.is_missing
            | (energy_cost.is_exact & (np.abs(energy_cost.micro) < LIMIT_MICRO)),
        )
        count = read.num_rows
        columns = {
            **text,
            "kind": kind,
            "quantity_micro": quantity.as_micro(),
            "ts": _of_words(pa.timestamp("us"), instants),
            "usage_day": _of_words(pa.date32(), days.astype(np.int32)),
            "delivery_day": pa.repeat(pa.scalar(self._day, pa.date32()), count),
            "line_number": read["line_number"],
            "start_us": _of_words(pa.int64(), start_us),
            "duration_us": _of_words(pa.int64(), np.minimum(lasts_us, DAY_US - start_us)),
            "energy_cost_micro": energy_cost.as_micro(),
            "payload_rest": payload_rest,
            "raw": read["line"],
            "rule": pa.nulls(count, pa.string()),
            "detail": pa.nulls(count, pa.string()),
        }
        landed = pa.table([columns[name] for name in JUDGED.names], schema=JUDGED)
        return landed, np.logical_and.reduce(certain)

    def _judge(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Run the rules over what was parsed line by line. Returns the rows as in JUDGED."""
        candidates = pa.Table.from_pylist(rows, schema=CANDIDATES)
        self._connection.register("candidates", candidates.drop_columns(["line"]))
        judged = self._connection.sql(rules_of(self._day)).to_arrow_table()
        self._connection.unregister("candidates")
        # The longest column stays outside: one core keeps the order of rows, which is checked.
        if not judged["line_number"].equals(candidates["line_number"]):
            raise AssertionError("judging changed the order of the rows")
        this_day = pa.repeat(pa.scalar(self._day, pa.date32()), judged.num_rows)
        judged = judged.append_column("delivery_day", this_day)
        judged = judged.append_column("raw", candidates["line"]).select(JUDGED.names).cast(JUDGED)
        return judged.sort_by([("usage_day", "ascending"), ("line_number", "ascending")])

    def _order(self, rows: pa.Table, chosen: Flags) -> pa.Array:
        """Where the chosen ones of some rows stand that are in the order of lines, by usage day."""
        days = rows["usage_day"].chunk(0).cast(pa.int32()).to_numpy()[chosen]
        # Numbers this small are sorted by counting them; rows that are not chosen may have any.
        order = np.argsort((days - days.min(initial=0)).astype(np.int16), kind="stable")
        return pa.array(np.flatnonzero(chosen)[order])


@dataclass(frozen=True)
class _Refused:
    """A block that Arrow refuses, and which of its lines (from 0) it names, if any."""

    line: int | None


_ARROW_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.float64(),
    float: pa.float64(),
    bool: pa.bool_(),
    type(None): pa.null(),
}


def _place_and_key(label: str) -> tuple[str, str]:
    return label[0], label[1:]


def _joined(lines: pa.Array) -> pa.Buffer:
    """The lines as one text. Line ends matter: no JSON string can reach over one."""
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return pc.binary_join(whole, "\n")[0].as_buffer()


def _numbers_of_texts(texts: pa.ChunkedArray) -> pa.Array | _Refused:
    """The numbers that texts spell, NULL for empty ones; or the first that spells none."""
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts).combine_chunks()
    spells = pc.match_substring_regex(texts, f"^{NUMBER}$")
    if not pc.all(spells, min_count=0).as_py():
        return _Refused(pc.index(pc.fill_null(spells, True), False).as_py())
    return texts.cast(pa.float64())


def _all_finite(values: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_finite(values), min_count=0).as_py())


def _strange(lines: pa.StringArray) -> pa.BooleanArray | None:
    """Lines that Arrow must not read: what it makes of them might not be what they say exactly.

    Returns None if no line is.
    """
    text = np.frombuffer(_bytes_of(lines), np.uint8)
    ends = np.cumsum(pc.binary_length(lines).to_numpy())
    strange = np.zeros(len(lines), bool)
    if len(text):
        # No line is empty.
        begins = np.concatenate(([0], ends[:-1]))
        strange = (text[begins] != ord("{")) | (text[ends - 1] != ord("}"))
        escapes = np.flatnonzero(text == ord("\\"))
        strange[np.searchsorted(ends, escapes, side="right")] = True
    return pa.array(strange) if strange.any() else None


def _bytes_of(lines: pa.StringArray) -> memoryview:
    """The bytes of all lines, one after the other, where they are."""
    _, offsets, data = lines.buffers()
    if not len(lines) or data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


# --- the fast lane: whole columns at once ---------------------------------------------------------

Flags = npt.NDArray[np.bool_]


def _column(read: pa.Table, label: str, kind: pa.DataType) -> pa.Array:
    """The values of a key, NULL in all rows if none has it."""
    if label not in read.column_names:
        return pa.nulls(read.num_rows, kind)
    return read[label].combine_chunks()


def _given(read: pa.Table, label: str) -> pa.StringArray:
    """The texts of a key, NULL for empty ones."""
    texts = _column(read, label, pa.string())
    if pc.min(pc.binary_length(texts)).as_py() == 0:
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    return texts


def _flags(values: pa.BooleanArray) -> Flags:
    return values.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a key, in millionths where a float tells how the number rounds.

    A float keeps every number of up to 15 digits. Of a longer one it may be as far off as a last
    place of its own, which is no matter unless the number is about half a millionth from the next.
    """

    values: npt.NDArray[np.float64]
    micro: npt.NDArray[np.int64]
    is_missing: Flags
    is_exact: Flags
    """Whether ``micro`` is the number, rounded half away from zero."""

    @classmethod
    def of(cls, read: pa.Table, label: str) -> _Numbers:
        """The numbers of a key."""
        column = _column(read, label, pa.float64())
        values = column.to_numpy(zero_copy_only=False)
        size = np.abs(values)
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = values * 1e6
            micro = np.rint(scaled)
            # No more than six decimals: dividing rounds to the nearest float, which is this one.
            is_short = (micro / 1e6 == values) & (np.abs(micro) < 10.0**FLOAT_DIGITS)
            half_away = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5)
            rounds = (size < _FLOAT_ROUNDS_BELOW) & (half_away > _NEAR_HALF)
            is_whole = (size < _FLOAT_WHOLE_BELOW) & (np.rint(values) == values)
            is_exact = is_short | rounds | is_whole
            micro = np.where(is_exact & ~is_whole, micro, 0).astype(np.int64)
            whole = np.where(is_whole, values, 0).astype(np.int64) * 1_000_000
        return cls(values, micro + whole, _flags(pc.is_null(column)), is_exact)

    def as_micro(self) -> pa.Array:
        """The numbers in millionths; NULL where there is none."""
        return _of_words(pa.int64(), self.micro, ~self.is_missing)


def _of_words(
    kind: pa.DataType, words: npt.NDArray[Any], is_there: Flags | None = None
) -> pa.Array:
    """An array over the binary words of its values."""
    there = None if is_there is None else pa.array(is_there).buffers()[1]
    return pa.Array.from_buffers(
        kind, len(words), [there, pa.py_buffer(np.ascontiguousarray(words))]
    )


def _instants(times: pa.StringArray) -> tuple[npt.NDArray[np.int64], Flags]:
    """Times as in RFC 3339 in microseconds since 1970, and which of them were understood.

    Of what Arrow takes for a time, only ``2026-01-31T23:59:59`` or with a blank instead of the T,
    with up to nine decimals, of which six are kept, and Z or an offset as in ``+01:30``.
    """
    size = pc.binary_length(times)
    ends_in_z = pc.ends_with(times, "Z")
    if not pc.all(ends_in_z, min_count=0).as_py():
        offset = pc.binary_slice(times.cast(pa.binary()), -6).dictionary_encode()
        is_offset = [
            bool(text and _OFFSET.fullmatch(text)) for text in offset.dictionary.to_pylist()
        ]
        has_offset = pa.array(is_offset, pa.bool_()).take(offset.indices)
        size = pc.if_else(ends_in_z, pc.subtract(size, 1), pc.subtract(size, 6))
        ends_in_z = pc.or_(ends_in_z, has_offset)
    else:
        size = pc.subtract(size, 1)
    is_time = pc.and_(
        ends_in_z, pc.or_(pc.equal(size, 19), pc.and_(pc.greater(size, 20), pc.less(size, 30)))
    )
    times = pc.if_else(is_time, times, pa.scalar(None, pa.string()))
    nanoseconds = pa.concat_arrays([*_parsed_times(times)] or [pa.nulls(0, pa.int64())])
    known = _flags(pc.is_valid(nanoseconds))
    return pc.fill_null(nanoseconds, 0).to_numpy() // 1_000, known


def _parsed_times(times: pa.StringArray) -> Iterator[pa.Array]:
    """Times in nanoseconds since 1970, NULL for the ones that are on no calendar."""
    try:
        yield times.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        # It doesn't say which one: look at either half.
        if len(times) == 1:
            yield pa.nulls(1, pa.int64())
        else:
            half = len(times) // 2
            yield from _parsed_times(times.slice(0, half))
            yield from _parsed_times(times.slice(half))


def _rest(read: pa.Table) -> tuple[pa.Array, Flags]:
    """All of a payload that is in no column of its own, as ``event_lines`` spells it.

    Returns also in which rows it could be spelled: all numbers have few enough digits.
    """
    parts: list[pa.Array | str] = [""]
    is_spelled = np.ones(read.num_rows, bool)
    for label in sorted(set(read.column_names) - {*LINES.names, *TYPED_KEYS, *ELSEWHERE}):
        values = read[label].combine_chunks()
        if values.null_count == len(values):
            continue
        mark = ""
        if pa.types.is_string(values.type):
            mark, values = '"', _given(read, label)
        elif pa.types.is_floating(values.type):
            is_missing, values = pc.is_null(values), _spelled_floats(values)
            if values.null_count:
                is_spelled &= _flags(pc.or_(is_missing, pc.is_valid(values)))
        else:
            values = values.cast(pa.string())
        spelled = [f",{label}:{mark}", values, mark]
        if values.null_count:
            spelled = [pc.binary_join_element_wise(*spelled, "")]
        parts += spelled
    if len(parts) == 1:
        return pa.repeat("", read.num_rows), is_spelled
    rest = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    return rest, is_spelled


def _spelled_floats(values: pa.FloatingPointArray) -> pa.StringArray:
    """Floats as ``short_float`` has them, NULL for those of many digits; most come many times."""
    distinct = values.dictionary_encode()
    spelled = [
        None if value is None else short_float(value) for value in distinct.dictionary.to_pylist()
    ]
    return pa.array(spelled, pa.string()).take(distinct.indices)
