"""North American day-ahead prices, against files shaped like the operators' that the tests make up.

gridstatus has the operators' addresses in its code, so the session is pointed at a server of ours.
"""

import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import requests
from test_connectors_session import Answer, LocalService, impatient, in_turn

from orchestration.landing import land_energy_prices
from orchestration.sources.folder import FeedProblem, FolderSource
from orchestration.sources.services.cache import Cache, Interval
from orchestration.sources.services.gridstatus_prices import GridstatusDayAhead
from orchestration.sources.services.live import LiveSource
from orchestration.sources.services.session import PoliteSession

gridstatus = pytest.importorskip("gridstatus", reason='the extra "gridstatus" is not installed')

DAY = date(2026, 1, 10)

Ask = Callable[[str, str, date, date], list[Interval]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    local = LocalService()
    yield local
    local.close()


@pytest.fixture
def session(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> PoliteSession:
    """Every request goes to the service, with the path and query that it was meant to have."""
    polite = impatient(follow_redirects=True)
    send = polite.get_adapter("https://any").send

    def send_here(request: requests.PreparedRequest, **how: Any) -> requests.Response:
        meant = urlsplit(request.url or "")
        assert meant.scheme == "https"
        request.url = f"{service.url}{meant.path}?{meant.query}"
        return send(request, **how)

    monkeypatch.setattr(polite.get_adapter("https://any"), "send", send_here)
    return polite


@pytest.fixture
def ask(session: PoliteSession) -> Ask:
    def of(market: str, location: str, first: date, last: date) -> list[Interval]:
        connector = GridstatusDayAhead(market, {"ZONE": location}, session, pause_seconds=0)
        return connector.fetch("ZONE", first, last)

    return of


def zipped(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def ercot_day(day: date) -> str:
    """A file of settlement point prices: hours end at 01:00 to 24:00 local time."""
    hours = [(hour, "N") for hour in range(1, 25)]
    if day == date(2025, 11, 2):
        hours.insert(2, (2, "Y"))
    if day == date(2026, 3, 8):
        hours.remove((3, "N"))
    lines = ["DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag"]
    for number, (hour, flag) in enumerate(hours):
        for point in ("HB_WEST", "LZ_NORTH", "SOME_NODE"):
            price = number + 0.31 if point == "HB_WEST" else -5
            lines.append(f"{day:%m/%d/%Y},{hour:02}:00,{point},{price},{flag}")
    return "\n".join(lines) + "\n"


def ercot(path: str, query: dict[str, str]) -> Answer:
    """The list of files, published the day before at half past twelve, and the files."""
    if path == "/misdownload/servlets/mirDownload":
        day = date.fromisoformat(query["doclookupId"])
        return 200, {}, zipped("cdr.csv", ercot_day(day))
    assert (path, query["reportTypeId"]) == ("/misapp/servlets/IceDocListJsonWS", "12331")
    days = [date(2025, 11, 1), date(2025, 11, 2), date(2025, 11, 3)]
    days += [date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)]
    days += [DAY + timedelta(days=n) for n in (-1, 0)]
    documents = [
        {
            "Document": {
                "DocID": f"{day}",
                "FriendlyName": f"DAMSPNP4190_{kind}",
                "ConstructedName": f"cdr.00012331.{day:%Y%m%d}.DAMSPNP4190_{kind}.zip",
                "PublishDate": f"{day - timedelta(days=1)}T12:30:00-06:00",
            }
        }
        for day in days
        for kind in ("csv", "xml")
    ]
    body = json.dumps({"ListDocsByRptTypeRes": {"DocumentList": documents}})
    return 200, {"Content-Type": "application/json"}, body.encode()


def test_ercot(service: LocalService, ask: Ask) -> None:
    service.respond = ercot
    prices = ask("ercot", "HB_WEST", DAY, DAY)
    assert len(prices) == 24
    # 00:00 UTC is 18:00 of the day before: its 19th hour.
    assert prices[0] == Interval(datetime(2026, 1, 10, tzinfo=UTC), 60, ("18.31", "USD", "MWh"))
    assert prices[6].values[0] == "0.31"
    # Only what is needed: two lists and two files, not the map of all points.
    assert [path for path, _ in service.asked] == [
        "/misapp/servlets/IceDocListJsonWS",
        "/misdownload/servlets/mirDownload",
    ] * 2


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 11, 2), 25), (date(2026, 3, 8), 23)])
def test_ercot_on_days_of_25_and_23_hours(
    service: LocalService, ask: Ask, day: date, hours: int
) -> None:
    service.respond = ercot
    prices = ask("ercot", "HB_WEST", day, day + timedelta(days=1))
    starts = [price.start for price in prices]
    assert starts == [starts[0] + timedelta(hours=n) for n in range(48)]
    local_day = prices[
        starts.index(datetime(day.year, day.month, day.day, 6 - (hours > 24), tzinfo=UTC)) :
    ]
    assert [float(price.values[0]) for price in local_day[:hours]] == [
        n + 0.31 for n in range(hours)
    ]
    assert local_day[hours].values[0] == "0.31"


