"""Landing usage: every delivered row is landed or rejected with its first reason, exactly once."""

import csv
import gzip
import json
import time
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestration.landing import files, land_usage, lines, prepare_landing, usage
from orchestration.landing.events import EventParser
from orchestration.landing.lines import LINES, Lines
from orchestration.landing.preparation import RetypingFailed
from orchestration.sources.folder import FolderSource
from orchestration.store.duck import connect

DAY = date(2026, 1, 31)
SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason=f"the development feeds are not at {SHARED}"
)


def event(**changes):
    """A good row; ``metadata`` is merged, DROP removes a key."""
    row = {
        "event_id": "e1",
        "customer_id": "acme",
        "meter": "gpu_minute",
        "quantity": 60,
        "ts": "2026-01-30T10:00:00Z",
        "metadata": {"cluster": "c1", "gpu_type": "H100", "duration_s": 3600, "team": "x"},
    }
    metadata = changes.pop("metadata", {})
    row["metadata"] = {**row["metadata"], **metadata} if isinstance(metadata, dict) else metadata
    row |= changes
    if isinstance(row["metadata"], dict):
        row["metadata"] = {k: v for k, v in row["metadata"].items() if v is not DROP}
    return {key: value for key, value in row.items() if value is not DROP}


DROP = object()


def jsonl(*rows):
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def parse(*rows):
    """Parse rows (JSON text or dicts) of one delivery, without files."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    table = pa.table([range(1, len(texts) + 1), texts], schema=LINES)
    with connect(Path("/nonexistent")) as connection:
        rows = pa.concat_tables(EventParser(connection, DAY).parse([Lines(table, [], None)]))
        return rows.sort_by("line_number").to_pylist()


class Feed:
    """A feed folder and a landing beside it."""

    def __init__(self, root):
        self.folder = root / "feeds" / "usage"
        self.folder.mkdir(parents=True)
        self.landing = root / "landing"

    def deliver(self, content, day=DAY, suffix=".jsonl"):
        self.path = self.folder / f"usage_{day}{suffix}"
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)

    def land(self, day=DAY, **options):
        source = FolderSource(str(self.folder.parent))
        return land_usage(source, day, self.landing, **options)

    def rows(self, pattern="usage/*/*/part.parquet"):
        """Landed rows in the order of delivery."""
        found = [
            row
            for path in sorted(self.landing.glob(pattern))
            for row in pq.ParquetFile(path).read().to_pylist()
        ]
        return sorted(found, key=lambda row: (str(row), row.get("line_number")))

    def rejected(self, day=DAY):
        rows = pq.ParquetFile(self.landing / f"rejected/usage/{day}.parquet").read().to_pylist()
        return [(row["line_number"], row["reason"], row["raw"]) for row in rows]

    def touched(self, day=DAY):
        return [row["usage_day"] for row in self.rows(f"touched/usage/{day}.parquet")]

    def contents(self):
        """Every landed file and its bytes."""
        return {
            str(path.relative_to(self.landing)): path.read_bytes()
            for path in self.landing.rglob("*.parquet")
        }


@pytest.fixture
def feed(tmp_path):
    return Feed(tmp_path)


# --- what a good row becomes ----------------------------------------------------------------------


def test_a_row_lands_with_all_its_columns(feed):
    """10:00+02:00 is 08:00 UTC; 90 s from there are 90,000,000 us after 28,800,000,000 us."""
    line = json.dumps(
        event(
            ts="2026-01-30T10:00:00.25+02:00",
            quantity=1.5,
            metadata={"duration_s": 90, "energy_cost": 0.1, "model_family": None},
        )
    )
    feed.deliver(line + "\n")

    delivery = feed.land()

    (row,) = feed.rows()
    assert row == {
        "event_id": "e1",
        "kind": "usage",
        "corrects_event_id": None,
        "customer_id": "acme",
        "meter": "gpu_minute",
        "quantity_micro": 1_500_000,
        "ts": datetime(2026, 1, 30, 8, 0, 0, 250000),
        "usage_day": date(2026, 1, 30),
        "delivery_day": DAY,
        "line_number": 1,
        "start_us": 28_800_250_000,
        "duration_us": 90_000_000,
        "cluster": "c1",
        "gpu_type": "H100",
        "model_family": None,
        "energy_cost_micro": 100_000,
        "payload_rest": ',.duration_s:90.0,.energy_cost:0.1,.team:"x"',
        "raw": line,
    }
    part = feed.landing / "usage/usage_day=2026-01-30/delivery_day=2026-01-31/part.parquet"
    assert pq.ParquetFile(part).schema_arrow.equals(files.USAGE)
    assert (delivery.delivered_rows, delivery.landed_rows, delivery.rejected_rows) == (1, 1, 0)
    assert delivery.touched_days == (date(2026, 1, 30),)
    assert delivery.problem is None


@pytest.mark.parametrize(
    ("ts", "utc"),
    [
        ("2026-01-30T23:59:59Z", "2026-01-30T23:59:59"),
        ("2026-01-30t23:59:59z", "2026-01-30T23:59:59"),
        ("2026-01-30 23:59:59Z", "2026-01-30T23:59:59"),
        ("2026-01-31T00:30:00+01:00", "2026-01-30T23:30:00"),
        ("2026-01-30T20:15:00-05:45", "2026-01-31T02:00:00"),
        ("2026-01-30T00:00:00.123456789Z", "2026-01-30T00:00:00.123456"),
        ("2026-01-30T23:59:59.9999999Z", "2026-01-30T23:59:59.999999"),
        ("2026-01-30T00:00:00-00:00", "2026-01-30T00:00:00"),
    ],
)
def test_every_rfc_3339_time_is_stored_in_utc(ts, utc):
    (row,) = parse(event(ts=ts))

    assert row["ts"] == datetime.fromisoformat(utc)
    assert row["usage_day"] == row["ts"].date()


@pytest.mark.parametrize("length", [DROP, None, "", 0])
@pytest.mark.parametrize("more", [{"team": "x"}, {"team": "M\u00fcller"}, {"tags": ["nested"]}])
def test_a_use_without_a_length_is_in_the_hour_of_its_start(more, length):
    """Whichever way the line is read: json.dumps escapes the umlaut, and lists are not Arrow's."""
    (row,) = parse(event(metadata={**more, "duration_s": length}))

    assert row["rule"] is None
    assert row["duration_us"] == 0


