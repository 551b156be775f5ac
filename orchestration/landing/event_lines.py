"""Usage events line by line: what a JSON line says, exactly, and the rules that judge it.

A line is parsed with exact decimals into text fields; a set of rules in SQL makes typed columns of
them, or says what is wrong. What rows may say, whichever way they are read, stands here, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import pyarrow as pa

from orchestration.landing.lines import UnreadableLine

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
CANDIDATES = pa.schema(
    [
        ("line_number", pa.int64()),
        ("line", pa.string()),
        ("broken", pa.string()),
        *((name, pa.string()) for name in _STRINGS + _NUMBERS),
        ("payload_rest", pa.string()),
    ]
)

_DEEPEST = 64
# A binary float keeps every decimal number of up to 15 digits.
FLOAT_DIGITS = 15
# Below this are a quantity in its unit and in GPU minutes, a metered cost and a length in seconds:
# the models hold the sum of any number of such rows.
LIMIT = 10**9
LIMIT_MICRO = LIMIT * 1_000_000
_LIMIT_TEXT = "10^9"
# From here on no amount is valid; it is not even rounded, which may cost as many digits as it has.
_BEYOND = Decimal(10) ** 10
_MICRO = Decimal("0.000001")
# A text that spells a number spells it as JSON does.
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_IS_NUMBER = re.compile(NUMBER)
DAY_S = 86_400
DAY_US = DAY_S * 1_000_000

# The keys that a row may have by the specification, and the types that they must be of.
KNOWN_KEYS: dict[str, pa.DataType] = {
    **{f"/{name}": pa.string() for name in _TOP_STRINGS},
    **{f".{name}": pa.string() for name in _METADATA_STRINGS},
    "/quantity": pa.float64(),
    **{f".{name}": pa.float64() for name in _METADATA_NUMBERS},
}
# Those that are landed as the texts that they are, and by which names; then those that are landed as
# what they say. All others stand in payload_rest.
TYPED_KEYS = {
    label: label[1:] for label, kind in KNOWN_KEYS.items() if kind == pa.string() and label != "/ts"
}
ELSEWHERE = ("/ts", "/quantity")
# Numbers that a text may spell, too.
SPELLED = ("/quantity", *(f".{name}" for name in _METADATA_NUMBERS))

# What is required, in the order of its reasons, where it stands, and of which rows.
REQUIRED = (
    ("event_id", "event_id", ""),
    ("corrects_event_id", "corrects_event_id", "and kind <> 'usage'"),
    ("customer_id", "customer_id", ""),
    ("meter", "meter", ""),
    ("quantity", "quantity", "and quantity_amount is null"),
    ("ts", "ts", ""),
    ("cluster", "metadata.cluster", ""),
)

NO_USAGE = "no_usage"
"""The kind of the one line of a delivery of a day on which nothing ran."""
NOT_ALONE = 'kind is no_usage: {"kind": "no_usage"}, alone in its delivery, says that nothing ran on the day'
"""What is wrong with such a line where it is not the only one, or says more."""

# RFC 3339; the offset is optional here because a time without one has a reason of its own.
_TIME = (
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?"
)


class _NotUsable(ValueError):
    """Why a line is malformed."""


def candidates_of(
    blocks: list[pa.Table], unreadable: Iterable[UnreadableLine]
) -> list[dict[str, Any]]:
    """Parse lines one by one into rows of CANDIDATES; blank lines are dropped."""
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
    return rows


def _candidate(line: str) -> dict[str, str]:
    """The fields of CANDIDATES that a line has.

    Raises:
        _NotUsable: it is no JSON object, or holds a value of a wrong type.
    """
    row = _parsed(line)
    metadata = row.pop("metadata", None)
    if _is_missing(metadata):
        metadata = {}
    if not isinstance(metadata, dict):
        raise _NotUsable(f"metadata is {_shown(metadata)}; an object was expected")
    if row.get("kind") == NO_USAGE:
        others = [value for name, value in row.items() if name != "kind"]
        is_bare = all(map(_is_missing, [*others, *metadata.values()]))
        raise _NotUsable(NOT_ALONE if is_bare else f"{NOT_ALONE}; this line says more")
    for name in _NUMBERS:
        part = row if name in _TOP else metadata
        if isinstance(part.get(name), str) and not _is_missing(part[name]):
            part[name] = _number_of_text(name, part[name])
    rest = {f".{key}": value for key, value in metadata.items()}
    rest |= {f"/{key}": value for key, value in row.items()}
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
            fields[name] = _amount_text(name, value)
    fields["payload_rest"] = "".join(
        f",{label}:{_spelled(value)}"
        for label, value in sorted(rest.items())
        if not _is_missing(value) and label not in TYPED_KEYS and label not in ELSEWHERE
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
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and line.lstrip().startswith("{"):
            raise _NotUsable("something follows the JSON object on its line") from None
        raise _NotUsable(f"not JSON: {error}") from None
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


def _number_of_text(name: str, text: str) -> Decimal:
    """The number that a text spells as JSON would; no other spelling is guessed at."""
    if not _IS_NUMBER.fullmatch(text):
        raise _NotUsable(f"{name} is {_shown(text)}; a number was expected")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _NotUsable("the exponent of a number is out of range") from None


def _amount_text(name: str, number: Decimal) -> str:
    """A number rounded to 6 decimals, half away from zero.

    Raises:
        _NotUsable: rounded, it is not below the limit, or is a length below 0.
    """
    # Compared before it is rounded: neither costs more than the digits that were delivered.
    amount = number.quantize(_MICRO, ROUND_HALF_UP) if number.copy_abs() < _BEYOND else None
    if amount is None or amount.copy_abs() >= LIMIT:
        raise _NotUsable(f"{name} is {_shown(number)}; a number below {_LIMIT_TEXT} was expected")
    if name == "duration_s" and amount < 0:
        raise _NotUsable(f"{name} is {_shown(number)}; a number not below 0 was expected")
    return format(amount, "f")


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
    """A number as a float prints, or exactly if that has too many digits to tell it from others.

    So two numbers that are the same short float are the same: they differ beyond what a float, or a
    JSON reader, can be relied on to keep.
    """
    as_float = float(number)
    if not math.isinf(as_float) and (short := short_float(as_float)):
        return short
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    significant = text.rstrip("0")
    return f"{'-' * sign}{significant}e{int(exponent) + len(text) - len(significant)}"


@lru_cache(maxsize=1 << 16)
def short_float(value: float) -> str | None:
    """A float as repr() has it, never -0.0; None if it has more digits than every float keeps."""
    spelled = repr(value + 0.0)
    if len(spelled) <= FLOAT_DIGITS:
        return spelled
    digits = spelled.partition("e")[0].replace(".", "").strip("-0")
    return spelled if len(digits) <= FLOAT_DIGITS else None


# --- the rules ------------------------------------------------------------------------------------


def rules_of(day: date) -> str:
    """SQL from candidates to USAGE, ``rule`` (the first reason, or NULL) and ``detail``.

    Args:
        day: the delivery day.
    """
    this_day = f"date '{day.isoformat()}'"
    missing = " ".join(
        f"when {name} is null {only} then 'missing_{name}'" for name, _, only in REQUIRED
    )
    return f"""
        select
            event_id,
            kind,
            corrects_event_id,
            customer_id,
            meter,
            {_micro("quantity_amount")} as quantity_micro,
            case when rule is null then ts_utc end as ts,
            case when rule is null then ts_utc::date end as usage_day,
            line_number,
            start_us,
            least(duration_s_us, {DAY_US} - start_us) as duration_us,
            cluster,
            gpu_type,
            model_family,
            {_micro("energy_cost_amount")} as energy_cost_micro,
            payload_rest,
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
            from ({_valued()})
        )
    """


def _valued() -> str:
    """SQL from candidates to the values that their texts stand for, and what is malformed of them."""
    strings = ", ".join(f"nullif({name}, '') as {name}" for name in _STRINGS if name != "kind")
    amounts = ", ".join(f"try_cast({name} as decimal(18, 6)) as {name}_amount" for name in _NUMBERS)
    return f"""
        select *, case {_malformed()} end as malformed
        from (
            select
                *,
                case
                    when regexp_full_match(ts, '{_TIME}')
                        then make_timestamp(epoch_us(try_cast(upper(ts) as timestamptz)))
                end as ts_utc,
                ts[-1] in ('Z', 'z') or ts[-6] in ('+', '-') as has_offset,
                -- least() passes over a NULL: a length that is missing would be a day.
                (least(coalesce(duration_s_amount, 0), {DAY_S}) * 1000000)::bigint
                    as duration_s_us
            from (
                select
                    * replace (coalesce(nullif(kind, ''), 'usage') as kind, {strings}),
                    {amounts}
                from candidates
            )
        )
    """


def _micro(amount: str) -> str:
    return f"({amount}::decimal(38, 6) * 1000000)::bigint"


def _detail(day: date) -> str:
    """A CASE that says in words what is wrong with a row, or NULL."""
    # All of them: whoever mends the first one only would be told of the second one tomorrow.
    missing = ", ".join(
        f"case when {name} is null {only} then '{place}' end" for name, place, only in REQUIRED
    )
    return f"""
        case
            when rule is null then null
            when rule = 'malformed' then malformed
            when starts_with(rule, 'missing_')
                then concat_ws(', ', {missing}) || ': null, absent or empty' || case
                    when cluster is null and contains(payload_rest, ',/cluster:')
                        then '; cluster stands beside metadata, not in it'
                    else ''
                end
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


def _malformed() -> str:
    """The branches of a CASE that says what is malformed in a row's values, in words."""
    branches = ["when broken is not null then broken"]

    def add(when: str, name: str, expected: str) -> None:
        branches.append(
            f"when {when} then '{name} is ' || left({name}, 80) || '; {expected} was expected'"
        )

    add(f"kind not in ({_sql_strings(KINDS)})", "kind", " or ".join((*KINDS, NO_USAGE)))
    add(
        f"meter = 'gpu_hour' and abs(quantity_amount::decimal(38, 6)) * 60 >= {LIMIT}",
        "quantity",
        f"less than {_LIMIT_TEXT} GPU minutes",
    )
    add(
        "ts is not null and (ts_utc is null or year(ts_utc) not between 1 and 9999)",
        "ts",
        "a time as in RFC 3339",
    )
    return " ".join(branches)


def _sql_strings(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
