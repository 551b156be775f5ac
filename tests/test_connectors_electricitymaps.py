"""Electricity Maps, against answers in the shape of its API that the tests make up."""

import json
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from test_connectors_session import TOKEN, Answer, LocalService, impatient, in_turn

from orchestration.landing import land_energy_mix
from orchestration.sources.folder import FeedProblem, FolderSource
from orchestration.sources.services.cache import Cache
from orchestration.sources.services.electricitymaps_mix import ElectricityMapsMix
from orchestration.sources.services.live import LiveSource

DAY = date(2026, 1, 10)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = LocalService(_answer)
    yield local
    local.close()


def _answer(path: str, query: dict[str, str], **changed: Any) -> Answer:
    """As the API answers: an object with a row for each hour asked for."""
    begin, end = (datetime.fromisoformat(query[key]) for key in ("start", "end"))
    rows = []
    for number in range(int((end - begin) / timedelta(hours=1))):
        hour = begin + timedelta(hours=number)
        row: dict[str, Any] = {
            "zone": query["zone"],
            "datetime": hour.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "updatedAt": "2026-01-11T09:00:00.000Z",
            "isEstimated": False,
            "estimationMethod": None,
        }
        if path == "/v3/carbon-intensity/past-range":
            row |= {"carbonIntensity": 20 + hour.hour, "emissionFactorType": "lifecycle"}
        else:
            assert path == "/v3/renewable-energy/past-range"
            row |= {"value": 97.25, "unit": "%"}
        rows.append(row | changed)
    answer = {"zone": query["zone"], "temporalGranularity": "hourly", "data": rows}
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


def _connector(service: LocalService, **how: Any) -> ElectricityMapsMix:
    known = {
        "session": impatient(),
        "base_url": service.url + "/v3",
        "now": lambda: datetime(2026, 2, 1, 7, 30, tzinfo=UTC),
    }
    return ElectricityMapsMix({"SE3": "SE-SE3"}, SecretStr(TOKEN), **known | how)


def test_a_day_has_24_hours_of_life_cycle_carbon(service: LocalService) -> None:
    hours = _connector(service).fetch("SE3", DAY, DAY)
    assert len(hours) == 24
    assert hours[5].start == datetime(2026, 1, 10, 5, tzinfo=UTC)
    assert hours[5].values == ("25", "97.25")
    assert service.headers[0]["auth-token"] == TOKEN
    assert service.asked[0][1] == {
        "zone": "SE-SE3",
        "start": "2026-01-10T00:00:00Z",
        "end": "2026-01-11T00:00:00Z",
        "temporalGranularity": "hourly",
        "emissionFactorType": "lifecycle",
        "disableCallerLookup": "true",
    }


def test_ten_days_are_asked_for_at_a_time(service: LocalService) -> None:
    hours = _connector(service).fetch("SE3", DAY, DAY + timedelta(days=20))
    assert len(hours) == len({hour.start for hour in hours}) == 21 * 24
    assert [query["start"][:10] for _, query in service.asked] == [
        day for day in ("2026-01-10", "2026-01-20", "2026-01-30") for _ in range(2)
    ]


def test_hours_that_are_not_over_are_not_asked_for(service: LocalService) -> None:
    hours = _connector(service).fetch("SE3", date(2026, 2, 1), date(2026, 2, 2))
    assert len(hours) == 7
    assert _connector(service).fetch("SE3", date(2026, 2, 2), date(2026, 2, 3)) == []


def test_the_renewable_share_can_be_left_out(service: LocalService) -> None:
    hours = _connector(service, renewable=False).fetch("SE3", DAY, DAY)
    assert {hour.values[1] for hour in hours} == {""}
    assert len(service.asked) == 1


def test_an_hour_without_a_value_is_empty(service: LocalService) -> None:
    service.respond = lambda path, query: _answer(path, query, carbonIntensity=None)
    assert {hour.values for hour in _connector(service).fetch("SE3", DAY, DAY)} == {("", "97.25")}