@pytest.mark.parametrize(
    ("duration", "expected_us"),
    [
        (DROP, 0),
        (None, 0),
        (0, 0),
        (0.5, 500_000),
        (7200, 3_600_000_000),
        (1e6, 3_600_000_000),
        (-1e-7, 0),
        ("7200", 3_600_000_000),
        (999999999.999999, 3_600_000_000),
    ],
)
def test_a_use_is_cut_at_the_end_of_its_day(duration, expected_us):
    """From 23:00 one hour is left of the day."""
    (row,) = parse(event(ts="2026-01-30T23:00:00Z", metadata={"duration_s": duration}))

    assert row["duration_us"] == expected_us


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0.1234565", "0.123457"),
        ("0.12345649", "0.123456"),
        ("0.12345649999999999999", "0.123456"),
        ("123456789.1234565", "123456789.123457"),
        ("999999999.123456500000000001", "999999999.123457"),
        ("999999999.999999", "999999999.999999"),
        ("999999999.9999994", "999999999.999999"),
        # As floats, nearly whole: a place of their last digit is a tenth of a millionth.
        ("536870912.0000009", "536870912.000001"),
        ("536870912.0000004", "536870912.000000"),
        ("6e1", "60.000000"),
        ("60.0", "60.000000"),
        ("5E-7", "0.000001"),
        ("4.9e-7", "0.000000"),
        ("0.00", "0.000000"),
        ("-0", "0.000000"),
        ("-0.0", "0.000000"),
        ("-1e-9", "0.000000"),
        ("1e-400", "0.000000"),
        ("1e-99999999", "0.000000"),
    ],
)
def test_six_decimals_are_kept_exactly(text, kept):
    line = json.dumps(event()).replace('"quantity": 60', f'"quantity": {text}')
    (row,) = parse(line)

    assert row["rule"] is None
    assert row["quantity_micro"] == int(Decimal(kept) * 10**6)
    # As text, by itself and among numbers.
    as_text = line.replace(f'"quantity": {text}', f'"quantity": "{text}"')
    for judged in (parse(as_text), parse(line, as_text), parse(as_text, line)):
        assert {row["rule"] for row in judged} == {None}
        assert len(set(payloads([row, *judged]))) == 1


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9 - 1, places=9)
    | st.builds(
        # Just beside a whole number, where a large float does not show it.
        lambda whole, beside: Decimal(whole) + Decimal(beside).scaleb(-7),
        st.integers(10**6, 10**9 - 2),
        st.integers(0, 200),
    )
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10, places=7)
    | st.floats(min_value=0, max_value=999_999_999).map(lambda number: Decimal(repr(number)))
)
@settings(max_examples=60, deadline=None)
def test_rounding_is_exact_for_any_number(number):
    line = json.dumps(event()).replace('"quantity": 60', f'"quantity": {number:f}')
    as_text = json.dumps(event(quantity=f"{number:f}"))

    for row in parse(line, as_text) + parse(as_text):
        assert row["quantity_micro"] == int(number.scaleb(6).to_integral_value(ROUND_HALF_UP))


# --- reasons --------------------------------------------------------------------------------------


def spelled(**texts):
    """A good row with some values replaced by literal JSON text."""
    line = json.dumps(event(**{name: f"@{name}@" for name in texts}))
    for name, text in texts.items():
        line = line.replace(f'"@{name}@"', text)
    return line


