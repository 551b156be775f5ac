"""Day-ahead prices of European bidding zones from the ENTSO-E Transparency Platform.

entsoe-py knows the areas, speaks to the service and tells "no data" from an error. Its price
parser is not used: it drops currency and unit, computes in floats, and takes broken XML for an
empty answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from xml.etree import ElementTree

from pydantic import SecretStr

from orchestration.sources.folder import FeedProblem
from orchestration.sources.services.cache import Interval
from orchestration.sources.services.extras import load
from orchestration.sources.services.session import PoliteSession, in_words, unlogged

DAYS_A_REQUEST = 14
"""An answer holds at most 100 time series; a day has up to three of them."""

_MINUTES = {"PT15M": 15, "PT30M": 30, "PT60M": 60, "PT1H": 60}
_UNITS = {"MWH": "MWh", "KWH": "kWh"}
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{1,12})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
# A point of curve A03 stands until the next one; of A01, for itself.
_CARRIES_FORWARD = {"A01": False, "A03": True}
# Zones with further auctions (intraday, local) number them; the first is the coupled day-ahead one.
_DAY_AHEAD = "1"
_NUMBERED = ("DE_LU", "AT")


class EntsoeDayAhead:
    """Day-ahead prices by zone, in the currency and unit that the document names (EUR per MWh).

    Args:
        zones: the area by the zone's name, as entsoe-py spells it (``DE_LU``, ``SE_3``; ``SE3`` and
            ``DE-LU`` are understood) or as its EIC code.
        token: ENTSOE_API_KEY.
        session: for tests; entsoe-py itself reads ENTSOE_ENDPOINT_URL.
    """

    name = "ENTSO-E"
    variable = "ENTSOE_API_KEY"

    def __init__(
        self,
        zones: Mapping[str, str],
        token: SecretStr | None,
        session: PoliteSession | None = None,
    ) -> None:
        self.zones = zones
        self._token = token
        self._session = session

    def fetch(self, zone: str, first: date, last: date) -> list[Interval]:
        """Ask for the prices that start from the first UTC day to the last.

        Where an answer has prices of two resolutions for the same time, the finer ones count.

        Raises:
            FeedProblem: no token, no package, an unknown area, or no usable answer.
        """
        if self._token is None or not self._token.get_secret_value():
            raise self._problem(
                zone,
                f"{self.variable} is not set",
                "Get a token for the Transparency Platform's REST API and set it",
            )
        entsoe, pandas = load("entsoe", "entsoe", "pandas")
        area = self._area(entsoe, zone)
        begin = datetime.combine(first, time(), UTC)
        end = datetime.combine(last + timedelta(days=1), time(), UTC)
        found: list[Interval] = []
        while begin < end:
            until = min(begin + timedelta(days=DAYS_A_REQUEST), end)
            answer = self._ask(entsoe, pandas, zone, area, begin, until)
            if answer is not None:
                prices = _finest(self._read(zone, answer))
                found += [price for price in prices if begin <= price.start < until]
            begin = until
        return found

    def _area(self, entsoe: Any, zone: str) -> Any:
        code = self.zones[zone]
        for area in entsoe.Area:
            if code == area.value or _plain(code) == _plain(area.name):
                return area
        raise self._problem(
            zone, f"entsoe-py knows no area {code}", "Write ENERGY_PRICE_URL with zone:area"
        )

    def _ask(
        self, entsoe: Any, pandas: Any, zone: str, area: Any, begin: datetime, end: datetime
    ) -> str | None:
        assert self._token is not None
        token = self._token.get_secret_value()
        client = entsoe.EntsoeRawClient(
            api_key=token,
            session=self._session or PoliteSession(),
            retry_count=1,  # The session retries.
            retry_delay=0,
        )
        problem: FeedProblem
        with unlogged(token):
            try:
                answer = client.query_day_ahead_prices(
                    area,
                    start=pandas.Timestamp(begin),
                    end=pandas.Timestamp(end),
                    sequence=_DAY_AHEAD if area.name in _NUMBERED else None,
                )
                return str(answer)
            except entsoe.exceptions.NoMatchingDataError:
                return None
            except Exception as error:
                problem = self._problem(zone, *in_words(error, self.variable))
        # Raised outside the handler: the error's own text holds the token.
        raise problem

    def _read(self, zone: str, answer: str) -> list[Interval]:
        try:
            return list(_prices(answer))
        except ElementTree.ParseError:
            wrong = "the answer is no XML"
        except (KeyError, ValueError) as error:
            wrong = f"the answer is no price document: {error.args[0]}"
        raise self._problem(zone, wrong, "Land the feed again later")

    def _problem(self, zone: str, wrong: str, cure: str) -> FeedProblem:
        return FeedProblem("energy", f"{self.name}, zone {zone}", wrong, cure)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _prices(answer: str) -> Iterator[Interval]:
    """The day-ahead prices in a Publication_MarketDocument, in its order.

    An Acknowledgement_MarketDocument that says there is no data holds none.

    Raises:
        ElementTree.ParseError: it is no XML.
        ValueError: it is another document, or one that contradicts itself.
    """
    if "<!DOCTYPE" in answer[:1000]:
        raise ValueError("it has a document type")
    document = ElementTree.fromstring(answer)
    kind = document.tag.rpartition("}")[2]
    if kind == "Acknowledgement_MarketDocument":
        reason = document.findtext("{*}Reason/{*}text", "")
        if "No matching data found" in reason:
            return
        raise ValueError("the service refuses the request")
    if kind != "Publication_MarketDocument":
        raise ValueError("it is another document")
    for series in document.findall("{*}TimeSeries"):
        auction = series.findtext(
            "{*}classificationSequence_AttributeInstanceComponent.position", _DAY_AHEAD
        )
        if auction.strip() != _DAY_AHEAD:
            continue
        currency = _text(series, "currency_Unit.name")
        unit = _UNITS.get(_text(series, "price_Measure_Unit.name").upper())
        carries = _CARRIES_FORWARD.get(_text(series, "curveType"))
        if unit is None or carries is None or not _CURRENCY.fullmatch(currency):
            raise ValueError("its unit, currency or curve type is unknown")
        for period in series.findall("{*}Period"):
            for start, minutes, price in _points(period, carries):
                yield Interval(start, minutes, (price, currency, unit))


def _points(period: ElementTree.Element, carries: bool) -> Iterator[tuple[datetime, int, str]]:
    """The start, minutes and price of each interval of a period."""
    begin = _instant(_text(period, "timeInterval/start"))
    end = _instant(_text(period, "timeInterval/end"))
    minutes = _MINUTES.get(_text(period, "resolution"))
    if minutes is None:
        raise ValueError("its resolution is unknown")
    step = timedelta(minutes=minutes)
    count, rest = divmod(end - begin, step)
    if rest or not 0 < count <= 100_000:
        raise ValueError("a period is no whole number of intervals")
    prices: dict[int, str] = {}
    for point in period.findall("{*}Point"):
        place, price = _text(point, "position"), _text(point, "price.amount")
        if not place.isdecimal() or not 1 <= int(place) <= count:
            raise ValueError("a position lies outside its period")
        if not _NUMBER.fullmatch(price):
            raise ValueError("a price is no number")
        prices[int(place)] = price
    last = None
    for position in range(1, count + 1):
        last = prices.get(position, last if carries else None)
        if last is not None:
            yield begin + (position - 1) * step, minutes, last


def _finest(prices: list[Interval]) -> list[Interval]:
    """Leave out the prices that overlap prices of a finer resolution."""
    left: list[Interval] = []
    taken: set[Any] = set()
    for minutes in sorted({price.minutes for price in prices}):
        fitting = [p for p in prices if p.minutes == minutes and not p.covered & taken]
        left += fitting
        taken = taken.union(*(price.covered for price in fitting))
    return left


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext("/".join("{*}" + name for name in path.split("/")))
    if text is None:
        raise ValueError(f"{path} is missing")
    return text.strip()


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a time has no offset")
    return instant.astimezone(UTC)
