"""Golden books: the comparison of two publications finds whatever differs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from benchmarks.golden import compare

ROWS = "values (1, 2.50::decimal(18, 2)), (1, 2.50), (2, null)"


def published(
    folder: Path, rows: str = ROWS, columns: str = "id, amount", table: str = "t"
) -> Path:
    (folder / table).mkdir(parents=True)
    duckdb.sql(f"copy (from ({rows}) as t({columns})) to '{folder / table}/part.parquet'")
    return folder


def test_equal_books_have_no_difference(tmp_path):
    assert list(compare(published(tmp_path / "a"), published(tmp_path / "b"))) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rows": ROWS.replace("2.50)", "2.51)")}, "1 rows only before, such as (1, Decimal"),
        ({"rows": ROWS.replace(", (1, 2.50)", "")}, "1 rows only before"),
        ({"rows": ROWS + ", (2, null)"}, "1 rows only after, such as (2, None)"),
        ({"columns": "id, total"}, "t.amount: only before"),
        ({"table": "u"}, "t: only before"),
    ],
)
def test_a_difference_is_named(tmp_path, other, said):
    found = list(compare(published(tmp_path / "a"), published(tmp_path / "b", **other)))
    assert any(said in line for line in found), found


def test_a_table_can_be_left_out(tmp_path):
    both = published(tmp_path / "a"), published(tmp_path / "b", "select 1, 2")
    assert list(compare(*both))
    assert list(compare(*both, {"t"})) == []
