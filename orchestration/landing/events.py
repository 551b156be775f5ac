"""Usage events: one delivered JSON line becomes typed columns, or a reason why it cannot.

Lines take one of two lanes to the same columns, and one set of rules in SQL judges both. The
regular lane reads blocks of lines with Arrow's JSON reader, which is strict about every key and
type; a block that it refuses is read again without the line that it stopped at. What is left
(nested metadata, escapes, numbers beyond a float's 15 digits, what is no JSON at all) is parsed
line by line.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from orchestration.landing.files import USAGE
from orchestration.landing.lines import Lines, Unreadable

DAYS_BACK = 400
METERS = ("gpu_minute", "gpu_millisecond", "gpu_second", "gpu_hour")
KINDS = ("usage", "correction", "retraction")

_TOP_STRINGS = ("event_id", "kind", "corrects_event_id", "customer_id", "meter", "ts")
_METADATA_STRINGS = ("cluster", "gpu_type", "model_family")
_METADATA_NUMBERS = ("duration_s", "energy_cost")
_TOP = (*_TOP_STRINGS, "quantity")
_METADATA = _METADATA_STRINGS + _METADATA_NUMBERS
_STRINGS = _TOP_STRINGS + _METADATA_STRINGS
_NUMBERS = ("quantity", *_METADATA_NUMBERS)

# What is parsed line by line: strings as they are, numbers as text that a decimal cast reads
# exactly, NULL or "" for what is missing, and why the line is malformed as a whole.
# `rest` spells all metadata and unknown keys for the payload hash: equal values, equal text.
_CANDIDATES = pa.schema(
    [
        ("line_number", pa.int64()),
        ("line", pa.string()),
        ("broken", pa.string()),
        *((name, pa.string()) for name in _STRINGS + _NUMBERS),
        ("rest", pa.string()),
    ]
)

JUDGED = pa.schema([*USAGE, ("rule", pa.string()), ("detail", pa.string())])

# Lines in a block of the regular lane, and in the smaller ones that a block is cut into if it is
# refused without a line being named, or if too many are.
_BLOCK_LINES = (16_384, 256, 16)
_MOST_NAMED, _NAMED_APART = 4, 64
_BY_LINE = ("line_number", "ascending")
_BACKSLASH = re.compile(rb"\\")
_NAMED_LINE = re.compile(r"in row (\d+)$")
# Only keys that need no quoting, in JSON or in SQL, are learned; others are read line by line.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_MOST_KEYS = 64
_SAMPLED_LINES = 50
_DEEPEST = 64
# A binary float keeps every decimal number of up to 15 digits.
_FLOAT_DIGITS = 15
_LONG_NUMBER = rf":\s*-?[0-9][0-9.]{{{_FLOAT_DIGITS}}}"
# Up to here a millionfold float is less than 0.05 from the millionfold number that it stands for.
_FLOAT_ROUNDS_BELOW = "1e8"
# Beyond this no amount is valid; rounding it to 6 decimals would only cost time.
_LARGE = Decimal(10) ** 13
_MICRO = Decimal("0.000001")
_DAY_S = 86_400
_DAY_US = _DAY_S * 1_000_000

# What is required, in the order of its reasons, and of which rows.
_REQUIRED = (
    ("event_id", ""),
    ("corrects_event_id", "and kind <> 'usage'"),
    ("customer_id", ""),
    ("meter", ""),
    ("quantity", "and quantity_amount is null"),
    ("ts", ""),
    ("cluster", ""),
)

# RFC 3339; the offset is optional here because a time without one has a reason of its own.
_TIME = (
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?"
)


class EventParser:
    """Types the lines of one delivery. It learns which other keys the delivery's rows have."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, delivery_day: date) -> None:
        self._connection = connection
        self._day = delivery_day
        # Keys beyond the ones that every delivery may have: ".key" in metadata, "/key" beside it.
        self._learned: dict[str, pa.DataType] = {}

    def parse(self, lines: Lines) -> pa.Table:
        """Type some lines; blank ones are no rows.

        Returns:
            The columns of USAGE and ``rule``, the first reason why a row is rejected, with
            ``detail``, or NULL. A rejected row has no ``usage_day``. The rows are sorted by
            ``usage_day``, those without at the end, and line.
        """
        regular: list[pa.Table] = []
        odd: list[pa.Table] = []
        for block, read in self._read_blocks(lines.table, _BLOCK_LINES):
            if read is None:
                odd.append(block)
            else:
                regular.append(read)
        judged: list[pa.Table] = []
        if regular:
            blocks = pa.concat_tables(regular, promote_options="default")
            judged.append(self._judge(blocks, *self._regular_lane(blocks)))
        candidates = _line_by_line(odd, lines.unreadable)
        if candidates.num_rows:
            judged.append(self._judge(candidates, _CANDIDATE_LANE, "rest"))
        rows = pa.concat_tables([JUDGED.empty_table(), *judged]).combine_chunks()
        return rows.take(pc.sort_indices(rows, [("usage_day", "ascending"), _BY_LINE]))

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
            if isinstance(read, pa.Table):
                yield block, read
                return
            if read.line is None or done + _NAMED_APART * _MOST_NAMED < tried * _NAMED_APART:
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
            ``line_number``, ``line``, the known fields, ``ts_utc`` (NULL where the time has to be
            looked at more closely), ``c0``, ``c1``, ...; or the line that has a key or a type that
            isn't known.
        """
        text = _joined(block["line"].combine_chunks())
        try:
            read = pj.read_json(
                pa.BufferReader(text),
                pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
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
        metadata = read["metadata"]
        for name in _TOP:
            columns[name] = read[name]
        for name in _METADATA:
            columns[name] = pc.struct_field(metadata, name)
        columns["ts_utc"] = _plain_times(read["ts"])
        for number, (place, key) in enumerate(map(_place_and_key, self._learned)):
            values = pc.struct_field(metadata, key) if place == "." else read[key]
            if pa.types.is_floating(values.type) and not _all_finite(values):
                return _Refused(None)
            columns[f"c{number}"] = values
        return pa.table(columns)

    def _json_schema(self) -> pa.Schema:
        metadata = [pa.field(name, pa.string()) for name in _METADATA_STRINGS]
        metadata += [pa.field(name, pa.float64()) for name in _METADATA_NUMBERS]
        top = [pa.field(name, pa.string()) for name in _TOP_STRINGS]
        top.append(pa.field("quantity", pa.float64()))
        for label, kind in self._learned.items():
            place, key = _place_and_key(label)
            (metadata if place == "." else top).append(pa.field(key, kind))
        return pa.schema([*top, pa.field("metadata", pa.struct(metadata))])

    def _no_numbers(self) -> str:
        """A regular expression for what stands, in most wrong lines, where a number is expected."""
        learned = [
            re.escape(label[1:])
            for label, kind in self._learned.items()
            if pa.types.is_floating(kind)
        ]
        return rf'"({"|".join((*_NUMBERS, *learned))})"\s*:\s*[^-0-9n\s]'

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
                self._learn_keys(row, "/", _TOP)
                if isinstance(metadata, dict):
                    self._learn_keys(metadata, ".", _METADATA)
        return self._learned != before

    def _learn_keys(self, values: dict[str, Any], place: str, known: tuple[str, ...]) -> None:
        for key, value in values.items():
            kind = _ARROW_TYPES.get(type(value))
            if kind is None or key in known or not _PLAIN_KEY.fullmatch(key):
                continue
            label = place + key
            if label in self._learned:
                # A key that was null so far; one with values of two types keeps the first.
                if pa.types.is_null(self._learned[label]):
                    self._learned[label] = kind
            elif len(self._learned) < _MOST_KEYS:
                self._learned[label] = kind

    def _regular_lane(self, read: pa.Table) -> tuple[str, str]:
        """SQL from the columns of _read_block to what the rules read, and what spells the rest."""
        columns = {f".{name}": name for name in _METADATA}
        columns |= {label: f"c{number}" for number, label in enumerate(self._learned)}
        columns = {label: name for label, name in columns.items() if name in read.column_names}
        rest = [
            spelled
            for label, name in sorted(columns.items())
            if (spelled := _labelled_sql(label, name, read[name]))
        ]
        hidden = ", ".join(f"{name} as spelled_{name}" for name in columns.values())
        numbers = ", ".join(f"{_float_amount(name)} as {name}_amount" for name in _NUMBERS)
        return (
            f"""
            select
                *,
                case when quantity_amount is null then quantity_float::varchar end as quantity,
                case when duration_s_amount is null or duration_s_float < 0
                    then duration_s_float::varchar end as duration_s,
                case when energy_cost_amount is null then energy_cost_float::varchar end
                    as energy_cost
            from (
                select
                    line_number,
                    null::varchar as broken,
                    {", ".join(_STRINGS)},
                    {", ".join(f"{name} as {name}_float" for name in _NUMBERS)},
                    {numbers},
                    ts_utc as plain_ts,
                    {hidden}
                from piece
            )
        """,
            ", ".join(rest) or "''",
        )

    def _judge(self, piece: pa.Table, lane: str, rest: str) -> pa.Table:
        """Run a lane and the rules over a piece. Returns USAGE, ``rule`` and ``detail``."""
        self._connection.register("piece", piece.drop_columns(["line"]))
        judged = self._connection.sql(_rules(lane, rest, self._day)).to_arrow_table()
        self._connection.unregister("piece")
        # The longest column stays outside: one core keeps the order of rows, which is checked.
        if not judged["line_number"].equals(piece["line_number"]):
            raise AssertionError("judging changed the order of the rows")
        this_day = pa.repeat(pa.scalar(self._day, pa.date32()), judged.num_rows)
        judged = judged.append_column("delivery_day", this_day)
        return judged.append_column("raw", piece["line"]).select(JUDGED.names).cast(JUDGED)


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


def _joined(lines: pa.Array) -> bytes:
    """The lines as one text. Line ends matter: no JSON string can reach over one."""
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return pc.binary_join(whole, "\n")[0].as_buffer().to_pybytes()


def _all_finite(values: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_finite(values), min_count=0).as_py())


def _strange(lines: pa.StringArray) -> pa.BooleanArray | None:
    """Lines that Arrow must not read: what it makes of them might not be what they say exactly.

    Returns None if no line is.
    """
    strange = pc.or_(
        pc.match_substring_regex(lines, _LONG_NUMBER),
        pc.invert(pc.and_(pc.starts_with(lines, "{"), pc.ends_with(lines, "}"))),
    )
    escapes = [found.start() for found in _BACKSLASH.finditer(_bytes_of(lines))]
    if escapes:
        ends = pc.cumulative_sum(pc.binary_length(lines))
        escaped = np.zeros(len(lines), bool)
        escaped[np.searchsorted(ends.to_numpy(), escapes, side="right")] = True
        strange = pc.or_(strange, pa.array(escaped))
    return strange if pc.any(strange).as_py() else None


def _bytes_of(lines: pa.StringArray) -> memoryview:
    """The bytes of all lines, one after the other, where they are."""
    _, offsets, data = lines.buffers()
    if not len(lines) or data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _plain_times(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The times as in ``2026-01-31T23:59:59Z``, up to six decimals; NULL for all others."""
    size = pc.binary_length(times)
    # No other form of Arrow's that ends in Z is as long.
    is_plain = pc.and_(
        pc.ends_with(times, "Z"),
        pc.or_(pc.equal(size, 20), pc.and_(pc.greater(size, 21), pc.less(size, 28))),
    )
    plain = pc.if_else(is_plain, times, pa.scalar(None, pa.string()))
    try:
        return plain.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return pa.nulls(len(times), pa.timestamp("us"))


