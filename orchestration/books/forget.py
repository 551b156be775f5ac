"""Taking back a delivery day that was landed by mistake and never billed, such as one after a gap.

Landing a wrong day wedges the books: nothing is billed over the gap that it opens. What is billed
is never taken back this way; what is taken back is moved aside, not deleted.
"""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

from orchestration.books.plan import BilledState
from orchestration.books.warehouse import writer_lock
from orchestration.errors import PlainError
from orchestration.landing import files
from orchestration.landing.files import landed_files, of_delivery
from orchestration.settings import Settings
from orchestration.store.files import flush, make_folder, remove


class NotForgotten(PlainError, RuntimeError):
    """A day that cannot be taken back; the message says why, and the cure."""


def forget(settings: Settings, day: date) -> str:
    """Take a landed delivery day back.

    Returns:
        What was done, in words.

    Raises:
        NotForgotten: nothing is landed of the day, or it was billed.
        WriterBusy: another run is landing or billing.
    """
    with writer_lock(settings):
        landing = settings.landing_dir
        landed = landed_files(landing, day)
        if not landed:
            raise NotForgotten(f"Nothing is landed of delivery day {day}: there is nothing to do")
        state = BilledState(settings)
        _refuse_billed(settings, state, day)
        began = day.isoformat() in state.read().get("unfinished", {}).get("deliveries", [])
        if began:
            # A billing that took the day in was cut off: its rows may be in any table.
            state.rebuild()
        delivery = files.landed_delivery(landing, "usage", day)
        kept = _put_aside(settings, day, landed)
    rows = f"{delivery.landed_rows:,} rows" if delivery else "what was landed"
    return (
        f"Forgotten: delivery day {day}, {rows}, now in {kept}. "
        + ("The next billing builds the books anew. " if began else "")
        + "A file of that day that is still in the feed is landed again when the day is asked for"
    )


def _refuse_billed(settings: Settings, state: BilledState, day: date) -> None:
    billed = state.read()
    if day.isoformat() in billed.get("deliveries", {}):
        raise NotForgotten(
            f"Delivery day {day} was billed: what is in the books is not taken back. "
            "Have it delivered again as it should be, or correct it with rows of kind correction"
        )
    manifest = settings.published_dir / "current" / "manifest.json"
    if billed or not manifest.exists():
        return
    published = date.fromisoformat(json.loads(manifest.read_text("utf-8"))["last_delivery_day"])
    if day <= published:
        raise NotForgotten(
            f"Books as of {published} are published, and their warehouse is gone: whether {day} "
            "was billed cannot be told any more. Bill first"
        )


def _put_aside(settings: Settings, day: date, landed: list[Path]) -> Path:
    """Move the files of a delivery out of the landing, its record last.

    As long as it is there, a landing that lacks some of its rows is refused.
    """
    landing = settings.landing_dir
    sha256 = files.standing_sha256(landing, "usage", day) or "no-file"
    kept = settings.archive_dir / "forgotten_usage" / day.isoformat() / sha256
    record = of_delivery(landing, "deliveries", "usage", day)
    for path in sorted(landed, key=lambda path: path == record):
        other = kept / path.relative_to(landing)
        make_folder(other.parent)
        os.replace(path, other)
        flush(other.parent)
        flush(path.parent)
    for kind in ("standing", "withdrawn"):
        remove(of_delivery(landing, kind, "usage", day))
    return kept
