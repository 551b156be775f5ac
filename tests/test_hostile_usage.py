"""Hostile usage: whatever is delivered, no row is lost, no number is bent, no good row is harmed.

A second judge, written from the specification alone and in plain Python, says what every line of
the corpus and of the fuzzed deliveries is.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.landing import files, land_usage
from orchestration.landing.events import EventParser, _Refused
from orchestration.landing.lines import KEPT_BYTES, LINES, MAX_LINE_BYTES, Lines
from orchestration.sources.folder import FolderSource
from orchestration.store.duck import connect

DAY = date(2026, 1, 31)
GOOD = {
    "event_id": "good",
    "customer_id": "acme",
    "meter": "gpu_minute",
    "quantity": 60.5,
    "ts": "2026-01-30T10:00:00Z",
    "metadata": {"cluster": "c1", "gpu_type": "H100", "duration_s": 3600, "team": "x"},
}
REASONS = {
    "malformed",
    *(f"missing_{name}" for name in ("event_id", "corrects_event_id", "customer_id", "meter")),
    *(f"missing_{name}" for name in ("quantity", "ts", "cluster")),
    "naive_timestamp",
    "negative_quantity",
    "unknown_meter",
    "timestamp_out_of_range",
}


# --- the second judge -----------------------------------------------------------------------------

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)
_MALFORMED = ("malformed", None, None, Decimal(0))
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
# Rounded to 6 decimals, it is no longer below 10^9; and it is as much as -0.000001.
_LARGE = Decimal("999999999.9999995")
_BELOW_0 = Decimal("-0.0000005")


Verdict = tuple[str | None, Decimal | None, datetime | None, Decimal]


def judged(line: str) -> Verdict:
    """The first reason against a line, or None with its quantity, instant (UTC) and seconds."""
    try:
        row = json.loads(line, parse_float=Decimal, parse_int=Decimal, parse_constant=_refused)
    except (ValueError, RecursionError, InvalidOperation):
        return _MALFORMED
    metadata = row.get("metadata") if isinstance(row, dict) else None
    metadata = {} if metadata in (None, "") else metadata
    if not isinstance(row, dict) or not isinstance(metadata, dict):
        return _MALFORMED
    filled = [
        (key, value)
        for part in ({**row, "metadata": None}, metadata)
        for key, value in part.items()
        if value is not None and value != ""
    ]
    if _depth(row) > 65 or any(_has_half_a_pair(part) for pair in filled for part in pair):
        return _MALFORMED
    top = {
        name: None if row.get(name) == "" else row.get(name)
        for name in ("event_id", "kind", "corrects_event_id", "customer_id", "meter", "ts")
    }
    for name in ("cluster", "gpu_type", "model_family"):
        top[name] = None if metadata.get(name) == "" else metadata.get(name)
    if any(value is not None and not isinstance(value, str) for value in top.values()):
        return _MALFORMED
    numbers = {"quantity": row.get("quantity")} | {
        name: metadata.get(name) for name in ("duration_s", "energy_cost")
    }
    try:
        numbers = {name: _number(value) for name, value in numbers.items()}
    except (ValueError, InvalidOperation):
        return _MALFORMED
    if any(value is not None and not isinstance(value, Decimal) for value in numbers.values()):
        return _MALFORMED
    kind = top["kind"] or "usage"
    if kind not in ("usage", "correction", "retraction"):
        return _MALFORMED
    if any(value is not None and value.copy_abs() >= _LARGE for value in numbers.values()):
        return _MALFORMED
    amount = numbers["quantity"]
    if top["meter"] == "gpu_hour" and amount is not None:
        hours = amount.quantize(Decimal("0.000001"), ROUND_HALF_UP)
        if abs(hours) * 60 >= 10**9:
            return _MALFORMED
    duration = numbers["duration_s"]
    if duration is not None and duration <= _BELOW_0:
        return _MALFORMED
    at = _TIME.fullmatch(top["ts"]) if top["ts"] else None
    instant = _instant(at) if at else None
    if top["ts"] and instant is None:
        return _MALFORMED
    for name in ("event_id", "corrects_event_id", "customer_id", "meter", "quantity", "ts"):
        value = numbers[name] if name == "quantity" else top[name]
        if value is None and (name != "corrects_event_id" or kind != "usage"):
            return f"missing_{name}", None, None, Decimal(0)
    if top["cluster"] is None:
        return "missing_cluster", None, None, Decimal(0)
    assert at
    assert instant
    if not at[8]:
        return "naive_timestamp", None, None, Decimal(0)
    quantity = numbers["quantity"].quantize(Decimal("0.000001"), ROUND_HALF_UP)
    if kind == "usage" and quantity < 0:
        return "negative_quantity", None, None, Decimal(0)
    if top["meter"] not in ("gpu_minute", "gpu_millisecond", "gpu_second", "gpu_hour"):
        return "unknown_meter", None, None, Decimal(0)
    if not DAY - timedelta(days=400) <= instant.date() <= DAY:
        return "timestamp_out_of_range", None, None, Decimal(0)
    seconds = (duration or Decimal(0)).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    return None, quantity, instant, seconds


def _number(value: Any) -> Any:
    """What a text spells, None for an empty one; anything else as it is."""
    if not isinstance(value, str) or value == "":
        return None if value == "" else value
    if not _DECIMAL.fullmatch(value):
        raise ValueError(value)
    return Decimal(value)


def _refused(name: str) -> None:
    raise ValueError(name)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(part) for part in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(part) for part in value), default=0)
    return 0


def _has_half_a_pair(value: Any) -> bool:
    """Whether a text or a key is no text; a key whose value is null is as if it were absent."""
    if isinstance(value, dict):
        filled = [pair for pair in value.items() if pair[1] is not None]
        return any(_has_half_a_pair(part) for pair in filled for part in pair)
    if isinstance(value, list):
        return any(map(_has_half_a_pair, value))
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


def _instant(at: re.Match[str]) -> datetime | None:
    """The instant in UTC to the microsecond, cut; None if there is none in the years 1 to 9999."""
    year, month, day, hour, minute, second = (int(at[n]) for n in range(1, 7))
    micro = int((at[7] or "0")[:6].ljust(6, "0"))
    # The calendar repeats every 400 years: so the year 0, and what lies beyond 9999, has an instant.
    shift = 400 if year < 5000 else -400
    try:
        moment = datetime(year + shift, month, day, hour, minute, second, micro)
        if at[9]:
            if int(at[10]) > 23 or int(at[11]) > 59:
                return None
            offset = timedelta(hours=int(at[10]), minutes=int(at[11]))
            moment = moment - offset if at[9] == "+" else moment + offset
        return moment.replace(year=moment.year - shift)
    except ValueError:
        return None


# --- deliveries -----------------------------------------------------------------------------------


class Feed:
    """A feed folder and a landing beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "feeds"
        (self.folder / "usage").mkdir(parents=True)
        self.landing = root / "landing"

    def land(self, content: bytes, **options: Any) -> files.Delivery:
        (self.folder / "usage" / f"usage_{DAY}.jsonl").write_bytes(content)
        return land_usage(FolderSource(str(self.folder)), DAY, self.landing, **options)

    def landed(self) -> list[dict[str, Any]]:
        rows = []
        for path in self.landing.glob("usage/usage_day=*/delivery_day=*/part.parquet"):
            with pq.ParquetFile(path) as part:
                assert part.schema_arrow.equals(files.USAGE)
                rows += part.read().to_pylist()
        return sorted(rows, key=lambda row: row["line_number"])

    def rejected(self) -> list[dict[str, Any]]:
        return pq.ParquetFile(self.landing / f"rejected/usage/{DAY}.parquet").read().to_pylist()