def _labelled_sql(label: str, column: str, values: pa.ChunkedArray) -> str | None:
    """Arguments of concat() for a label and a value as _spelled() spells it; none if missing."""
    if values.null_count == len(values):
        return None
    kind, column = values.type, f"spelled_{column}"
    if pa.types.is_string(kind):
        if not values.null_count and pc.min(pc.binary_length(values)).as_py():
            return f"""',{label}:"', {column}, '"'"""
        return f"""',{label}:"' || nullif({column}, '') || '"'"""
    # Adding 0 makes -0.0 a 0.0.
    value = f"({column} + 0)::varchar" if pa.types.is_floating(kind) else f"{column}::varchar"
    return f"',{label}:'{' ||' if values.null_count else ','} {value}"


def _float_amount(name: str) -> str:
    """SQL for a float as a decimal, rounded as the number is that it stands for."""
    return f"""
        case
            when abs({name}) < {_FLOAT_ROUNDS_BELOW}
                and abs({name} * 1e6 - round({name} * 1e6)) < 0.2
                then try_cast({name} as decimal(18, 6))
            else {_amount(f"{name}::varchar")}
        end
    """


# --- line by line -------------------------------------------------------------------------------


class _NotUsable(ValueError):
    """Why a line is malformed."""


def _line_by_line(blocks: list[pa.Table], unreadable: Iterable[Unreadable]) -> pa.Table:
    """Parse lines one by one into _CANDIDATES; blank lines are dropped."""
    rows: list[dict[str, Any]] = []
    for block in blocks:
        numbers, lines = block["line_number"].to_pylist(), block["line"].to_pylist()
        for number, line in zip(numbers, lines, strict=True):
            if not line or line.isspace():
                continue
            try:
                fields = _candidate(line)
            except _NotUsable as wrong:
                fields = {"broken": str(wrong)}
            rows.append({"line_number": number, "line": line, **fields})
    rows += [
        {"line_number": line.line_number, "line": line.raw, "broken": line.wrong}
        for line in unreadable
    ]
    return pa.Table.from_pylist(rows, schema=_CANDIDATES)


