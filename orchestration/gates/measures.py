"""What the profiles of all feeds share: exact numbers, and the columns of landed files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

AMOUNT = pa.decimal128(38, 6)
_MILLIONTH = Decimal("0.000001")
_DIGITS = 80

SCHEMA = [("of", pa.string()), ("landed_columns", pa.string()), ("declared_columns", pa.string())]
"""The first columns of every profile: what a row measures, and its files' columns."""
AS_DECLARED = "as declared"


@dataclass(frozen=True)
class Columns:
    """What differs between the columns of landed files and the declared ones."""

    landed: str
    declared: str

    @property
    def as_declared(self) -> bool:
        """Whether nothing differs."""
        return self.landed == self.declared


def columns_found(paths: Iterable[Path], declared: pa.Schema) -> Columns:
    """Compare the columns of Parquet files with the declared ones, from their metadata.

    Returns:
        The differences of the first file that has any; AS_DECLARED on both sides if none has.
    """
    for path in paths:
        try:
            landed = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            where = "/".join(path.parts[-3:])
            return Columns(f"{where} is unreadable ({type(error).__name__})", "Parquet")
        names = list(dict.fromkeys([*declared.names, *landed.names]))
        kinds = [(name, _kind(landed, name), _kind(declared, name)) for name in names]
        differences = [each for each in kinds if each[1] != each[2]]
        if differences:
            return Columns(
                ", ".join(f"{name} {found}" for name, found, _ in differences),
                ", ".join(f"{name} {expected}" for name, _, expected in differences),
            )
    return Columns(AS_DECLARED, AS_DECLARED)


def _kind(schema: pa.Schema, name: str) -> str:
    found = schema.get_all_field_indices(name)
    return " and ".join(str(schema.field(index).type) for index in found) or "absent"


def share(part: int, whole: int) -> Decimal | None:
    """A share to 6 decimals; None of nothing."""
    return ratio(Decimal(part), Decimal(whole)) if whole else None


def times(one: int, other: int) -> Decimal:
    """How many times the larger of two counts is the smaller one, 0 counted as 1."""
    return ratio(Decimal(max(one, other, 1)), Decimal(max(min(one, other), 1)))


def ratio(number: Decimal, to: Decimal) -> Decimal:
    """A ratio to 6 decimals, half away from zero, however large: a feed may hold any number."""
    with localcontext(prec=_DIGITS):
        return (number / to).quantize(_MILLIONTH, ROUND_HALF_UP)


def plain(value: Any) -> str:
    """A measure as people write it: without trailing zeros or an exponent; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        whole, _, decimals = f"{value:f}".partition(".")
        return f"{whole}.{decimals.rstrip('0')}" if decimals.strip("0") else whole
    return str(value)
