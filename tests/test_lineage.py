"""Which way the models' arrows run, by dbt's own manifest: as the README draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import pytest

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

MARTS_READ_BY_INTERMEDIATES = {
    ("credit_balances", "int_depletion_days"),
    *(
        ("invoice_lines", f"int_focus_{name}")
        for name in ("charges", "cycles", "drawdowns", "invoices", "line_charges", "lots")
    ),
}


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
    found = {
        (parent, name)
        for parent, name in arrows(models)
        if models[parent]["access"] == "public"
        and models[name]["access"] != "public"
        and folder(models[name]) != "controls"
    }
    assert found == MARTS_READ_BY_INTERMEDIATES


def test_arrows_between_folders_run_one_way(models):
    assert {folder(model) for model in models.values()} == set(ORDER)
    against = {
        (parent, name)
        for parent, name in arrows(models)
        if ORDER.index(folder(models[parent])) > ORDER.index(folder(models[name]))
    }
    assert against == MARTS_READ_BY_INTERMEDIATES
