"""Exact numbers: fractions, rounded and shown as the books round and people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
"""A row by column name; its numbers are exact (see ``ExplainedBooks.rows``)."""

ZERO = Fraction(0)


def rounded(number: Fraction, places: int) -> Fraction:
    """Round half away from zero."""
    scaled = abs(number) * 10**places
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(units if number >= 0 else -units, 10**places)


def spread(total: Fraction, weights: Sequence[Fraction]) -> list[Fraction]:
    """Parts of a total by weight, to the last millionth; weights in the order of their keys.

    What rounding leaves over goes to the largest weight, of equal ones the first.
    """
    sum_of_weights = sum(weights, ZERO)
    parts = [
        rounded(total * weight / sum_of_weights, 6) if sum_of_weights else ZERO
        for weight in weights
    ]
    if parts:
        largest = max(range(len(weights)), key=lambda n: (abs(weights[n]), -n))
        parts[largest] += total - sum(parts, ZERO)
    return parts


def shown(number: Fraction, least: int = 0) -> str:
    """A number with thousands separators and ``least`` decimals, or as many more as it has."""
    close = rounded(number, 12)
    units = abs(close.numerator) * (10**12 // close.denominator)
    whole, decimals = divmod(units, 10**12)
    digits = f"{decimals:012d}".rstrip("0").ljust(least, "0")
    sign = "-" if close < 0 else ""
    endless = "..." if close != number else ""
    return f"{sign}{whole:,}" + (f".{digits}{endless}" if digits else endless)


def as_decimal(number: Fraction) -> Decimal | Fraction:
    """A number as a decimal, where its digits end; no digit is lost."""
    scaled, places = number, 0
    while scaled.denominator != 1:
        larger = scaled * 10
        if larger.denominator == scaled.denominator:
            return number
        scaled, places = larger, places + 1
    return Decimal(f"{scaled.numerator}E-{places}")


def decimals_of(number: Fraction) -> int:
    """How many decimals a number has, of those that are shown."""
    return len(shown(number).rstrip(".").partition(".")[2])


def many(number: Fraction | int, noun: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{shown(Fraction(number))} {noun}{'' if number == 1 else 's'}"


def sum_of(rows: Iterable[Row], column: str) -> Fraction:
    """The sum of a column, an empty one as 0."""
    return sum((row[column] or ZERO for row in rows), ZERO)
