"""Late usage: which delivery files came, or came again, after their day was landed.

A file's looks (size, time, tag) say cheaply that something may have changed; only then is its
content read, and only content that was not landed or billed before counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from orchestration.books.plan import BilledState
from orchestration.landing.files import landed_delivery
from orchestration.settings import Settings
from orchestration.sources.folder import FeedProblem, FolderSource, content_sha256

LOOKING_SECONDS = 20
"""After this long no further file is read; the next look goes on. A look may take a minute."""


@dataclass(frozen=True)
class Look:
    """What a look at the feed folder found.

    Attributes:
        late: the delivery days to run, and the fingerprint of each one's file.
        seen: the fingerprints to remember for the next look.
    """

    late: dict[date, str]
    seen: dict[date, str]


def look(
    source: FolderSource,
    settings: Settings,
    seen: Mapping[date, str],
    *,
    seconds: float = LOOKING_SECONDS,
) -> Look:
    """Look for usage files that differ from what was landed of their days.

    Files of days after the last landed one are no late ones: the night takes them in.

    Args:
        source: the feed folder.
        settings: where the landing and the record of what was billed are.
        seen: what the last look remembered.
        seconds: how long files may be read.

    Raises:
        FeedProblem: the folder cannot be read.
    """
    landed = landed_days(settings.landing_dir)
    if not landed:
        return Look({}, {})
    there = {day: looks for day, looks in source.usage_fingerprints().items() if day <= landed[-1]}
    remembered = {day: looks for day, looks in seen.items() if there.get(day) == looks}
    billed = BilledState(settings).read().get("deliveries", {})
    until = time.monotonic() + seconds
    late: dict[date, str] = {}
    # The newest first: they are the likeliest to come late.
    for day in sorted(there.keys() - remembered.keys(), reverse=True):
        if time.monotonic() > until:
            break
        record = landed_delivery(settings.landing_dir, "usage", day)
        known = {billed.get(day.isoformat()), record.content_sha256 if record else None}
        if _content(source, day) not in known:
            late[day] = there[day]
        remembered[day] = there[day]
    return Look(dict(sorted(late.items())), remembered)


def landed_days(landing: Path) -> list[date]:
    """The delivery days that landing wrote a record of, by the names of the files."""
    records = (landing / "deliveries" / "usage").glob("????-??-??.parquet")
    return sorted(date.fromisoformat(record.stem) for record in records)


def _content(source: FolderSource, day: date) -> str:
    """The SHA-256 of a day's file; "" if it cannot be told, as of two files for one day."""
    try:
        return content_sha256([source.usage(day)])
    except FeedProblem:
        # The run will say what is wrong.
        return ""
