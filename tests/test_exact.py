"""The macros of exact arithmetic at the ends of what they hold, as DuckDB reads them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import duckdb
import jinja2
import pytest
from auditor import rounded
from hypothesis import given
from hypothesis import strategies as st
from test_peer_cases import Dispatch

from orchestration.settings import DBT_PROJECT_DIR


@pytest.fixture(scope="module")
def macros():
    """The macros of exact.sql, rendered by their own names."""
    adapter = Dispatch()
    environment = jinja2.Environment()
    environment.globals.update(
        {
            "adapter": adapter,
            "return": lambda value: value,
            "env_var": lambda name, default: default,
        }
    )
    text = (DBT_PROJECT_DIR / "macros" / "exact.sql").read_text(encoding="utf-8")
    adapter.module = environment.from_string(text).module
    return adapter.module


def value(expression: str):
    [(found,)] = duckdb.sql(f"select {expression}").fetchall()
    return found


def test_a_unit_price_that_does_not_fit_is_null(macros):
    """18 digits before the point and 12 behind it; a share or a rate has 12 before it and 6 behind."""
    most, beyond = f"cast('{'9' * 30}' as hugeint)", f"cast('1{'0' * 30}' as hugeint)"
    assert value(macros.from_pico(most)) == Decimal("9" * 18 + "." + "9" * 12)
    assert value(macros.from_pico(f"-{most}")) == Decimal("-" + "9" * 18 + "." + "9" * 12)
    assert value(macros.from_pico(beyond)) is None
    assert value(macros.rate_from_micro(f"cast('{'9' * 18}' as hugeint)")) == Decimal(
        "999999999999.999999"
    )
    assert value(macros.rate_from_micro("cast('1000000000000000000' as hugeint)")) is None


WIDE = st.integers(-(10**30), 10**30)


@given(WIDE, st.integers(-(10**16), 10**16), st.integers(1, 10**18))
def test_a_product_beyond_128_bits_is_divided_exactly(macros, a, b, d):
    exact = Fraction(a) * b / d
    if abs(exact) < 10**37:
        sql = macros.multiply_divide(
            f"cast('{a}' as hugeint)", f"cast('{b}' as hugeint)", f"cast('{d}' as hugeint)"
        )
        assert value(sql) == int(rounded(exact, 0))


@given(st.decimals(-(10**20), 10**20, allow_nan=False, places=12))
def test_a_decimal_is_scaled_whatever_stands_before_its_point(macros, amount):
    sql = macros.scaled(f"cast('{amount}' as decimal(38, 12))", 12)
    assert value(sql) == int(Fraction(amount) * 10**12)