def nyiso(path: str, query: dict[str, str]) -> Answer:
    name = path.rpartition("/")[2]
    day = datetime.strptime(name[-12:-4], "%Y%m%d").date()
    if day > DAY:
        return 404, {}, b"not there yet"
    zone = name.startswith("damlbmp_zone-")
    assert zone or name.startswith("damlbmp_gen-")
    lines = [
        '"Time Stamp","Name","PTID","LBMP ($/MWHr)","Marginal Cost Losses ($/MWHr)",'
        '"Marginal Cost Congestion ($/MWHr)"'
    ]
    for hour in range(24):
        for point in ("N.Y.C.", "WEST") if zone else ("NYISO_LBMP_REFERENCE",):
            price = "" if (hour, point) == (7, "WEST") else f"{hour}.5"
            lines.append(f'"{day:%m/%d/%Y} {hour:02}:00","{point}",61752,{price},1.00,-2.00')
    return 200, {}, ("\n".join(lines) + "\n").encode()


def test_nyiso(service: LocalService, ask: Ask) -> None:
    service.respond = nyiso
    prices = ask("nyiso", "N.Y.C.", DAY, DAY + timedelta(days=1))
    # The second UTC day is known up to local midnight.
    assert len(prices) == 24 + 5
    assert prices[5] == Interval(datetime(2026, 1, 10, 5, tzinfo=UTC), 60, ("0.5", "USD", "MWh"))
    # An hour without a price is left out.
    assert len(ask("nyiso", "WEST", DAY, DAY)) == 23


def caiso(path: str, query: dict[str, str]) -> Answer:
    assert (path, query["queryname"], query["market_run_id"]) == (
        "/oasisapi/SingleZip",
        "PRC_LMP",
        "DAM",
    )
    assert query["node"] == "TH_SP15_GEN-APND"
    begin, end = (
        datetime.strptime(query[key], "%Y%m%dT%H:%M-0000").replace(tzinfo=UTC)
        for key in ("startdatetime", "enddatetime")
    )
    if begin > datetime(2026, 1, 10, 12, tzinfo=UTC):
        empty = "<OASISReport><MessagePayload><RTO><ERROR>No data</ERROR></RTO></MessagePayload>"
        name = "20260111_PRC_LMP_DAM.xml.zip;"
        return 200, {"Content-Disposition": f"inline; filename={name}"}, zipped("i.xml", empty)
    lines = ["INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,NODE,LMP_TYPE,MW"]
    while begin < end:
        until = begin + timedelta(hours=1)
        for kind in ("LMP", "MCE", "MCC", "MCL", "MGHG"):
            price = begin.hour + 0.125 if kind == "LMP" else 1
            lines.append(
                f"{begin:%Y-%m-%dT%H:00:00-00:00},{until:%Y-%m-%dT%H:00:00-00:00},"
                f"TH_SP15_GEN-APND,{kind},{price}"
            )
        begin = until
    body = zipped("prices.csv", "\n".join(lines) + "\n")
    return 200, {"Content-Disposition": "inline; filename=20260110_PRC_LMP_DAM.csv.zip;"}, body


