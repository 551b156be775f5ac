"""Choosing connectors by configuration, keeping what they fetched, and serving it as one feed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from orchestration.landing import land_energy_prices
from orchestration.sources.folder import FeedProblem, FolderSource, Source
from orchestration.sources.services.cache import Cache, Interval
from orchestration.sources.services.extras import load
from orchestration.sources.services.live import LiveSource, Tokens, connector_for
from orchestration.sources.services.wanted import LiveFeed, wanted

DAY = date(2026, 1, 10)
TOKEN = "not-to-be-seen"


def price(at: str, amount: str, minutes: int = 60) -> Interval:
    return Interval(
        datetime.fromisoformat(at + "Z").astimezone(UTC), minutes, (amount, "EUR", "MWh")
    )


class Scripted:
    """A connector that gives what a test says."""

    name = "Scripted"

    def __init__(self, **answers: Sequence[Interval] | FeedProblem) -> None:
        self.zones: Mapping[str, str] = {zone: zone for zone in answers}
        self.answers = answers
        self.asked: list[tuple[str, date, date]] = []

    def fetch(self, zone: str, first: date, last: date) -> Sequence[Interval]:
        self.asked.append((zone, first, last))
        answer = self.answers[zone]
        if isinstance(answer, FeedProblem):
            raise answer
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    (tmp_path / "feeds" / "energy").mkdir(parents=True)
    return FolderSource(str(tmp_path / "feeds"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache("energy", tmp_path / "cache")


def _served(cache: Cache) -> dict[str, list[str]]:
    return {file.name: file.open().read().decode().splitlines()[1:] for file in cache.files()}


def _chosen(urls: str, feed: LiveFeed, folder: Source, cache: Path, tokens: Tokens) -> Source:
    return connector_for(urls, feed, folder, cache=cache, first=DAY, last=DAY, tokens=tokens)


def test_a_setting_names_services_markets_and_zones() -> None:
    prices = wanted(
        "energy",
        "entsoe://?zones=SE3,DE-LU:10Y1001A1001A82H\n gridstatus://nyiso?zones=NYC:HUD+VL",
    )
    assert [(each.service, each.market, each.zones) for each in prices] == [
        ("entsoe", "", {"SE3": "SE3", "DE-LU": "10Y1001A1001A82H"}),
        ("gridstatus", "nyiso", {"NYC": "HUD VL"}),
    ]
    mix = wanted("carbon", "electricitymaps://?zones=SE3:SE-SE3&renewable=no")
    assert (mix[0].zones, mix[0].renewable) == ({"SE3": "SE-SE3"}, False)
    assert wanted("energy", " ") == []


@pytest.mark.parametrize(
    ("feed", "urls"),
    [
        ("energy", "electricitymaps://?zones=SE3"),
        ("carbon", "entsoe://?zones=SE3"),
        ("energy", "entsoe://"),
        ("energy", "entsoe://?zones="),
        ("energy", "entsoe://?zones=SE3&zones=SE4"),
        ("energy", "entsoe://?zones=SE3&renewable=no"),
        ("energy", "entsoe://?zones=../SE3"),
        ("energy", "entsoe://?zones=SE3:"),
        ("energy", "entsoe://?zones=SE3,SE3"),
        ("energy", "entsoe://market?zones=SE3"),
        ("energy", "gridstatus://?zones=HB_WEST"),
        ("energy", "gridstatus://pjm?zones=WESTERN"),
        ("energy", "entsoe://?zones=A gridstatus://ercot?zones=A:HB_WEST"),
        ("carbon", "electricitymaps://?zones=SE3&renewable=perhaps"),
    ],
)
def test_a_wrong_setting_is_refused(
    feed: LiveFeed, urls: str, folder: FolderSource, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        wanted(feed, urls)
    with pytest.raises(FeedProblem, match="Correct ENERGY_"):
        _chosen(urls, feed, folder, tmp_path, {})


def test_without_a_setting_the_folder_is_the_source(folder: FolderSource, tmp_path: Path) -> None:
    assert _chosen("", "energy", folder, tmp_path, {}) is folder


@pytest.mark.parametrize(
    ("feed", "urls", "variable"),
    [
        ("energy", "entsoe://?zones=SE3", "ENTSOE_API_KEY"),
        ("carbon", "electricitymaps://?zones=SE3:SE-SE3", "ELECTRICITYMAPS_TOKEN"),
    ],
)
def test_without_a_token_the_variable_is_named(
    feed: LiveFeed, urls: str, variable: str, folder: FolderSource, tmp_path: Path
) -> None:
    other = {"OTHER": SecretStr(TOKEN), variable: None}
    source = _chosen(urls, feed, folder, tmp_path, other)
    with pytest.raises(FeedProblem, match=f"{variable} is not set") as caught:
        source.files(feed)
    assert TOKEN not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(FeedProblem, match=r'extra "entsoe" \(pip install'):
        load("entsoe", "there_is_no_such_package")


def test_other_feeds_come_from_the_folder(
    folder: FolderSource, cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "feeds" / "fx").mkdir()
    (tmp_path / "feeds" / "fx" / "fx_rates.csv").write_text("date\n")
    (tmp_path / "feeds" / "usage").mkdir()
    (tmp_path / "feeds" / "usage" / f"usage_{DAY}.jsonl").write_text("")
    source = LiveSource("energy", folder, [Scripted(A=[])], cache, DAY, DAY)
    assert [file.name for file in source.files("fx")] == ["fx_rates.csv"]
    assert source.usage(DAY).name == f"usage_{DAY}.jsonl"


def test_a_window_of_days_is_asked_for(folder: FolderSource, cache: Cache) -> None:
    connector = Scripted(A=[price("2026-01-10T00:00", "1")], B=[price("2026-01-11T05:00", "2")])
    last = DAY + timedelta(days=1)
    files = LiveSource("energy", folder, [connector], cache, DAY, last).files("energy")
    window = (date(2026, 1, 8), date(2026, 1, 12))
    assert connector.asked == [("A", *window), ("B", *window)]
    assert [file.name for file in files] == ["energy_price_A.csv", "energy_price_B.csv"]


def test_days_fetched_earlier_stay(folder: FolderSource, cache: Cache) -> None:
    for day in (DAY, DAY + timedelta(days=30)):
        found = [price(f"{day}T00:00", "1")]
        LiveSource("energy", folder, [Scripted(A=found)], cache, day, day).files("energy")
    LiveSource("energy", folder, [Scripted(B=[price(f"{DAY}T00:00", "1")])], cache, DAY, DAY).files(
        "energy"
    )
    served = _served(cache)
    assert [line.split(",")[1] for line in served["energy_price_A.csv"]] == [
        "2026-01-10T00:00:00Z",
        "2026-02-09T00:00:00Z",
    ]
    assert len(served["energy_price_B.csv"]) == 1


def test_the_newest_fetch_of_an_interval_wins_and_none_is_lost(cache: Cache) -> None:
    cache.put("A", [price(f"2026-01-10T0{hour}:00", "1") for hour in range(4)])
    # A partial answer, in which hour 1 has become four quarters and hour 2 has another price.
    quarters = [price(f"2026-01-10T01:{minute:02}", "2", 15) for minute in (0, 15, 30, 45)]
    cache.put("A", [*quarters, price("2026-01-10T02:00", "3")])
    cache.put("A", [])
    cells = [line.split(",") for line in _served(cache)["energy_price_A.csv"]]
    assert [(at[11:16], minutes, amount) for _, at, minutes, amount, *_ in cells] == [
        ("00:00", "60", "1"),
        ("01:00", "15", "2"),
        ("01:15", "15", "2"),
        ("01:30", "15", "2"),
        ("01:45", "15", "2"),
        ("02:00", "60", "3"),
        ("03:00", "60", "1"),
    ]


def test_two_prices_in_one_answer_both_land(
    folder: FolderSource, cache: Cache, tmp_path: Path
) -> None:
    # The last wins and the pair is counted: that is for landing and the models, not for us.
    twice = [price("2026-01-10T00:00", "1"), price("2026-01-10T00:00", "2")]
    source = LiveSource("energy", folder, [Scripted(A=[*twice, *twice])], cache, DAY, DAY)
    assert land_energy_prices(source, tmp_path / "landing").landed_rows == 2
    rows = pq.read_table(tmp_path / "landing" / "energy" / "prices.parquet").to_pylist()
    assert [float(row["price_per_kwh"]) for row in rows] == [0.001, 0.002]


def test_files_of_the_folder_come_first(folder: FolderSource, cache: Cache, tmp_path: Path) -> None:
    header = "zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz\n"
    (tmp_path / "feeds" / "energy" / "energy_price_A.csv").write_text(
        header + "A,2026-01-10T00:00:00Z,60,0.5,EUR,kWh,offset,\n"
    )
    found = [price("2026-01-10T00:00", "-7.5")]
    source = LiveSource("energy", folder, [Scripted(A=found)], cache, DAY, DAY)
    delivery = land_energy_prices(source, tmp_path / "landing")
    assert (delivery.problem, delivery.landed_rows) == (None, 2)
    rows = pq.read_table(tmp_path / "landing" / "energy" / "prices.parquet").to_pylist()
    assert [float(row["price_per_kwh"]) for row in rows] == [0.5, -0.0075]


def test_a_zone_of_which_nothing_is_known_is_a_problem(folder: FolderSource, cache: Cache) -> None:
    before = [price("2026-01-09T23:00", "1")]
    source = LiveSource("energy", folder, [Scripted(A=before)], cache, DAY, DAY)
    with pytest.raises(FeedProblem, match="zone A: the service has nothing from 2026-01-10"):
        source.files("energy")
    # Once it is known, an empty answer does no harm.
    cache.put("A", [price("2026-01-10T23:00", "1")])
    assert LiveSource("energy", folder, [Scripted(A=[])], cache, DAY, DAY).files("energy")


def test_a_zone_that_fails_keeps_the_snapshot_but_not_the_others_from_being_kept(
    folder: FolderSource, cache: Cache, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    good = [price("2026-01-10T00:00", "1")]
    land_energy_prices(LiveSource("energy", folder, [Scripted(A=good)], cache, DAY, DAY), landing)
    snapshot = (landing / "energy" / "prices.parquet").read_bytes()

    down = {zone: FeedProblem("energy", f"zone {zone}", "it is down", "Wait") for zone in "AC"}
    source = LiveSource("energy", folder, [Scripted(**down, B=good)], cache, DAY, DAY)
    delivery = land_energy_prices(source, landing)
    assert delivery.problem == "energy feed, zone A; zone C: it is down. Wait."
    assert (landing / "energy" / "prices.parquet").read_bytes() == snapshot
    assert list(_served(cache)) == ["energy_price_A.csv", "energy_price_B.csv"]


DAMAGES = {
    "empty": lambda content: b"",
    "header only": lambda content: content.partition(b"\n")[0] + b"\n",
    "torn": lambda content: content[:-12],
    "zeros": lambda content: bytes(len(content)),
    "another file": lambda content: b"zone\nA\n",
}


class Recalling(Scripted):
    """A service that has no other days than those asked for."""

    def fetch(self, zone: str, first: date, last: date) -> Sequence[Interval]:
        return [
            interval
            for interval in super().fetch(zone, first, last)
            if first <= interval.start.date() <= last
        ]


def _spoiled(cache: Cache, tmp_path: Path, day: str, damage: str) -> Path:
    """Two hours of a day are known, and then its file is damaged."""
    cache.put("A", [price(f"{day}T0{hour}:00", str(hour)) for hour in range(2)])
    path = tmp_path / "cache" / "energy" / "A" / f"{day}.csv"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    return path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("day", ["2026-01-10", "2025-12-24"])
def test_a_damaged_day_of_the_cache_is_fetched_again(
    folder: FolderSource, cache: Cache, tmp_path: Path, damage: str, day: str
) -> None:
    """One of the days that are asked for anyway, and one long before them."""
    _spoiled(cache, tmp_path, day, damage)
    assert not cache.known("A", date.fromisoformat(day), date.fromisoformat(day))
    hours = [price(f"{day}T0{hour}:00", str(hour)) for hour in range(2)]
    connector = Recalling(A=[*hours, price(f"{DAY}T05:00", "5")])
    source = LiveSource("energy", folder, [connector], cache, DAY, DAY)
    landed = land_energy_prices(source, tmp_path / "landing")
    assert (landed.problem, landed.landed_rows) == (None, 3)
    old = date.fromisoformat(day)
    assert connector.asked[1:] == ([] if old == DAY else [("A", old, old)])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("answer", ["nothing", "an error"])
def test_a_damaged_day_that_no_service_has_any_more_is_named_and_what_is_landed_stays(
    folder: FolderSource, cache: Cache, tmp_path: Path, damage: str, answer: str
) -> None:
    landing = tmp_path / "landing"
    today = [price(f"{DAY}T05:00", "5")]
    cache.put("A", [price("2025-12-24T00:00", "1")])
    land_energy_prices(LiveSource("energy", folder, [Scripted(A=today)], cache, DAY, DAY), landing)
    snapshot = (landing / "energy" / "prices.parquet").read_bytes()
    path = _spoiled(cache, tmp_path, "2025-12-24", damage)

    class Forgetting(Recalling):
        def fetch(self, zone: str, first: date, last: date) -> Sequence[Interval]:
            if answer == "an error" and first == date(2025, 12, 24):
                raise FeedProblem("energy", "Forgetting", "too long ago", "Do not ask")
            return super().fetch(zone, first, last)

    delivery = land_energy_prices(
        LiveSource("energy", folder, [Forgetting(A=today)], cache, DAY, DAY), landing
    )
    assert "connector_cache/energy/A/2025-12-24.csv: it is damaged, and " in str(delivery.problem)
    assert ("too long ago" in str(delivery.problem)) == (answer == "an error")
    assert (landing / "energy" / "prices.parquet").read_bytes() == snapshot
    # As the problem says, a person may go on without the day.
    path.unlink()
    source = LiveSource("energy", folder, [Forgetting(A=today)], cache, DAY, DAY)
    assert land_energy_prices(source, landing).landed_rows == 1


def test_a_damaged_day_of_a_zone_that_is_not_asked_for_is_not_served_without_it(
    folder: FolderSource, cache: Cache, tmp_path: Path
) -> None:
    _spoiled(cache, tmp_path, "2025-12-24", "empty")
    source = LiveSource(
        "energy", folder, [Scripted(B=[price(f"{DAY}T05:00", "5")])], cache, DAY, DAY
    )
    problem = str(land_energy_prices(source, tmp_path / "landing").problem)
    assert "connector_cache/energy/A/2025-12-24.csv: it is damaged" in problem