BAD = [
    ("not json", "malformed"),
    ('{"event_id": ', "malformed"),
    ("[1, 2]", "malformed"),
    ('"text"', "malformed"),
    ("null", "malformed"),
    ("5", "malformed"),
    ("{}", "missing_event_id"),
    (json.dumps(event())[:-1] + ",}", "malformed"),
    (json.dumps(event()) + json.dumps(event()), "malformed"),
    (json.dumps(event()).replace("{", "\ufeff{", 1), "malformed"),
    (json.dumps(event()).replace("acme", "a\tb"), "malformed"),
    (json.dumps(event()).replace("acme", "\\ud800"), "malformed"),
    ('{"a":' * 100_000, "malformed"),
    (spelled(quantity="[" * 5000 + "]" * 5000), "malformed"),
    (spelled(extra='{"a":' * 65 + "1" + "}" * 65), "malformed"),
    (spelled(quantity="NaN"), "malformed"),
    (spelled(quantity="Infinity"), "malformed"),
    (spelled(quantity="-Infinity"), "malformed"),
    (spelled(quantity="1e308"), "malformed"),
    (spelled(quantity="1e400"), "malformed"),
    (spelled(quantity="1e999999999"), "malformed"),
    (spelled(quantity="1e99999999999999999999"), "malformed"),
    (spelled(quantity="1" + "0" * 30), "malformed"),
    (spelled(quantity="1" * 5000), "malformed"),
    (spelled(quantity="1e9"), "malformed"),
    (event(meter="gpu_hour", quantity=16_666_666.666667), "malformed"),
    (
        event(kind="correction", corrects_event_id="e0", meter="gpu_hour", quantity=-5e8),
        "malformed",
    ),
    (spelled(quantity="-1000000000"), "malformed"),
    (spelled(quantity="999999999.9999995"), "malformed"),
    (event(meter="gpu_millisecond", quantity=1e9), "malformed"),
    (event(meter="gpu_second", quantity="1000000000"), "malformed"),
    (event(quantity="1e999999999"), "malformed"),
    (event(quantity="-1e99999999999999999999"), "malformed"),
    (event(metadata={"duration_s": "1e999999999"}), "malformed"),
    (spelled(quantity="01"), "malformed"),
    (spelled(quantity="+1"), "malformed"),
    (spelled(other="NaN"), "malformed"),
    *(
        (event(quantity=text), "malformed")
        for text in ("+1", ".5", "5.", "01", " 1", "1 ", "1_0", "1,5", "0x1", "NaN", "1e", "-", " ")
    ),
    (event(quantity="\u0661"), "malformed"),
    (event(quantity=True), "malformed"),
    (event(quantity=[60]), "malformed"),
    (event(event_id=5), "malformed"),
    (event(event_id={"a": 1}), "malformed"),
    (event(customer_id=False), "malformed"),
    (event(meter=1.5), "malformed"),
    (event(corrects_event_id=7), "malformed"),
    (event(kind=1), "malformed"),
    (event(kind="refund"), "malformed"),
    (event(kind="Usage"), "malformed"),
    (event(metadata=[1]), "malformed"),
    (event(metadata="text"), "malformed"),
    (event(metadata={"cluster": 5}), "malformed"),
    (event(metadata={"gpu_type": ["H100"]}), "malformed"),
    (event(metadata={"model_family": True}), "malformed"),
    (event(metadata={"duration_s": -1}), "malformed"),
    (event(metadata={"duration_s": -1e11}), "malformed"),
    (event(metadata={"duration_s": -0.0000005}), "malformed"),
    (event(metadata={"duration_s": "-1"}), "malformed"),
    (event(metadata={"duration_s": 1e9}), "malformed"),
    (event(metadata={"duration_s": 999999999.9999996}), "malformed"),
    (event(metadata={"duration_s": 1e300}), "malformed"),
    (event(metadata={"duration_s": "1 h"}), "malformed"),
    (event(metadata={"energy_cost": "1.5 USD"}), "malformed"),
    (event(metadata={"energy_cost": 1e9}), "malformed"),
    (event(metadata={"energy_cost": "-1000000000"}), "malformed"),
    (event(kind="no_usage"), "malformed"),
    ({"kind": "no_usage"}, "malformed"),
    (event(ts="2026-01-30T10:00:00+0000"), "malformed"),
    (event(ts="2026-01-30T10:00:00,5Z"), "malformed"),
    (event(ts="2026-01-30T10:00Z"), "malformed"),
    (event(ts="2026-01-30T10Z"), "malformed"),
    (event(ts="2026-01-30T10:00:00+00"), "malformed"),
    (event(ts="2026-01-30  10:00:00Z"), "malformed"),
    (event(ts=" 2026-01-30T10:00:00Z"), "malformed"),
    (event(ts=1769767200), "malformed"),
    (event(ts="yesterday"), "malformed"),
    (event(ts="2026-01-30"), "malformed"),
    (event(ts="2026-02-30T00:00:00Z"), "malformed"),
    (event(ts="2026-01-30T24:00:00Z"), "malformed"),
    (event(ts="2026-01-30T10:00:60Z"), "malformed"),
    (event(ts="2026-01-30T10:00:00+99:00"), "malformed"),
    (event(ts="2026-01-30T10:00:00 Europe/Paris"), "malformed"),
    (event(ts="0000-01-01T00:00:00Z"), "malformed"),
    (event(ts="0001-01-01T00:00:00+02:00"), "malformed"),
    (event(ts="9999-12-31T23:59:59-02:00"), "malformed"),
    (event(event_id=DROP), "missing_event_id"),
    (event(event_id=None), "missing_event_id"),
    (event(event_id=""), "missing_event_id"),
    (event(kind="correction"), "missing_corrects_event_id"),
    (event(kind="retraction", corrects_event_id=""), "missing_corrects_event_id"),
    (event(customer_id=""), "missing_customer_id"),
    (event(meter=None), "missing_meter"),
    (event(quantity=None), "missing_quantity"),
    (event(quantity=""), "missing_quantity"),
    (event(ts=DROP), "missing_ts"),
    (event(metadata=DROP), "missing_cluster"),
    (event(metadata=None), "missing_cluster"),
    (event(metadata=""), "missing_cluster"),
    (event(metadata={"cluster": ""}), "missing_cluster"),
    (event(ts="2026-01-30T10:00:00"), "naive_timestamp"),
    (event(ts="2026-01-30 10:00:00.5"), "naive_timestamp"),
    (event(quantity=-1), "negative_quantity"),
    (event(quantity=-0.000001), "negative_quantity"),
    (event(meter="cpu_minute"), "unknown_meter"),
    (event(meter="GPU_MINUTE"), "unknown_meter"),
    (event(ts="2026-02-01T00:00:00Z"), "timestamp_out_of_range"),
    (event(ts="2026-01-31T23:00:00-01:00"), "timestamp_out_of_range"),
    (event(ts="2024-12-26T23:59:59Z"), "timestamp_out_of_range"),
    (event(ts="1900-01-01T00:00:00Z"), "timestamp_out_of_range"),
]
GOOD = [
    event(kind=""),
    event(kind=None),
    event(kind="usage", corrects_event_id=""),
    event(kind="correction", corrects_event_id="e0", quantity=-5),
    event(kind="retraction", corrects_event_id="e0", quantity=-5),
    event(metadata={"gpu_type": "", "model_family": "", "energy_cost": ""}),
    event(metadata={"tags": {"a": [1, {"b": None}]}, "deep": [[[]]]}),
    event(metadata={"long": "x" * 1_000_000}),
    event(metadata={"zero": "a\x00b"}),
    event(metadata={"precise": 0.12345678901234567}),
    event(ts="2026-01-31T23:59:59.999999Z"),
    event(ts="2024-12-27T00:00:00Z"),
    event(meter="gpu_millisecond"),
    event(meter="gpu_second"),
    event(meter="gpu_hour"),
    event(metadata={"duration_s": -0.0}),
    event(meter="gpu_hour", quantity=16_666_666.666666),
    event(meter="gpu_second", quantity=999_999_999.999999),
    event(meter="gpu_second", quantity="999999999.9999994"),
    event(quantity="60", metadata={"duration_s": "6e1", "energy_cost": "-0.10"}),
    event(quantity=60, metadata={"duration_s": "", "energy_cost": None}),
    event(metadata={"duration_s": -4e-7}),
    event(metadata={"duration_s": 999_999_999.999999}),
    spelled(metadata='{"cluster": "c1", "duration_s": -1e-400}'),
    event(metadata={"energy_cost": -999_999_999.999999}),
    event(quantity=-0.0000001),
    event(quantity="-0.0000004"),
    event(customer_id="Ünïcode ☃ 日本"),
    event(customer_id='quote " and \\ backslash'),
    event(quantity=0),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_row_has_its_reason(row, reason):
    (judged,) = parse(row)

    assert judged["rule"] == reason, judged["detail"]
    assert judged["detail"]
    assert judged["usage_day"] is None


@pytest.mark.parametrize("row", GOOD, ids=range(len(GOOD)))
def test_a_good_row_has_no_reason(row):
    (judged,) = parse(row)

    assert judged["rule"] is None, judged["detail"]


def test_neighbours_never_change_a_verdict():
    """All bad and good rows in one delivery get the verdicts that each gets alone."""
    rows = [row for row, _ in BAD] + GOOD
    assert [row["rule"] for row in parse(*rows)] == [reason for _, reason in BAD] + [None] * len(
        GOOD
    )


def test_the_first_reason_wins():
    """A row with every defect; each step cures the reason that was given."""
    row = event(
        event_id="",
        kind="refund",
        customer_id="",
        meter="",
        quantity=None,
        ts=None,
        metadata={"cluster": None},
    )
    cures = [
        ("malformed", {"kind": "correction"}),
        ("missing_event_id", {"event_id": "e1"}),
        ("missing_corrects_event_id", {"kind": "usage"}),
        ("missing_customer_id", {"customer_id": "acme"}),
        ("missing_meter", {"meter": "abacus"}),
        ("missing_quantity", {"quantity": -1}),
        ("missing_ts", {"ts": "2030-01-01T00:00:00"}),
        ("missing_cluster", {"metadata": {"cluster": "c1"}}),
        ("naive_timestamp", {"ts": "2030-01-01T00:00:00Z"}),
        ("negative_quantity", {"quantity": 1}),
        ("unknown_meter", {"meter": "gpu_minute"}),
        ("timestamp_out_of_range", {"ts": "2026-01-30T00:00:00Z"}),
        (None, {}),
    ]
    for reason, cure in cures:
        (judged,) = parse(row)
        assert judged["rule"] == reason
        row = row | cure


def test_details_say_what_was_seen():
    details = [
        row["detail"]
        for row in parse(
            event(quantity="many"),
            event(kind="refund"),
            event(quantity=-1.5),
            event(ts="2026-01-30T10:00:00"),
            event(metadata=[1]),
            event(customer_id=None),
        )
    ]
    assert details == [
        'quantity is "many"; a number was expected',
        "kind is refund; usage or correction or retraction or no_usage was expected",
        "quantity is -1.500000; usage cannot be negative",
        "ts is 2026-01-30T10:00:00; it has no offset from UTC",
        "metadata is [1.0]; an object was expected",
        "customer_id: null, absent or empty",
    ]


def test_all_that_is_missing_is_named_at_once():
    row = event(event_id="", meter=None, kind="correction", ts=DROP, cluster="c1", metadata={})
    row["metadata"].pop("cluster")

    (judged,) = parse(row)

    assert judged["rule"] == "missing_event_id"
    assert judged["detail"] == (
        "event_id, corrects_event_id, meter, ts, metadata.cluster: null, absent or empty; "
        "cluster stands beside metadata, not in it"
    )


LIMITS = [
    ({"quantity": 1e9}, "quantity is 1000000000.0; a number below 10^9 was expected"),
    ({"quantity": "1e999999999"}, "quantity is 1e999999999; a number below 10^9 was expected"),
    (
        {"meter": "gpu_hour", "quantity": 2e7},
        "quantity is 20000000.000000; less than 10^9 GPU minutes was expected",
    ),
    (
        {"metadata": {"energy_cost": -1e9}},
        "energy_cost is -1000000000.0; a number below 10^9 was expected",
    ),
    (
        {"metadata": {"duration_s": 1e9}},
        "duration_s is 1000000000.0; a number below 10^9 was expected",
    ),
]


@pytest.mark.parametrize(("changes", "detail"), LIMITS)
def test_beyond_a_limit_the_limit_is_named(changes, detail):
    (judged,) = parse(event(**changes))

    assert (judged["rule"], judged["detail"]) == ("malformed", detail)


# --- the payload ----------------------------------------------------------------------------------

PAYLOAD = (
    *("kind", "corrects_event_id", "customer_id", "meter", "quantity_micro", "ts"),
    *("cluster", "gpu_type", "model_family", "payload_rest"),
)
"""The columns in which two deliveries of one id must agree to be the same."""


def payloads(judged):
    return [tuple(row[name] for name in PAYLOAD) for row in judged]


NUMBERS = (
    st.integers(-(10**14), 10**14).map(Decimal)
    | st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**6), max_value=10**6, places=7
    )
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: Decimal(repr(number)))
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.booleans() | NUMBERS | TEXTS | st.none()
KEYS = st.sampled_from(["a", "b_1", "é", "k.k", 'q"', "z"]) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
EXTRAS = st.dictionaries(KEYS, SCALARS, max_size=4) | st.dictionaries(KEYS, VALUES, max_size=4)


