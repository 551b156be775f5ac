"""ENTSO-E day-ahead prices, against documents in the shape of its API that the tests make up."""

import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from test_connectors_session import TOKEN, Answer, LocalService, impatient, in_turn

from orchestration.landing import land_energy_prices
from orchestration.sources.folder import FeedProblem, FolderSource
from orchestration.sources.services.cache import Cache, Interval
from orchestration.sources.services.entsoe_prices import EntsoeDayAhead
from orchestration.sources.services.live import LiveSource

entsoe = pytest.importorskip("entsoe", reason='the extra "entsoe" is not installed')
# entsoe-py silences this itself, but pytest forgets that.
pytestmark = pytest.mark.filterwarnings("ignore:It looks like you're using an HTML parser")

DAY = date(2026, 1, 10)
XML = {"Content-Type": "application/xml"}
_NAMESPACE = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"

Points = dict[int, str]


def period(start: str, end: str, resolution: str, points: Points) -> str:
    return (
        f"<Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>"
        + "".join(
            f"<Point><position>{position}</position><price.amount>{price}</price.amount></Point>"
            for position, price in points.items()
        )
        + "</Period>"
    )


def series(*periods: str, auction: str = "1", curve: str = "A03", **changed: str) -> str:
    currency, unit = changed.get("currency", "EUR"), changed.get("unit", "MWH")
    position = "classificationSequence_AttributeInstanceComponent.position"
    return (
        "<TimeSeries><mRID>1</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
        '<in_Domain.mRID codingScheme="A01">10Y1001A1001A82H</in_Domain.mRID>'
        "<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>"
        f"<currency_Unit.name>{currency}</currency_Unit.name>"
        f"<price_Measure_Unit.name>{unit}</price_Measure_Unit.name>"
        + (f"<{position}>{auction}</{position}>" if auction else "")
        + f"<curveType>{curve}</curveType>{''.join(periods)}</TimeSeries>"
    )


def document(*all_series: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Publication_MarketDocument xmlns="{_NAMESPACE}"><mRID>1</mRID><type>A44</type>'
        + "".join(all_series)
        + "</Publication_MarketDocument>"
    )


def acknowledgement(reason: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Acknowledgement_MarketDocument "
        'xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0">'
        f"<mRID>1</mRID><Reason><code>999</code><text>{reason}</text></Reason>"
        "</Acknowledgement_MarketDocument>"
    )


def ok(text: str) -> Answer:
    return 200, XML, text.encode()


NO_DATA = acknowledgement("No matching data found for Data item ENERGY_PRICES [12.1.D]")
QUARTERS = document(
    series(
        period(
            "2026-01-09T23:00Z",
            "2026-01-10T23:00Z",
            "PT15M",
            {n: f"{n}.25" for n in range(1, 97)},
        )
    )
)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = LocalService()
    # What ENTSOE_ENDPOINT_URL sets when entsoe-py is loaded.
    monkeypatch.setattr("entsoe.entsoe.URL", local.url + "/api")
    yield local
    local.close()


def _connector(area: str = "DE_LU", zone: str = "DE-LU") -> EntsoeDayAhead:
    return EntsoeDayAhead({zone: area}, SecretStr(TOKEN), impatient())


def _fetch(
    service: LocalService, answer: str, day: date, until: date | None = None
) -> list[Interval]:
    service.respond = in_turn(ok(answer))
    return _connector().fetch("DE-LU", day, until or day)


def test_quarters_of_an_hour_keep_their_digits(service: LocalService) -> None:
    prices = _fetch(service, QUARTERS, DAY)
    # The market's day begins at 23:00 UTC; the UTC day has the last 92 quarters of it.
    assert len(prices) == 92
    assert prices[0] == Interval(datetime(2026, 1, 10, tzinfo=UTC), 15, ("5.25", "EUR", "MWh"))
    path, asked = service.asked[0]
    assert path == "/api"
    assert asked["securityToken"] == TOKEN
    assert asked["documentType"] == "A44"
    assert asked["in_Domain"] == asked["out_Domain"] == "10Y1001A1001A82H"
    assert (asked["periodStart"], asked["periodEnd"]) == ("202601100000", "202601110000")
    assert asked["classificationSequence_AttributeInstanceComponent.position"] == "1"


