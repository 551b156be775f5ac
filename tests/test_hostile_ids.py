"""Hostile ids through a whole bill: they are text in every table, path, page and line, and no more.

Method: the sample is billed twice, once as it is and once with every id, name and event renamed to
a hostile text that sorts the same way. The books must be the same but for the names; nothing on
disk may be called by one; no page may have grown an element; no terminal may get a command.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import hostile
import pyarrow.parquet as pq
import pytest
from conftest import Books, run_job

from orchestration.printable import printable, printable_lines
from orchestration.sample import generate_sample
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT, Settings

FIRST, LAST = date(2026, 1, 5), date(2026, 1, 12)
KINDS = {
    "customer_id": "customer",
    "customer_name": "customer_name",
    "sku": "sku",
    "auto_purchase_sku": "sku",
    "plan_sku": "sku",
    "cluster": "cluster",
    "facility_id": "facility",
    "zone": "zone",
    "region": "region",
    "accelerator": "accelerator",
    "default_accelerator": "accelerator",
    "alias": "alias",
    "vendor": "vendor",
    "model_family": "family",
    "lot_id": "lot",
    "provider": "provider",
    "subscription_id": "subscription",
    "order_id": "order",
    "adjustment_id": "adjustment",
    "plan_name": "name",
    "name": "name",
}
KEPT = {"", "*", "none", "unspecified"}
# A zone names a delivered file, and a CSV record is one line.
ONE_LINE = [text for text in hostile.TEXTS.values() if "\n" not in text]
FILE_NAMES = [text for text in ONE_LINE if "/" not in text and len(text) < 100]


class Names:
    """The hostile text that stands for each id; of one kind, they sort as the ids do."""

    def __init__(self, ids: dict[str, set[str]]) -> None:
        self._texts: dict[tuple[str, str], str] = {}
        for kind, known in ids.items():
            texts = FILE_NAMES if kind == "zone" else ONE_LINE
            if kind in ("customer", "customer_name", "sku", "subscription", "order", "family"):
                texts = [*ONE_LINE, hostile.TEXTS["newline"]]
            # Every kind begins somewhere else, so that all texts are tried.
            start = sum(map(ord, kind)) % len(texts)
            chosen = [(texts * 4)[start + n] + "~" * (n // len(texts)) for n in range(len(known))]
            self._texts |= {
                (kind, known_id): text
                for known_id, text in zip(sorted(known), sorted(chosen), strict=True)
            }

    def of(self, kind: str, known_id: Any) -> Any:
        return self._texts.get((kind, known_id), known_id)

    def all(self) -> set[str]:
        return set(self._texts.values())


def ids_of(folder: Path) -> dict[str, set[str]]:
    """Every id in the seeds, by kind."""
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for column, kind in KINDS.items():
                    if row.get(column, "") not in KEPT:
                        found.setdefault(kind, set()).add(row[column])
    return found


def rename_seeds(source: Path, target: Path, names: Names) -> None:
    for path in source.rglob("*.csv"):
        rename_csv(path, target / path.relative_to(source), names)


def rename_csv(path: Path, target: Path, names: Names) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
        file.seek(0)
        columns = next(csv.reader(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {column: names.of(KINDS.get(column, ""), value) for column, value in row.items()}
            )


def rename_feeds(source: Path, target: Path, names: Names) -> None:
    for path in (source / "usage").iterdir():
        day = path.name.removeprefix("usage_").partition(".")[0]
        lines = [rename_event(line, names, number) for number, line in enumerate(lines_of(path))]
        (target / "usage").mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in lines).encode()
        (target / "usage" / f"usage_{day}.jsonl.gz").write_bytes(gzip.compress(content))
    for feed in ("energy", "carbon", "gpu", "fx"):
        for path in (source / feed).iterdir():
            stem, _, zone = path.stem.rpartition("_")
            is_zone = feed in ("energy", "carbon")
            name = f"{stem}_{names.of('zone', zone)}.csv" if is_zone else path.name
            rename_csv(path, target / feed / name, names)
    gpu = target / "gpu" / "gpu_prices.csv"
    with gpu.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with gpu.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            row["gpu_type"] = gpu_type(row["gpu_type"], names)
            row["region"] = hostile.TEXTS["formula"]
            writer.writerow(row)


def lines_of(path: Path) -> Iterable[str]:
    if path.suffix == ".parquet":
        for row in pq.ParquetFile(path).read().to_pylist():
            row["metadata"] = {k: v for k, v in row["metadata"].items() if v is not None}
            yield json.dumps({k: v for k, v in row.items() if v is not None}, default=number)
        return
    packed = path.read_bytes()
    yield from (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode().splitlines()


def number(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else float(value)


def gpu_type(spelled: str, names: Names) -> str:
    known = names.of("accelerator", spelled)
    return known if known != spelled else names.of("alias", spelled)


def event_name(known_id: str) -> str:
    texts = list(hostile.TEXTS.values())
    return texts[sum(map(ord, known_id)) % len(texts)] + known_id


def rename_event(line: str, names: Names, number: int) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        return line
    for name in ("event_id", "corrects_event_id"):
        if row.get(name):
            row[name] = event_name(row[name])
    row["customer_id"] = names.of("customer", row.get("customer_id"))
    metadata = row.get("metadata") or {}
    for name in ("cluster", "model_family"):
        if metadata.get(name):
            metadata[name] = names.of(KINDS[name], metadata[name])
    if metadata.get("gpu_type"):
        metadata["gpu_type"] = gpu_type(metadata["gpu_type"], names)
    # A row that is delivered again says the same again.
    texts = list(hostile.TEXTS.values())
    place = sum(map(ord, str(row.get("event_id"))))
    metadata[texts[place % len(texts)]] = texts[(place * 7) % len(texts)]
    return json.dumps(row, ensure_ascii=number % 2 == 0)


@dataclass(frozen=True)
class Twins:
    """The sample as it is, and renamed; both billed."""

    names: Names
    plain: Path
    hostile: Path
    said: subprocess.CompletedProcess[str]
    root: Path

    def tables(self) -> list[str]:
        return sorted(path.name for path in published(self.plain).iterdir() if path.is_dir())


def published(data: Path) -> Path:
    return (data / "published" / "current").resolve()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    root = tmp_path_factory.mktemp("twins")
    seeds = PROJECT_ROOT / "seeds"
    generate_sample(root / "plain_feeds", FIRST, LAST)
    for path in (root / "plain_feeds" / "gpu").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    ids = ids_of(seeds)
    for path in (root / "plain_feeds" / "usage").iterdir():
        for line in lines_of(path):
            family = re.search(r'"model_family": ?"([^"]+)"', line)
            if family:
                ids["family"].add(family[1])
    for path in (root / "plain_feeds" / "gpu").iterdir():
        with path.open(encoding="utf-8", newline="") as file:
            ids["provider"] |= {row["provider"] for row in csv.DictReader(file)} - KEPT
    names = Names(ids)
    rename_seeds(seeds, root / "seeds", names)
    rename_feeds(root / "plain_feeds", root / "feeds", names)
    plain = Books(
        Settings(data_dir=root / "plain", feeds_url=str(root / "plain_feeds"), books_open_on=FIRST)
    )
    plain.bill(FIRST, LAST)
    said = run_job(
        [FIRST.isoformat(), LAST.isoformat()],
        {
            "SEEDS_DIR": root / "seeds",
            "FEEDS_URL": root / "feeds",
            "DATA_DIR": root / "data",
            "BOOKS_OPEN_ON": FIRST.isoformat(),
        },
    )
    return Twins(names, root / "plain", root / "data", said, root)


@pytest.mark.slow
@pytest.mark.job
class TestBooks:
    def test_the_books_are_the_same_but_for_the_names(self, twins):
        """Columns of ids are compared renamed; those of texts made from ids, by how many differ."""
        assert twins.said.returncode == 0, twins.said.stdout + twins.said.stderr
        compared = 0
        for table in twins.tables():
            plain, renamed = (
                duckdb.sql(f"from '{published(data)}/{table}/*.parquet'").to_arrow_table()
                for data in (twins.plain, twins.hostile)
            )
            assert plain.num_rows == renamed.num_rows, table
            columns = [
                column
                for column in plain.column_names
                if column in KINDS or not is_made_of_ids(plain[column].to_pylist(), twins)
            ]
            compared += len(columns)
            expected = Counter(
                tuple(
                    twins.names.of(KINDS.get(column, ""), value)
                    for column, value in zip(columns, row, strict=True)
                )
                for row in rows_of(plain, columns)
            )
            assert Counter(rows_of(renamed, columns)) == expected, table
        assert compared > 150

    def test_money_is_exact_in_every_table(self, twins):
        for table in twins.tables():
            schema = duckdb.sql(f"from '{published(twins.hostile)}/{table}/*.parquet'")
            assert not {"DOUBLE", "FLOAT"} & {str(kind) for kind in schema.types}, table

    def test_every_hostile_event_can_be_found_again(self, twins):
        """The payloads of what was set aside are there as they were delivered."""
        [(rejected, conflicts)] = duckdb.sql(
            f"select (select count(*) from '{published(twins.hostile)}/rejected_rows/*.parquet'), "
            f"(select count(*) from '{published(twins.hostile)}/usage_conflicts/*.parquet')"
        ).fetchall()
        assert rejected > 0
        assert conflicts >= 0

    def test_no_path_is_called_by_an_id(self, twins):
        """Names on disk: letters, digits and what our own names have; nothing beside the folders."""
        ours = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._=@+~-]*|\.[A-Za-z0-9._-]+|_[A-Za-z0-9_.-]+")
        for path in twins.hostile.rglob("*"):
            assert ours.fullmatch(path.name), path
        assert {path.name for path in twins.root.iterdir()} == {
            "data",
            "feeds",
            "plain",
            "plain_feeds",
            "seeds",
        }

    def test_others_see_nothing_of_it(self, twins):
        """What the job writes, its group may read at most."""
        for path in [twins.hostile, *twins.hostile.rglob("*")]:
            if not path.is_symlink():
                assert not path.stat().st_mode & 0o007, path

    def test_the_terminal_gets_text(self, twins):
        for text in (twins.said.stdout, twins.said.stderr):
            assert text == printable_lines(text)

    def test_the_comments_in_the_published_file_are_ours(self, twins):
        comments = [
            duckdb.connect(str(published(data) / "marts.duckdb"), read_only=True)
            .sql("select table_name, column_name, comment from duckdb_columns() order by all")
            .fetchall()
            for data in (twins.plain, twins.hostile)
        ]
        assert comments[0] == comments[1]

    @pytest.mark.parametrize("kind", ["credit_usage", "base_credits", "dedicated_cluster"])
    def test_a_line_is_explained_in_plain_text(self, twins, kind):
        [(line_id,)] = duckdb.sql(
            f"select invoice_line_id from '{published(twins.hostile)}/invoice_lines/*.parquet' "
            f"where line_type = '{kind}' order by 1 limit 1"
        ).fetchall()
        environment = {"SEEDS_DIR": twins.root / "seeds", "DATA_DIR": twins.hostile}
        for asked, code in ((line_id, 0), (line_id + "\x1b[2J", 2)):
            said = subprocess.run(
                [sys.executable, "-m", "gpu_credits", "explain", "--", asked],
                cwd=PROJECT_ROOT,
                env={"PATH": "", **{name: str(value) for name, value in environment.items()}},
                capture_output=True,
                text=True,
                check=False,
            )
            assert said.returncode == code, said.stdout + said.stderr
            assert said.stdout == printable_lines(said.stdout)
            assert said.stderr == printable_lines(said.stderr)
        assert printable(line_id)[:40] in said.stderr

    def test_no_page_grows_an_element(self, twins):
        """Gauges, finance's page, data docs: no script, no handler, no address from an id."""
        pages = [path for path in twins.hostile.rglob("*.html") if "dbt" not in path.parts]
        assert pages
        names = Counter(path.relative_to(twins.hostile).parts[0] for path in pages)
        assert names["portal"] >= 10
        for path in pages:
            page = Page(path)
            for tag, attributes in page.elements:
                assert not any(name.startswith("on") for name in attributes), (path, tag)
                for name in ("href", "src", "action", "formaction", "data", "xlink:href"):
                    assert not re.match(
                        r"\s*(javascript|data:text|vbscript)", attributes.get(name) or "", re.I
                    ), (path, tag, attributes)
            tags = {tag for tag, _ in page.elements}
            assert not tags & {"script", "iframe", "img", "object", "embed", "form", "base"}, path

    def test_each_customer_reads_its_own_name(self, twins):
        """Escaped, a hostile name is still the name: it can be read on the customer's page."""
        pages = [Page(path) for path in (twins.hostile / "portal" / "pages").rglob("index.html")]
        titles = {text for page in pages for text in page.headings}
        with (twins.root / "seeds/contracts/customers.csv").open(encoding="utf-8", newline="") as f:
            customers = [row["customer_name"] for row in csv.DictReader(f)]
        for name in customers:
            visible = re.sub(r"\W+", "", name)
            assert any(visible in re.sub(r"\W+", "", title) for title in titles), name

    def test_csv_for_other_programs_is_what_was_published(self, twins):
        """Cell by cell, with another reader; what begins like a formula is data and stays so."""
        files = list(published(twins.hostile).glob("*.csv"))
        assert files
        formulas = 0
        for path in files:
            rows = duckdb.sql(f"from '{path.with_suffix('')}/*.parquet'").to_arrow_table()
            texts = [n for n, field in enumerate(rows.schema) if str(field.type) == "string"]
            with path.open(encoding="utf-8", newline="") as file:
                header, *cells = csv.reader(file, strict=True)
            assert header == rows.column_names
            expected = [
                tuple(row[n] or "" for n in texts) for row in rows_of(rows, rows.column_names)
            ]
            assert [tuple(row[n] for n in texts) for row in cells] == expected
            formulas += sum(
                text.startswith(("=", "+", "-", "@")) for row in expected for text in row
            )
        assert formulas

    def test_json_for_other_programs_is_json(self, twins):
        for path in twins.hostile.rglob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))