def spell(value, draw):
    """JSON text for a value: keys in any order, nulls added, numbers and texts spelled freely."""
    if isinstance(value, Decimal):
        return draw(st.sampled_from(number_spellings(value)))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, list):
        return "[" + ",".join(spell(part, draw) for part in value) + "]"
    if isinstance(value, dict):
        pairs = list(value.items()) + [(f"null{n}", None) for n in range(draw(st.integers(0, 2)))]
        comma = draw(st.sampled_from([",", ", "]))
        return (
            "{"
            + comma.join(
                f"{json.dumps(key)}:{spell(part, draw)}"
                for key, part in draw(st.permutations(pairs))
            )
            + "}"
        )
    return json.dumps(value)


def as_texts(row):
    """The row with the numbers of the specification spelled as texts, all others as they are."""
    row["quantity"] = str(row["quantity"])
    row["metadata"]["duration_s"] = str(row["metadata"]["duration_s"])
    return exactly(row)


def exactly(value):
    """JSON text with every number as it is."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(exactly, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{exactly(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def number_spellings(number):
    plain = f"{number:f}"
    return [
        plain,
        plain + ("0" if "." in plain else ".0"),
        f"{number:e}",
        f"{number.scaleb(3):e}".replace("E", "e").partition("e")[0]
        + f"e{int(f'{number.scaleb(3):e}'.partition('e')[2]) - 3}",
    ]


@given(extras=EXTRAS, top=EXTRAS, quantity=NUMBERS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_equal_payloads_land_alike(extras, top, quantity, data):
    row = event(metadata=extras, **{f"x{key}": value for key, value in top.items()})
    row["kind"], row["corrects_event_id"] = "correction", "e0"
    row["quantity"] = quantity if abs(quantity) < 10**9 - 1 else Decimal(1)
    row["metadata"]["duration_s"] = Decimal("3600")
    texts = [spell(row, data.draw) for _ in range(3)]
    texts += [as_texts(json.loads(text, parse_int=Decimal, parse_float=Decimal)) for text in texts]
    texts.append(texts[0].replace("2026-01-30T10:00:00Z", "2026-01-30T12:30:00.000+02:30"))

    judged = parse(*texts)

    assert {row["rule"] for row in judged} == {None}, judged
    assert len(set(payloads(judged))) == 1


@given(extras=EXTRAS, key=KEYS, old=VALUES, new=VALUES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_other_payloads_land_otherwise(extras, key, old, new, data):
    one, other = ({**extras, "changed": value, key: 1} for value in (old, new))
    judged = parse(*(spell(event(metadata=metadata), data.draw) for metadata in (one, other)))
    # A key of the specification's with a value of another type: there is no payload to compare.
    assume(not any(row["rule"] for row in judged))

    equal = without_nulls(one) == without_nulls(other)
    assert (payloads(judged)[0] == payloads(judged)[1]) == equal


def without_nulls(value, *, top=True):
    """What a payload's value means: typed, without nulls (and, at the top, without "")."""
    if isinstance(value, dict):
        return {
            key: without_nulls(part, top=False)
            for key, part in value.items()
            if part is not None and not (top and part == "")
        }
    if isinstance(value, list):
        return [without_nulls(part, top=False) for part in value]
    return ((type(value) in (Decimal, int) and "number") or type(value).__name__, value)