@pytest.mark.parametrize(
    ("begin", "end", "quarters"),
    [
        ("2025-10-25T22:00Z", "2025-10-26T23:00Z", 100),
        ("2026-03-28T23:00Z", "2026-03-29T22:00Z", 92),
    ],
)
def test_days_of_25_and_23_hours(
    service: LocalService, begin: str, end: str, quarters: int
) -> None:
    day = date.fromisoformat(end[:10])
    points = {n: str(n) for n in range(1, quarters + 1)}
    answer = document(series(period(begin, end, "PT15M", points)))
    prices = _fetch(service, answer, day - timedelta(days=1), day)
    starts = [price.start for price in prices]
    assert len(starts) == len(set(starts)) == quarters
    assert starts[0] == datetime.fromisoformat(begin)
    assert starts[-1] == datetime.fromisoformat(end) - timedelta(minutes=15)
    assert [price.values[0] for price in prices] == list(points.values())


def test_on_curve_a03_a_price_stands_until_the_next(service: LocalService) -> None:
    answer = document(
        series(period("2026-01-10T00:00Z", "2026-01-10T06:00Z", "PT60M", {1: "5", 4: "-1.5"}))
    )
    amounts = [price.values[0] for price in _fetch(service, answer, DAY)]
    assert amounts == ["5", "5", "5", "-1.5", "-1.5", "-1.5"]


def test_on_curve_a01_a_missing_price_is_missing(service: LocalService) -> None:
    points = {1: "5", 4: "0"}
    answer = document(
        series(period("2026-01-10T00:00Z", "2026-01-10T06:00Z", "PT60M", points), curve="A01")
    )
    prices = _fetch(service, answer, DAY)
    assert [(price.start.hour, price.values[0]) for price in prices] == [(0, "5"), (3, "0")]


def test_only_the_first_auction_is_the_day_ahead_one(service: LocalService) -> None:
    hour = ("2026-01-10T00:00Z", "2026-01-10T01:00Z", "PT60M")
    answer = document(
        series(period(*hour, {1: "9"}), auction="2"),
        series(period(*hour, {1: "5"}), auction=""),
    )
    assert [price.values[0] for price in _fetch(service, answer, DAY)] == ["5"]


def test_of_two_resolutions_the_finer_counts(service: LocalService) -> None:
    quarters = {n: str(n) for n in range(1, 5)}
    answer = document(
        series(period("2026-01-10T00:00Z", "2026-01-10T02:00Z", "PT60M", {1: "8", 2: "9"})),
        series(period("2026-01-10T00:00Z", "2026-01-10T01:00Z", "PT15M", quarters)),
    )
    assert [(p.minutes, p.values[0]) for p in _fetch(service, answer, DAY)] == [
        (15, "1"),
        (15, "2"),
        (15, "3"),
        (15, "4"),
        (60, "9"),
    ]


def test_the_documents_currency_and_unit_are_taken(service: LocalService) -> None:
    hour = period("2026-01-10T00:00Z", "2026-01-10T01:00Z", "PT60M", {1: "1.5"})
    answer = document(series(hour, currency="PLN", unit="KWH"))
    assert _fetch(service, answer, DAY)[0].values == ("1.5", "PLN", "kWh")


def test_our_reading_agrees_with_entsoe_pys(service: LocalService) -> None:
    answer = document(
        series(period("2025-10-25T22:00Z", "2025-10-26T23:00Z", "PT15M", {1: "3", 50: "-4.5"})),
    )
    theirs = entsoe.parsers.parse_prices(answer)["15min"]
    ours = _fetch(service, answer, date(2025, 10, 25), date(2025, 10, 26))
    assert {at.to_pydatetime(): amount for at, amount in theirs.items()} == {
        price.start: float(price.values[0]) for price in ours
    }


def test_long_windows_are_asked_for_in_parts(service: LocalService) -> None:
    _fetch(service, NO_DATA, DAY, DAY + timedelta(days=29))
    assert [(asked["periodStart"], asked["periodEnd"]) for _, asked in service.asked] == [
        ("202601100000", "202601240000"),
        ("202601240000", "202602070000"),
        ("202602070000", "202602090000"),
    ]


@pytest.mark.parametrize("area", ["SE_3", "SE3", "se-3", "10Y1001A1001A46L"])
def test_an_area_may_be_spelled_in_many_ways(service: LocalService, area: str) -> None:
    service.respond = in_turn(ok(NO_DATA))
    _connector(area, "SE3").fetch("SE3", DAY, DAY)
    assert service.asked[0][1]["in_Domain"] == "10Y1001A1001A46L"
    assert "classificationSequence_AttributeInstanceComponent.position" not in service.asked[0][1]


def test_an_unknown_area_is_named() -> None:
    with pytest.raises(FeedProblem, match="entsoe-py knows no area XX9"):
        _connector("XX9").fetch("DE-LU", DAY, DAY)


@pytest.mark.parametrize(
    "answer",
    [
        ok(NO_DATA),
        (200, {"Content-Type": "application/xml; charset=UTF-8"}, NO_DATA.encode()),
        (400, XML, NO_DATA.encode()),
    ],
)
def test_no_data_is_no_error(service: LocalService, answer: Answer) -> None:
    service.respond = in_turn(answer)
    assert _connector().fetch("DE-LU", DAY, DAY) == []


