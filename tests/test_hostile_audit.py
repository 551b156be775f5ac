"""The audit of dependencies: a known vulnerability fails, a missing data source is said out loud."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import PROJECT_ROOT

GOOD = {"name": "good", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}
BAD = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"], "description": "x"}],
}


def audit(
    tmp_path: Path, packages: list[dict[str, Any]] | None, says: str = "", ends: int = 0
) -> Any:
    """Run the audit with a program that reports so and ends so."""
    report = None if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"report = {report!r}\n"
        "if report is not None:\n"
        "    open(sys.argv[sys.argv.index('--output') + 1], 'w').write(report)\n"
        f"sys.stderr.write({says!r})\n"
        f"sys.exit({ends})\n"
    )
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, PROJECT_ROOT / ".ci" / "audit", "--with", program],
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_found_is_success(tmp_path):
    done = audit(tmp_path, [GOOD, GOOD])

    assert (done.returncode, done.stdout) == (0, "Audit: 0 known vulnerabilities in 2 packages\n")


def test_a_known_vulnerability_fails_and_names_its_cure(tmp_path):
    done = audit(tmp_path, [GOOD, BAD, UNKNOWN], ends=1)

    assert done.returncode == 1
    assert "bad 2.0: PYSEC-1 (fixed in: 2.1)" in done.stdout
    assert "1 of 3 packages could not be looked up:\n  unknown" in done.stdout


@pytest.mark.parametrize(
    ("packages", "says", "reason"),
    [
        (None, "WARNING\nConnectionError: nobody answers\n", "ConnectionError: nobody answers"),
        (None, "", "no reason given"),
        ([UNKNOWN, UNKNOWN], "", "there are no advisories here for any of the 2 packages"),
    ],
)
def test_without_data_it_says_that_it_skipped(tmp_path, packages, says, reason):
    done = audit(tmp_path, packages, says, ends=1)

    assert done.returncode == 0
    assert done.stdout.startswith("Audit skipped: ")
    assert reason in done.stdout


def test_a_program_that_is_not_there_is_skipped(tmp_path):
    done = subprocess.run(
        [sys.executable, PROJECT_ROOT / ".ci" / "audit", "--with", tmp_path / "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (
        0,
        "Audit skipped: pip-audit cannot be run (FileNotFoundError)\n",
    )


def test_ci_runs_the_audit():
    assert ".ci/audit" in (PROJECT_ROOT / ".ci" / "run").read_text(encoding="utf-8")