CHANGES = [
    {"kind": "correction", "corrects_event_id": "e0"},
    {"kind": "retraction", "corrects_event_id": "e0"},
    {"kind": "correction", "corrects_event_id": "e9"},
    {"customer_id": "acme2"},
    {"meter": "gpu_hour"},
    {"quantity": 60.000001},
    {"ts": "2026-01-30T10:00:00.000001Z"},
    {"metadata": {"cluster": "c2"}},
    {"metadata": {"gpu_type": "A100"}},
    {"metadata": {"gpu_type": None}},
    {"metadata": {"model_family": "llm"}},
    {"metadata": {"duration_s": 3601}},
    {"metadata": {"energy_cost": 1}},
    {"metadata": {"energy_cost": "1.0000000001"}},
    {"metadata": {"team": "y"}},
    {"metadata": {"team": 1}},
    {"metadata": {"team": "1"}},
    {"metadata": {"team": True}},
    {"metadata": {"team": "true"}},
    {"metadata": {"team": 12345678901234567}},
    {"metadata": {"team": 12345678901234568}},
    {"metadata": {"team": None, "Team": "x"}},
    {"metadata": {"team": {"a": [1]}}},
    {"metadata": {"team": {"a": [1, None]}}},
    {"team": "x"},
    {"team": "x", "metadata": {"team": None}},
]


def test_each_changed_value_changes_the_payload():
    found = payloads(parse(event(), *(event(**c) for c in CHANGES)))

    assert len(set(found)) == len(found)


def test_the_event_id_is_no_part_of_the_payload():
    one, other = payloads(parse(event(), event(event_id="e2")))

    assert one == other


def test_numbers_that_no_float_tells_apart_are_the_same():
    """0.1 with a digit at its twentieth place is 0.1; of 17 digits before the point each counts."""
    texts = ("0.1", "0.10000000000000000001", "12345678901234567", "12345678901234568")
    found = payloads(
        parse(
            *(spelled(metadata="{}").replace("{}", f'{{"cluster": "c", "x": {t}}}') for t in texts)
        )
    )

    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_one_id_for_all_rows_of_two_days_costs_no_more_than_many(feed):
    """Method: 60,000 rows; as pairs of two days, their collisions were 900 million."""
    days = ("2026-01-29", "2026-01-30")
    feed.deliver(jsonl(*(event(ts=f"{days[n % 2]}T10:00:00Z") for n in range(60_000))))
    began = time.monotonic()

    delivery = feed.land()

    assert delivery.landed_rows == 60_000
    assert feed.rows(f"collisions/usage/{DAY}.parquet") == [{"delivery_day": DAY, "event_id": "e1"}]
    assert time.monotonic() - began < 5


# --- files as delivered ---------------------------------------------------------------------------


def test_byte_order_mark_crlf_and_blank_lines_are_tolerated(feed):
    """Blank lines are no rows but count as lines."""
    good = json.dumps(event())
    feed.deliver(b"\xef\xbb\xbf" + f"{good}\r\n\r\n  \t\n{good}\n\n".encode())

    delivery = feed.land()

    assert delivery.delivered_rows == 2
    assert [(row["line_number"], row["raw"]) for row in feed.rows()] == [(1, good), (4, good)]


def test_invalid_utf_8_costs_one_row(feed):
    good = json.dumps(event()).encode()
    feed.deliver(good + b'\n{"event_id": "\xff\xfe"}\r\n' + good + b"\n")

    delivery = feed.land()

    assert delivery.rejected_by_reason == {"malformed": 1}
    assert feed.rejected() == [(2, "malformed", '{"event_id": "\\xff\\xfe"}')]
    assert [row["line_number"] for row in feed.rows()] == [1, 3]


def test_a_last_line_without_its_end_is_whole_if_it_is_json(feed):
    feed.deliver(jsonl(event()) + json.dumps(event(event_id="e2")))

    assert feed.land().landed_rows == 2


def test_lines_are_read_alike_in_pieces_of_any_size(tmp_path, monkeypatch):
    """Pieces shorter than a line, than a file, and longer."""
    content = ("\ufeff" + jsonl(*([*GOOD[:6], "bad", "", event()] * 9)) + "\r\n").encode()
    seen = []
    for size in (3, 37, 1000, 1 << 20):
        feed = Feed(tmp_path / str(size))
        feed.deliver(gzip.compress(content), suffix=".jsonl.gz")
        monkeypatch.setattr(lines.read_lines, "__defaults__", (size,))
        feed.land()
        seen.append((feed.rows(), feed.rejected()))

    assert all(one == seen[0] for one in seen)


