"""A comparison as Markdown, for a pull request."""

from __future__ import annotations

import unicodedata

from orchestration.trial.compare import Row
from orchestration.trial.sections import Cell, Section, sections, title, verdicts

ROWS = 15
"""Rows of a table that are shown; the comparison's CSV has them all."""


def markdown(tables: dict[str, list[Row]]) -> str:
    """Tables in the Markdown of pull requests.

    Names come from seeds and feeds: each stands as code, where it is neither a link, nor a mention,
    nor the end of its cell.
    """
    lines = [f"### {_words(title(tables))}", ""]
    lines += [f"- {_words(sentence)}" for sentence in verdicts(tables)]
    for section in sections(tables):
        lines += ["", f"#### {section.title}", ""]
        if section.words:
            lines += [section.words, ""]
        lines += _table(section)
    return "\n".join(lines) + "\n"


def _table(section: Section) -> list[str]:
    if not section.rows:
        return []
    marks = [":--" if n < section.names else "--:" for n in range(len(section.heads))]
    lines = [_line([_words(head) for head in section.heads]), _line(marks)]
    lines += [_line([_cell(cell) for cell in row]) for row in section.rows[:ROWS]]
    if len(section.rows) > ROWS:
        lines += ["", f"{len(section.rows) - ROWS:,} more in `{section.table}.csv`."]
    return lines


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    if not cell.is_foreign:
        return cell.text.replace("<", "&lt;")
    return f"`{_harmless(cell.text)}`" if cell.text else ""


def _words(text: str) -> str:
    """Words of ours around a scenario's name, which is letters, digits, dot, hyphen, underscore."""
    return text.replace("_", "\\_")


def _harmless(text: str) -> str:
    """A name for a code span in a table: nothing in it can end either."""
    return "".join(
        "\ufffd"
        if char in "`|\\" or unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")
        else char
        for char in text
    )
