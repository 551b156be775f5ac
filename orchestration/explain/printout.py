"""The page: plain text as it grows, every comparison on it counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from orchestration.explain.exact import decimals_of, shown
from orchestration.printable import printable

FAILED = "DOES NOT ADD UP"
_MISMATCHES_SHOWN = 5


class Page:
    """Plain text as it grows, and whether every comparison on it held."""

    def __init__(self, rows_shown: int) -> None:
        self._lines: list[str] = []
        self._rows_shown = rows_shown
        self.failures = 0

    @property
    def adds_up(self) -> bool:
        """Whether no comparison failed so far."""
        return not self.failures

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines)

    def say(self, text: str = "") -> None:
        """Add a line."""
        self._lines.append(printable(text))

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.say()
        self.say(text)
        self.say("-" * len(text))

    def equals(
        self, what: str, found: Fraction, other: str, expected: Fraction | None, least: int = 0
    ) -> None:
        """Say whether a figure is the one that it should be; both, if it is not."""
        if found == expected:
            self.say(f"  {what} {shown(found, least)} equals {other}: yes")
        else:
            wanted = "missing" if expected is None else shown(expected, least)
            self.fail(f"{what} is {shown(found, least)}, {other} is {wanted}")

    def each_equals(
        self, what: str, compared: Iterable[tuple[str, Fraction, Fraction | None]]
    ) -> None:
        """Compare many pairs of figures; only those that differ are printed."""
        pairs = list(compared)
        wrong = [(name, found, expected) for name, found, expected in pairs if found != expected]
        if not wrong:
            self.say(f"  {what}: yes ({len(pairs):,})")
        for name, found, expected in wrong[:_MISMATCHES_SHOWN]:
            wanted = "missing" if expected is None else shown(expected)
            self.fail(f"{what}: {name}: {shown(found)} and {wanted}")
        if len(wrong) > _MISMATCHES_SHOWN:
            self.say(f"  ... and {len(wrong) - _MISMATCHES_SHOWN:,} more that differ")

    def fail(self, text: str) -> None:
        """Say that a step does not add up."""
        self.failures += 1
        self.say(f"  {FAILED}: {text}")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Any]],
        total: Sequence[Any] | None = None,
        *,
        limit: int | None = None,
        more: str = "",
    ) -> None:
        """Print rows under a header, the total of all of them below; numbers to the right."""
        limit = self._rows_shown if limit is None else limit
        printed = [list(row) for row in rows[:limit]]
        if total is not None:
            printed.append(list(total))
        numbers = [
            [r[n] for r in printed if isinstance(r[n], Fraction)] for n in range(len(header))
        ]
        places = [max(map(decimals_of, column), default=0) for column in numbers]
        cells = [
            [
                shown(cell, places[n]) if isinstance(cell, Fraction) else str(cell or "")
                for n, cell in enumerate(row)
            ]
            for row in [header, *printed]
        ]
        widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
        for number, row in enumerate(cells):
            if total is not None and number == len(cells) - 1:
                self._say_left_out(len(rows) - limit, more)
            aligned = (
                cell.rjust(widths[n]) if numbers[n] else cell.ljust(widths[n])
                for n, cell in enumerate(row)
            )
            self.say("  " + "  ".join(aligned).rstrip())
        if total is None:
            self._say_left_out(len(rows) - limit, more)

    def _say_left_out(self, count: int, more: str) -> None:
        if count > 0:
            self.say(f"  ... and {count:,} more{more}")
