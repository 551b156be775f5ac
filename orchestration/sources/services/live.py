"""The source that asks services: fetch the days around those asked for, serve all that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from orchestration.settings import Settings
from orchestration.sources.folder import FeedFile, FeedProblem, FolderSource, Source, UndatedFeed
from orchestration.sources.services.cache import Cache, Interval
from orchestration.sources.services.electricitymaps_mix import ElectricityMapsMix
from orchestration.sources.services.entsoe_prices import EntsoeDayAhead
from orchestration.sources.services.gridstatus_prices import GridstatusDayAhead
from orchestration.sources.services.wanted import AskedService, LiveFeed, wanted

DAYS_BEFORE = 2
"""A slice may start before its delivery day, and late corrections of a price are seen."""
DAYS_AFTER = 1
"""A slice may run on into the next day."""

_SETTINGS: dict[LiveFeed, str] = {"energy": "ENERGY_PRICE_URL", "carbon": "ENERGY_MIX_URL"}

Tokens = Mapping[str, SecretStr | None]


class Connector(Protocol):
    """One service that can be asked for intervals."""

    name: str
    zones: Mapping[str, str]

    def fetch(self, zone: str, first: date, last: date) -> Sequence[Interval]:
        """Ask for a zone's intervals that start from the first UTC day to the last.

        Returns:
            What the service has; empty if it has nothing.

        Raises:
            FeedProblem: no token, no package, or no usable answer.
        """
        ...


class LiveSource:
    """A feed's files from the folder, then those from services; other feeds are the folder's.

    Where both have an interval, the service's is delivered last and so wins, and is counted as a
    conflict if it differs.

    Args:
        first, last: the delivery days asked for.
        cache: where everything fetched is kept.
    """

    def __init__(
        self,
        feed: LiveFeed,
        folder: Source,
        connectors: Sequence[Connector],
        cache: Cache,
        first: date,
        last: date,
    ) -> None:
        self._feed, self._folder, self._connectors, self._cache = feed, folder, connectors, cache
        self._first, self._last = first, last

    def usage(self, day: date) -> FeedFile:
        """Find a usage delivery in the folder."""
        return self._folder.usage(day)

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """Fetch, keep, and list the files of the feed.

        Raises:
            FeedProblem: names every zone that cannot be fetched, or of which nothing is known on
                the days asked for. What the other zones gave is kept for the next time.
        """
        if feed != self._feed:
            return self._folder.files(feed)
        problems = [
            problem
            for connector in self._connectors
            for zone in connector.zones
            if (problem := self._fetch(connector, zone))
        ]
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise FeedProblem(
                feed,
                "; ".join(problem.file for problem in problems),
                "; ".join(dict.fromkeys(problem.wrong for problem in problems)),
                "; ".join(dict.fromkeys(problem.cure for problem in problems)),
            )
        return [*self._folder.files(feed), *self._cache.files()]

    def _fetch(self, connector: Connector, zone: str) -> FeedProblem | None:
        first = self._first - timedelta(days=DAYS_BEFORE)
        last = self._last + timedelta(days=DAYS_AFTER)
        try:
            self._cache.put(zone, connector.fetch(zone, first, last))
        except FeedProblem as problem:
            return problem
        for day in self._cache.damaged(zone):
            if lost := self._fetch_again(connector, zone, day):
                return lost
        if self._cache.known(zone, self._first, self._last):
            return None
        return FeedProblem(
            self._feed,
            f"{connector.name}, zone {zone}",
            f"the service has nothing from {self._first} to {self._last}",
            "Check the zone's code, or land the feed again when the service has published",
        )

    def _fetch_again(self, connector: Connector, zone: str, day: date) -> FeedProblem | None:
        """Fetch a day whose file is damaged: without it, old hours would be gone without a word."""
        try:
            self._cache.put(zone, connector.fetch(zone, day, day))
        except FeedProblem as problem:
            return self._cache.lost(zone, day, f"was not fetched again: {problem.wrong}")
        if day in self._cache.damaged(zone):
            return self._cache.lost(zone, day, f"{connector.name} has nothing for its day any more")
        return None


def connector_for(
    urls: str,
    feed: LiveFeed,
    folder: Source,
    *,
    cache: Path,
    first: date,
    last: date,
    tokens: Tokens,
) -> Source:
    """Choose the source of a feed by configuration: services if a URL names any, else the folder.

    Args:
        urls: ENERGY_PRICE_URL or ENERGY_MIX_URL, see ``wanted``.
        cache: folder in which everything fetched is kept.
        first, last: the delivery days asked for.
        tokens: by the name of their environment variable.

    Raises:
        FeedProblem: the setting is wrong. A missing token or package is found by ``files``.
    """
    try:
        asked = wanted(feed, urls)
    except ValueError as error:
        setting = _SETTINGS[feed]
        raise FeedProblem(feed, setting, str(error), f"Correct {setting}") from None
    if not asked:
        return folder
    connectors = [_connector(each, tokens) for each in asked]
    return LiveSource(feed, folder, connectors, Cache(feed, cache), first, last)


def price_source(settings: Settings, live: LiveFeed | None, first: date, last: date) -> Source:
    """The source of an undated feed that the settings name: the folder, and services if it has any.

    Args:
        live: the feed as a connector; None for a feed that only comes from the folder.
        first, last: the delivery days asked for.
    """
    folder = FolderSource(settings.feeds_url)
    if live is None:
        return folder
    return connector_for(
        settings.energy_price_url if live == "energy" else settings.energy_mix_url,
        live,
        folder,
        cache=settings.connector_cache_dir,
        first=first,
        last=last,
        tokens=settings.tokens,
    )


def _connector(asked: AskedService, tokens: Tokens) -> Connector:
    if asked.service == "entsoe":
        return EntsoeDayAhead(asked.zones, tokens.get(EntsoeDayAhead.variable))
    if asked.service == "gridstatus":
        return GridstatusDayAhead(asked.market, asked.zones)
    return ElectricityMapsMix(
        asked.zones, tokens.get(ElectricityMapsMix.variable), renewable=asked.renewable
    )
