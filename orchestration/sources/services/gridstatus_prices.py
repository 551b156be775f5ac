"""Day-ahead prices of North American markets, from the market operators' own pages.

The package ``gridstatus`` reads what the operators publish for everyone, so no token is needed;
its hosted sister (gridstatus.io) needs an account. PJM and AESO want a key of their own and are
left out.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, timedelta
from typing import Any

from orchestration.sources.folder import FeedProblem
from orchestration.sources.services.cache import Interval
from orchestration.sources.services.extras import load
from orchestration.sources.services.session import PoliteSession, in_words

_MODULES = (
    "gridstatus.base",
    "gridstatus.caiso.caiso",
    "gridstatus.ercot",
    "gridstatus.nyiso",
    "gridstatus.utils",
)
_DAY_AHEAD = "DAY_AHEAD_HOURLY"
_one_at_a_time = threading.Lock()


class GridstatusDayAhead:
    """Hourly day-ahead prices by zone, in USD per MWh.

    Args:
        market: one of MARKETS.
        zones: the market's location by the zone's name: a hub, a load zone or a node, for example
            ``HB_WEST`` (ERCOT), ``N.Y.C.`` (NYISO), ``TH_SP15_GEN-APND`` (CAISO).
        session: for tests.
        pause_seconds: what CAISO wants between two requests.
    """

    def __init__(
        self,
        market: str,
        zones: Mapping[str, str],
        session: PoliteSession | None = None,
        pause_seconds: int = 5,
    ) -> None:
        self.name = f"gridstatus {market}"
        self.zones = zones
        self._market = market
        self._session = session
        self._pause_seconds = pause_seconds
        # A market's day is one answer for all zones.
        self._days: dict[date, dict[str, list[Interval]]] = {}

    def fetch(self, zone: str, first: date, last: date) -> list[Interval]:
        """Ask for the prices that start from the first UTC day to the last.

        Raises:
            FeedProblem: no package, or no usable answer.
        """
        load("gridstatus", "gridstatus", *_MODULES)
        found: list[Interval] = []
        # Local midnight comes after UTC midnight, so the first UTC day begins on the day before.
        day = first - timedelta(days=1)
        while day <= last:
            if day not in self._days:
                self._days[day] = self._ask(zone, day)
            prices = self._days[day].get(self.zones[zone], [])
            found += [price for price in prices if first <= price.start.date() <= last]
            day += timedelta(days=1)
        return found

    def _ask(self, zone: str, day: date) -> dict[str, list[Interval]]:
        base, *_ = load("gridstatus", *_MODULES)
        problem: FeedProblem
        session = self._session or PoliteSession(follow_redirects=True)
        with _asking_with(session):
            try:
                return _by_location(self._table(session, day), set(self.zones.values()))
            except base.NoDataFoundException:
                return {}
            except Exception as error:
                wrong, cure = in_words(error)
                where = f"{self.name}, zone {zone}, {day}"
                problem = FeedProblem("energy", where, wrong, cure)
        raise problem

    def _table(self, session: PoliteSession, day: date) -> Any:
        """The market's prices of a local day."""
        gridstatus, base, pandas = load("gridstatus", "gridstatus", "gridstatus.base", "pandas")
        locations = sorted(set(self.zones.values()))
        if self._market == "ercot":
            ercot = _ercot(gridstatus, pandas, session)
            return ercot.get_spp(
                pandas.Timestamp(day, tz=ercot.default_timezone),
                market=_DAY_AHEAD,
                locations=locations,
            )
        if self._market == "nyiso":
            nyiso = gridstatus.NYISO()
            return nyiso.get_lmp_day_ahead_hourly(pandas.Timestamp(day, tz=nyiso.default_timezone))
        caiso = gridstatus.CAISO()
        # Its methods for prices fetch all nodes, or take a failure for an empty answer. The end is
        # said because a day of 25 hours would be cut after 24.
        table = caiso.get_oasis_dataset(
            "lmp_day_ahead_hourly",
            pandas.Timestamp(day, tz=caiso.default_timezone),
            end=pandas.Timestamp(day + timedelta(days=1), tz=caiso.default_timezone),
            params={"node": ",".join(locations)},
            raw_data=False,
            sleep=self._pause_seconds,
            error="raise",
        )
        if table.empty:
            raise base.NoDataFoundException("no prices of the day")
        return table[table["LMP_TYPE"] == "LMP"].rename(columns={"NODE": "Location", "MW": "LMP"})


def _by_location(table: Any, wanted: set[str]) -> dict[str, list[Interval]]:
    """The prices of the wanted locations; one without a number is left out."""
    found: dict[str, list[Interval]] = {location: [] for location in wanted}
    price = "SPP" if "SPP" in table.columns else "LMP"
    columns = ["Location", "Interval Start", "Interval End", price]
    for location, start, end, amount in table[columns].itertuples(index=False):
        if location in wanted and math.isfinite(amount):
            begin = start.to_pydatetime().astimezone(UTC)
            minutes = round((end - start).total_seconds() / 60)
            found[location].append(Interval(begin, minutes, (repr(float(amount)), "USD", "MWh")))
    return found


def _ercot(gridstatus: Any, pandas: Any, session: PoliteSession) -> Any:
    """ERCOT as gridstatus reads it, but with every file fetched by the session."""
    ercot = gridstatus.Ercot()
    read_doc = ercot.read_doc
    ercot.read_doc = lambda *of, **how: read_doc(*of, **how | {"session": session})
    # The mapping is a large file that only tells resource nodes from other locations; no option
    # of the library leaves it out.
    no_nodes = pandas.DataFrame({"RESOURCE_NODE": []}, dtype=str)
    ercot._get_settlement_point_mapping = lambda verbose=False: no_nodes
    return ercot


class _Requests:
    """``requests`` as gridstatus calls it, but asking with the session."""

    def __init__(self, requests: Any, session: PoliteSession) -> None:
        self._requests = requests
        self._session = session

    def get(self, url: str, **how: Any) -> Any:
        """Ask; raises on every failure but 404, which gridstatus knows: others it may overlook."""
        how.pop("verify", None)
        response = self._session.get(url, **how)
        if response.status_code != 404:
            response.raise_for_status()
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)


@contextmanager
def _asking_with(session: PoliteSession) -> Iterator[None]:
    """Let gridstatus ask with the session: its markets take none, and wait without an end."""
    modules = load("gridstatus", *_MODULES)
    # It logs every request, at its own handler.
    logging.getLogger("gridstatus").setLevel(logging.WARNING)
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [module.requests for module in modules]
        for module, requests in zip(modules, before, strict=True):
            vars(module)["requests"] = _Requests(requests, session)
        try:
            yield
        finally:
            for module, requests in zip(modules, before, strict=True):
                vars(module)["requests"] = requests