def check(feed: Feed, content: bytes) -> None:
    """Land a delivery, and hold every line of it to the second judge."""
    delivery = feed.land(content)

    lines = {
        number: line.removesuffix(b"\r")
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    }
    lines = {
        number: line
        for number, line in lines.items()
        if line.decode("utf-8", "backslashreplace").strip()
    }
    if delivery.problem:
        # Nothing in it could be used, and what it is instead is said.
        assert "half-written" not in delivery.problem
        texts = [line.decode("utf-8", "backslashreplace") for line in lines.values()]
        assert {judged(text)[0] for text in texts} == {"malformed"}
        assert not feed.landed()
        return
    if [json.loads(line) for line in lines.values() if b"no_usage" in line] == [
        {"kind": "no_usage"}
    ] and len(lines) == 1:
        assert (delivery.delivered_rows, feed.landed(), feed.rejected()) == (0, [], [])
        return
    landed = {row["line_number"]: row for row in feed.landed()}
    rejected = {row["line_number"]: row for row in feed.rejected()}
    assert not landed.keys() & rejected.keys()
    assert landed.keys() | rejected.keys() == lines.keys()
    assert delivery.delivered_rows == len(lines)
    assert delivery.landed_rows == len(landed)
    assert sum(delivery.rejected_by_reason.values()) == delivery.rejected_rows == len(rejected)
    for number, line in lines.items():
        row = landed.get(number) or rejected[number]
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = line.decode("utf-8", "backslashreplace")
            expected = _MALFORMED
        else:
            expected = judged(text)
        assert row["raw"] == text
        assert row.get("reason") == expected[0], (text[:500], row.get("detail"))
        if expected[0] is None:
            assert row["quantity_micro"] == expected[1].scaleb(6)
            assert row["ts"] == expected[2]
            assert row["usage_day"] == expected[2].date()
            midnight = datetime.combine(expected[2].date(), datetime.min.time())
            start = (expected[2] - midnight) // timedelta(microseconds=1)
            length = min(int(expected[3].scaleb(6)), 86_400_000_000 - start)
            assert (row["start_us"], row["duration_us"]) == (start, length)
        else:
            assert row["reason"] in REASONS
            assert row["detail"]
            assert len(row["detail"]) < 400


