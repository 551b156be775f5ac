"""Every column of every source and seed is described, as it is: none is left out, none is made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import pyarrow.parquet as pq
import pytest
import yaml

from orchestration.books.plan import RunPlan, write_plan
from orchestration.landing import files
from orchestration.publication.publish import FINAL_ENERGY, FINAL_INVOICE_LINES, FINAL_INVOICES
from orchestration.seeds.contracts import CONTRACTS_FILE, seed_contracts
from orchestration.settings import DBT_PROJECT_DIR, Settings
from orchestration.store.receipts import ACTIONS

MODELS = DBT_PROJECT_DIR / "models"
SOURCES = MODELS / "staging" / "_sources.yml"
LANDED = {
    "usage_events": files.USAGE,
    "usage_collisions": files.COLLISIONS,
    "rejected_rows": files.REJECTED,
    "deliveries": files.DELIVERIES,
    "energy_prices": files.ENERGY_PRICES,
    "energy_mix": files.ENERGY_MIX,
    "gpu_prices": files.GPU_PRICES,
    "fx_rates": files.FX_RATES,
    "final_invoice_lines": FINAL_INVOICE_LINES,
    "final_invoices": FINAL_INVOICES,
    "final_energy": FINAL_ENERGY,
}


def described() -> Iterator[tuple[str, dict]]:
    """Every source and seed by name."""
    for source in yaml.safe_load(SOURCES.read_text(encoding="utf-8"))["sources"]:
        for table in source["tables"]:
            yield table["name"], table
    for seed in yaml.safe_load(CONTRACTS_FILE.read_text(encoding="utf-8"))["seeds"]:
        yield seed["name"], seed


DESCRIBED = dict(described())
BLOCKS = set(re.findall(r"{% docs (\w+) %}", (MODELS / "docs.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_column_says_what_it_is(name):
    table = DESCRIBED[name]
    assert table["description"].endswith(".")
    for column in table["columns"]:
        # A comma in a text without quotes ends it, and begins a key.
        assert set(column) == {"name", "description"}, column
        said = column["description"]
        if block := re.fullmatch(r"{{ doc\('(\w+)'\) }}", said):
            assert block[1] in BLOCKS
        else:
            assert re.fullmatch(r"[^\s{}].{6,}[.)]", said), (column["name"], said)


@pytest.mark.parametrize("name", LANDED)
def test_a_source_has_the_columns_that_are_written(name):
    assert [column["name"] for column in DESCRIBED[name]["columns"]] == LANDED[name].names


def test_receipts_have_the_columns_that_are_written():
    names = [column["name"] for column in DESCRIBED["delivered_actions"]["columns"]]
    assert names == [*ACTIONS.schema.names, "receipt_number"]


def test_the_plan_of_a_run_has_the_columns_that_are_written(tmp_path):
    settings = Settings(data_dir=tmp_path)
    day = date(2026, 1, 5)
    plan = RunPlan(
        first_delivery_day=day,
        last_day=day,
        books_open_on=day,
        ledger_from=day,
        touched_days=(day,),
        deliveries=(day,),
        missing_days=(),
        refusals=(),
        starts_anew=True,
    )
    write_plan(plan, settings)
    named = {name for name in DESCRIBED if name.startswith("run_")}
    written = {f"run_{path.stem}": path for path in settings.landing_dir.glob("run/*.parquet")}
    assert set(written) == named
    for name, path in written.items():
        names = [column["name"] for column in DESCRIBED[name]["columns"]]
        assert names == pq.read_schema(path).names


@pytest.mark.parametrize("contract", seed_contracts(), ids=lambda contract: contract.name)
def test_a_seed_has_the_columns_of_its_contract(contract):
    assert [c["name"] for c in DESCRIBED[contract.name]["columns"]] == list(contract.types)


def test_no_source_is_left_out():
    written = {*LANDED, "delivered_actions"}
    plan = {name for name in DESCRIBED if name.startswith("run_")}
    assert set(DESCRIBED) == written | plan | {contract.name for contract in seed_contracts()}
