"""``python -m orchestration.explain LINE_ID``: prints the explanation of an invoice line.

Exit code 0 if everything adds up, 1 if a step does not, 2 if there is nothing to explain.
"""

from __future__ import annotations

import argparse
import os
import sys

from orchestration.explain.books_read import NothingToExplain
from orchestration.explain.explanation import EVENTS_SHOWN, ROWS_SHOWN, explain
from orchestration.settings import SettingsError, load_settings


def main(arguments: list[str] | None = None) -> int:
    """Print the explanation of one invoice line."""
    parser = argparse.ArgumentParser(
        prog="make explain", description="The arithmetic of an invoice line, and the way down."
    )
    parser.add_argument("line_id", metavar="LINE_ID")
    parser.add_argument("--events", type=_count, default=EVENTS_SHOWN, help="events to print")
    parser.add_argument("--rows", type=_count, default=ROWS_SHOWN, help="rows to print, per step")
    asked = parser.parse_args(arguments)
    try:
        explanation = explain(load_settings(), asked.line_id, events=asked.events, rows=asked.rows)
    except (NothingToExplain, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        print(explanation.text, flush=True)
    except BrokenPipeError:
        # Whoever reads the page (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if explanation.adds_up else 1


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