def with_(name: str, text: str) -> str:
    """A good row with the literal JSON ``text`` as the value of ``name`` (``metadata.x`` too)."""
    row = json.loads(json.dumps(GOOD))
    place, _, key = name.rpartition(".")
    (row[place] if place else row)[key] = "@"
    return json.dumps(row).replace('"@"', text)


FIELDS = ("event_id", "kind", "corrects_event_id", "customer_id", "meter", "quantity", "ts")
IN_METADATA = ("cluster", "gpu_type", "model_family", "duration_s", "energy_cost", "team")
NAMES = (*FIELDS, "metadata", "extra", *(f"metadata.{name}" for name in IN_METADATA))


def corpus() -> list[str]:
    """Every hostile value in every field, and lines that are hostile as a whole."""
    values = [
        *(json.dumps(text, ensure_ascii=False) for text in hostile.TEXTS.values()),
        *(json.dumps(text) for text in hostile.TEXTS.values()),
        *hostile.NUMBERS,
        *hostile.NOT_NUMBERS,
        *(json.dumps(time) for time in hostile.TIMES),
        *(
            "null",
            "true",
            "{}",
            "[]",
            '""',
            '" "',
            "[null]",
            '{"a":null}',
            '"\\ud800"',
            '"\\u0000"',
        ),
    ]
    values += [json.dumps(number) for number in (*hostile.NUMBERS, *hostile.NOT_NUMBERS)]
    values += ['"usage"', '"no_usage"']
    rows = [with_(name, value) for name in NAMES for value in values]
    rows += [
        with_(name, value)
        for name in ("event_id", "quantity", "metadata", "metadata.team")
        for value in hostile.LARGE_JSON.values()
    ]
    good = json.dumps(GOOD)
    rows += [
        good + good,
        good[:-1],
        good[1:],
        good.replace('"', "'"),
        good.replace(":", "="),
        good.replace(",", ",,"),
        f"[{good}]",
        f"({good})",
        f"while(1);{good}",
        f"// {good}",
        f"{good} // {good}",
        good.replace("}", ",}"),
        # A key that stands twice: the last one counts.
        good[:-1] + ',"quantity":1,"quantity":2}',
        good[:-1] + ',"quantity":1,"quantity":null}',
        good[:-1] + ',"event_id":"other"}',
        good[:-1] + ',"metadata":{}}',
        good.replace('"cluster"', '"clust\\u0065r"'),
        good.replace('"quantity"', '"\ufeffquantity"'),
        good.replace('"quantity"', '"Quantity"'),
        good.replace(" ", "\u00a0"),
        good.replace(" ", "\u2028"),
        good.replace(" ", "\x0b"),
        good.replace(" ", "\t"),
        "\x00" + good,
        good + "\x00",
        "\x1b[2J" + good,
        "\ufeff" + good,
        '{"__proto__":{"event_id":"e"},"constructor":1}',
        '{"kind":"no_usage"}',
        "{}",
        "[]",
        '""',
        "0",
        "{",
        "\u00ad",
        "\u200b",
    ]
    return rows


