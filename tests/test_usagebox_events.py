"""How an event of the UsageBox engine becomes a row of the usage feed, and what landing says of it."""

import json
import random
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from usagebox_engine import event

from orchestration.landing.events import EventParser
from orchestration.landing.lines import LINES, Lines
from orchestration.sources.usagebox.rows import feed_row, order_in_delivery
from orchestration.store.duck import connect

DAY = date(2026, 1, 31)
TS, INGESTED = "2026-01-30T10:00:00.250Z", "2026-01-31T02:00:00Z"


def good(**changes):
    return event("e1", TS, INGESTED, **changes)


def without(name, **changes):
    made = good(**changes)
    del made[name]
    return made


def landed(of):
    """The row as landing judges it."""
    table = pa.table([[1], [feed_row(of)]], schema=LINES)
    with connect(Path("/nonexistent")) as connection:
        [rows] = EventParser(connection, DAY).parse([Lines(table, [], None)])
        [row] = rows.to_pylist()
    return row


def test_every_field_of_the_contract_has_its_place():
    of = good(
        kind="Correction",
        correction_ref={"original_event_id": "e0", "reason": "counted twice"},
        quantity=-30,
        subscription_id="sub-1",
        model_id="llm-70b",
    )
    assert json.loads(feed_row(of)) == {
        "event_id": "e1",
        "kind": "correction",
        "corrects_event_id": "e0",
        "customer_id": "acme",
        "meter": "gpu_minute",
        "quantity": -30,
        "ts": "2026-01-30T10:00:00.250000Z",
        "metadata": {
            "cluster": "c1",
            "duration_s": 3600,
            "gpu_type": "H100",
            "team": "x",
            "model_family": "llm-70b",
            "correction_reason": "counted twice",
        },
        "meter_id": "gpu_minute",
        "model_id": "llm-70b",
        "product_id": "gpu-cloud",
        "source": "scheduler",
        "subscription_id": "sub-1",
        "unit": "gpu_minute",
    }


def test_it_lands_with_all_its_columns():
    row = landed(good(kind="Retraction", correction_ref={"original_event_id": "e0"}, quantity=-1))
    assert row["rule"] is None
    assert (row["kind"], row["corrects_event_id"]) == ("retraction", "e0")
    assert (row["customer_id"], row["meter"]) == ("acme", "gpu_minute")
    assert row["quantity_micro"] == -1_000_000
    assert row["start_us"] == 36_000_250_000
    assert row["duration_us"] == 3_600_000_000
    assert (row["cluster"], row["gpu_type"], row["model_family"]) == ("c1", "H100", None)


@pytest.mark.parametrize(
    ("meter_id", "unit", "meter"),
    [
        ("gpu_minute", "gpu_minute", "gpu_minute"),
        ("gpu_minute", "gpu_second", "gpu_second"),
        ("gpu_minute", "gpu_millisecond", "gpu_millisecond"),
        ("gpu_second", "gpu_hour", "gpu_hour"),
        ("gpu_minute", "second", "gpu_second"),
        ("gpu_hour", "", "gpu_hour"),
    ],
)
def test_the_unit_says_what_the_quantity_counts(meter_id, unit, meter):
    row = landed(good(meter_id=meter_id, unit=unit))
    assert (row["rule"], row["meter"]) == (None, meter)


@pytest.mark.parametrize(
    ("meter_id", "unit", "named"),
    [
        ("gpu_minute", "gpu_day", "gpu_day"),
        ("input_tokens", "token", "input_tokens"),
        # Time that is reserved, not used: what the meter is called counts, not only its unit.
        ("reserved_gpus", "gpu_second", "reserved_gpus"),
    ],
)
def test_a_meter_or_unit_that_nobody_knows_is_set_aside(meter_id, unit, named):
    row = landed(good(meter_id=meter_id, unit=unit))
    assert row["rule"] == "unknown_meter"
    assert f"meter is {named};" in row["detail"]


