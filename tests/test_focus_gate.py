"""The gate's verdict on reports of the FOCUS validator; `test_focus.py` runs the validator itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from orchestration.settings import PROJECT_ROOT


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    """The gate, which is a script of CI and no part of a package; it needs no validator to judge."""
    path = PROJECT_ROOT / ".ci" / "focus_gate.py"
    spec = importlib.util.spec_from_file_location("focus_gate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["focus_gate"] = module
    spec.loader.exec_module(module)
    return module


def report(folder: Path, outcomes: dict[str, str]) -> Path:
    """A JUnit report as the validator writes it."""
    cases = "".join(
        f'<testcase name="{rule} :: What it wants">'
        + ("" if outcome == "passed" else f'<{outcome} message="why"/>')
        + "</testcase>"
        for rule, outcome in outcomes.items()
    )
    path = folder / "report.xml"
    path.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8")
    return path


@pytest.fixture
def clean(gate) -> dict[str, str]:
    """A report that gets through."""
    rules = {f"Rule-{number}": "passed" for number in range(gate.FEWEST_RULES)}
    return {
        **rules,
        **dict.fromkeys(gate.MUST_PASS, "passed"),
        **dict.fromkeys(gate.KNOWN_DEFECTS, "failure"),
        "Rule-0": "skipped",
    }


def test_known_defects_and_skipped_rules_get_through(gate, clean, tmp_path):
    assert gate.read_report(report(tmp_path, clean)).objections == []


@pytest.mark.parametrize(
    ("changed", "objection"),
    [
        ({"Rule-7": "failure"}, "Rule-7 failed"),
        ({"Rule-7": "error"}, "Rule-7 failed"),
        ({"BilledCost-C-000-M": "skipped"}, "BilledCost-C-000-M did not pass"),
        ({"InvoiceId-C-004-C": "passed"}, "InvoiceId-C-004-C passed, though it is listed"),
    ],
)
def test_anything_else_does_not(gate, clean, tmp_path, changed, objection):
    [found] = gate.read_report(report(tmp_path, {**clean, **changed})).objections
    assert found.startswith(objection)


def test_a_report_that_broke_off_does_not_get_through(gate, clean, tmp_path):
    some = dict(list(clean.items())[:100])
    objections = gate.read_report(report(tmp_path, some)).objections
    assert f"only 100 rules reported, of at least {gate.FEWEST_RULES}" in objections
