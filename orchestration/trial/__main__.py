"""``python -m orchestration.trial SCENARIO... --from DAY --to DAY``: what would have been billed.

Bills the window with today's seeds and with each scenario's, and publishes the comparison. Exit
code 1 if a side could not be billed, 2 if something asked for is wrong.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from typing import TextIO

from orchestration.books.warehouse import WriterBusy
from orchestration.seeds.staging import SeedError
from orchestration.settings import SettingsError, load_settings
from orchestration.sources.folder import FeedProblem
from orchestration.trial.books_apart import NotBilled
from orchestration.trial.replay import replay
from orchestration.trial.scenario import ScenarioError


def main(arguments: list[str] | None = None) -> int:
    """Replay a window under one or more scenarios."""
    parser = argparse.ArgumentParser(prog="make replay", description=__doc__)
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="folder of changed seeds")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True)
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True)
    parser.add_argument(
        "--format",
        choices=("text", "markdown"),
        default="text",
        help="markdown prints the comparison for a pull request, and nothing else, on stdout",
    )
    asked = parser.parse_args(arguments)
    if asked.last < asked.first:
        parser.error(f"TO={asked.last} lies before FROM={asked.first}")
    for_people: TextIO = sys.stderr if asked.format == "markdown" else sys.stdout
    try:
        folder = replay(
            load_settings(),
            asked.scenarios,
            asked.first,
            asked.last,
            say=lambda sentence: print(sentence, file=for_people, flush=True),
        )
    except (SettingsError, SeedError, ScenarioError) as error:
        print(f"Nothing was replayed. {error}", file=sys.stderr)
        return 2
    except (NotBilled, FeedProblem, WriterBusy) as error:
        print(error, file=sys.stderr)
        return 1
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"The page is {folder / 'index.html'}, tables lie beside it", file=for_people)
    return 0


if __name__ == "__main__":
    sys.exit(main())