def test_no_data_is_no_error(service: LocalService) -> None:
    service.respond = in_turn((404, {}, b'{"error": "No data"}'))
    assert _connector(service).fetch("SE3", DAY, DAY) == []


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"zone": "FR"}, "for another zone"),
        ({"estimationMethod": "SANDBOX_MODE_DATA"}, "made-up values"),
        ({"carbonIntensity": "NaN"}, "no number"),
        ({"carbonIntensity": True}, "no number"),
        ({"carbonIntensity": "1,2\n3"}, "no number"),
        ({"datetime": "2026-01-10T00:00:00"}, "a time"),
        ({"datetime": "yesterday"}, "a time"),
        ({"datetime": None}, "a time"),
    ],
)
def test_an_answer_to_something_else_is_refused(
    service: LocalService, changed: dict[str, Any], wrong: str
) -> None:
    service.respond = lambda path, query: _answer(path, query, **changed)
    with pytest.raises(FeedProblem, match=wrong):
        _connector(service).fetch("SE3", DAY, DAY)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ((200, {}, b"<html>"), "no JSON"),
        ((200, {}, b'{"\xff"}'), "cannot be read"),
        ((200, {}, b"[" * 100_000), "cannot be read"),
        ((200, {}, b"[]"), "has no data"),
        ((200, {}, b'{"data": [1]}'), "has a row"),
        ((200, {}, b'{"data": [], "_disclaimer": "Sandbox mode"}'), "made-up"),
        ((401, {}, b""), r"refuses the token \(status 401\)"),
        ((403, {}, b""), r"Check ELECTRICITYMAPS_TOKEN and what its plan includes"),
        ((503, {}, b""), "6 times with status 503"),
        ((302, {"Location": "http://elsewhere.example/"}, b""), "redirects"),
    ],
)
def test_a_failure_names_the_zone_and_not_the_token(
    service: LocalService, answer: Answer, wrong: str
) -> None:
    service.respond = in_turn(answer)
    with pytest.raises(FeedProblem, match=wrong) as caught:
        _connector(service).fetch("SE3", DAY, DAY)
    assert "Electricity Maps, zone SE3" in str(caught.value)
    assert caught.value.__context__ is None
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("token", [None, SecretStr("")])
def test_without_a_token_it_names_the_variable(token: SecretStr | None) -> None:
    connector = ElectricityMapsMix({"SE3": "SE-SE3"}, token)
    with pytest.raises(FeedProblem, match="ELECTRICITYMAPS_TOKEN is not set"):
        connector.fetch("SE3", DAY, DAY)


def test_the_token_is_in_no_description(service: LocalService) -> None:
    connector = _connector(service)
    assert TOKEN not in repr(connector) + repr(vars(connector))


def test_it_lands_like_a_file(service: LocalService, tmp_path: Path) -> None:
    source = LiveSource(
        "carbon",
        FolderSource(str(tmp_path / "feeds")),
        [_connector(service)],
        Cache("carbon", tmp_path / "cache"),
        DAY,
        DAY,
    )
    delivery = land_energy_mix(source, tmp_path / "landing")
    # Two days before the one asked for, and one after.
    assert (delivery.problem, delivery.landed_rows, delivery.rejected_rows) == (None, 96, 0)
    assert delivery.file_name == "carbon_mix_SE3.csv"
    rows = pq.read_table(tmp_path / "landing" / "carbon" / "mix.parquet").to_pylist()
    assert rows[24 + 3]["zone"] == "SE3"
    assert rows[24 + 3]["ts_utc"].isoformat()[:19] == "2026-01-09T03:00:00"
    assert float(rows[24 + 3]["carbon_gco2_kwh_lca"]) == 23
    assert float(rows[24 + 3]["renewable_pct"]) == 97.25
    assert not any(
        TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
