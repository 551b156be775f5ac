"""Which way the models' arrows run, by dbt's own manifest: as the README draws them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import pytest

from orchestration.settings import DBT_PROJECT_DIR

# What each folder may read: itself, and those before it.
ORDER = [
    "staging",
    "contracts",
    "usage",
    "credits",
    "cost",
    "revenue",
    "focus",
    "marts",
    "controls",
]

READS_AN_ID = re.compile(
    r"\b(?:substring|substr|left|right|split|split_part|replace|l?trim|rtrim|regexp_\w+|position|instr|strpos)"
    r"\(\s*(?:\w+\.)?\w*(?:_id|Id|_account)\b"
    r"|\b\w+(?:_id|Id|_account)(?:\s+not)?\s+(?:i?like|similar\s+to)\b",
    re.IGNORECASE,
)
"""SQL that takes a part of an id of ours, or of an account, for what it is made of."""

ARCHIVE = "models/staging/stg_final_invoice_lines.sql"
"""Earlier releases wrote down the id of a final line and nothing else of what it is from."""


@pytest.fixture(scope="module")
def models(location) -> Mapping[str, Any]:
    """The models of the manifest, by name."""
    from orchestration.location import manifest

    return {
        node["name"]: node
        for node in manifest()["nodes"].values()
        if node["resource_type"] == "model"
    }


def folder(model: Mapping[str, Any]) -> str:
    return PurePath(model["original_file_path"]).parent.name


def parents(models: Mapping[str, Any], name: str) -> set[str]:
    return {
        parent.rpartition(".")[2] for parent in models[name]["depends_on"]["nodes"]
    } & models.keys()


def ancestors(models: Mapping[str, Any], name: str) -> set[str]:
    found: set[str] = set()
    waiting = {name}
    while waiting:
        waiting = {parent for each in waiting for parent in parents(models, each)} - found
        found |= waiting
    return found


def arrows(models: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in models:
        for parent in parents(models, name):
            yield parent, name


@pytest.mark.parametrize(
    "mart", ["credit_ledger", "credit_balances", "fuel_gauges", "policy_actions"]
)
def test_credits_do_not_depend_on_what_minutes_cost(models, mart):
    assert "int_usage_rated" in ancestors(models, mart)
    assert not [name for name in ancestors(models, mart) if folder(models[name]) == "cost"]


def test_no_mart_feeds_the_models_that_marts_are_made_of(models):
    """Controls read marts, and are none."""
    assert not {
        (parent, name)
        for parent, name in arrows(models)
        if models[parent]["access"] == "public"
        and models[name]["access"] != "public"
        and folder(models[name]) != "controls"
    }


def test_arrows_between_folders_run_one_way(models):
    assert {folder(model) for model in models.values()} == set(ORDER)
    assert not {
        (parent, name)
        for parent, name in arrows(models)
        if ORDER.index(folder(models[parent])) > ORDER.index(folder(models[name]))
    }


def test_ids_are_made_and_never_read():
    """What is joined are the columns that an id is made of: a text that looks like one is none."""
    read = {
        str(path.relative_to(DBT_PROJECT_DIR)): found
        for path in sorted(DBT_PROJECT_DIR.rglob("*.sql"))
        if (found := READS_AN_ID.findall(path.read_text(encoding="utf-8")))
    }
    assert set(read) == {ARCHIVE}, read
    assert len(read[ARCHIVE]) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "substring(invoice_line_id, length(invoice_id || '/term_discount/') + 1) as base_line_id",
        "where right(InvoiceId, 10) in (select cast(cycle_start as varchar(10)) from cycles)",
        "substring(charges.x_ChargeId, 1, length(charges.x_ChargeId) - length('/use'))",
        "split_part(debit_account, ':', 2)",
        "sum(case when credit_account like 'wallet:%' then credits else 0 end)",
    ],
)
def test_what_reads_an_id_is_found(sql):
    """All of this stood in models and tests once."""
    assert READS_AN_ID.search(sql)
