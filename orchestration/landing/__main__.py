"""``python -m orchestration.landing forget DAY``, ``... accept-withdrawal DAY --reason WHY``.

What a person decides about landed usage: that a delivery day was landed by mistake and goes, or that
a delivery may lack what it had before. Exit code 2 if that is not possible; the message says why.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date

from orchestration.books.forget import NotForgotten, forget
from orchestration.books.warehouse import WriterBusy, writer_lock
from orchestration.landing import withdrawals
from orchestration.settings import Settings, SettingsError, load_settings


def main(arguments: list[str] | None = None) -> int:
    """Do what was decided, and say what was done."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.landing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    decided = parser.add_subparsers(dest="decided", required=True)
    for name in ("forget", "accept-withdrawal"):
        command = decided.add_parser(name)
        command.add_argument("day", type=date.fromisoformat, metavar="DAY", help="delivery day")
        if name == "accept-withdrawal":
            command.add_argument("--reason", required=True, help="why, and who says so")
    asked = parser.parse_args(arguments)
    if asked.decided == "accept-withdrawal" and not asked.reason.strip():
        parser.error("say why it may be withdrawn, and who says so")
    try:
        settings = load_settings()
        if asked.decided == "forget":
            print(forget(settings, asked.day))
        else:
            print(_accept(settings, asked.day, asked.reason))
    except (SettingsError, NotForgotten, withdrawals.NothingWithdrawn, WriterBusy) as error:
        print(error.args[0], file=sys.stderr)
        return 2
    return 0


def _accept(settings: Settings, day: date, reason: str) -> str:
    with writer_lock(settings):
        accepted = withdrawals.accept(settings.landing_dir, day, reason)
    return (
        f"Accepted: the usage delivery of {day} no longer has {accepted.ids:,} event ids of "
        f"{accepted.gpu_minutes:,f} GPU minutes. Land it and bill with: make bill FROM={day} TO={day}"
    )


if __name__ == "__main__":
    sys.exit(main())
