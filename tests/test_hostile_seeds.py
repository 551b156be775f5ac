"""Hostile seeds: what people edit is refused by file, row and column, or billed as it was written."""

from __future__ import annotations

import csv
import os
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import hostile
import pytest
from hostile import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.printable import printable
from orchestration.seeds import staging as seeds_module
from orchestration.seeds.findings import Findings
from orchestration.seeds.staging import (
    MAX_CELL_CHARACTERS,
    MAX_FILE_BYTES,
    SeedContract,
    SeedError,
    check_seeds,
    seed_contracts,
    stage_seeds,
)
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT

SEEDS = PROJECT_ROOT / "seeds"
CONTRACTS = {contract.name: contract for contract in seed_contracts()}


def path_of(contract: SeedContract, folder: Path) -> Path:
    return folder / contract.folder / f"{contract.name}.csv"


def write(contract: SeedContract, folder: Path, rows: list[dict[str, str]]) -> None:
    """Write a seed as a careful program would."""
    path = path_of(contract, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(contract.types), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(contract: SeedContract, folder: Path = SEEDS) -> list[dict[str, str]]:
    path = path_of(contract, folder)
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def loaded(contract: SeedContract, staged: Path) -> list[dict[str, Any]]:
    """A staged seed as the macro of the project has DuckDB read it."""
    macro = (DBT_PROJECT_DIR / "macros" / "load_seeds.sql").read_text(encoding="utf-8")
    of_duckdb, _, _ = macro.partition("macro spark__load_csv_rows")
    found = re.search(r"copy .* from .* (\(.*?\n        \))", of_duckdb, re.DOTALL)
    assert found
    columns = ", ".join(f'"{name}" {kind}' for name, kind in contract.types.items())
    with duckdb.connect() as connection:
        connection.execute(f"create table seed ({columns})")
        connection.execute(f"copy seed from '{path_of(contract, staged)}' {found[1]}")
        return connection.sql("from seed").to_arrow_table().to_pylist()


def typed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "row"} for row in rows]


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return shutil.copytree(SEEDS, tmp_path / "seeds")


def with_customers(folder: Path, ids: list[str], names: list[str]) -> None:
    """Add customers to a copy of the seeds."""
    contract = CONTRACTS["customers"]
    rows = read(contract, folder)
    for customer_id, name in zip(ids, names, strict=True):
        rows.append(
            {
                "customer_id": customer_id,
                "customer_name": name,
                "billing_anchor_day": "1",
                "regulated": "false",
            }
        )
    write(contract, folder, rows)


def test_hostile_ids_are_staged_and_loaded_as_they_are(seeds, tmp_path):
    ids = list(hostile.TEXTS.values())
    with_customers(seeds, ids, ids[::-1])

    stage_seeds(seeds, tmp_path / "staged")

    rows = loaded(CONTRACTS["customers"], tmp_path / "staged")
    assert [row["customer_id"] for row in rows[-len(ids) :]] == ids
    assert [row["customer_name"] for row in rows[-len(ids) :]] == ids[::-1]


IDS = st.text(
    st.sampled_from("'\"#\\;|,\t\n a1~\0\u00e9=-{}$/*\u2028") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=6,
).map(str.strip)


@given(st.lists(IDS, min_size=1, max_size=6), st.data())
@settings(max_examples=examples(8), deadline=None)
def test_any_id_is_loaded_as_it_was_written(tmp_path_factory, ids, data):
    """Left to guess, the engine takes 'a id like this' for quotes and swallows rows after it."""
    folder = tmp_path_factory.mktemp("ids")
    shutil.copytree(SEEDS, folder / "seeds")
    # A seed is read with any line end; in a cell, each becomes a line feed.
    ids = list(dict.fromkeys(i.replace("\r\n", "\n").replace("\r", "\n").strip() for i in ids))
    ids = [i for i in ids if i and i.lower() != "null"]
    names = [data.draw(st.sampled_from(ids)) for _ in ids] if ids else []
    with_customers(folder / "seeds", ids, names)

    stage_seeds(folder / "seeds", folder / "staged")

    for contract in CONTRACTS.values():
        expected = typed(check_seeds(folder / "seeds")[contract.name])
        assert loaded(contract, folder / "staged") == expected
    rows = loaded(CONTRACTS["customers"], folder / "staged")
    assert [
        (row["customer_id"], row["customer_name"]) for row in rows[-len(ids) or len(rows) :]
    ] == [(i, name) for i, name in zip(ids, names, strict=True)]