def test_many_bad_rows_land_in_bounded_pieces(feed, monkeypatch):
    """Method: small pieces and a small buffer, so that every file is written in many steps."""
    monkeypatch.setattr(lines.read_lines, "__defaults__", (2000,))
    monkeypatch.setattr(usage, "_PENDING_BYTES", 1000)
    feed.deliver(jsonl(*(event(event_id=f"e{n}") if n % 3 else "bad" for n in range(300))))

    delivery = feed.land()

    assert (delivery.landed_rows, delivery.rejected_by_reason) == (200, {"malformed": 100})
    (part,) = feed.landing.glob("usage/*/*/part.parquet")
    landed = pq.ParquetFile(part).read(["line_number"])["line_number"].to_pylist()
    assert landed == [number for number in range(1, 301) if number % 3 != 1]
    assert [number for number, _, _ in feed.rejected()] == list(range(1, 300, 3))


PROBLEMS = [
    ("missing", None, "", "the file is missing"),
    ("empty", ".jsonl", b"", "it is empty"),
    ("blank", ".jsonl", b"\n \n", "it is empty"),
    ("empty gzip", ".jsonl.gz", gzip.compress(b""), "it is empty"),
    ("truncated", ".jsonl.gz", gzip.compress(jsonl(event()).encode())[:-9], "truncated"),
    ("no gzip", ".jsonl.gz", b"{}\n", "it is no gzip"),
    ("half-written", ".jsonl", jsonl(event()) + '{"event_id": "e', "half-written"),
    ("half a character", ".jsonl", jsonl(event()).encode() + b'{"a": "\xc3', "half-written"),
    ("no parquet", ".parquet", b"PAR1 nonsense", "no readable Parquet"),
    ("empty parquet", ".parquet", b"", "it is empty"),
]


@pytest.mark.parametrize(
    ("suffix", "content", "wrong"), [case[1:] for case in PROBLEMS], ids=[c[0] for c in PROBLEMS]
)
def test_an_unusable_delivery_leaves_the_old_landing(feed, suffix, content, wrong):
    feed.deliver(jsonl(event(), "bad"))
    before = feed.land()
    landed = feed.contents()
    feed.path.unlink()
    if suffix:
        feed.deliver(content, suffix=suffix)

    delivery = feed.land()

    name = f"usage_2026-01-31{suffix or '.jsonl'}"
    assert delivery.problem is not None
    assert wrong in delivery.problem
    assert name in delivery.problem
    assert "Deliver" in delivery.problem
    assert delivery.file_name == name
    assert (delivery.landed_rows, delivery.rejected_by_reason) == (1, {"malformed": 1})
    assert delivery.touched_days == before.touched_days
    record = "deliveries/usage/2026-01-31.parquet"
    after = feed.contents()
    # What stands is still known by the hash that the record had.
    assert after.keys() - landed.keys() == {"standing/usage/2026-01-31.parquet"}
    assert files.standing_sha256(feed.landing, "usage", DAY) == before.content_sha256
    assert {path for path in landed if after[path] != landed[path]} == {record}
    assert pq.ParquetFile(feed.landing / record).read()["problem"].to_pylist() == [delivery.problem]


def test_a_first_delivery_with_a_problem_lands_nothing(feed):
    delivery = feed.land()

    assert delivery.landed_rows == 0
    assert list(feed.contents()) == ["deliveries/usage/2026-01-31.parquet"]


def test_a_good_delivery_clears_the_problem(feed):
    feed.land()
    feed.deliver(jsonl(event()))

    assert feed.land().problem is None
    assert feed.rows("deliveries/usage/*.parquet")[0]["problem"] is None


# --- landing again --------------------------------------------------------------------------------


def test_landing_twice_is_landing_once(feed):
    feed.deliver(jsonl(*GOOD, *(row for row, _ in BAD)))
    once = feed.land(), feed.contents()
    twice = feed.land(), feed.contents()

    assert once == twice


def test_a_usage_day_that_vanished_stays_touched(feed):
    feed.deliver(jsonl(event(), event(event_id="e2", ts="2026-01-29T00:00:00Z")))
    feed.land()
    feed.deliver(jsonl(event(), event(event_id="e2")))

    delivery = feed.land()

    assert [row["event_id"] for row in feed.rows()] == ["e1", "e2"]
    assert not list(feed.landing.glob("usage/usage_day=2026-01-29"))
    assert feed.touched() == [date(2026, 1, 29), date(2026, 1, 30)]
    assert delivery.touched_days == (date(2026, 1, 29), date(2026, 1, 30))


def test_a_folder_without_a_file_is_no_usage(feed):
    """A night names the files of its days; what a crash left of a day must not stop it."""
    feed.deliver(jsonl(event()))
    feed.land()
    (feed.landing / "usage/usage_day=2026-01-29/delivery_day=2026-01-30").mkdir(parents=True)

    found = {day: files.has_usage(feed.landing, date(2026, 1, day)) for day in (28, 29, 30)}
    assert found == {28: False, 29: False, 30: True}


def test_other_deliveries_stay_when_one_is_landed_again(feed):
    for day in (DAY, DAY + timedelta(days=1)):
        feed.deliver(jsonl(event(event_id=f"e{day}")), day=day)
        feed.land(day)
    feed.deliver(jsonl(event(event_id=f"e{DAY}"), event(event_id="e3", ts=f"{DAY}T00:00:00Z")))
    feed.land()

    ids = sorted(row["event_id"] for row in feed.rows())
    assert ids == ["e2026-01-31", "e2026-02-01", "e3"]


def test_a_crash_anywhere_heals_by_landing_again(tmp_path, monkeypatch):
    """Method: stop before the n-th file is put into place, for every n, then land again."""
    old = jsonl(event(), event(event_id="e2", ts="2026-01-28T00:00:00Z"), "bad")
    new = jsonl(event(), event(event_id="e2", ts="2026-01-29T00:00:00Z"), event(event_id="e3"))
    clean = Feed(tmp_path / "clean")
    for content in (old, new):
        clean.deliver(content)
        clean.land()
    expected = clean.contents()
    put = usage.put
    for stop in range(6):
        feed = Feed(tmp_path / str(stop))
        feed.deliver(old)
        feed.land()
        feed.deliver(new)
        left = [stop]

        def crash(staged, path, left=left):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            put(staged, path)

        monkeypatch.setattr(usage, "put", crash)
        with pytest.raises(KeyboardInterrupt):
            feed.land()
        monkeypatch.setattr(usage, "put", put)

        assert not (feed.landing / "deliveries/usage/2026-01-31.parquet").exists()
        assert stop == 0 or set(feed.touched()) == {date(2026, 1, day) for day in (28, 29, 30)}
        feed.land()
        assert feed.contents() == expected