def test_the_corpus_gets_the_verdicts_of_a_second_judge(tmp_path):
    """Every hostile line between good ones, in one delivery; the good ones land as they do alone."""
    good = json.dumps(GOOD)
    alone = Feed(tmp_path / "alone")
    alone.land(f"{good}\n".encode())
    [expected] = alone.landed()
    lines = []
    for number, line in enumerate(corpus()):
        lines.append(line.encode())
        if number % 7 == 0:
            lines.append(good.encode())
    for line in hostile.BROKEN_BYTES.values():
        lines += [line.replace(b"\n", b""), good.encode()]
    feed = Feed(tmp_path / "all")

    check(feed, b"\n".join(lines) + b"\n")

    places = [number for number, line in enumerate(lines, 1) if line == good.encode()]
    rows = {row["line_number"]: row for row in feed.landed()}
    assert len(places) > 200
    assert all(rows[place] == {**expected, "line_number": place} for place in places)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_marks_and_line_ends_change_no_verdict(tmp_path, ends, mark):
    lines = [json.dumps(GOOD), "bad", "", " \t ", "{}", json.dumps(GOOD)]

    check(Feed(tmp_path), mark + "".join(line + ends for line in lines).encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_delivery_in_another_encoding_is_called_that(tmp_path, encoding):
    content = "".join(json.dumps(GOOD) + "\n" for _ in range(3)).encode(encoding)
    delivery = Feed(tmp_path).land(content)

    assert delivery.landed_rows == 0
    assert "it is UTF-16 or UTF-32, not UTF-8. Deliver it as UTF-8" in delivery.problem


def test_a_file_with_the_line_ends_of_old_is_no_delivery(tmp_path):
    delivery = Feed(tmp_path).land("".join(json.dumps(GOOD) + "\r" for _ in range(3)).encode())

    assert "its lines end with a carriage return alone" in delivery.problem


# --- anything at all ------------------------------------------------------------------------------

JSON_TOKENS = st.one_of(
    st.sampled_from(hostile.NUMBERS),
    st.sampled_from(hostile.NOT_NUMBERS),
    st.sampled_from([json.dumps(number) for number in (*hostile.NUMBERS, *hostile.NOT_NUMBERS)]),
    st.sampled_from([json.dumps(time) for time in hostile.TIMES]),
    st.sampled_from([json.dumps(text, ensure_ascii=False) for text in hostile.TEXTS.values()]),
    st.sampled_from(["null", "true", "{}", "[]", '""', '"usage"', '"correction"', '"gpu_second"']),
    st.text(max_size=6).map(json.dumps),
    st.text(st.characters(codec="utf-8"), max_size=6).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ).map(json.dumps),
)
ROWS = st.dictionaries(st.sampled_from(NAMES), JSON_TOKENS, max_size=4).map(
    lambda changes: _spelled(changes)
)


def _spelled(changes: dict[str, str]) -> str:
    """A good row with some literal values; with a hole in it where a value is put into no object."""
    row = json.loads(json.dumps(GOOD))
    marks: dict[str, str] = {}
    for number, (name, text) in enumerate(sorted(changes.items())):
        place, _, key = name.rpartition(".")
        target = row[place] if place else row
        if isinstance(target, dict):
            target[key] = f"@{number}@"
            marks[f'"@{number}@"'] = text
    line = json.dumps(row)
    for mark, text in marks.items():
        line = line.replace(mark, text)
    return line


@st.composite
def deliveries(draw: st.DrawFn) -> bytes:
    """Lines of which some are damaged byte by byte, some repeated, some not ended as they should."""
    content = b""
    for _ in range(draw(st.integers(1, 25))):
        line = draw(ROWS).encode("utf-8", "surrogatepass")
        for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):
            at = draw(st.integers(0, len(line)))
            cut = draw(st.integers(0, 3))
            line = line[:at] + draw(st.binary(max_size=4)) + line[at + cut :]
        line = draw(
            st.just(line) | st.just(line) | st.sampled_from([*hostile.BROKEN_BYTES.values()])
        )
        content += line + draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n"]))
    return content


@given(deliveries())
@settings(max_examples=examples(30), deadline=None)
def test_every_line_of_any_delivery_gets_the_verdict_of_a_second_judge(tmp_path_factory, content):
    if content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "backslashreplace").strip():
        check(Feed(tmp_path_factory.mktemp("fuzz")), content)


@given(ROWS, st.integers(0, 24))
@settings(max_examples=examples(30), deadline=None)
def test_one_hostile_row_harms_none_of_the_good_ones(tmp_path_factory, hostile_row, place):
    """Whatever it is, and wherever it stands: the others land as they do without it."""
    good = [json.dumps({**GOOD, "event_id": f"e{n}"}) for n in range(24)]
    feed = Feed(tmp_path_factory.mktemp("one"))
    line = hostile_row.replace("\n", " ").encode("utf-8", "surrogatepass")
    encoded = [row.encode() for row in good]
    content = b"\n".join([*encoded[:place], line, *encoded[place:], b""])

    delivery = feed.land(content)

    assert delivery.problem is None
    assert set(good) <= {row["raw"] for row in feed.landed()}
    assert delivery.delivered_rows == 25


