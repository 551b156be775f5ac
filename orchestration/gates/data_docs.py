"""What the gates expected and found, for people: static pages, and a table for the Dagster UI.

The pages open without a network.

Great Expectations can render pages of its own, but they load their styles and scripts from eleven
addresses on the internet (one of them counts visitors), and they write values of the feeds into
HTML unescaped: an event's cluster could run script in the browser of whoever looks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestration.gates.gate import FeedKey
from orchestration.gates.judge import Finding
from orchestration.gates.measures import plain
from orchestration.gates.suites import CHECKS, FEEDS
from orchestration.store.durable import put_text

DAYS_KEPT = 35
"""As many last delivery days have their pages."""

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_data_docs(
    folder: Path, feed: FeedKey, as_of: date, findings: Sequence[Finding], profile: pa.Table
) -> Path:
    """Write the page of a feed as of a day, and the index of all pages.

    Returns:
        The page.
    """
    page = folder / as_of.isoformat() / f"{feed}.html"
    rows = [[plain(value) for value in row.values()] for row in profile.to_pylist()]
    _put(
        page,
        "feed.html",
        feed=feed,
        as_of=as_of,
        checks=[
            (check, meaning, [finding for finding in findings if finding.gate.check == check])
            for check, meaning in CHECKS.items()
            if any(finding.gate.check == check for finding in findings)
        ],
        outcome=outcome(findings),
        columns=profile.column_names,
        rows=rows,
    )
    # The outcome stands in a file of its own, so that the index needs no page read.
    put_text(outcome(findings), page.with_suffix(".txt"))
    days = sorted((day for day in folder.iterdir() if day.is_dir()), reverse=True)
    for day in days[DAYS_KEPT:]:
        shutil.rmtree(day)
    _put(
        folder / "index.html",
        "index.html",
        feeds=FEEDS,
        days=[
            (
                day.name,
                {
                    listed: (day / f"{listed}.txt").read_text(encoding="utf-8")
                    for listed in FEEDS
                    if (day / f"{listed}.txt").exists()
                },
            )
            for day in days[:DAYS_KEPT]
        ],
    )
    return page


def outcome(findings: Sequence[Finding]) -> str:
    """The findings in a few words: failed, warned or passed, and how many."""
    failed = sum(finding.stops for finding in findings)
    warned = sum(not finding.passed for finding in findings) - failed
    if failed:
        return f"failed: {failed} of {len(findings)} expectations"
    if warned:
        return f"warned: {warned} of {len(findings)} expectations"
    return f"passed: {len(findings)} expectations"


def markdown_table(findings: Sequence[Finding]) -> str:
    """The findings as a table for the Dagster UI."""
    rows = [
        [
            "passed" if f.passed else "FAILED" if f.stops else "WARNED",
            f.gate.level,
            f.gate.name,
            f.gate.promise,
            f"{f.gate.measure} {f.gate.expected}",
            f.found,
        ]
        for f in findings
    ]
    head = ["result", "level", "expectation", "promise", "expected", "found"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """A value as a cell of Markdown; a feed's ids must not become markup."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
    return escaped.replace("\r", " ").replace("\n", " ")


def _put(path: Path, template: str, **values: Any) -> None:
    put_text(_PAGES.get_template(template).render(**values), path)