def _candidate(line: str) -> dict[str, str]:
    """The fields of _CANDIDATES that a line has.

    Raises:
        _NotUsable: it is no JSON object, or holds a value of a wrong type.
    """
    row = _parsed(line)
    metadata = row.pop("metadata", None)
    if _is_missing(metadata):
        metadata = {}
    if not isinstance(metadata, dict):
        raise _NotUsable(f"metadata is {_shown(metadata)}; an object was expected")
    rest = {f".{key}": value for key, value in metadata.items()}
    rest |= {f"/{key}": value for key, value in row.items() if key not in _TOP}
    values = {name: row.get(name) for name in _TOP} | {n: metadata.get(n) for n in _METADATA}
    fields: dict[str, str] = {}
    for name, value in values.items():
        if _is_missing(value):
            continue
        if name in _STRINGS:
            if not isinstance(value, str):
                raise _NotUsable(f"{name} is {_shown(value)}; a string was expected")
            fields[name] = value
        else:
            if not isinstance(value, Decimal):
                raise _NotUsable(f"{name} is {_shown(value)}; a number was expected")
            if name == "duration_s" and value < 0:
                # However little: rounded, it would be none.
                raise _NotUsable(f"{name} is {_shown(value)}; a number not below 0 was expected")
            fields[name] = _amount_text(value)
    fields["rest"] = "".join(
        f",{label}:{_spelled(value)}"
        for label, value in sorted(rest.items())
        if not _is_missing(value)
    )
    try:
        "".join(fields.values()).encode()
    except UnicodeEncodeError:
        raise _NotUsable("a string holds half of a surrogate pair") from None
    return fields


