"""Publication in parts: what may have changed is written again, everything else is taken over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from test_publish import MARTS, change, complete
from test_publish import settings as billed_settings  # noqa: F401  (a fixture)

from orchestration.publication.parts import Mart
from orchestration.publication.publish import publish
from orchestration.settings import Settings

USAGE = Mart("usage", "Usage.", (), as_csv=True, published_by="day")


@pytest.fixture
def settings(billed_settings: Settings) -> Settings:  # noqa: F811
    """Two months of usage, a row without a day, and a billing that changed nothing yet."""
    change(
        billed_settings,
        """create table usage as select * from (values
            (date '2026-01-30', 'a', 1.5::decimal(38, 6), true),
            (date '2026-01-31', 'b', 2.5, false), (date '2026-02-01', 'c', 3.5, true),
            (null, 'd', 4.5, true)) as rows(day, who, minutes, is_late)""",
    )
    change(billed_settings, "create table int_changed_months (month date)")
    return billed_settings


@pytest.fixture
def night(settings: Settings) -> Callable[..., Path]:
    """Bill once more, with the given months as changed, and publish."""
    count = 1

    def bill(*months: str, sql: str = "") -> Path:
        nonlocal count
        count += 1
        change(settings, "delete from int_changed_months")
        for month in months:
            change(settings, f"insert into int_changed_months values (date '{month}-01')")
        if sql:
            change(settings, sql)
        complete(settings, count)
        return published(settings)

    return bill


def published(settings: Settings) -> Path:
    return publish(settings, [*MARTS, USAGE], "run").path.resolve()


def inode(path: Path, part: str) -> int:
    return (path / "usage" / f"{part}.parquet").stat().st_ino


def rows(settings: Settings, path: Path) -> list[tuple[object, ...]]:
    """The published rows, which are the same ones in every form and in the warehouse."""
    with duckdb.connect(str(path / "marts.duckdb"), read_only=True) as marts:
        in_database = marts.execute("from usage order by all").fetchall()
    in_parquet = duckdb.sql(f"from '{path / 'usage'}/*.parquet' order by all").fetchall()
    types = "{'day': 'date', 'who': 'varchar', 'minutes': 'decimal(38, 6)', 'is_late': 'boolean'}"
    in_csv = duckdb.sql(
        f"from read_csv('{path / 'usage.csv'}', header = true, columns = {types}) order by all"
    ).fetchall()
    with duckdb.connect(str(settings.warehouse_file), read_only=True) as warehouse:
        in_warehouse = warehouse.execute("from usage order by all").fetchall()
    assert in_database == in_parquet == in_csv == in_warehouse
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["row_counts"]["usage"] == len(in_warehouse)
    return in_warehouse


def test_a_table_is_published_by_month(settings):
    path = published(settings)
    assert sorted(file.stem for file in (path / "usage").iterdir()) == [
        "2026-01",
        "2026-02",
        "undated",
    ]
    assert len(rows(settings, path)) == 4


def test_only_the_months_that_changed_are_written_again(settings, night):
    first = published(settings)
    second = night("2026-02", sql="update usage set who = 'e' where day = date '2026-02-01'")
    assert inode(second, "2026-01") == inode(first, "2026-01")
    assert inode(second, "2026-02") != inode(first, "2026-02")
    assert ("e",) in {row[1:2] for row in rows(settings, second)}


def test_a_month_that_may_have_changed_and_did_not_is_taken_over(settings, night):
    """Method: rows are put in another order; then two texts change places, which no sum tells."""
    first = published(settings)
    turned = "create or replace table usage as from usage order by who desc"
    second = night("2026-01", "2026-02", sql=turned)
    assert inode(second, "2026-01") == inode(first, "2026-01")
    assert inode(second, "2026-02") == inode(first, "2026-02")
    assert inode(second, "undated") == inode(first, "undated")
    rows(settings, second)
    swapped = (
        "update usage set who = case who when 'a' then 'b' else 'a' end where who in ('a', 'b')"
    )
    third = night("2026-01", sql=swapped)
    assert inode(third, "2026-01") != inode(second, "2026-01")
    rows(settings, third)


def test_a_month_with_other_sums_is_written_whatever_the_billing_says(settings, night):
    first = published(settings)
    second = night(sql="update usage set minutes = 9 where who = 'a'")
    assert inode(second, "2026-01") != inode(first, "2026-01")
    assert inode(second, "2026-02") == inode(first, "2026-02")
    rows(settings, second)
    third = night(sql="update usage set is_late = true where who = 'b'")
    assert inode(third, "2026-01") != inode(second, "2026-01")
    rows(settings, third)


@pytest.mark.parametrize("months", [(), ("2026-02",)], ids=["unsaid", "said"])
def test_rows_come_and_go(settings, night, months):
    published(settings)
    path = night(*months, sql="delete from usage where day = date '2026-02-01'")
    assert not (path / "usage" / "2026-02.parquet").exists()
    assert len(rows(settings, path)) == 3
    path = night("2026-03", sql="insert into usage values (date '2026-03-01', 'f', 1, false)")
    assert len(rows(settings, path)) == 4


def test_a_table_may_be_empty(settings, night):
    published(settings)
    assert rows(settings, night(sql="delete from usage")) == []
    path = night("2026-03", sql="insert into usage values (date '2026-03-01', 'f', 1, false)")
    assert len(rows(settings, path)) == 1


def test_a_publication_of_another_billing_is_no_base(settings, night):
    """A night was billed and not published: the warehouse no longer knows what it changed."""
    first = published(settings)
    complete(settings, 2)
    change(settings, "update usage set who = 'x' where who = 'a'")
    second = night("2026-02")
    assert inode(second, "2026-01") == inode(first, "2026-01")
    change(settings, "update usage set who = 'y' where who = 'a' or who = 'x'")
    complete(settings, 5)
    third = published(settings)
    assert inode(third, "2026-01") != inode(second, "2026-01")
    rows(settings, third)


def test_the_same_billing_is_published_again_without_writing_anything(settings):
    first = published(settings)
    assert inode(published(settings), "2026-01") == inode(first, "2026-01")


def test_other_seeds_settings_or_columns_make_everything_anew(settings, night, monkeypatch):
    first = published(settings)
    described = Mart("usage", "Usage, described.", (), as_csv=True, published_by="day")
    second = publish(settings, [*MARTS, described], "run").path.resolve()
    assert inode(second, "2026-01") != inode(first, "2026-01")
    other = settings.apart(provider_name="Another name")
    third = publish(other, [*MARTS, described], "run").path.resolve()
    assert inode(third, "2026-01") != inode(second, "2026-01")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "marts.duckdb").write_bytes(b"no database"),
        lambda path: (path / "usage" / "2026-01.parquet").unlink(),
        lambda path: duckdb.connect(str(path / "marts.duckdb")).execute("delete from usage"),
        lambda path: (path / "manifest.json").unlink(),
    ],
    ids=["database", "part", "rows", "manifest"],
)
def test_a_damaged_publication_is_not_built_upon(settings, night, damage):
    damage(published(settings))
    path = night("2026-02", sql="update usage set who = 'e' where day = date '2026-02-01'")
    assert len(rows(settings, path)) == 4


def test_without_hard_links_parts_are_copied(settings, night, monkeypatch):
    first = published(settings)

    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    second = night("2026-02")
    assert inode(second, "2026-01") != inode(first, "2026-01")
    rows(settings, second)