CELLS = (
    *hostile.NUMBERS,
    *hostile.NOT_NUMBERS,
    *hostile.TIMES,
    *hostile.TEXTS.values(),
    "",
    "null",
    "NULL",
    "2147483647",
    "2147483648",
    "-2147483649",
    "1e6",
    "TRUE",
    "yes",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "x" * 20_000,
)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_hostile_cell_is_refused_by_row_and_column_or_kept_exactly(name, tmp_path):
    """Method: a copy of the seed's first row for every hostile value, one column at a time."""
    contract = CONTRACTS[name]
    row = next(iter(read(contract)), dict.fromkeys(contract.types, ""))
    for column, kind in contract.types.items():
        write(contract, tmp_path, [row | {column: cell} for cell in CELLS])
        findings = Findings()
        rows = seeds_module._read(contract, tmp_path, findings)
        problems = findings.lines
        assert all(map(is_printable, problems))
        assert max(map(len, problems), default=0) < 400
        refused = {
            int(p.split(": row ")[1].split(":")[0]) for p in problems if f"column {column}" in p
        }
        for found, cell in zip(rows, CELLS, strict=True):
            value, text = found[column], cell.strip()
            if value is None:
                assert not text or found["row"] in refused, cell[:80]
            elif kind == "string":
                assert value == text.replace("\r\n", "\n").replace("\r", "\n")
            elif kind.startswith("decimal"):
                assert isinstance(value, Decimal)
                assert value == Decimal(text)
            elif kind == "int":
                assert str(value) == text.lstrip("+").lstrip("0") or value == int(text)
                assert -(2**31) <= value < 2**31


def is_printable(line: str) -> bool:
    return line == printable(line)


@given(
    name=st.sampled_from(sorted(CONTRACTS)),
    damage=st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 3)), max_size=4
    ),
)
@settings(max_examples=examples(15), deadline=None)
def test_any_bytes_are_read_or_refused(name, damage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds") / "seeds"
    shutil.copytree(SEEDS, folder)
    path = path_of(CONTRACTS[name], folder)
    content = path.read_bytes() if path.exists() else b"adjustment_id\n"
    for place, replacement, cut in damage:
        at = int(place * len(content))
        content = content[:at] + replacement + content[at + cut :]
    path.write_bytes(content)

    problem = None
    try:
        stage_seeds(folder, folder.parent / "staged")
    except SeedError as error:
        problem = str(error)
    if problem:
        assert all(map(is_printable, problem.split("\n")))
        assert not (folder.parent / "staged").exists()
        return
    for contract in CONTRACTS.values():
        expected = typed(check_seeds(folder)[contract.name])
        assert loaded(contract, folder.parent / "staged") == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'customer_id,"never closed\n', "row 1: its quotes do not match"),
        (b'"' + b"x" * 200_000 + b'"\n', "row 1: its quotes do not match, or a cell"),
        ("customer_id\n".encode("utf-16"), "is not UTF-8"),
        (b"customer_id\n\xff\n", "is not UTF-8"),
        (b"", "is empty; its first row must be customer_id,customer_name"),
        (b"\x00", "is not UTF-8"),
        (",".join(f"c{n}" for n in range(10_000)).encode(), "row 1: names none of its columns"),
        (
            b"customer_id," + ",".join(f"c{n}" for n in range(10_000)).encode(),
            "row 1: and 9,995 more columns are unknown",
        ),
    ],
    ids=range(8),
)
def test_a_file_that_is_no_csv_is_refused(seeds, tmp_path, content, problem):
    (seeds / "contracts" / "customers.csv").write_bytes(content)

    with pytest.raises(SeedError, match=re.escape(problem)):
        stage_seeds(seeds, tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_marks_and_line_ends_are_tolerated(seeds, tmp_path):
    path = seeds / "contracts" / "customers.csv"
    text = path.read_text(encoding="utf-8")
    expected = typed(check_seeds(seeds)["customers"])
    for content in (text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\ufeff" + text):
        path.write_bytes(content.encode())
        assert typed(check_seeds(seeds)["customers"]) == expected


@pytest.mark.parametrize("make", ["folder", "pipe", "dangling", "loop", "large"])
def test_what_is_no_readable_file_is_refused(seeds, make):
    path = seeds / "contracts" / "customers.csv"
    path.unlink()
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "dangling":
        path.symlink_to("nothing")
    elif make == "loop":
        path.symlink_to(path)
    else:
        with path.open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)

    with pytest.raises(
        SeedError, match=r"contracts/customers\.csv: (is no file|cannot be|the file)"
    ):
        check_seeds(seeds)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("null", "means an empty cell to some engines"),
        ("x" * (MAX_CELL_CHARACTERS + 1), "has 10,001 characters, more than 10,000"),
    ],
    ids=["null", "long"],
)
def test_a_text_that_engines_read_differently_is_refused(seeds, cell, problem):
    with_customers(seeds, [cell], ["x"])

    with pytest.raises(SeedError, match=f"row 12: column customer_id: '.*{problem}"):
        check_seeds(seeds)


def test_ids_that_look_alike_are_different_customers(seeds):
    """One written in two ways, in two scripts, in two cases: only equal characters are equal."""
    alike = [hostile.TEXTS[name] for name in ("composed", "decomposed", "latin a", "cyrillic a")]
    alike += [hostile.TEXTS[name] for name in ("full width", "upper")]
    with_customers(seeds, alike, alike)

    assert [row["customer_id"] for row in check_seeds(seeds)["customers"]][-len(alike) :] == alike
    with_customers(seeds, alike[:1], alike[:1])
    with pytest.raises(SeedError, match="stands in row"):
        check_seeds(seeds)