@given(st.lists(ROWS, min_size=1, max_size=12))
@settings(max_examples=examples(30), deadline=None)
def test_both_lanes_read_the_same_in_every_line(lines):
    """Method: once as it comes, once with the fast reader switched off.

    Of rejected rows the reason counts; the words beside it may quote a value in either spelling.
    """
    lines = [line for line in lines if "\n" not in line and _is_utf_8(line)]
    table = pa.table([range(1, len(lines) + 1), lines], schema=LINES)
    with connect(Path("/nonexistent")) as connection:
        fast = EventParser(connection, DAY)
        slow = EventParser(connection, DAY)
        slow._read_block = lambda block: _Refused(None)  # type: ignore[method-assign]
        seen = [
            pa.concat_tables(parser.parse([Lines(table, [], None)]))
            .sort_by("line_number")
            .to_pylist()
            for parser in (fast, slow)
        ]

    one, other = (
        [
            row if row["rule"] is None else (row["line_number"], row["rule"], row["raw"])
            for row in rows
        ]
        for rows in seen
    )
    assert one == other


def _is_utf_8(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- lines without an end -------------------------------------------------------------------------


def long_line(size: int) -> bytes:
    """A good row of exactly ``size`` bytes."""
    row = {**GOOD, "padding": ""}
    short = len(json.dumps(row))
    return json.dumps({**row, "padding": "x" * (size - short)}).encode()


def test_a_line_may_be_four_megabytes_long_and_not_a_byte_more(tmp_path):
    good = json.dumps(GOOD).encode()
    content = [good, long_line(MAX_LINE_BYTES), long_line(MAX_LINE_BYTES + 1), good]
    feed = Feed(tmp_path)

    delivery = feed.land(b"\r\n".join(content) + b"\r\n")

    assert [row["line_number"] for row in feed.landed()] == [1, 2, 4]
    [row] = feed.rejected()
    assert (row["line_number"], row["reason"]) == (3, "malformed")
    assert "4,194,305 bytes, more than 4,194,304; its first 65,536 are kept" in row["detail"]
    assert row["raw"].encode() == content[2][:KEPT_BYTES]
    assert delivery.delivered_rows == 4


@pytest.mark.parametrize(
    ("filler", "size"),
    [
        *((b"x", size) for size in (MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 16 << 20, 70 << 20)),
        *((filler, (16 << 20) + 5) for filler in (b"\xff", b'{"a":[', b" ")),
    ],
)
def test_a_line_of_any_length_costs_one_row(tmp_path, size, filler):
    good = json.dumps(GOOD).encode()
    line = (filler * (size // len(filler) + 1))[:size]
    feed = Feed(tmp_path)

    feed.land(b"\n".join([good, b"!" + line, good, line + b"!", good, b""]))

    assert [row["line_number"] for row in feed.landed()] == [1, 3, 5]
    rows = feed.rejected()
    assert [(row["line_number"], row["reason"]) for row in rows] == [
        (2, "malformed"),
        (4, "malformed"),
    ]
    assert all(f"{size + 1:,} bytes" in row["detail"] for row in rows)


def test_a_long_line_without_an_end_is_half_a_file(tmp_path):
    for line in (long_line(MAX_LINE_BYTES + 1), b"1" * (20 << 20)):
        delivery = Feed(tmp_path / str(len(line))).land(json.dumps(GOOD).encode() + b"\n" + line)
        assert "half-written" in delivery.problem


def test_a_last_line_with_a_number_of_many_digits_is_whole(tmp_path):
    feed = Feed(tmp_path)
    delivery = feed.land(with_("quantity", "1" * 5000).encode())

    assert delivery.problem is None
    assert delivery.rejected_by_reason == {"malformed": 1}


def test_many_short_and_empty_lines_are_read_in_bounded_pieces(tmp_path, monkeypatch):
    """Method: a piece of three lines; numbers run on over pieces, blank lines and broken ones."""
    monkeypatch.setattr("orchestration.landing.lines.PIECE_LINES", 3)
    good = json.dumps(GOOD).encode()
    lines = [b"", b"x", b"", b"", b"", b"{}", good, b" ", b"x", b"x", b"x", b"x", good, b"", b""]
    for number, more in enumerate((b"", b"\xff\n")):
        check(Feed(tmp_path / str(number)), more + b"\n".join(lines) + b"\n")


def test_the_second_judge_is_no_stranger_to_time():
    """The judge's own arithmetic against the standard library's."""
    at = _TIME.fullmatch("2026-01-30T10:00:00.25+05:30")
    assert at
    expected = datetime.fromisoformat("2026-01-30T10:00:00.25+05:30").astimezone(UTC)
    assert _instant(at) == expected.replace(tzinfo=None)
