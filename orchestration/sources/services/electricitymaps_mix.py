"""Carbon intensity and renewable share of a grid, by hour, from the Electricity Maps API (v3).

Its own Python package is a beta that hides the past hours, so the API is asked itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import SecretStr

from orchestration.sources.folder import FeedProblem
from orchestration.sources.services.cache import Interval
from orchestration.sources.services.session import PoliteSession, in_words, unlogged

BASE_URL = "https://api.electricitymaps.com/v3"
DAYS_A_REQUEST = 10
"""What the API allows for hourly values."""

_CARBON = ("carbon-intensity", "carbonIntensity")
_RENEWABLE = ("renewable-energy", "value")


class ElectricityMapsMix:
    """Life-cycle gCO2eq per kWh consumed, and renewable per cent, by zone and hour.

    Values that the service has only estimated so far are taken as they are.

    Args:
        zones: Electricity Maps' zone by the zone's name, for example ``SE-SE3``.
        token: ELECTRICITYMAPS_TOKEN.
        renewable: also ask for the renewable share, which a plan may lack.
        session, base_url, now: for tests.
    """

    name = "Electricity Maps"
    variable = "ELECTRICITYMAPS_TOKEN"

    def __init__(
        self,
        zones: Mapping[str, str],
        token: SecretStr | None,
        *,
        renewable: bool = True,
        session: PoliteSession | None = None,
        base_url: str = BASE_URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.zones = zones
        self._token = token
        self._renewable = renewable
        self._session = session
        self._base_url = base_url
        self._now = now

    def fetch(self, zone: str, first: date, last: date) -> list[Interval]:
        """Ask for the hours from the first UTC day to the last, as far as they are over.

        Raises:
            FeedProblem: no token, no usable answer, or one of the service's sandbox, whose values
                are made up.
        """
        if self._token is None or not self._token.get_secret_value():
            raise self._problem(
                zone, f"{self.variable} is not set", "Get a token of Electricity Maps and set it"
            )
        begin = datetime.combine(first, time(), UTC)
        end = datetime.combine(last + timedelta(days=1), time(), UTC)
        end = min(end, self._now().replace(minute=0, second=0, microsecond=0))
        found: list[Interval] = []
        while begin < end:
            until = min(begin + timedelta(days=DAYS_A_REQUEST), end)
            carbon = self._hours(zone, *_CARBON, begin, until)
            renewable = self._hours(zone, *_RENEWABLE, begin, until) if self._renewable else {}
            found += [
                Interval(hour, 60, (carbon.get(hour, ""), renewable.get(hour, "")))
                for hour in sorted(carbon.keys() | renewable.keys())
            ]
            begin = until
        return found

    def _hours(
        self, zone: str, signal: str, field: str, begin: datetime, end: datetime
    ) -> dict[datetime, str]:
        """A signal's values by hour."""
        asked = {
            "zone": self.zones[zone],
            "start": begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "temporalGranularity": "hourly",
            "emissionFactorType": "lifecycle",
            # Else an unknown zone is answered with the one that the caller seems to be in.
            "disableCallerLookup": "true",
        }
        answer = self._ask(zone, f"{self._base_url}/{signal}/past-range", asked)
        if answer is None:
            return {}
        try:
            values = _values(json.loads(answer, parse_float=Decimal), asked["zone"], field)
            return {hour: value for hour, value in values.items() if begin <= hour < end}
        except json.JSONDecodeError:
            wrong = "the answer is no JSON"
        except (UnicodeDecodeError, RecursionError):
            wrong = "the answer cannot be read"
        except _Unusable as error:
            wrong = str(error)
        raise self._problem(
            zone, wrong, f"Check the zone's code and what the plan of {self.variable} includes"
        )

    def _ask(self, zone: str, url: str, asked: dict[str, str]) -> bytes | None:
        assert self._token is not None
        token = self._token.get_secret_value()
        session = self._session or PoliteSession()
        problem: FeedProblem
        with unlogged(token):
            try:
                response = session.get(url, params=asked, headers={"auth-token": token})
                if response.status_code == 404:
                    return None
                response.raise_for_status()
                return response.content
            except Exception as error:
                problem = self._problem(zone, *in_words(error, self.variable))
        raise problem

    def _problem(self, zone: str, wrong: str, cure: str) -> FeedProblem:
        return FeedProblem("carbon", f"{self.name}, zone {zone}", wrong, cure)


class _Unusable(Exception):
    """An answer that is not what was asked for; the text says why."""


def _values(answer: Any, zone: str, field: str) -> dict[datetime, str]:
    """The values in a past-range answer by hour; an hour without one is left out."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise _Unusable("the answer has no data")
    if "SANDBOX" in str(answer.get("_disclaimer", "")).upper():
        raise _Unusable("the service answers from its sandbox, with made-up values")
    values: dict[datetime, str] = {}
    for row in answer["data"]:
        if not isinstance(row, dict):
            raise _Unusable("the answer has a row that is none")
        if row.get("zone", answer.get("zone")) != zone:
            raise _Unusable("the answer is for another zone")
        if "SANDBOX" in str(row.get("estimationMethod", "")).upper():
            raise _Unusable("the service answers from its sandbox, with made-up values")
        hour = _hour(row.get("datetime"))
        if (value := row.get(field)) is not None:
            values[hour] = _number(value)
    return values


def _hour(value: Any) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Unusable("the answer has a time that is none") from None
    if instant.tzinfo is None or (instant.minute, instant.second) != (0, 0):
        raise _Unusable("the answer has a time that is no full hour of an offset")
    return instant.astimezone(UTC)


def _number(value: Any) -> str:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise _Unusable("the answer has a value that is no number") from None
    if not number.is_finite() or isinstance(value, bool):
        raise _Unusable("the answer has a value that is no number")
    return str(number)
