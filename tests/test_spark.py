"""The same books from Spark as from DuckDB: every published table, row by row, types included.

On a real cluster of this machine (``spark_cluster.py``), so it takes minutes: `make test-spark`, and
`make test-spark-dev` for the real feeds.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Books, DbtFailed
from spark_cluster import SparkCluster, spark_cluster, thrift_server

from orchestration.books.warehouse import read_warehouse, start_anew
from orchestration.sample import generate_sample
from orchestration.settings import PROJECT_ROOT, Settings

pytestmark = [pytest.mark.slow, pytest.mark.job]

OPEN = date(2026, 1, 5)
# To the first of February: late rows, rates that change, packs bought by themselves, cycles that close
# and roll over. SAMPLE_ENDS=2026-02-15 is the whole sample.
LATER_NIGHT = date.fromisoformat(os.environ.get("SAMPLE_ENDS", "2026-02-01"))
FIRST_RUN_ENDS = LATER_NIGHT - timedelta(days=1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    pytest.importorskip("dbt.adapters.spark", reason='the extra "spark" is not installed')
    with spark_cluster(tmp_path_factory.mktemp("spark")) as running:
        yield running


def on(cluster: SparkCluster, schema: str) -> dict[str, object]:
    """Settings of books on the cluster."""
    return {
        "dbt_target": "spark",
        "spark_thrift_port": cluster.port,
        "spark_schema": schema,
        "spark_warehouse_dir": cluster.warehouse,
    }


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feeds")
    generate_sample(folder, OPEN, LATER_NIGHT)
    return folder


@pytest.fixture(scope="module")
def both(
    cluster: SparkCluster, feeds: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Books, Books]:
    """The sample but for its last day, billed by either engine."""
    folder = tmp_path_factory.mktemp("books")
    common = {"feeds_url": str(feeds), "books_open_on": OPEN}
    duck = Books(Settings(data_dir=folder / "duckdb", **common))
    spark = Books(Settings(data_dir=folder / "spark", **common, **on(cluster, "sample")))
    for books in (duck, spark):
        books.bill(OPEN, FIRST_RUN_ENDS)
    return duck, spark


def assert_equal(duck: Books, spark: Books) -> None:
    """Both publications hold the same tables, with the same columns, types and rows."""
    folders = [books.settings.published_dir / "current" for books in (duck, spark)]
    tables, spark_tables = ({p.name for p in f.iterdir() if p.is_dir()} for f in folders)
    assert tables == spark_tables
    assert len(tables) >= 18
    different = {}
    for table in sorted(tables):
        left, right = (f"'{folder / table}/*.parquet'" for folder in folders)
        kinds = [duckdb.sql(f"describe from {side}").fetchall() for side in (left, right)]
        [(rows,)] = duckdb.sql(
            f"select count(*) from ((from {left} except all from {right}) "
            f"union all (from {right} except all from {left}))"
        ).fetchall()
        if rows or kinds[0] != kinds[1]:
            different[table] = (rows, kinds)
    assert not different


def test_the_sample_is_billed_alike(both):
    assert_equal(*both)


def test_what_the_tables_are_made_of_is_alike_too(both):
    """Also what is not published, as far as it is read: `make explain` goes down through it."""
    duck, spark = both
    compared = 0
    with (
        read_warehouse(spark.settings) as tables,
        duckdb.connect(str(duck.settings.warehouse_file), read_only=True) as reference,
    ):
        for (table,) in tables.execute(
            "select view_name from duckdb_views() where not internal order by 1"
        ).fetchall():
            columns = ", ".join(
                f'"{name}"' for name, *_ in reference.execute(f'describe "{table}"').fetchall()
            )
            query = f'select {columns} from "{table}" order by all'
            assert tables.execute(query).fetchall() == reference.execute(query).fetchall(), table
            compared += 1
    assert compared > 50


def test_a_later_night_with_late_rows_is_billed_alike(both):
    duck, spark = both
    earlier = f"select sum(event_count) from int_usage_hours where usage_date < '{LATER_NIGHT}'"
    [(events,)] = duck.rows(earlier)
    for books in both:
        books.bill(LATER_NIGHT, LATER_NIGHT)
    assert duck.rows(earlier)[0][0] > events
    assert_equal(duck, spark)


@pytest.mark.dev_set
def test_six_weeks_of_real_feeds_are_billed_alike(
    cluster: SparkCluster, shared: Path, tmp_path: Path
) -> None:
    """And as the independent calculation of the same feeds says."""
    dev = shared / "data" / "dev"
    common = {"seeds_dir": dev / "seeds", "feeds_url": str(dev)}
    duck = Books(Settings(data_dir=tmp_path / "duckdb", **common))
    spark = Books(Settings(data_dir=tmp_path / "spark", **common, **on(cluster, "dev")))
    for books in (duck, spark):
        books.bill("2025-10-06", "2025-11-16")
    assert_equal(duck, spark)
    published = spark.settings.published_dir / "current"
    compared = subprocess.run(
        [sys.executable, shared / "tools" / "compare.py", shared / "expected" / "dev", published],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stdout


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("spark.sql.decimalOperations.allowPrecisionLoss", "true", "false"),
        ("spark.sql.ansi.enabled", "false", "true"),
        ("spark.sql.timestampType", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ"),
        ("spark.sql.session.timeZone", "Europe/Berlin", "UTC"),
    ],
)
def test_a_server_that_would_change_figures_is_refused(
    one_session: SparkCluster, tmp_path: Path, name: str, wrong: str, right: str
) -> None:
    """By the name of the setting, before anything is built."""
    books = Books(Settings(data_dir=tmp_path / "books", **on(one_session, "refused")))
    said(one_session, f"set {name}={wrong}")
    try:
        with pytest.raises(DbtFailed) as refused:
            books.dbt(["seed", "--select", "accelerators"])
    finally:
        said(one_session, f"set {name}={right}")
    assert f"{name} must be {right}" in str(refused.value)
    assert "spark-defaults.conf" in str(refused.value)
    assert not books.settings.built_warehouse.exists() or not any(
        books.settings.built_warehouse.iterdir()
    )


def test_a_seed_is_loaded_as_it_is_written_and_books_begin_anew_without_it(
    one_session: SparkCluster, tmp_path: Path
) -> None:
    """Quotes, backslashes and what looks like a number stay the text that they are."""
    seeds = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", seeds)
    names = ['O\'Brien \\ "Söhne", Ltd.', "007", "NaN", "#1", "{{x}}"]
    with (seeds / "contracts" / "customers.csv").open("a", encoding="utf-8", newline="") as file:
        for number, name in enumerate(names):
            csv.writer(file).writerow([f"odd-{number}", name, 1, "false"])
    duck = Books(Settings(data_dir=tmp_path / "duckdb", seeds_dir=seeds))
    spark = Books(
        Settings(data_dir=tmp_path / "spark", seeds_dir=seeds, **on(one_session, "seeds"))
    )
    rows = []
    for books in (duck, spark):
        books.dbt(["seed"])
        with read_warehouse(books.settings) as tables:
            rows.append(
                {
                    table: tables.execute(f"from {table} order by all").fetchall()
                    for table in ("customers", "price_tiers", "orders", "adjustments")
                }
            )
    assert rows[0] == rows[1]
    assert {name for _, name, *_ in rows[1]["customers"]} >= set(names)

    start_anew(spark.settings)
    left = said(one_session, "show tables in seeds")
    assert [table for _, table, is_temporary in left if not is_temporary] == []


@pytest.fixture(scope="module")
def one_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """A Thrift server whose connections share one session, so that a test can set it wrongly."""
    pytest.importorskip("dbt.adapters.spark", reason='the extra "spark" is not installed')
    shared = {"spark.sql.hive.thriftServer.singleSession": "true"}
    with thrift_server(tmp_path_factory.mktemp("thrift"), settings=shared) as running:
        yield running


def said(server: SparkCluster, statement: str) -> list[Any]:
    """The rows of a statement."""
    from pyhive import hive

    with hive.connect("127.0.0.1", server.port) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()
