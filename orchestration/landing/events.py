"""Usage events: one delivered JSON line becomes typed columns, or a reason why it cannot.

Lines take one of two lanes to the same columns, and one set of rules in SQL judges both. The
regular lane reads blocks of lines with Arrow's JSON reader, which is strict about every key and
type; a block that it refuses is read again in smaller ones. What is left (nested metadata,
escapes, numbers beyond a float's 15 digits, what is no JSON at all) is parsed line by line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import duckdb
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

# What both lanes hand to the rules: strings as they are, numbers as text that a decimal cast
# reads exactly, NULL or "" for what is missing, and why the line is malformed as a whole.
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

# Lines in a block of the regular lane, and in the smaller ones that a refused block is cut into.
_BLOCK_LINES = (4096, 256, 16)
# Only keys that need no quoting, in JSON or in SQL, are learned; others are read line by line.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_MOST_KEYS = 64
_SAMPLED_LINES = 50
_DEEPEST = 64
# A binary float keeps every decimal number of up to 15 digits.
_FLOAT_DIGITS = 15
_LONG_NUMBER = rf":\s*-?[0-9][0-9.]{{{_FLOAT_DIGITS}}}"
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
    ("quantity", ""),
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
        """Type some lines, in their order; blank ones are no rows.

        Returns:
            The columns of USAGE and ``rule``, the first reason why a row is rejected, with
            ``detail``, or NULL. A rejected row has no ``usage_day``.
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
            judged.append(self._judge(blocks, self._regular_lane()))
        candidates = _line_by_line(odd, lines.unreadable)
        if candidates.num_rows:
            judged.append(self._judge(candidates, "select * from piece"))
        rows = pa.concat_tables([JUDGED.empty_table(), *judged])
        if len(judged) > 1:
            rows = rows.take(pc.sort_indices(rows, [("line_number", "ascending")]))
        return rows

    def _read_blocks(
        self, lines: pa.Table, sizes: tuple[int, ...]
    ) -> Iterator[tuple[pa.Table, pa.Table | None]]:
        """Read lines block by block. Yields each block with its columns, or None if irregular."""
        for start in range(0, lines.num_rows, sizes[0]):
            block = lines.slice(start, sizes[0])
            read = self._read_block(block)
            if read is None and sizes[0] == _BLOCK_LINES[0] and self._learn(block):
                read = self._read_block(block)
            if read is None and len(sizes) > 1:
                yield from self._read_blocks(block, sizes[1:])
            else:
                yield block, read

    def _read_block(self, block: pa.Table) -> pa.Table | None:
        """Read lines with Arrow: ``line_number``, ``line``, the known fields, ``c0``, ``c1``, ...

        Returns None if a line has a key or a type that isn't known, or might not say exactly
        what Arrow reads in it.
        """
        lines = block["line"].combine_chunks()
        text = _joined(lines)
        if (
            b"\\" in text
            or not pc.all(pc.starts_with(lines, "{")).as_py()
            or not pc.all(pc.ends_with(lines, "}")).as_py()
            or pc.any(pc.match_substring_regex(lines, _LONG_NUMBER)).as_py()
        ):
            return None
        try:
            read = pj.read_json(
                pa.BufferReader(text),
                pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
                pj.ParseOptions(
                    explicit_schema=self._json_schema(), unexpected_field_behavior="error"
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        if read.num_rows != block.num_rows:
            return None
        columns = {"line_number": block["line_number"], "line": block["line"]}
        metadata = read["metadata"]
        for name in _TOP:
            columns[name] = read[name]
        for name in _METADATA:
            columns[name] = pc.struct_field(metadata, name)
        for number, (place, key) in enumerate(map(_place_and_key, self._learned)):
            values = pc.struct_field(metadata, key) if place == "." else read[key]
            if pa.types.is_floating(values.type) and not _all_finite(values):
                return None
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

    def _regular_lane(self) -> str:
        """SQL from the columns of _read_block to _CANDIDATES."""
        spelled = {f".{name}": _spelled_sql(name, pa.string()) for name in _METADATA_STRINGS}
        spelled |= {f".{name}": _spelled_sql(name, pa.float64()) for name in _METADATA_NUMBERS}
        for number, (label, kind) in enumerate(self._learned.items()):
            spelled[label] = _spelled_sql(f"c{number}", kind)
        rest = ", ".join(f"',{label}:' || {spelled[label]}" for label in sorted(spelled))
        return f"""
            select
                line_number,
                null::varchar as broken,
                {", ".join(_STRINGS)},
                {", ".join(f"{name}::varchar as {name}" for name in _NUMBERS)},
                concat({rest}) as rest
            from piece
        """

    def _judge(self, piece: pa.Table, lane: str) -> pa.Table:
        """Run a lane and the rules over a piece. Returns USAGE, ``rule`` and ``detail``."""
        self._connection.register("piece", piece.drop_columns(["line"]))
        judged = self._connection.sql(_rules(lane, self._day)).to_arrow_table()
        self._connection.unregister("piece")
        # The longest column stays outside: one core keeps the order of rows, which is checked.
        if not judged["line_number"].equals(piece["line_number"]):
            raise AssertionError("judging changed the order of the rows")
        this_day = pa.repeat(pa.scalar(self._day, pa.date32()), judged.num_rows)
        judged = judged.append_column("delivery_day", this_day)
        return judged.append_column("raw", piece["line"]).select(JUDGED.names).cast(JUDGED)


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


def _spelled_sql(column: str, kind: pa.DataType) -> str:
    """SQL for a value as _spelled() spells it; NULL if it is missing."""
    if pa.types.is_string(kind):
        return f"""'"' || nullif({column}, '') || '"'"""
    if pa.types.is_floating(kind):
        # Adding 0 makes -0.0 a 0.0.
        return f"({column} + 0)::varchar"
    return f"{column}::varchar"


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


def _rules(lane: str, day: date) -> str:
    """SQL from a lane to USAGE, ``rule`` (the first reason, or NULL) and ``detail``."""
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
                strlen(customer_id), ' ', customer_id, rest
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
                        case when is_time
                            then make_timestamp(epoch_us(try_cast(upper(ts) as timestamptz)))
                        end as ts_utc,
                        ts[-1] in ('Z', 'z') or ts[-6] in ('+', '-') as has_offset,
                        case
                            when duration_s is null then 0
                            when duration_s_amount is null then {_DAY_US}
                            else (least(greatest(duration_s_amount, 0), {_DAY_S}) * 1000000)::bigint
                        end as duration_s_us
                    from (
                        select
                            line_number,
                            broken,
                            coalesce(nullif(kind, ''), 'usage') as kind,
                            {strings},
                            {", ".join(f"{n}, {_amount(n)} as {n}_amount" for n in _NUMBERS)},
                            regexp_full_match(ts, '{_TIME}') as is_time,
                            rest
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


def _sql_strings(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