def test_what_a_crash_left_in_staging_is_swept_away(feed):
    stale = feed.landing / ".staging/usage-2026-01-31/usage_day=2026-01-01.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    feed.deliver(jsonl(event()))
    feed.land()

    assert not stale.exists()
    assert len(feed.rows()) == 1


def test_every_glob_matches_an_empty_landing(feed):
    prepare_landing(feed.landing)
    before = feed.contents()
    prepare_landing(feed.landing)

    assert feed.contents() == before
    assert set(before) == {
        "usage/usage_day=1970-01-01/delivery_day=1970-01-01/part.parquet",
        *(f"{kind}/usage/none.parquet" for kind in ("rejected", "touched", "collisions")),
        "deliveries/usage/none.parquet",
        *(f"{k}/{f}/all.parquet" for k in ("rejected", "deliveries") for f in files.SNAPSHOTS),
        *(name for name, _ in files.SNAPSHOTS.values()),
    }
    feed.deliver(jsonl(event()))
    feed.land()
    assert len(feed.rows()) == 1


def test_rows_of_an_earlier_release_are_typed_again_from_their_text(feed, monkeypatch):
    """Method: land with today's columns, take one away and add another, as an earlier release had."""
    rows = [*GOOD, event(ts="2026-01-29T00:00:00Z", event_id="e2")]
    feed.deliver(jsonl(*rows))
    feed.land()
    today = feed.rows()
    for path in feed.landing.glob("usage/*/*/part.parquet"):
        table = pq.ParquetFile(path).read()
        table = table.drop_columns(["payload_rest"])
        pq.write_table(table.append_column("payload_hash", table["raw"]), path)

    prepare_landing(feed.landing)

    assert feed.rows() == today
    # From now on nobody looks again.
    monkeypatch.setattr("orchestration.landing.preparation.EventParser", None)
    prepare_landing(feed.landing)


def test_a_row_that_only_an_earlier_release_took_is_named(feed):
    feed.deliver(jsonl(event()))
    feed.land()
    (path,) = feed.landing.glob("usage/*/*/part.parquet")
    table = pq.ParquetFile(path).read().drop_columns(["payload_rest", "raw"])
    pq.write_table(table.append_column("raw", pa.array([json.dumps(event(meter="abacus"))])), path)

    with pytest.raises(RetypingFailed, match=r"Line 1 .* 2026-01-31 .* unknown_meter .*abacus"):
        prepare_landing(feed.landing)


def test_a_rejected_delivery_still_writes_every_small_file(feed):
    feed.deliver("bad\n")

    assert feed.land().problem is None
    assert sorted(feed.contents()) == [
        f"{kind}/usage/2026-01-31.parquet"
        for kind in ("collisions", "deliveries", "rejected", "touched")
    ]
    assert feed.rows("collisions/*/*.parquet") == feed.rows("touched/*/*.parquet") == []


# --- one id on two usage days ---------------------------------------------------------------------


def collisions(feed, day=DAY):
    return [row["event_id"] for row in feed.rows(f"collisions/usage/{day}.parquet")]


def test_an_id_on_another_usage_day_is_a_collision(feed):
    """e1 collides over two deliveries, e2 within one; e3 lies on one day; e4 is 8 days apart."""
    later = DAY + timedelta(days=1)
    feed.deliver(
        jsonl(
            event(event_id="e1", ts="2026-01-20T00:00:00Z"),
            event(event_id="e3", ts="2026-01-27T00:00:00Z"),
            event(event_id="e4", ts="2026-01-19T00:00:00Z"),
        )
    )
    feed.land()
    assert collisions(feed) == []
    feed.deliver(
        jsonl(
            event(event_id="e1", ts="2026-01-27T00:00:00Z"),
            event(event_id="e2", ts="2026-01-27T00:00:00Z"),
            event(event_id="e2", ts="2026-01-26T00:00:00Z"),
            event(event_id="e3", ts="2026-01-27T01:00:00Z"),
            event(event_id="e4", ts="2026-01-27T00:00:00Z"),
        ),
        day=later,
    )

    delivery = feed.land(later)

    assert collisions(feed, later) == ["e1", "e2"]
    # The day of the other e1 has to be rebuilt, too: it is in conflict now.
    assert delivery.touched_days == tuple(date(2026, 1, day) for day in (20, 26, 27))
    assert feed.land(later, conflict_days=8).touched_days[0] == date(2026, 1, 19)
    assert collisions(feed, later) == ["e1", "e2", "e4"]
    assert feed.land(later, conflict_days=0).problem is None
    assert collisions(feed, later) == []


def test_a_landing_in_a_folder_with_odd_characters(tmp_path):
    feed = Feed(tmp_path / "env=prod [1]*")
    for day in (DAY, DAY + timedelta(days=1)):
        feed.deliver(jsonl(event(ts=f"{day - timedelta(days=2)}T00:00:00Z")), day=day)
        feed.land(day)

    assert collisions(feed, DAY + timedelta(days=1)) == ["e1"]
    feed.path.unlink()
    assert feed.land(DAY + timedelta(days=1)).landed_rows == 1


# --- Parquet deliveries ---------------------------------------------------------------------------


