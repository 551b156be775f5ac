"""What is wrong with the seeds: collected over all files, so that one answer names everything."""

from __future__ import annotations

from orchestration.errors import PlainError
from orchestration.seeds.contracts import SeedContract

MOST_LINES_A_FILE = 200
"""Of one file; the rest are counted. A column that is wrong throughout needs no line per row."""


class SeedError(PlainError, ValueError):
    """One or more seeds break their contract; the message has a line per problem."""


class Findings:
    """The problems found so far, and what can no longer be judged because of them.

    Attributes:
        incomplete: seeds of which some row, or its key, could not be read: what is not in them may
            stand in what could not be read.
        rows: seed and row number of every row that has a problem.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self.incomplete: set[str] = set()
        self.rows: set[tuple[str, int]] = set()

    def of_file(self, contract: SeedContract, text: str) -> None:
        """Note a problem that keeps a file, or a part of it, from being read."""
        self.incomplete.add(contract.name)
        self._add(contract.file, text)

    def of_row(self, contract: SeedContract, row: int, text: str) -> None:
        """Note a problem of a row that could be read."""
        self.rows.add((contract.name, row))
        self._add(contract.file, f"row {row}: {text}")

    def _add(self, file: str, text: str) -> None:
        self._lines.setdefault(file, []).append(f"{file}: {text}")

    @property
    def lines(self) -> list[str]:
        """A line per problem, file by file."""
        lines = []
        for file, of_file in self._lines.items():
            lines += of_file[:MOST_LINES_A_FILE]
            more = len(of_file) - MOST_LINES_A_FILE
            if more > 0:
                lines.append(f"{file}: and {more:,} problems more")
        return lines

    def raise_if_any(self) -> None:
        """Say what is wrong.

        Raises:
            SeedError: something is.
        """
        if self._lines:
            raise SeedError(
                "The seeds break their contract; correct them and run again:\n  "
                + "\n  ".join(self.lines)
            )
