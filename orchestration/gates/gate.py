"""A gate: one expectation of Great Expectations over one measure of a feed's profile, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Level = Literal["error", "warning"]
Check = Literal["schema", "ranges", "volume", "freshness", "unmapped_share"]
FeedKey = Literal["usage", "energy_price", "energy_mix", "gpu_price", "fx_rate"]


OPTIONAL_FIELDS = {
    "kind": "kind",
    "gpu_type": "metadata.gpu_type",
    "model_family": "metadata.model_family",
    "energy_cost": "metadata.energy_cost",
    "duration_s": "metadata.duration_s",
}
"""Fields that a row may do without, and where a delivered row has them."""


@dataclass(frozen=True)
class Gate:
    """One expectation of Great Expectations over one measure of a profile.

    Attributes:
        check: the asset check that it belongs to.
        name: unique within its feed.
        measure: the column of the profile that is judged.
        type_: the class in ``great_expectations.expectations``.
        arguments: what that class is given.
        limits: columns that are put beside the profile's, each with one value in all rows. Great
            Expectations turns a decimal argument into a float; in a column it stays exact.
        promise: what holds when it passes, as the beginning of a sentence.
        expected: the same in figures.
        cure: what to do when it fails.
    """

    check: Check
    name: str
    level: Level
    measure: str
    type_: str
    arguments: dict[str, Any]
    promise: str
    expected: str
    cure: str
    limits: dict[str, Decimal] = field(default_factory=dict)


def between(
    check: Check,
    name: str,
    level: Level,
    measure: str,
    promise: str,
    cure: str,
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    above: int | None = None,
) -> Gate:
    """A gate whose measure has whole limits."""
    bounds = [("at least", at_least), ("above", above), ("at most", at_most)]
    expected = " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
    return Gate(
        check,
        name,
        level,
        measure,
        "ExpectColumnValuesToBeBetween",
        {
            "column": measure,
            "min_value": at_least if above is None else above,
            "max_value": at_most,
            "strict_min": above is not None,
        },
        promise,
        f"exactly {at_least}" if at_least is not None and at_least == at_most else expected,
        cure,
    )


def ordered(
    check: Check,
    name: str,
    level: Level,
    measure: str,
    promise: str,
    cure: str,
    *,
    at_most: str | Decimal | None = None,
    at_least: Decimal | None = None,
) -> Gate:
    """A gate whose measure is compared with a decimal, or with another column of the profile."""
    limit = at_most if isinstance(at_most, str) else f"{name}_limit"
    greater, less = (measure, limit) if at_most is None else (limit, measure)
    decimal = at_least if at_most is None else at_most
    return Gate(
        check,
        name,
        level,
        measure,
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {
            "column_A": greater,
            "column_B": less,
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        },
        promise,
        f"at least {at_least}" if at_most is None else f"at most {at_most}",
        cure,
        {limit: decimal} if isinstance(decimal, Decimal) else {},
    )


def equal(check: Check, name: str, measure: str, other: str, promise: str, cure: str) -> Gate:
    """An error unless two columns of the profile are equal."""
    return Gate(
        check,
        name,
        "error",
        measure,
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": measure, "column_B": other, "ignore_row_if": "either_value_is_missing"},
        promise,
        f"equal to {other}",
        cure,
    )
