"""What the engine had when it was last asked, so that only what has changed is asked for again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.sources.folder import FeedProblem
from orchestration.sources.usagebox.client import Engine, Tally, Window
from orchestration.store.durable import put
from orchestration.store.tables import write_table

_ROWS = pa.schema(
    [
        ("account", pa.string()),
        ("usage_day", pa.date32()),
        ("ingested_on", pa.date32()),
        ("events", pa.int64()),
        ("quantity", pa.string()),
    ]
)

Days = Mapping[str, Mapping[date, Tally]]
"""Tallies by account and usage day."""


class Seen:
    """The events of every usage day that was asked for, counted by the day of their ingestion.

    The engine never forgets an event, so no count here is above what it has now. If its sum for
    some days equals the sum of the counts of all ingestion days but one, then nothing was ingested
    on that one: that is all that is concluded from them.

    Args:
        path: the file that keeps them; may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._days: dict[tuple[str, date], dict[date, Tally]] = defaultdict(dict)
        for row in _read(path):
            self._days[row["account"], row["usage_day"]][row["ingested_on"]] = Tally(
                row["events"], int(row["quantity"])
            )

    def forget(self, account: str, usage_day: date) -> None:
        """Start counting a usage day anew."""
        self._days.pop((account, usage_day), None)

    def add(self, account: str, usage_day: date, ingested: Mapping[date, Tally]) -> None:
        """Count events of a usage day, by the day of their ingestion."""
        counted = self._days[account, usage_day]
        for day, tally in ingested.items():
            counted[day] = counted.get(day, Tally()) + tally

    def ingested(self, counts: Callable[[date], bool]) -> dict[str, dict[date, Tally]]:
        """What was seen, of the ingestion days that count."""
        days: dict[str, dict[date, Tally]] = defaultdict(dict)
        for (account, usage_day), ingested in self._days.items():
            total = sum((t for day, t in ingested.items() if counts(day)), Tally())
            days[account][usage_day] = total
        return days

    def save(self, stage: Path, first: date) -> None:
        """Write down the usage days from ``first`` on, by way of the folder ``stage``.

        Should an earlier one be needed once more, the engine is asked again.
        """
        rows = [
            (account, usage_day, day, tally.events, str(tally.quantity))
            for (account, usage_day), ingested in sorted(self._days.items())
            for day, tally in sorted(ingested.items())
            if usage_day >= first
        ]
        table = pa.table(
            [[row[column] for row in rows] for column in range(len(_ROWS))], schema=_ROWS
        )
        write_table(table, stage / "seen.parquet")
        put(stage / "seen.parquet", self._path)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        with pq.ParquetFile(path) as kept:
            rows: list[dict[str, Any]] = kept.read().cast(_ROWS).to_pylist()
            return rows
    except (pa.ArrowException, OSError):
        problem = FeedProblem(
            "usage", str(path), "it is damaged", "Delete it, then land the day again"
        )
    raise problem


def moved(engine: Engine, windows: list[Window], known: Days) -> list[tuple[str, date]]:
    """The accounts and usage days for which the engine's own sums are not those known.

    Sums of long windows are compared first, and only those that differ are cut in halves, down to
    a day. So an account that is quiet costs one question, however far back it is asked about.

    Args:
        windows: each of whole days.

    Raises:
        FeedProblem: a sum is not to be had.
    """
    found: list[tuple[str, date]] = []
    while windows:
        differing = [
            window
            for window, tally in zip(windows, engine.tallies(windows), strict=True)
            if tally != _known(known, window)
        ]
        found += [(w.account, w.start.date()) for w in differing if w.length.days == 1]
        windows = [half for w in differing if w.length.days > 1 for half in w.halves()]
    return sorted(found)


def _known(known: Days, window: Window) -> Tally:
    first, end = window.start.date(), window.end.date()
    days = known.get(window.account, {})
    return sum((tally for day, tally in days.items() if first <= day < end), Tally())
