"""The books in a notebook: exact, described, one publication; and the page that shows them is true."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pandas
import polars
import pytest
from conftest import Books

import gpu_credits
from gpu_credits.notebook import NoSuchTable, OpenedBooks, PublishedSince
from orchestration.publication.current import NothingPublished
from orchestration.sample import CLOSES_ON, OPENS_ON, generate_sample
from orchestration.settings import PROJECT_ROOT, Settings

PAGE = PROJECT_ROOT / "docs" / "notebooks.md"
LINE = "babel-lab/2026-01-05/overage/scale-1m"
# A block of code, and the result that stands right below it, if one does.
_BLOCKS = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """What ``make run`` bills."""
    folder = tmp_path_factory.mktemp("notebook")
    generate_sample(folder / "feeds", OPENS_ON, CLOSES_ON)
    books = Books(
        Settings(data_dir=folder / "data", feeds_url=str(folder / "feeds"), books_open_on=OPENS_ON)
    )
    books.bill(OPENS_ON, CLOSES_ON)
    return books


@pytest.fixture
def opened(billed: Books) -> Iterator[OpenedBooks]:
    with gpu_credits.open(billed.settings.data_dir) as books:
        yield books


def displayed(code: str, names: dict[str, Any]) -> str:
    """Run code a statement at a time; what it prints, then what a notebook shows of its last line."""
    printed = io.StringIO()
    statements = ast.parse(code).body
    with contextlib.redirect_stdout(printed):
        for statement in statements:
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), str(PAGE), "eval"), names)
                if statement is statements[-1] and value is not None:
                    print(repr(value))
            else:
                exec(compile(ast.Module([statement], []), str(PAGE), "exec"), names)
    return "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


@pytest.mark.job
def test_the_page_shows_what_its_code_gives(billed, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(billed.settings.data_dir)
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    results = 0
    for code, shown in _BLOCKS.findall(page):
        result = displayed(code, names)
        if shown:
            assert result == shown, code
            results += 1
    names["books"].close()
    assert results >= 7
    pictures = re.findall(r"\]\(notebooks/(\w+\.svg)\)", page)
    assert sorted(pictures) == sorted(path.name for path in (PAGE.parent / "notebooks").iterdir())
    for name in pictures:
        assert (tmp_path / name).read_bytes() == (PAGE.parent / "notebooks" / name).read_bytes()


@pytest.mark.job
def test_every_table_is_exact_in_every_frame(opened):
    assert len(opened.tables) >= 20
    for name in opened.tables["name"]:
        table = opened.table(name)
        frame, arrow = table.df(), table.arrow()
        assert list(frame.columns) == list(table.columns) == arrow.column_names
        assert not [kind for kind in frame.dtypes if "float" in str(kind) or "double" in str(kind)]
        of_polars = table.pl()
        assert of_polars.height == len(frame) == arrow.num_rows
        for column, kind in of_polars.schema.items():
            if kind == polars.Decimal:
                [(summed,)] = opened.sql(
                    f'select sum("{column}") from "{name}"'
                ).relation.fetchall()
                of_pandas = frame[column].dropna()
                assert of_polars[column].sum() == (summed or 0)
                assert (of_pandas.sum() if len(of_pandas) else 0) == (summed or 0)


@pytest.mark.job
def test_a_table_says_what_it_is_and_of_which_run(opened):
    table = opened.table("margin_daily")
    assert "One row per posting date, customer" in table.description
    assert table.columns["gross_margin"].startswith("Revenue less amortized cost")
    assert not [name for name in opened.tables["name"] if not opened.table(name).description]
    assert table.df().attrs == {
        "table": "margin_daily",
        "description": table.description,
        "columns": table.columns,
        "run_id": opened.run_id,
        "as_of": CLOSES_ON,
    }
    assert (table.run_id, table.as_of, opened.as_of) == ("test", CLOSES_ON, CLOSES_ON)
    assert opened.sql("from margin_daily").df().attrs == {"run_id": "test", "as_of": CLOSES_ON}
    assert repr(table).startswith(f"margin_daily: {table.description}\n")
    assert repr(opened).startswith(f"Books as of {CLOSES_ON}, {len(opened.tables)} tables")


@pytest.mark.job
def test_controls_are_those_of_the_run(opened):
    errors = opened.controls[opened.controls["severity"] == "error"]
    assert len(errors) > 100
    assert errors["passed"].all()


@pytest.mark.job
def test_a_query_may_name_a_frame_of_the_notebook(opened):
    regions = pandas.DataFrame({"customer_id": ["babel-lab"], "region": ["north"]})
    [row] = opened.sql(
        "select region, sum(amount) from invoice_lines join regions using (customer_id) "
        f"where invoice_line_id = '{LINE}' group by all"
    ).relation.fetchall()
    assert row == ("north", Decimal("1455.54"))
    assert len(regions) == 1


@pytest.mark.job
@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("margin_dayly", "did you mean margin_daily or"),
        ("Invoices", "did you mean invoices or"),
        ("x'; drop table invoices; --\x1b[2J", "books.tables lists all"),
    ],
)
def test_an_unknown_table_gets_the_names_like_it(opened, asked, named):
    with pytest.raises(NoSuchTable) as refused:
        opened.table(asked)
    assert named in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.job
@pytest.mark.parametrize("change", ["delete from invoices", "drop table invoices"])
def test_nothing_can_be_changed(opened, change):
    before = opened.table("invoices").pl()
    with pytest.raises(duckdb.Error, match="read-only"):
        opened.sql(change)
    assert opened.table("invoices").pl().equals(before)


@pytest.mark.job
def test_open_books_stay_what_they_were(billed, opened):
    """Method: another publication, which removes the one that is open."""
    kept = Books(billed.settings.apart(publications_kept=1))

    kept.publish()

    assert not opened.folder.exists()
    with gpu_credits.open(billed.settings.data_dir) as again:
        for name in opened.tables["name"]:
            assert opened.table(name).pl().equals(again.table(name).pl())
    with pytest.raises(PublishedSince, match="open the books again"):
        opened.explain(LINE)
    with gpu_credits.open(billed.settings.data_dir) as again:
        assert again.folder != opened.folder
        assert again.explain(LINE).adds_up


@pytest.mark.job
def test_an_explanation_is_the_same_by_both_doors_and_touches_no_setting(
    billed, opened, monkeypatch
):
    monkeypatch.setenv("DATA_DIR", str(billed.settings.data_dir))
    mask = os.umask(0o022)
    try:
        of_books, of_line = opened.explain(LINE, events=3), gpu_credits.explain(LINE, events=3)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(mask)
    assert of_books == of_line
    assert str(of_books) == repr(of_books) == of_books.text
    assert [len(step.rows) for step in of_books.steps if "events" in step.title] == [3]
    with gpu_credits.open() as by_setting:
        assert by_setting.folder == opened.folder


def test_nothing_published_is_said(tmp_path):
    with pytest.raises(NothingPublished, match="bill a day first"):
        gpu_credits.open(tmp_path)


def test_a_publication_that_goes_while_it_is_opened_is_said(tmp_path):
    """Method: a publication without its file."""
    current = tmp_path / "published" / "current"
    current.mkdir(parents=True)
    day = date(2026, 1, 5)
    (current / "manifest.json").write_text(f'{{"last_delivery_day": "{day}", "run_id": "a"}}')
    with pytest.raises(NothingPublished, match="open the books again"):
        gpu_credits.open(tmp_path)


def test_importing_the_package_imports_nothing_heavy():
    """The command imports it before it knows what is asked for."""
    heavy = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, gpu_credits; print(*{name.partition('.')[0] for name in sys.modules})",
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"orchestration", "pandas", "duckdb", "pyarrow", "pydantic", "typer"} & {*heavy}
