"""``python -m orchestration.outbox settle --reason WHY ACTION_ID...``: a person saw to actions.

For an action that the usage API refuses for good, and for one that late data superseded: it is not
sent any more, nor listed, and what was waiting behind it is sent. The reason stays in the receipts.
"""

from __future__ import annotations

import argparse
import sys

from orchestration.outbox.actions import settle
from orchestration.outbox.turns import OutboxBusy
from orchestration.publication.current import NothingPublished
from orchestration.settings import SettingsError, load_settings
from orchestration.store.receipts import DamagedReceipts


def main(arguments: list[str] | None = None) -> int:
    """Settle all the actions asked for, or none; 0 if they were."""
    parser = argparse.ArgumentParser(prog="make settle", description=__doc__)
    parser.add_argument("command", choices=["settle"])
    parser.add_argument("action_ids", metavar="ACTION_ID", nargs="+")
    parser.add_argument("--reason", required=True, help="what was done, and by whom")
    asked = parser.parse_args(arguments)
    if not asked.reason.strip():
        parser.error("say what was done, and by whom")
    try:
        settle(load_settings(), asked.action_ids, asked.reason)
    except (SettingsError, LookupError, NothingPublished, OutboxBusy, DamagedReceipts) as error:
        print(error.args[0], file=sys.stderr)
        return 2
    print(f"Settled: {', '.join(asked.action_ids)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