def _parsed(line: str) -> dict[str, Any]:
    """The JSON object on a line, its numbers as exact decimals; of a repeated key the last."""
    try:
        row = json.loads(
            line, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise _NotUsable(f"nested more than {_DEEPEST} levels deep") from None
    except InvalidOperation:
        raise _NotUsable("the exponent of a number is out of range") from None
    except ValueError as error:
        raise _NotUsable(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise _NotUsable("not a JSON object")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _is_missing(value: Any) -> bool:
    return value is None or value == ""


def _shown(value: Any) -> str:
    # It may hold half of a surrogate pair, which no file can.
    return _spelled(value)[:80].encode("utf-8", "backslashreplace").decode()


def _amount_text(number: Decimal) -> str:
    """A number rounded to 6 decimals, half away from zero; a too large one as a float prints."""
    if number.copy_abs() < _LARGE:
        return format(number.quantize(_MICRO, ROUND_HALF_UP), "f")
    return repr(float(number))


def _spelled(value: Any, depth: int = 1) -> str:
    """One spelling for equal values: keys in order, no nulls, numbers as numbers."""
    if depth > _DEEPEST:
        raise _NotUsable(f"nested more than {_DEEPEST} levels deep")
    if isinstance(value, Decimal):
        return _spelled_number(value)
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(key, ensure_ascii=False)}:{_spelled(part, depth + 1)}"
            for key, part in sorted(value.items())
            if part is not None
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spelled(part, depth + 1) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _spelled_number(number: Decimal) -> str:
    """A number as a float prints, as _spelled_sql() has it, or exactly if a float is inexact."""
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    significant = text.rstrip("0")
    as_float = float(number)
    if len(significant) <= _FLOAT_DIGITS and not math.isinf(as_float):
        return repr(as_float + 0.0)
    return f"{'-' * sign}{significant}e{int(exponent) + len(text) - len(significant)}"


# --- the rules, for both lanes ------------------------------------------------------------------


def _rules(lane: str, rest: str, day: date) -> str:
    """SQL from a lane to USAGE, ``rule`` (the first reason, or NULL) and ``detail``.

    Args:
        lane: SQL with ``line_number``, ``broken``, the strings, of every number ``<name>_amount``
            and, at least if that is NULL or negative, the number as text, and ``plain_ts``, the
            time or NULL if ``ts`` has to be looked at.
        rest: expressions over the lane's columns, separated by commas, that spell all metadata and
            unknown keys.
        day: the delivery day.
    """
    this_day = f"date '{day.isoformat()}'"
    missing = " ".join(
        f"when {name} is null {only} then 'missing_{name}'" for name, only in _REQUIRED
    )
    strings = ", ".join(f"nullif({name}, '') as {name}" for name in _STRINGS if name != "kind")
    return f"""
        select
            event_id,
            kind,
            corrects_event_id,
            customer_id,
            meter,
            quantity_amount as quantity,
            case when rule is null then ts_utc end as ts,
            case when rule is null then ts_utc::date end as usage_day,
            line_number,
            start_us,
            least(duration_s_us, {_DAY_US} - start_us) as duration_us,
            cluster,
            gpu_type,
            model_family,
            energy_cost_amount as energy_cost,
            md5(concat(
                kind, ' ', meter, ' ', quantity_amount, ' ', epoch_us(ts_utc), ' ',
                coalesce(strlen(corrects_event_id), 0), ' ', corrects_event_id,
                strlen(customer_id), ' ', customer_id, {rest}
            )) as payload_hash,
            rule,
            {_detail(day)} as detail
        from (
            select
                *,
                epoch_us(ts_utc) - epoch_us(ts_utc::date) as start_us,
                case
                    when malformed is not null then 'malformed'
                    {missing}
                    when not has_offset then 'naive_timestamp'
                    when kind = 'usage' and quantity_amount < 0 then 'negative_quantity'
                    when meter not in ({_sql_strings(METERS)}) then 'unknown_meter'
                    when ts_utc::date > {this_day} or ts_utc::date < {this_day} - {DAYS_BACK}
                        then 'timestamp_out_of_range'
                end as rule
            from (
                select *, case {_malformed()} end as malformed
                from (
                    select
                        *,
                        case
                            when plain_ts is not null then plain_ts
                            when regexp_full_match(ts, '{_TIME}')
                                then make_timestamp(epoch_us(try_cast(upper(ts) as timestamptz)))
                        end as ts_utc,
                        case
                            when plain_ts is not null then true
                            else ts[-1] in ('Z', 'z') or ts[-6] in ('+', '-')
                        end as has_offset,
                        case
                            when duration_s_amount is not null
                                then (
                                    least(greatest(duration_s_amount, 0), {_DAY_S}) * 1000000
                                )::bigint
                            when duration_s is null then 0
                            else {_DAY_US}
                        end as duration_s_us
                    from (
                        select
                            * replace (
                                coalesce(nullif(kind, ''), 'usage') as kind,
                                {strings}
                            )
                        from ({lane})
                    )
                )
            )
        )
    """


def _detail(day: date) -> str:
    """A CASE that says in words what is wrong with a row, or NULL."""
    return f"""
        case
            when rule is null then null
            when rule = 'malformed' then malformed
            when starts_with(rule, 'missing_')
                then substring(rule, 9) || ' is null, absent or empty'
            when rule = 'naive_timestamp' then 'ts is ' || ts || '; it has no offset from UTC'
            when rule = 'negative_quantity'
                then 'quantity is ' || quantity_amount || '; usage cannot be negative'
            when rule = 'unknown_meter'
                then 'meter is ' || left(meter, 80) || '; known are {", ".join(METERS)}'
            when ts_utc::date > date '{day.isoformat()}'
                then 'ts is ' || ts || '; that is after the delivery day {day.isoformat()}'
            else 'ts is ' || ts || '; that is more than {DAYS_BACK} days before the delivery day '
                || '{day.isoformat()}'
        end
    """


def _amount(name: str) -> str:
    return f"try_cast({name} as decimal(18, 6))"


def _malformed() -> str:
    """The branches of a CASE that says what is malformed in a row's values, in words."""
    branches = ["when broken is not null then broken"]

    def add(when: str, name: str, expected: str) -> None:
        branches.append(
            f"when {when} then '{name} is ' || left({name}, 80) || '; {expected} was expected'"
        )

    add(f"kind not in ({_sql_strings(KINDS)})", "kind", " or ".join(KINDS))
    for name in ("quantity", "energy_cost"):
        add(f"{name} is not null and {name}_amount is null", name, "a number below 10^12")
    # Too long a use is cut at the end of its day; only what is no length at all is malformed.
    add(
        "not isfinite(duration_s::double) or duration_s::double < 0",
        "duration_s",
        "a number not below 0",
    )
    add(
        "ts is not null and (ts_utc is null or year(ts_utc) not between 1 and 9999)",
        "ts",
        "a time as in RFC 3339",
    )
    return " ".join(branches)


# The lane of what is parsed line by line.
_CANDIDATE_LANE = f"""
    select
        *,
        {", ".join(f"{_amount(name)} as {name}_amount" for name in _NUMBERS)},
        null::timestamp as plain_ts
    from piece
"""


def _sql_strings(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