def as_parquet(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def parquet_rows():
    rows = [
        event(event_id=f"e{n}", quantity=n + 0.25, metadata={"model_family": None, "gpus": n})
        for n in range(5)
    ]
    rows.append(event(event_id=None))
    rows.append(event(customer_id='quote " ☃'))
    rows.append(event(quantity=-1))
    rows.append(event(metadata={"cluster": None}))
    return rows


UTC_TIME = pa.timestamp("ms", "Europe/Stockholm")


def utc_times(rows):
    return pa.array([datetime.fromisoformat(row["ts"]) for row in rows], UTC_TIME)


def parquet_table(rows, metadata, ts):
    columns = {
        name: [row.get(name) for row in rows] for name in ("event_id", "customer_id", "meter")
    }
    quantity = pa.array([Decimal(str(row["quantity"])) for row in rows], pa.decimal128(30, 6))
    return pa.table({**columns, "quantity": quantity, "ts": ts, "metadata": metadata})


def seen(feed):
    rows = [{k: v for k, v in row.items() if k != "raw"} for row in feed.rows()]
    return sorted(rows, key=str), [(line, reason) for line, reason, _ in feed.rejected()]


@pytest.mark.parametrize("kind", ["struct", "json"])
def test_a_parquet_delivery_lands_like_a_jsonl_one(tmp_path, kind):
    rows = parquet_rows()
    text, table = Feed(tmp_path / "text"), Feed(tmp_path / "table")
    text.deliver(jsonl(*rows))
    text.land()
    metadata = [json.dumps(r["metadata"]) if kind == "json" else r["metadata"] for r in rows]
    ts = [row["ts"] for row in rows] if kind == "json" else utc_times(rows)
    table.deliver(as_parquet(parquet_table(rows, metadata, ts)), suffix=".parquet")

    delivery = table.land()

    assert delivery.problem is None
    assert seen(table) == seen(text)
    assert json.loads(table.rejected()[0][2])["customer_id"] == "acme"


def test_metadata_may_be_a_map_of_strings(feed):
    rows = [event(metadata={"energy_cost": 1.5}), event(metadata={"duration_s": "soon"})]
    metadata = pa.array(
        [[(key, str(value)) for key, value in row["metadata"].items()] for row in rows],
        pa.map_(pa.string(), pa.string()),
    )
    feed.deliver(as_parquet(parquet_table(rows, metadata, utc_times(rows))), suffix=".parquet")

    assert feed.land().problem is None
    (row,) = feed.rows()
    assert (row["duration_us"], row["energy_cost_micro"]) == (3_600_000_000, 1_500_000)
    assert row["gpu_type"] == "H100"
    assert [reason for _, reason, _ in feed.rejected()] == ["malformed"]


def test_a_timestamp_column_without_a_zone_is_naive(feed):
    rows = parquet_rows()
    naive = pa.array([datetime(2026, 1, 30, 10)] * len(rows), pa.timestamp("ns"))
    table = parquet_table(rows, [row["metadata"] for row in rows], naive)
    feed.deliver(as_parquet(table), suffix=".parquet")

    assert feed.land().rejected_by_reason == {
        "missing_cluster": 1,
        "missing_event_id": 1,
        "naive_timestamp": 7,
    }


def test_parquet_rows_number_on_over_batches(feed, monkeypatch):
    monkeypatch.setattr(usage, "_PARQUET_ROWS", 2)
    rows = parquet_rows()
    table = parquet_table(rows, [row["metadata"] for row in rows], utc_times(rows))
    feed.deliver(as_parquet(table), suffix=".parquet")
    feed.land()

    numbers = [row["line_number"] for row in feed.rows()] + [row[0] for row in feed.rejected()]
    assert sorted(numbers) == list(range(1, 10))


# --- anything at all ------------------------------------------------------------------------------

FUZZED_VALUES = st.one_of(
    SCALARS, st.just(DROP), st.sampled_from(["", "2026-01-30T10:00:00Z", 1e308, -0.0, 10**30])
)
FUZZED_ROWS = st.builds(
    lambda changes, metadata: event(**changes, metadata=metadata),
    st.dictionaries(
        st.sampled_from(["event_id", "kind", "customer_id", "meter", "quantity", "ts", "new"]),
        FUZZED_VALUES,
    ),
    st.dictionaries(st.sampled_from(["cluster", "duration_s", "energy_cost", "x"]), FUZZED_VALUES),
).map(lambda row: json.dumps(row, default=float).encode())
FUZZED_LINES = (
    FUZZED_ROWS
    | st.binary(max_size=40)
    | st.tuples(FUZZED_ROWS, st.data()).map(lambda pair: pair[0])
)


@given(
    st.lists(
        st.tuples(FUZZED_LINES, st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=2))),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_delivered_row_is_landed_or_rejected(tmp_path_factory, fuzzed):
    """Method: mutate rows and bytes; count the lines independently."""
    content = b""
    for line, mutation in fuzzed:
        if mutation:
            at, replacement = mutation
            line = line[:at] + replacement + line[at + 1 :]
        content += line + b"\n"
    feed = Feed(tmp_path_factory.mktemp("fuzz"))
    feed.deliver(content)

    delivery = feed.land()

    expected = [
        number
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        if line.decode("utf-8", "backslashreplace").strip()
    ]
    got = [row["line_number"] for row in feed.rows()] if delivery.landed_rows else []
    if delivery.problem is None:
        got += [number for number, _, _ in feed.rejected()]
    assert sorted(got) == expected
    assert delivery.delivered_rows == delivery.landed_rows + delivery.rejected_rows == len(expected)


# --- the development feeds ------------------------------------------------------------------------


@needs_shared
def test_the_development_feeds_land_as_expected(tmp_path):
    """Totals by a program that shares no code with this one; only incurable reasons count here."""
    source = FolderSource(str(SHARED / "data/dev"))
    rejected = {}
    for number in range(42):
        day = date(2025, 10, 6) + timedelta(days=number)
        delivery = land_usage(source, day, tmp_path)
        assert delivery.problem is None
        for reason, count in delivery.rejected_by_reason.items():
            rejected[day.isoformat(), reason] = count

    with (SHARED / "expected/dev/rejected_counts.csv").open() as expected_file:
        assert rejected == {
            (row["delivery_date"], row["reason"]): int(row["rows"])
            for row in csv.DictReader(expected_file)
            if row["feed"] == "usage" and row["reason"] == "missing_quantity"
        }
    expected = json.loads((SHARED / "data/dev/expected.json").read_text())["usage"]
    distinct = {}
    rows = Counter()
    for path in tmp_path.glob("usage/*/*/part.parquet"):
        table = pq.ParquetFile(path).read(["event_id", *PAYLOAD])
        rows["landed"] += table.num_rows
        for row in table.to_pylist():
            distinct[row["event_id"], *payloads([row])] = row["quantity_micro"]
    counts = expected["row_counts"]
    assert rows["landed"] == counts["rows"] - counts["null_quantity"]
    assert sum(distinct.values()) == Decimal(expected["total_gpu_minutes"]) * 10**6