def rows_of(table: Any, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


def is_made_of_ids(values: list[Any], twins: Twins) -> bool:
    """Whether a column's texts have ids in them, so that they differ between the twins."""
    known = {known_id for _, known_id in twins.names._texts}
    return any(isinstance(value, str) and any(k in value for k in known) for value in values)


class Page(HTMLParser):
    """The elements of a page with their attributes, and the texts of its headings."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._in_heading = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "h1":
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_heading &= tag != "h1"

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings[-1] += data


# --- what the code may do with an id --------------------------------------------------------------

_SOURCES = sorted((PROJECT_ROOT / "orchestration").rglob("*.py"))
_SQL = re.compile(
    r"\b(select|insert into|delete from|create (temp )?(table|view)|attach|comment on"
    r"|copy (\(|\S+ (to|from)))\b|\bwhere\b",
    re.I,
)
_ID = re.compile(
    r"customer|event|cluster|accelerator|sku|family|gpu_type|zone|alert|action_id|subscription"
    r"|order_id|lot_id|invoice|line_id|grant|raw|detail|value|text|row"
)


def pasted_ids(tree: ast.AST) -> Iterable[tuple[int, str]]:
    """Where an f-string that is SQL holds what may be an id: a variable, an attribute, a column."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        if not _SQL.search(
            "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
        ):
            continue
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and isinstance(
                part.value, ast.Name | ast.Attribute | ast.Subscript
            ):
                expression = ast.unparse(part.value)
                if not expression.isupper() and _ID.search(expression):
                    yield node.lineno, expression


