"""docs/checks.md is the one table of all checks and their levels: none is missing, none is made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from orchestration.gates.gate import Gate
from orchestration.gates.suites import CHECKS, FEEDS, suite
from orchestration.settings import PROJECT_ROOT, Settings

Row = tuple[str, str, str, str]
"""Stage, what it is on, the check's name, its level."""

MODELS = PROJECT_ROOT / "dbt_project" / "models"


def listed() -> dict[Row, tuple[str, str]]:
    """The table's rows, one for each thing that a check is on: what it promises, and the cure."""
    text = (PROJECT_ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert head == ["stage", "on", "check", "level", "what it promises", "when it fails"]
    assert set(rule) == {"---"}
    found = {}
    for stage, on, check, level, promise, cure in rows:
        assert promise
        assert cure
        for each in on.split(", "):
            assert (stage, each, check, level) not in found
            found[stage, each, check, level] = promise, cure
    return found


LISTED = listed()


def gates() -> Iterator[tuple[Row, Gate]]:
    settings = Settings(max_volume_change=Decimal(2), max_feed_age_days=1)
    for feed in FEEDS:
        for gate in suite(feed, settings):
            yield (f"gate: {gate.check}", feed, gate.name, gate.level), gate


def of(*stages: str) -> set[Row]:
    return {row for row in LISTED if row[0].startswith(stages)}


def test_every_gate_is_listed_with_its_promise_and_cure():
    assert of("gate: ") == {row for row, _ in gates()}
    for row, gate in gates():
        said, does = LISTED[row]
        assert said.startswith(gate.promise), row
        named = {name: f"`{name}`" if name.isupper() else name for name in gate.limits}
        by_name = gate.model_copy(update={"limits": named})
        assert f"{gate.measure} {by_name.expected}" in said, row
        assert does == gate.cure, row


def test_what_is_no_gate_names_the_tests_that_hold_it():
    text = (PROJECT_ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    files = [*PROJECT_ROOT.glob("tests/test_landing_*.py"), MODELS / "staging" / "_staging.yml"]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    promises = re.findall(r"^- (.*)$", text.partition("## What is no gate")[2], re.MULTILINE)
    assert len(promises) == 10
    for promise in promises:
        former, *held_by = re.findall(r"`(\w+)`", promise)
        assert former not in {gate.name for _, gate in gates()}
        assert held_by
        for name in held_by:
            assert f"def {name}(" in code or f"name: {name}\n" in code, name


def test_every_control_is_listed_with_its_level():
    """As the models of controls, one for each subject, define them."""
    defined = {
        (name, level.removesuffix("s"))
        for path in (MODELS / "controls").glob("*_controls.sql")
        for level, names in re.findall(
            r"(errors|warnings)=\[(.*?)\]", path.read_text(encoding="utf-8"), re.DOTALL
        )
        for name in re.findall(r"'(\w+)'", names)
    }
    assert len(defined) > 20
    assert of("control") == {("control", "billing_controls", *each) for each in defined}


def test_every_asset_check_of_the_code_location_is_listed(location):
    """Gates by their kind, dbt tests by the group of their table and their kind, others by name."""
    from orchestration.location import manifest

    tests = {
        node["name"]: node
        for node in manifest()["nodes"].values()
        if node["resource_type"] == "test"
    }
    kinds = {(row[1], row[0].removeprefix("gate: ")) for row in of("gate: ")}
    dbt_rows, others = set(), set()
    graph = location.resolve_asset_graph()
    for key in graph.asset_check_keys:
        on = "/".join(key.asset_key.path)
        if key.name in CHECKS:
            assert (key.asset_key.path[-1], key.name) in kinds
        elif key.name in tests:
            test = tests[key.name]
            kind = (test.get("test_metadata") or {"name": key.name})["name"]
            level = {"ERROR": "error", "WARN": "warning"}[test["config"]["severity"]]
            dbt_rows.add(("dbt test", graph.get(key.asset_key).group_name, kind, level))
        else:
            others.add((on, key.name))
    assert of("dbt test") == dbt_rows
    assert {row[1:3] for row in of("delivery", "after publication")} == others
