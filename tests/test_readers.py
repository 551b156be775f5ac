"""What BI opens: every reader counts the same rows and sums the same figures in every table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import readers
import yaml
from conftest import Books
from postgres_server import postgres_server
from readers import Totals

from orchestration.books.documentation import NotDocumented, document
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT, Settings

pytestmark = [pytest.mark.job, pytest.mark.slow]

OTHERS = PROJECT_ROOT / ".venv" / "readers"
"""Where the readers are that the project does not run on: the dependency group of that name."""

INTERNAL = {
    *("billing_controls", "calendar", "gpu_minute_costs", "margin_bridge", "margin_daily"),
    *("margin_monthly", "deferred_rollforward", "policy_actions", "rate_recommendations"),
    *("rejected_rows", "usage_conflicts", "waiting_usage"),
}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, sample_feeds: Path) -> Books:
    """A publication of three weeks of the sample."""
    books = Books(
        Settings(
            data_dir=tmp_path_factory.mktemp("books"),
            seeds_dir=PROJECT_ROOT / "seeds",
            feeds_url=str(sample_feeds),
            books_open_on=date(2026, 1, 5),
        )
    )
    books.bill("2026-01-05", "2026-01-25")
    return books


@pytest.fixture(scope="module")
def published(books: Books) -> Path:
    return books.settings.published_dir / "current"


@pytest.fixture(scope="module")
def totals(published: Path) -> Totals:
    """What DuckDB 2 finds in the file."""
    return readers.duckdb_file(published)


def test_the_publication_has_something_to_sum(totals):
    assert len(totals) >= 20
    assert float(totals["invoice_lines"]["amount"]) > 0
    assert float(totals["margin_daily"]["revenue"]) > 0


@pytest.mark.parametrize("reader", [readers.duckdb_parquet, readers.pandas])
def test_the_parquet_files_say_what_the_file_says(published, totals, reader):
    assert reader(published) == totals


@pytest.mark.parametrize(
    ("package", "reader"),
    [("duckdb", "duckdb_file"), ("duckdb", "duckdb_parquet"), ("polars", "polars")],
)
def test_other_readers_say_the_same(published, totals, package, reader):
    if not (OTHERS / package).is_dir():
        pytest.skip(f"{package} is not in .venv/readers; .ci/run puts it there")
    answer = subprocess.run(
        [sys.executable, readers.__file__, reader, str(published)],
        env={**os.environ, "PYTHONPATH": str(OTHERS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == totals


def test_the_older_duckdb_is_an_older_one():
    if not (OTHERS / "duckdb").is_dir():
        pytest.skip("duckdb is not in .venv/readers; .ci/run puts it there")
    version = subprocess.run(
        [sys.executable, "-c", "import duckdb; print(duckdb.__version__)"],
        env={**os.environ, "PYTHONPATH": str(OTHERS)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert version.startswith("1.5.")
    assert not duckdb.__version__.startswith("1.5.")


def test_the_guide_says_what_a_row_of_every_table_is(totals):
    guide = (PROJECT_ROOT / "docs" / "bi.md").read_text(encoding="utf-8")
    grains = "\n".join(line.split("|")[1] for line in guide.splitlines() if line.startswith("| `"))
    assert [name for name in totals if f"`{name}`" not in grains] == []


def test_every_table_and_column_is_explained_in_the_file(published):
    with duckdb.connect(str(published / "marts.duckdb"), read_only=True) as connection:
        unexplained = connection.execute(
            "select table_name from duckdb_tables() where not internal "
            "and coalesce(comment, '') = '' union all "
            "select table_name || '.' || column_name from duckdb_columns() "
            "where not internal and coalesce(comment, '') = ''"
        ).fetchall()
    assert unexplained == []


@pytest.fixture(scope="module")
def manifest(books: Books) -> dict[str, Any]:
    """What dbt knows of the project."""
    return json.loads((_target(books) / "manifest.json").read_text(encoding="utf-8"))


def _target(books: Books) -> Path:
    return Path(books.settings.dbt_environment()["DBT_TARGET_PATH"])


def test_every_reader_that_is_named_reads_published_tables_only(manifest):
    exposures = manifest["exposures"].values()
    assert {"finance_board", "customer_gauges", "invoicing"} <= {e["name"] for e in exposures}
    for exposure in exposures:
        assert exposure["owner"]["email"], exposure["name"]
        assert exposure["maturity"], exposure["name"]
        assert exposure["description"], exposure["name"]
        for node in exposure["depends_on"]["nodes"]:
            assert manifest["nodes"][node]["access"] == "public", (exposure["name"], node)


def test_what_can_be_measured_is_sound_and_stands_in_the_published_tables(books, published):
    from dbt_semantic_interfaces.implementations.semantic_manifest import PydanticSemanticManifest
    from dbt_semantic_interfaces.validations.semantic_manifest_validator import (
        SemanticManifestValidator,
    )

    text = (_target(books) / "semantic_manifest.json").read_text(encoding="utf-8")
    semantics = PydanticSemanticManifest.parse_raw(text)
    results = SemanticManifestValidator[PydanticSemanticManifest]().validate_semantic_manifest(
        semantics
    )
    assert [issue.message for issue in results.all_issues] == []
    assert {metric.name for metric in semantics.metrics} >= {
        *("revenue", "gross_margin", "gross_margin_rate", "credits_burned", "credits_left"),
        *("amortized_cost_per_gpu_minute", "depletion"),
    }
    with duckdb.connect(str(published / "marts.duckdb"), read_only=True) as connection:
        for model in semantics.semantic_models:
            columns = [
                f"{measure.agg.value}({measure.expr or measure.name})" for measure in model.measures
            ] + [
                f"count({element.expr or element.name})"
                for element in [*model.dimensions, *model.entities]
            ]
            connection.execute(
                f"select {', '.join(columns)} from {model.node_relation.alias}"
            ).fetchall()


def test_every_question_of_the_board_has_an_answer(published):
    board = yaml.safe_load((DBT_PROJECT_DIR / "charts" / "finance.yml").read_text(encoding="utf-8"))
    with duckdb.connect(str(published / "marts.duckdb"), read_only=True) as connection:
        found = {
            name: connection.sql(sql).to_arrow_table() for name, sql in board["queries"].items()
        }
    for name in ("headline", "bridge", "wallets", "deferred", "accelerators", "credit_weeks"):
        assert found[name].num_rows, name
    for name, chart in board["charts"].items():
        asked = {chart.get(key) for key in ("x", "y", "color", "value")}
        asked |= {chart.get("support", {}).get("value"), *chart["style"].get("columns", ())}
        assert asked - {None} <= set(found[chart["query"]].column_names), name


def test_the_documentation_is_one_page_beside_the_data(books, manifest, tmp_path):
    with pytest.raises(NotDocumented, match="Nothing is billed yet"):
        document(Settings(data_dir=tmp_path))
    page = document(books.settings)
    assert page == books.settings.published_dir / "docs" / "index.html"
    text = page.read_text(encoding="utf-8")
    for node in (*manifest["nodes"].values(), *manifest["exposures"].values()):
        if node.get("access") == "public" or node["resource_type"] == "exposure":
            assert node["unique_id"] in text
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]


def test_postgres_says_the_same_with_its_keys_and_comments(books, manifest, totals):
    psycopg = pytest.importorskip("psycopg", reason='the extra "postgres" is not installed')
    from orchestration.publication.postgres.contract import contracts_of
    from orchestration.publication.postgres.load import load

    with postgres_server() as url:
        with psycopg.connect(url, autocommit=True) as superuser:
            superuser.execute("create role billing_reader nologin")
            superuser.execute("create role billing_customer nologin")
        settings = Settings(data_dir=books.settings.data_dir, publish_postgres_url=url)
        load(settings, contracts_of(manifest))
        assert readers.postgres(url, "billing", totals) == totals
        with psycopg.connect(url) as connection:
            unexplained = connection.execute(
                "select relname, attname from pg_attribute join pg_class on attrelid = pg_class.oid "
                "where relnamespace = 'billing'::regnamespace and relkind = 'r' and attnum > 0 "
                "and coalesce(col_description(attrelid, attnum), '') = ''"
            ).fetchall()
            foreign_keys = connection.execute(
                "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint "
                "where connamespace = 'billing'::regnamespace and contype = 'f'"
            ).fetchall()
            without_key = connection.execute(
                "select relname from pg_class where relnamespace = 'billing'::regnamespace "
                "and relkind = 'r' and oid not in "
                "(select conrelid from pg_constraint where contype = 'p')"
            ).fetchall()
            for_customers = connection.execute(
                "select table_name, column_name from information_schema.column_privileges "
                "where grantee = 'billing_customer' and table_schema = 'billing'"
            ).fetchall()
    assert unexplained == []
    assert {
        (
            "billing.invoice_lines",
            "FOREIGN KEY (invoice_id) REFERENCES billing.invoices(invoice_id)",
        ),
        (
            "billing.credit_ledger",
            "FOREIGN KEY (grant_id) REFERENCES billing.credit_grants(grant_id)",
        ),
    } <= set(foreign_keys)
    assert {name for (name,) in without_key} <= {"rejected_rows"}
    readable = {table for table, _ in for_customers}
    assert {"invoices", "invoice_lines", "credit_balances", "usage_daily"} <= readable
    assert not readable & INTERNAL
    assert not {column for _, column in for_customers} & {
        *("amortized_cost", "amortized_cost_per_gpu_minute", "gross_margin", "direct_cost"),
    }