def test_no_id_is_pasted_into_sql():
    """Values reach SQL as parameters. What is pasted: constants, column names, quoted paths, days."""
    found = [
        f"{path.relative_to(PROJECT_ROOT)}:{line}: {expression}"
        for path in _SOURCES
        for line, expression in pasted_ids(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        """f"select * from t where customer_id = '{customer_id}'\"""",
        """f"insert into t values ('{row['sku']}')\"""",
        """f"delete from t where cluster = '{use.cluster}'\"""",
        """f"where event_id = '{event_id}'\"""",
    ],
)
def test_the_search_for_pasted_ids_finds_them(code):
    assert list(pasted_ids(ast.parse(code)))


def test_partitions_are_called_by_days_only():
    """On an engine that keeps partitions as folders, no id names one."""
    columns = {
        column
        for path in (DBT_PROJECT_DIR / "models").rglob("*.sql")
        for column in re.findall(
            r"(?:partitioned_by|rebuilt_days|rebuilt_from_ledger)\('(\w+)'\)",
            path.read_text(encoding="utf-8"),
        )
    }
    models = {
        column
        for path in (DBT_PROJECT_DIR / "models").rglob("*.sql")
        for column in re.findall(
            r"partition_by\s*=\s*(?!partitioned_by)\S+", path.read_text("utf-8")
        )
    }
    assert columns
    assert all(re.search(r"(_day|_date|_on|_start)$", column) for column in columns), columns
    assert models == set()


def test_texts_reach_the_models_as_data():
    """Nothing that a query found is put into SQL but days (touched_days, landed_usage, clear_partitions)."""
    results = {
        f"{path.name}: {line.strip()}"
        for path in DBT_PROJECT_DIR.rglob("*.sql")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"row\[\d\]|\.columns\[|get_column_values|dbt_utils", line)
    }
    assert results == {
        'run_window.sql: {%- do listed.append("date \'" ~ row[0] ~ "\'") -%}',
        "run_window.sql: {%- for row in run_query(query).rows -%}{%- do listed.append(row[0]) -%}"
        "{%- endfor -%}",
        "run_window.sql: {%- for row in rows %} partition ({{ key }} = '{{ row[0] }}')"
        "{{ ',' if not loop.last }}{% endfor %}",
    }