def test_caiso(service: LocalService, ask: Ask) -> None:
    service.respond = caiso
    prices = ask("caiso", "TH_SP15_GEN-APND", DAY, DAY + timedelta(days=1))
    assert len(prices) == 24 + 8
    assert prices[3] == Interval(datetime(2026, 1, 10, 3, tzinfo=UTC), 60, ("3.125", "USD", "MWh"))


def test_caiso_on_a_day_of_25_hours(service: LocalService, ask: Ask) -> None:
    service.respond = caiso
    prices = ask("caiso", "TH_SP15_GEN-APND", date(2025, 11, 2), date(2025, 11, 3))
    assert len({price.start for price in prices}) == 48


@pytest.mark.parametrize("market", ["ercot", "nyiso", "caiso"])
def test_after_429_it_asks_again(service: LocalService, ask: Ask, market: str) -> None:
    location, market_answers = {
        "ercot": ("HB_WEST", ercot),
        "nyiso": ("N.Y.C.", nyiso),
        "caiso": ("TH_SP15_GEN-APND", caiso),
    }[market]

    def busy_every_other_time(path: str, query: dict[str, str]) -> Answer:
        return (429, {}, b"") if len(service.asked) % 2 else market_answers(path, query)

    service.respond = busy_every_other_time
    assert len(ask(market, location, DAY, DAY)) == 24


@pytest.mark.parametrize("market", ["ercot", "nyiso", "caiso"])
@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ((503, {}, b""), "6 times with status 503"),
        ((403, {}, b""), "status 403"),
        ((200, {"Content-Disposition": "a.csv.zip;"}, b"<html>"), "cannot be understood"),
    ],
)
def test_a_failure_is_never_taken_for_no_data(
    service: LocalService, ask: Ask, market: str, answer: Answer, wrong: str
) -> None:
    service.respond = in_turn(answer)
    with pytest.raises(FeedProblem, match=wrong) as caught:
        ask(market, "HB_WEST", DAY, DAY)
    assert f"gridstatus {market}, zone ZONE, 2026-01-09" in str(caught.value)
    assert caught.value.__context__ is None


def test_gridstatus_is_left_as_it_was(service: LocalService, ask: Ask) -> None:
    service.respond = in_turn((404, {}, b""))
    ask("nyiso", "N.Y.C.", DAY, DAY)
    assert gridstatus.nyiso.requests is requests
    assert gridstatus.base.requests is requests


def test_gridstatus_is_quiet(
    service: LocalService, ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    service.respond = nyiso
    ask("nyiso", "N.Y.C.", DAY, DAY)
    assert logging.getLogger("gridstatus").level == logging.WARNING
    assert capfd.readouterr() == ("", "")


def test_it_lands_like_a_file(
    service: LocalService, session: PoliteSession, tmp_path: Path
) -> None:
    service.respond = ercot
    zones = {"ERCOT-WEST": "HB_WEST", "ERCOT-NORTH": "LZ_NORTH"}
    source = LiveSource(
        "energy",
        FolderSource(str(tmp_path / "feeds")),
        [GridstatusDayAhead("ercot", zones, session)],
        Cache("energy", tmp_path / "cache"),
        DAY,
        DAY,
    )
    delivery = land_energy_prices(source, tmp_path / "landing")
    assert (delivery.problem, delivery.rejected_rows) == (None, 0)
    assert delivery.file_name == "energy_price_ERCOT-NORTH.csv, energy_price_ERCOT-WEST.csv"
    rows = pq.read_table(tmp_path / "landing" / "energy" / "prices.parquet").to_pylist()
    west = [row for row in rows if row["zone"] == "ERCOT-WEST"]
    assert len(west) == 48
    assert (float(west[0]["price_per_kwh"]), west[0]["currency"]) == (0.00031, "USD")
    # One answer serves both zones: a list for each of the five local days, a file for two.
    assert len(service.asked) == 5 + 2
