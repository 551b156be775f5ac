"""What ``gpu-credits init`` writes can be checked and billed as it is, to the cent."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import SETTING_NAMES, command

from gpu_credits import starter
from orchestration.landing.fields import ALL_FIELDS, USAGE_FIELDS
from orchestration.seeds.coverage import BookDays
from orchestration.seeds.staging import check_seeds, seed_contracts
from orchestration.settings import PROJECT_ROOT, load_settings


@pytest.fixture
def own(tmp_path) -> Path:
    folder = tmp_path / "billing of ours"
    starter.write_starter(folder)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the command in a folder, as people do; settings come from the file there."""
    environment = {k: v for k, v in os.environ.items() if k not in (*SETTING_NAMES, "ENV_FILE")}
    return subprocess.run(
        [sys.executable, "-m", "gpu_credits", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_it_says_what_to_do_next_in_three_lines(tmp_path, capsys):
    assert command("init", str(tmp_path / "it's mine")) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert f"{tmp_path}/it's mine" in said[0]
    assert [line.split()[:2] for line in said[2:]] == [
        ["gpu-credits", "check"],
        ["gpu-credits", "run"],
    ]


def test_no_file_is_ever_overwritten(tmp_path, capsys):
    (tmp_path / "seeds" / "contracts").mkdir(parents=True)
    mine = tmp_path / "seeds" / "contracts" / "customers.csv"
    mine.write_text("mine")
    assert command("init", str(tmp_path)) == 2
    assert f"{tmp_path} has seeds/contracts/customers.csv already" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_named(tmp_path, capsys):
    (tmp_path / "own").write_text("")
    assert command("init", str(tmp_path / "own")) == 2
    assert f"{tmp_path}/own" in capsys.readouterr().err


def test_a_folder_with_other_files_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert command("init", str(tmp_path)) == 0


def test_the_seeds_keep_their_contract_and_every_column_is_said(own):
    tables = check_seeds(own / "seeds", BookDays(starter.OPENS_ON, starter.CLOSES_ON))
    assert len(tables["customers"]) == 2
    page = (own / "seeds" / "README.md").read_text()
    for contract in seed_contracts():
        [part] = re.findall(rf"## {contract.file}\n(.*?)(?=\n## |\Z)", page, re.DOTALL)
        said = re.findall(r"^\| `(\w+)` \| \S", part, re.MULTILINE)
        assert said == list(contract.types)
    assert "{{" not in page


def test_the_feeds_have_the_columns_that_are_said(own):
    page = (own / "feeds" / "README.md").read_text()
    for feed in ALL_FIELDS:
        [part] = re.findall(rf"^## {feed.name}/(.*?)(?=\n## |\Z)", page, re.DOTALL | re.MULTILINE)
        said = re.findall(r"^\| `([\w.]+)` \|", part, re.MULTILINE)
        assert said == list(feed.fields)
        if feed is not USAGE_FIELDS:
            [file] = (own / "feeds" / feed.name).iterdir()
            with file.open() as rows:
                assert set(next(csv.reader(rows))) == set(said)


def test_the_file_of_settings_is_read(own, monkeypatch):
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.chdir(own)
    settings = load_settings()
    assert settings.seeds_dir == own / "seeds"
    assert settings.feeds_url == str(own / "feeds")
    assert settings.data_dir == own / "data"
    assert settings.books_open_on == starter.OPENS_ON


@pytest.mark.job
def test_it_can_be_checked_and_billed_as_it_is(own):
    checked = run(own, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Nothing is wrong. Bill with: gpu-credits bill 2026-01-05 2026-01-07" in checked.stdout
    assert not (own / "data").exists()

    billed = run(own, "bill", str(starter.OPENS_ON), str(starter.CLOSES_ON))
    assert billed.returncode == 0, billed.stdout + billed.stderr
    lines = duckdb.sql(
        "select customer_id, line_type, sum(amount) "
        f"from '{own}/data/published/current/invoice_lines/*.parquet' "
        "where amount <> 0 group by all order by all"
    ).fetchall()
    # 10,000 credits at 0.010; 12,000 used: 2,000 beyond them at 0.012; a pack at 60.
    assert [(who, what, str(amount)) for who, what, amount in lines] == [
        ("acme", "base_credits", "100.00"),
        ("acme", "overage", "24.00"),
        ("globex", "base_credits", "100.00"),
        ("globex", "top_up", "60.00"),
    ]
    manifest = json.loads((own / "data/published/current/manifest.json").read_text())
    assert manifest["row_counts"]["rejected_rows"] == 0