@pytest.mark.parametrize(
    ("of", "reason", "shown"),
    [
        (without("event_id"), "missing_event_id", "event_id"),
        (good(event_id=5), "malformed", "event_id is 5"),
        (without("kind"), "malformed", "kind is [null]"),
        (good(kind="Refund"), "malformed", 'kind is ["Refund"]'),
        (good(kind="usage"), "malformed", 'kind is ["usage"]'),
        (good(kind={}), "malformed", "kind is [{}]"),
        (good(kind="Correction"), "missing_corrects_event_id", "corrects_event_id"),
        (good(kind="Correction", correction_ref={}), "missing_corrects_event_id", ""),
        (good(kind="Correction", correction_ref="e0"), "malformed", 'is ["e0"]'),
        (good(correction_ref={"original_event_id": 7}), "malformed", "corrects_event_id is 7"),
        (without("quantity"), "missing_quantity", "quantity"),
        (good(quantity=1.5), "malformed", "quantity is [1.5]"),
        (good(quantity="60"), "malformed", 'quantity is ["60"]'),
        (good(quantity=True), "malformed", "quantity is [true]"),
        (good(quantity=10**30), "malformed", "quantity is 1"),
        (good(quantity=-60), "negative_quantity", "-60"),
        (without("meter_id"), "missing_meter", "meter"),
        (good(meter_id=["gpu_minute"]), "malformed", 'meter is ["gpu_minute"]'),
        (without("unit"), "malformed", "meter is [null]"),
        (good(unit=1), "malformed", "meter is [1"),
        (without("dimensions"), "malformed", "metadata is [null]"),
        (good() | {"dimensions": {}}, "missing_cluster", "cluster"),
        (good(dimensions={"team": 5}), "malformed", "metadata is ["),
        (good(dimensions={"duration_s": "1 h"}), "malformed", 'duration_s is "1 h"'),
        (good(dimensions={"energy_cost": "NaN"}), "malformed", 'energy_cost is "NaN"'),
        (good(dimensions={"duration_s": "-1"}), "malformed", "duration_s is -1"),
        (good(model_id=70), "malformed", "model_family is 70"),
        (good(dimensions={"team": "\ud800"}), "malformed", "surrogate"),
    ],
)
def test_what_breaks_the_contract_is_set_aside_and_shown(of, reason, shown):
    row = landed(of)
    assert row["rule"] == reason
    assert shown in row["detail"]


def test_dimensions_are_text_but_the_two_numbers_are_numbers_to_the_last_digit():
    exact = "0.12345678901234567890"
    row = json.loads(
        feed_row(good(dimensions={"energy_cost": exact, "duration_s": "90", "nodes": "8"})),
        parse_float=Decimal,
    )
    assert row["metadata"]["energy_cost"] == Decimal(exact)
    assert row["metadata"]["duration_s"] == 90
    assert row["metadata"]["nodes"] == "8"


def test_the_family_of_the_dimensions_beats_the_model():
    of = good(model_id="llm-70b", dimensions={"model_family": "diffusion"})
    assert landed(of)["model_family"] == "diffusion"
    assert landed(good(model_id="llm-70b", dimensions={"model_family": ""}))["model_family"] == (
        "llm-70b"
    )


def test_fields_that_nobody_knows_are_kept_and_hide_no_other():
    of = good(
        region="eu",
        ts="yesterday",
        usagebox_ts=1,
        metadata=[1],
        correction_ref={"original_event_id": "e0", "reason": "why"},
        dimensions={"correction_reason": "mine"},
    )
    row = json.loads(feed_row(of))
    assert row["region"] == "eu"
    assert row["ts"] == "2026-01-30T10:00:00.250000Z"
    assert {row["usagebox_ts"], row["usagebox_usagebox_ts"]} == {"yesterday", 1}
    assert row["usagebox_metadata"] == [1]
    assert row["metadata"]["correction_reason"] == "mine"
    assert row["metadata"]["usagebox_correction_reason"] == "why"


def test_an_event_that_comes_again_is_the_same_row_however_its_keys_are_ordered():
    """The engine takes the id again after a week; the payload is equal, so it is a duplicate."""
    first = good(dimensions={"a": "1", "b": "2"}, more={"x": 1, "y": 2})
    keys = list(first)
    random.Random(3).shuffle(keys)
    again = {key: first[key] for key in keys} | {"ingested_at_ms": first["ingested_at_ms"] + 9}
    again["dimensions"] = {"inner": dict(reversed(first["dimensions"]["inner"].items()))}
    again["more"] = {"y": 2, "x": 1}
    assert feed_row(again) == feed_row(first)
    assert order_in_delivery(again) > order_in_delivery(first)
