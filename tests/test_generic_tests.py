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