def test_after_429_it_asks_again(service: LocalService) -> None:
    service.respond = in_turn((429, {}, b""), (503, {}, b""), ok(QUARTERS))
    assert len(_connector().fetch("DE-LU", DAY, DAY)) == 92


HOUR = period("2026-01-10T00:00Z", "2026-01-10T01:00Z", "PT60M", {1: "1"})


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (ok("<Publication_MarketDocument><TimeSeries>"), "is no XML"),
        (ok("busy, come back later"), "is no XML"),
        (ok(""), "is no XML"),
        (ok("<html><body>maintenance</body></html>"), "another document"),
        (ok('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "document type"),
        (ok(acknowledgement("Unauthorized")), "refuses the request"),
        (ok(document(series(HOUR, unit="MAW"))), "unit, currency or curve type is unknown"),
        (ok(document(series(HOUR, currency="€,\n"))), "unit, currency or curve type is unknown"),
        (ok(document(series(HOUR, curve="A05"))), "unit, currency or curve type is unknown"),
        (ok(document(series(HOUR.replace("PT60M", "P1Y")))), "resolution is unknown"),
        (ok(document(series(HOUR.replace(">1<", ">2<", 1)))), "outside its period"),
        (ok(document(series(HOUR.replace(">1</price", ">NaN</price")))), "a price is no number"),
        (ok(document(series(HOUR.replace("01:00Z", "01:30Z")))), "no whole number"),
        (ok(document(series(HOUR.replace("01:00Z", "01:00")))), "a time has no offset"),
        (ok(document(series(HOUR.replace("2026-01-10T01", "soon")))), "no price document"),
        (ok(document(series(HOUR.replace("position>", "place>")))), "position is missing"),
        ((401, XML, acknowledgement("Unauthorized").encode()), "Check ENTSOE_API_KEY"),
        ((400, XML, acknowledgement("Bad").encode()), "status 400"),
        ((404, {}, b""), "status 404"),
        ((503, {}, b""), "6 times with status 503"),
        ((429, {}, b""), "6 times with status 429"),
        ((302, {"Location": "http://elsewhere.example/"}, b""), "redirects"),
    ],
)
def test_a_failure_names_the_zone_and_not_the_token(
    service: LocalService, answer: Answer, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.respond = in_turn(answer)
    with pytest.raises(FeedProblem, match=wrong) as caught:
        _connector().fetch("DE-LU", DAY, DAY)
    assert "ENTSO-E, zone DE-LU" in str(caught.value)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "5ec2e7" not in said
    assert "securityToken" in caplog.text


def test_nobody_listening_is_said_without_the_token(
    service: LocalService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.close()
    with pytest.raises(FeedProblem, match=r"cannot be reached \(ConnectionError\)") as caught:
        _connector().fetch("DE-LU", DAY, DAY)
    assert "Retrying" in caplog.text
    assert "5ec2e7" not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_a_token_in_the_environment_only_is_not_used(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # entsoe-py would read it behind the settings' back.
    monkeypatch.setenv("ENTSOE_API_KEY", TOKEN)
    with pytest.raises(FeedProblem, match="ENTSOE_API_KEY is not set"):
        EntsoeDayAhead({"A": "DE_LU"}, None).fetch("A", DAY, DAY)
    assert service.asked == []


def test_it_lands_like_a_file(service: LocalService, tmp_path: Path) -> None:
    service.respond = in_turn(ok(QUARTERS))
    connector = _connector()
    assert TOKEN not in repr(connector) + repr(vars(connector))
    cache, feeds = Cache("energy", tmp_path / "cache"), FolderSource(str(tmp_path / "feeds"))
    source = LiveSource("energy", feeds, [connector], cache, DAY, DAY)
    delivery = land_energy_prices(source, tmp_path / "landing")
    assert (delivery.problem, delivery.landed_rows, delivery.rejected_rows) == (None, 96, 0)
    assert delivery.file_name == "energy_price_DE-LU.csv"
    rows = pq.read_table(tmp_path / "landing" / "energy" / "prices.parquet").to_pylist()
    assert _row(rows[0]) == ("DE-LU", "2026-01-09T23:00:00", 15, 0.00125, "EUR")
    # The next run finds the same prices: the snapshot stays as it is, to the byte.
    again = land_energy_prices(source, tmp_path / "landing")
    assert again.content_sha256 == delivery.content_sha256
    assert not any(
        TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["zone"],
        row["interval_start"].isoformat()[:19],
        row["resolution_minutes"],
        float(row["price_per_kwh"]),
        row["currency"],
    )
