"""One event of the engine as a row of the usage feed.

A value that has not the contract's type is wrapped into a list, so that landing sets the row aside
as ``malformed`` and shows it. Nothing is dropped: what the feed has no name for keeps its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from datetime import date

from orchestration.landing.event_lines import METERS
from orchestration.sources.usagebox.client import Event, Tally, instant, is_integer, rfc3339

_KINDS = {"Usage": "usage", "Correction": "correction", "Retraction": "retraction"}

# Fields that become others. `ingested_at_ms` is the delivery's day and order, no part of the
# payload: the engine, too, takes an event that comes again later for the same one.
_RENAMED = (
    "event_id",
    "kind",
    "correction_ref",
    "account_id",
    "timestamp_ms",
    "quantity",
    "dimensions",
    "ingested_at_ms",
)
# Numbers in the feed's metadata; the engine's dimensions are text.
_NUMBERS = ("duration_s", "energy_cost")
# What is not an integer stands in a list and counts as none, as in Tally.of.
_BEGINNING = re.compile(
    r'\{"customer_id":("(?:[^"\\]|\\.)*"),"ts":"(.{10})[^"]*","quantity":(-?[0-9]+)?'
)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def feed_row(event: Event) -> str:
    """A line of the usage feed, without its line end.

    The account and the two instants have to be as the contract says. Equal events give equal
    lines, whatever the order of their keys.
    """
    reference = event.get("correction_ref")
    reason: object = None
    original = _json(None)
    if isinstance(reference, dict):
        original, reason = _json(reference.get("original_event_id")), reference.get("reason")
    elif reference is not None:
        original = _wrapped(reference)
    row = {
        "customer_id": _json(event["account_id"]),
        "ts": _json(rfc3339(instant(event["timestamp_ms"]))),
        "quantity": _integer(event.get("quantity")),
        "event_id": _json(event.get("event_id")),
        "kind": _kind(event.get("kind")),
        "corrects_event_id": original,
        "meter": _meter(event.get("meter_id"), event.get("unit")),
        "metadata": _metadata(event, reason),
    }
    for name in sorted(event.keys() - set(_RENAMED)):
        if event[name] is not None:
            row[_free(name, row)] = _json(event[name])
    return _encodable(_object(row))


def counted(row: str) -> tuple[str, date, Tally]:
    """The account, the usage day and the tally of a line that ``feed_row`` wrote.

    Its beginning is enough: landing keeps no more of a row that is too long.
    """
    account, usage_day, quantity = _BEGINNING.match(row).groups()  # type: ignore[union-attr]
    return json.loads(account), date.fromisoformat(usage_day), Tally(1, int(quantity or 0))


def order_in_delivery(event: Event) -> tuple[int, str]:
    """What the rows of a delivery are sorted by: when the engine took an event in, then its id."""
    return event["ingested_at_ms"], _encodable(_json(event.get("event_id")).strip('"'))


def _kind(kind: object) -> str:
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    return _json(known) if known else _wrapped(kind)


def _meter(meter_id: object, unit: object) -> str:
    """What the quantity counts: the unit says it, on a meter of GPU time.

    The unit may leave the ``gpu_`` out, or be empty: then it is the meter's own. A meter or a unit
    that the feed does not know is handed on: landing says ``unknown_meter``.
    """
    if not isinstance(meter_id, str):
        return _json(meter_id)
    if meter_id not in METERS or unit == "":
        return _json(meter_id)
    if not isinstance(unit, str):
        return _wrapped(unit)
    return _json(f"gpu_{unit}" if f"gpu_{unit}" in METERS else unit)


def _integer(quantity: object) -> str:
    return _json(quantity) if quantity is None or is_integer(quantity) else _wrapped(quantity)


def _metadata(event: Event, reason: object) -> str:
    """The dimensions; the model where they name no family; the reason of a correction."""
    dimensions = event.get("dimensions")
    inner = dimensions.get("inner", {}) if isinstance(dimensions, dict) else None
    if not isinstance(inner, dict) or not all(isinstance(value, str) for value in inner.values()):
        return _wrapped(dimensions)
    metadata = {name: _dimension(name, inner[name]) for name in sorted(inner)}
    if not inner.get("model_family") and event.get("model_id") is not None:
        metadata["model_family"] = _json(event["model_id"])
    if reason is not None:
        metadata[_free("correction_reason", metadata)] = _json(reason)
    return _object(metadata)


def _dimension(name: str, value: str) -> str:
    return value if name in _NUMBERS and _NUMBER.fullmatch(value) else _json(value)


def _free(name: str, taken: Container[str]) -> str:
    """A name for a value that the feed knows nothing of, so that it hides no other."""
    while name in taken:
        name = f"usagebox_{name}"
    return name


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _wrapped(value: object) -> str:
    return _json([value])


def _object(texts: dict[str, str]) -> str:
    return "{" + ",".join(f"{_json(name)}:{text}" for name, text in texts.items()) + "}"


def _encodable(text: str) -> str:
    """The same JSON with half surrogate pairs escaped: UTF-8 has no way to write them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
