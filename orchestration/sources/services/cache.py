"""What connectors have fetched so far: one small CSV file per zone and UTC day.

A snapshot holds all rows of a feed, a fetch only a few days; so what was fetched once is kept. The
newest fetch of an interval wins, and an interval once known is never lost: a day whose file is
empty or damaged is not served without it, but has to be fetched again.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from filelock import FileLock

from orchestration.sources.folder import UNDATED_FILES, FeedFile, FeedProblem
from orchestration.sources.services.wanted import LiveFeed
from orchestration.store.durable import make_folder, put_text

_LOCK_SECONDS = 60


@dataclass(frozen=True)
class Interval:
    """What holds in one zone from an instant on.

    Attributes:
        start: in UTC.
        minutes: how long it holds.
        values: as text. Energy: price, currency, unit (kWh or MWh). Carbon: gCO2 per kWh over the
            life cycle, renewable per cent; empty where unknown.
    """

    start: datetime
    minutes: int
    values: tuple[str, ...]

    @property
    def covered(self) -> frozenset[datetime | int]:
        """The minutes since 1970 that it covers."""
        first = int(self.start.timestamp()) // 60
        return frozenset(range(first, first + self.minutes))


_HEADERS: dict[LiveFeed, tuple[str, ...]] = {
    "energy": (
        "zone",
        "interval_start",
        "resolution_minutes",
        "price",
        "currency",
        "unit",
        "timestamp_kind",
        "tz",
    ),
    "carbon": ("zone", "ts_utc", "carbon_gco2_kwh_lca", "renewable_pct"),
}


def _to_cells(feed: LiveFeed, zone: str, interval: Interval) -> list[str]:
    start = interval.start.strftime("%Y-%m-%dT%H:%M:%SZ")
    if feed == "carbon":
        return [zone, start, *interval.values]
    return [zone, start, str(interval.minutes), *interval.values, "offset", "UTC"]


def _from_cells(feed: LiveFeed, cells: list[str]) -> Interval:
    if len(cells) != len(_HEADERS[feed]):
        raise ValueError("not a line of the cache")
    start = datetime.fromisoformat(cells[1]).astimezone(UTC)
    if feed == "carbon":
        return Interval(start, 60, tuple(cells[2:]))
    return Interval(start, int(cells[2]), tuple(cells[3:6]))


class Cache:
    """The intervals of one feed, whichever service they came from.

    Args:
        folder: holds ``<feed>/<zone>/<day>.csv``; may be missing.
    """

    def __init__(self, feed: LiveFeed, folder: Path) -> None:
        self._feed: LiveFeed = feed
        self._folder = folder / feed

    def put(self, zone: str, intervals: Iterable[Interval]) -> None:
        """Add intervals; they replace whatever overlaps them, and the whole of a damaged day."""
        days: dict[date, list[Interval]] = defaultdict(list)
        for interval in dict.fromkeys(intervals):
            days[interval.start.date()].append(interval)
        if not days:
            return
        make_folder(self._folder / zone)
        with FileLock(self._folder / ".lock", timeout=_LOCK_SECONDS, mode=0o600):
            for day, new in days.items():
                self._put_day(zone, day, new)

    def known(self, zone: str, first: date, last: date) -> bool:
        """Whether anything of a zone is known from the first day to the last."""
        return any(
            first <= _day(path) <= last and self._read(path) is not None
            for path in self._days(zone)
        )

    def damaged(self, zone: str) -> list[date]:
        """The days of a zone that were known, but whose file is empty or torn."""
        return [_day(path) for path in self._days(zone) if self._read(path) is None]

    def lost(self, zone: str, day: date, why: str) -> FeedProblem:
        """The problem of a damaged day that could not be fetched again."""
        return FeedProblem(
            self._feed,
            f"connector_cache/{self._feed}/{zone}/{day}.csv",
            f"it is damaged, and {why}",
            "Restore it from a backup, or delete it to go on without its day; then land the feed again",
        )

    def files(self) -> list[FeedFile]:
        """One file per zone with all that is known, by name; shaped as the folder source's."""
        if not self._folder.is_dir():
            return []
        zones = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
        return [
            FeedFile(self._feed, UNDATED_FILES[self._feed].replace("*", zone), self._open(zone))
            for zone in zones
            if self._days(zone)
        ]

    def _open(self, zone: str) -> Callable[[], io.BytesIO]:
        def read() -> io.BytesIO:
            header = ",".join(_HEADERS[self._feed]).encode() + b"\n"
            for day in self.damaged(zone):
                raise self.lost(zone, day, "no service is asked for its zone")
            lines = [path.read_bytes().partition(b"\n")[2] for path in self._days(zone)]
            return io.BytesIO(header + b"".join(lines))

        return read

    def _days(self, zone: str) -> list[Path]:
        return sorted((self._folder / zone).glob("????-??-??.csv"))

    def _put_day(self, zone: str, day: date, new: list[Interval]) -> None:
        path = self._folder / zone / f"{day}.csv"
        replaced = frozenset().union(*(interval.covered for interval in new))
        known = (path.exists() and self._read(path)) or []
        kept = [old for old in known if not old.covered & replaced]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADERS[self._feed])
        # Stable: of two prices of one interval in one answer, the last stays the last.
        for interval in sorted([*kept, *new], key=lambda interval: interval.start):
            writer.writerow(_to_cells(self._feed, zone, interval))
        put_text(text.getvalue(), path)

    def _read(self, path: Path) -> list[Interval] | None:
        """The intervals of a day; None if the file does not hold what was once written into it."""
        try:
            text = path.read_text(encoding="utf-8")
            header, *lines = csv.reader(text.splitlines(), strict=True)
            intervals = [_from_cells(self._feed, cells) for cells in lines]
        except (ValueError, csv.Error):
            return None
        is_whole = tuple(header) == _HEADERS[self._feed] and text.endswith("\n")
        return intervals if is_whole and intervals else None


def _day(path: Path) -> date:
    return date.fromisoformat(path.stem)
