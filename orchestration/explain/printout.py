"""The page: plain text as it grows, every comparison on it counted, and the same kept as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from orchestration.explain.exact import as_decimal, decimals_of, shown
from orchestration.printable import printable

FAILED = "DOES NOT ADD UP"
_MISMATCHES_SHOWN = 5


Exact = Decimal | Fraction
"""A decimal, or the fraction itself where no decimal is exact."""


@dataclass(frozen=True)
class Comparison:
    """A figure beside the one that it should be.

    Attributes:
        what: the figure; of many of a kind, the rule that each fulfils.
        beside: what it is compared with; of many of a kind, which of them it is.
        actual: what was found; None where there is nothing to compare.
        expected: what it should be; None if that is missing.
        adds_up: whether they are the same.
    """

    what: str
    beside: str
    actual: Exact | None
    expected: Exact | None
    adds_up: bool


@dataclass
class Step:
    """A step of the way down as data: what is said, the rows it rests on, what is compared.

    Attributes:
        section: the part of the page that it stands in.
        title: what it is; the section's title, if that has one step only.
        said: its sentences, the arithmetic among them.
        rows: the rows of its table by the page's header, all of them; numbers are exact.
        comparisons: every figure that was compared, and the one that it should be.
    """

    section: str
    title: str
    said: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        """Whether all its comparisons hold."""
        return all(compared.adds_up for compared in self.comparisons)

    @property
    def is_empty(self) -> bool:
        """Whether nothing came of it."""
        return not (self.said or self.rows or self.comparisons)


class Page:
    """Plain text as it grows, and whether every comparison on it held."""

    def __init__(self, rows_shown: int) -> None:
        self._lines: list[str] = []
        self._rows_shown = rows_shown
        self._steps: list[Step] = []
        self.failures = 0

    @property
    def adds_up(self) -> bool:
        """Whether no comparison failed so far."""
        return not self.failures

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines)

    def steps(self) -> tuple[Step, ...]:
        """What is on the page, as data."""
        return tuple(step for step in self._steps if not step.is_empty)

    def name(self, text: str) -> None:
        """Begin the page with what it explains."""
        self._underlined(text, "=")

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._print()
        self._underlined(text, "-")

    def begin(self, title: str) -> None:
        """Begin another step of the section: what has rows of its own."""
        self._print(title)
        self._steps.append(Step(self._steps[-1].section, printable(title)))

    def say(self, text: str) -> None:
        """Add a sentence."""
        self._print(text)
        self._steps[-1].said.append(printable(text.strip()))

    def conclude(self, *sentences: str) -> None:
        """End the page with what holds for all of it."""
        for text in ("", *sentences):
            self._print(text)

    def equals(
        self, what: str, found: Fraction, other: str, expected: Fraction | None, least: int = 0
    ) -> None:
        """Say whether a figure is the one that it should be; both, if it is not."""
        self._compare(what, other, found, expected)
        if found == expected:
            self._print(f"  {what} {shown(found, least)} equals {other}: yes")
        else:
            wanted = "missing" if expected is None else shown(expected, least)
            self._print_failure(f"{what} is {shown(found, least)}, {other} is {wanted}")

    def each_equals(
        self, what: str, compared: Iterable[tuple[str, Fraction, Fraction | None]]
    ) -> None:
        """Compare many pairs of figures; only those that differ are printed."""
        pairs = list(compared)
        wrong = [(name, found, expected) for name, found, expected in pairs if found != expected]
        for name, found, expected in pairs:
            self._compare(what, name, found, expected)
        if not wrong:
            self._print(f"  {what}: yes ({len(pairs):,})")
        for name, found, expected in wrong[:_MISMATCHES_SHOWN]:
            wanted = "missing" if expected is None else shown(expected)
            self._print_failure(f"{what}: {name}: {shown(found)} and {wanted}")
        if len(wrong) > _MISMATCHES_SHOWN:
            self._print(f"  ... and {len(wrong) - _MISMATCHES_SHOWN:,} more that differ")

    def fail(self, text: str) -> None:
        """Say that a step does not add up, and why it cannot even be compared."""
        self._steps[-1].comparisons.append(Comparison(printable(text), "", None, None, False))
        self._print_failure(text)

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
        self._steps[-1].rows += [
            {name: _as_data(cell) for name, cell in zip(header, row, strict=True)} for row in rows
        ]
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
            self._print("  " + "  ".join(aligned).rstrip())
        if total is None:
            self._say_left_out(len(rows) - limit, more)

    def _say_left_out(self, count: int, more: str) -> None:
        if count > 0:
            self._print(f"  ... and {count:,} more{more}")

    def _print(self, text: str = "") -> None:
        self._lines.append(printable(text))

    def _print_failure(self, text: str) -> None:
        self.failures += 1
        self._print(f"  {FAILED}: {text}")

    def _underlined(self, text: str, line: str) -> None:
        self._print(text)
        self._print(line * len(text))
        self._steps.append(Step(printable(text), printable(text)))

    def _compare(self, what: str, beside: str, actual: Fraction, expected: Fraction | None) -> None:
        self._steps[-1].comparisons.append(
            Comparison(
                printable(what),
                printable(beside),
                as_decimal(actual),
                None if expected is None else as_decimal(expected),
                actual == expected,
            )
        )


def _as_data(cell: Any) -> Any:
    return as_decimal(cell) if isinstance(cell, Fraction) else cell
