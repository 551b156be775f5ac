"""Every generic data test can fail: it finds the bad rows among the good ones, NULLs included.

A test that selects nothing whatever it is given would pass for ever. The SQL is rendered by dbt's
own Jinja and runs in memory; dbt itself is not started.
"""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt_common.clients.jinja import get_environment

FOLDER = Path(__file__).parents[1] / "dbt_project" / "tests" / "generic"

GRANTS = """(
    values
    ('a', 'jan', 3), ('a', 'feb', 0), ('b', 'jan', 1), (null, 'jan', 1)
) as grants (customer, cycle, credits)"""
"""Good in itself; each case asks a question of it that its rows answer or don't."""

CASES: list[tuple[str, dict[str, Any], list[tuple[Any, ...]]]] = [
    ("unique_together", {"columns": ["customer", "cycle"]}, []),
    ("unique_together", {"columns": ["cycle"]}, [("jan", 3)]),
    ("unique_together", {"columns": ["credits"]}, [(1, 2)]),
    ("is_true", {"expression": "credits >= 0"}, []),
    ("is_true", {"expression": "credits > 0"}, [("a", "feb", 0)]),
    ("is_true", {"expression": "credits > 1 or cycle = 'jan'"}, [("a", "feb", 0)]),
    ("is_true", {"expression": "customer <> 'c'"}, [(None, "jan", 1)]),
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


def test_a_null_is_a_value_of_a_key() -> None:
    twice = "(values (null, 1), (null, 1), ('a', 1)) as grants (customer, credits)"
    assert rows_found("unique_together", twice, {"columns": ["customer", "credits"]}) == [
        (None, 1, 2)
    ]


def test_every_generic_test_has_a_case_that_passes_and_one_that_fails() -> None:
    for test in sorted(path.stem for path in FOLDER.glob("*.sql")):
        outcomes = {bool(broken) for name, _, broken in CASES if name == test}
        assert outcomes == {True, False}, test
