"""The official FOCUS validator as a gate: does a published export conform to FOCUS 1.2?

    .venv/focus/bin/python .ci/focus_gate.py EXPORT...     (a CSV file, or a file or folder of Parquet, each)

Runs focus-validator 2.2.1 twice on every export, as it is and strictly, and judges its report: exit
code 0 only when every rule reported and none failed but the known defect below. The validator alone
would not do. It exits with 0 whatever it finds; it finds its own files only from where it is installed;
and it drops rows with a NULL wherever a rule says `unless X is ...`, so that eleven of its rules, list
price times quantity among them, never look at a row that is not a correction. Strictly, they do.

Needs Python 3.12 or 3.13 with `.ci/focus-requirements.txt`; `make focus-gate` sees to both.
"""

from __future__ import annotations

import argparse
import glob
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.2"
CRITERIA = Path(__file__).with_name("focus-criteria.txt")
"""What the export claims to support. Commitment discounts and capacity reservations are not: credits
are a virtual currency, and nothing is reserved."""

KNOWN_DEFECTS = {
    "InvoiceId-C-004-C": "The rule lost its condition: it wants InvoiceId null on every row, while "
    "its sibling C-005-C wants it set; the rule above both, C-003-C, passes.",
}
MUST_PASS = (
    "InvoiceId-C-003-C",
    "BilledCost-C-000-M",
    "ListCost-C-000-M",
    "ContractedCost-C-000-M",
    "PricingCurrency-C-000-C",
)
"""Rules that sum up whole columns: a report without them has not looked."""

FEWEST_RULES = 500


@dataclass(frozen=True)
class Verdict:
    """What the rules of one report came to, by rule id."""

    passed: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str]

    @property
    def objections(self) -> list[str]:
        """Why the export does not get through; empty if it does."""
        found = [f"{rule} failed" for rule in sorted(self.failed - KNOWN_DEFECTS.keys())]
        found += [
            f"{rule} passed, though it is listed as a defect: take it off the list"
            for rule in sorted(KNOWN_DEFECTS.keys() - self.failed)
        ]
        found += [f"{rule} did not pass" for rule in MUST_PASS if rule not in self.passed]
        reported = len(self.passed) + len(self.failed) + len(self.skipped)
        if reported < FEWEST_RULES:
            found.append(f"only {reported} rules reported, of at least {FEWEST_RULES}")
        return found

    def __str__(self) -> str:
        return (
            f"{len(self.passed)} rules passed, {len(self.failed)} failed "
            f"({len(self.failed & KNOWN_DEFECTS.keys())} of them known defects of the validator), "
            f"{len(self.skipped)} skipped"
        )


def read_report(report: Path) -> Verdict:
    """Read the validator's JUnit report."""
    outcomes: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for case in ET.parse(report).iter("testcase"):
        rule = case.attrib["name"].split(" :: ")[0]
        if case.find("failure") is not None or case.find("error") is not None:
            outcomes["failed"].add(rule)
        elif case.find("skipped") is not None:
            outcomes["skipped"].add(rule)
        else:
            outcomes["passed"].add(rule)
    return Verdict(**{outcome: frozenset(rules) for outcome, rules in outcomes.items()})


def validate(export: Path, *, strict: bool) -> Verdict:
    """Run the validator on one export.

    Raises:
        RuntimeError: it broke off, with what it said last.
    """
    import focus_validator

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).resolve()),
                "--strictly" if strict else "--as-it-is",
                f"--data-file={export.resolve()}",
                f"--validate-version={VERSION}",
                "--block-download",
                f"--applicability-criteria={','.join(CRITERIA.read_text().split())}",
                "--output-type=unittest",
                f"--output-destination={report}",
            ],
            # Where it looks for its list of currencies.
            cwd=Path(focus_validator.__file__).parents[1],
            env={**os.environ, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not report.exists():
            raise RuntimeError(f"The validator broke off on {export}:\n{done.stderr[-2000:]}")
        return read_report(report)


def _run_validator(arguments: list[str], *, strict: bool) -> None:
    """In a process of its own: the validator's command line, patched when strict."""
    if strict:
        from focus_validator.config_objects import focus_to_duckdb_converter as converter

        generator = converter.CheckNotValueGenerator
        as_it_is = generator.generateSql

        def null_safe(self):  # type: ignore[no-untyped-def]
            query = as_it_is(self)
            column, value = self.params.ColumnName, self.params.Value
            if value is not None:
                text = str(value).replace("'", "''")
                query.predicate_sql = query.predicate_sql.replace(
                    f"({column} IS NOT NULL AND {column} <> '{text}')",
                    f"(COALESCE({column}, '') <> '{text}')",
                )
            return query

        generator.generateSql = null_safe
    from focus_validator.main import main as validator

    sys.argv = ["focus-validator", *arguments]
    validator()


def main() -> int:
    """Judge every export named on the command line."""
    if sys.argv[1:2] in (["--strictly"], ["--as-it-is"]):
        _run_validator(sys.argv[2:], strict=sys.argv[1] == "--strictly")
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT")
    exit_code = 0
    for export in parser.parse_args().exports:
        if not export.exists():
            parser.error(f"{export} is not there; publish first (make run)")
        with _as_one_file(export) as file:
            for strict in (False, True):
                verdict = validate(file, strict=strict)
                print(f"{export.name}, {'strictly' if strict else 'as it is'}: {verdict}")
                for objection in verdict.objections:
                    print(f"  {objection}")
                    exit_code = 1
    return exit_code


@contextmanager
def _as_one_file(export: Path) -> Iterator[Path]:
    """The export itself, or all files of a folder in one: rules that sum up look at a whole export."""
    if export.is_file():
        yield export
        return
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / f"{export.name}.parquet"
        files = f"{glob.escape(str(export))}/*.parquet"
        duckdb.read_parquet(files, hive_partitioning=False).write_parquet(str(joined))
        yield joined


if __name__ == "__main__":
    sys.exit(main())
