"""Every generic data test can fail: it finds the bad rows among the good ones, NULLs included.

A test that selects nothing whatever it is given would pass for ever. The SQL is rendered by dbt's
own Jinja and runs in memory; dbt itself is not started.
"""

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dbt_common.clients.jinja import get_environment

FOLDER = Path(__file__).parents[1] / "dbt_project" / "tests" / "generic"

GRANTS = """(
    values
    ('a', 'jan', 3, 1), ('a', 'feb', 0, 2), ('b', 'jan', 1, 3), (null, 'jan', 1, 4)
) as grants (customer, cycle, credits, line)"""
"""Good in itself; each case asks a question of it that its rows answer or don't."""

CASES: list[tuple[str, dict[str, Any], list[tuple[Any, ...]]]] = [
    ("key", {"columns": ["line"]}, []),
    ("key", {"columns": ["line"], "required": ["cycle", "credits"]}, []),
    ("key", {"columns": ["line"], "required": ["cycle", "customer"]}, [(4, 1)]),
    ("key", {"columns": ["cycle"]}, [("jan", 3)]),
    ("key", {"columns": ["credits"]}, [(1, 2)]),
    ("key", {"columns": ["customer", "cycle"]}, [(None, "jan", 1)]),
    ("is_true", {"expression": "credits >= 0"}, []),
    ("is_true", {"expression": "credits > 0"}, [("a", "feb", 0, 2)]),
    ("is_true", {"expression": "credits > 1 or cycle = 'jan'"}, [("a", "feb", 0, 2)]),
    ("is_true", {"expression": "customer <> 'c'"}, [(None, "jan", 1, 4)]),
    ("never_null", {"columns": ["cycle", "credits"]}, []),
    ("never_null", {"columns": ["customer"]}, [(None,)]),
    ("never_null", {"columns": ["cycle", "customer", "credits"]}, [("jan", None, 1)]),
]


def rows_found(test: str, relation: str, arguments: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What the generic test `test` selects from `relation`: the rows that break its promise."""
    template = get_environment().from_string((FOLDER / f"{test}.sql").read_text())
    sql = getattr(template.make_module(), f"dbt_macro__test_{test}")(relation, **arguments)
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize(("test", "arguments", "broken"), CASES)
def test_a_generic_test_selects_the_rows_that_break_it(
    test: str, arguments: dict[str, Any], broken: list[tuple[Any, ...]]
) -> None:
    assert rows_found(test, GRANTS, arguments) == broken


def test_every_generic_test_has_a_case_that_passes_and_one_that_fails() -> None:
    for test in sorted(path.stem for path in FOLDER.glob("*.sql")):
        outcomes = {bool(broken) for name, _, broken in CASES if name == test}
        assert outcomes == {True, False}, test


# What landing promises is looked at again before it is billed (docs/checks.md, "What is no gate").

LANDED_USAGE = {
    "event_id": "'e'",
    "kind": "'usage'",
    "corrects_event_id": "null",
    "customer_id": "'c'",
    "cluster": "'k'",
    "payload_rest": "''",
    "line_number": "1",
    "delivery_day": "date '2026-01-05'",
    "used_at": "timestamp '2026-01-05 23:59:59'",
    "usage_date": "date '2026-01-05'",
    "start_us": "86399000000",
    "duration_us": "0",
    "meter": "'gpu_minute'",
    "quantity_micro": "0",
}
LANDED_PRICE = {
    "zone": "'SE1'",
    "currency": "'EUR'",
    "resolution_minutes": "1",
    "price_per_kwh_pico": "-1",
}
LANDED_RATE = {"rate_pico": "1", "currency": "'EUR'", "valid_from": "date '2026-01-05'"}

GOOD: list[tuple[str, dict[str, str]]] = [
    ("stg_usage_events", LANDED_USAGE),
    ("stg_usage_events", LANDED_USAGE | {"delivery_day": "date '2026-01-06'"}),
    *(
        (
            "stg_usage_events",
            LANDED_USAGE
            | {"kind": f"'{kind}'", "corrects_event_id": "'e0'", "quantity_micro": "-1"},
        )
        for kind in ("correction", "retraction")
    ),
    ("stg_energy_prices", LANDED_PRICE),
    ("stg_fx_rates", LANDED_RATE),
]
BROKEN: list[tuple[str, dict[str, str]]] = [
    *(
        ("stg_usage_events", LANDED_USAGE | {name: "null"})
        for name in LANDED_USAGE
        if name != "corrects_event_id"
    ),
    ("stg_usage_events", LANDED_USAGE | {"kind": "'gift'"}),
    ("stg_usage_events", LANDED_USAGE | {"kind": "'correction'"}),
    ("stg_usage_events", LANDED_USAGE | {"meter": "'gpu_day'"}),
    ("stg_usage_events", LANDED_USAGE | {"quantity_micro": "-1"}),
    ("stg_usage_events", LANDED_USAGE | {"usage_date": "date '2026-01-04'"}),
    ("stg_usage_events", LANDED_USAGE | {"delivery_day": "date '2026-01-04'"}),
    *(("stg_energy_prices", LANDED_PRICE | {name: "null"}) for name in LANDED_PRICE),
    ("stg_energy_prices", LANDED_PRICE | {"resolution_minutes": "0"}),
    *(("stg_fx_rates", LANDED_RATE | {name: "null"}) for name in LANDED_RATE),
    ("stg_fx_rates", LANDED_RATE | {"rate_pico": "0"}),
]


def rows_that_break(model: str, row: dict[str, str]) -> int:
    """How many of one row the rule of a staging model finds."""
    staging = FOLDER.parents[1] / "models" / "staging" / "_staging.yml"
    models = yaml.safe_load(staging.read_text(encoding="utf-8"))["models"]
    [rule] = [
        test["is_true"]["arguments"]
        for each in models
        if each["name"] == model
        for test in each["data_tests"]
        if "is_true" in test
    ]
    columns = ", ".join(f"{value} as {name}" for name, value in row.items())
    return len(rows_found("is_true", f"(select {columns})", rule))


@pytest.mark.parametrize(("model", "row"), GOOD)
def test_a_landed_row_as_landing_promises_it_passes(model: str, row: dict[str, str]) -> None:
    assert rows_that_break(model, row) == 0


@pytest.mark.parametrize(("model", "row"), BROKEN)
def test_a_landed_row_that_landing_would_not_have_taken_is_found(
    model: str, row: dict[str, str]
) -> None:
    assert rows_that_break(model, row) == 1
