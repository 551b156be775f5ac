"""Landing the undated feeds: one snapshot each, every bad row kept with its reason."""

import gzip
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.landing import (
    files,
    land_energy_mix,
    land_energy_prices,
    land_fx_rates,
    land_gpu_prices,
)
from orchestration.sources.folder import FolderSource

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason=f"the development feeds are not at {SHARED}"
)
ENERGY = "zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz"
CARBON = "zone,ts_utc,carbon_gco2_kwh_lca,renewable_pct"
GPU = "observed_at,provider,region,gpu_type,price_per_gpu_hour,currency,price_kind"
FX = "date,currency,usd_per_unit"
GOOD_ENERGY = "A,2026-01-01T00:00:00+01:00,60,1.5,EUR,kWh,offset,Europe/Stockholm"
GOOD_GPU = "2026-01-01T00:00:00Z,cloud,eu,H100,2.5,USD,spot"


class Feeds:
    """A folder of feeds and a landing beside it."""

    def __init__(self, root):
        self.folder = root / "feeds"
        self.landing = root / "landing"

    def deliver(self, name, *lines, content=None):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in lines).encode() if content is None else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    def land(self, land):
        return land(FolderSource(str(self.folder)), self.landing)

    def rows(self, path):
        return pq.ParquetFile(self.landing / path).read().to_pylist()

    def rejected(self, feed):
        rows = self.rows(f"rejected/{feed}/all.parquet")
        assert all(row["feed"] == feed and row["delivery_date"] is None for row in rows)
        return [(row["line_number"], row["reason"], row["detail"], row["raw"]) for row in rows]

    def contents(self):
        return {path: path.read_bytes() for path in self.landing.rglob("*.parquet")}


@pytest.fixture
def feeds(tmp_path):
    return Feeds(tmp_path)


def energy(feeds, *lines, header=ENERGY):
    """Land some energy prices; returns the snapshot's rows."""
    feeds.deliver("energy/energy_price_A.csv", header, *lines)
    assert feeds.land(land_energy_prices).problem is None
    return feeds.rows("energy/prices.parquet")


def local(time, price="1", tz="Europe/Stockholm"):
    return f"A,{time},60,{price},EUR,kWh,naive_local,{tz}"


# --- energy prices --------------------------------------------------------------------------------


def test_an_energy_price_lands_with_all_its_columns(feeds):
    (row,) = energy(feeds, GOOD_ENERGY)

    assert row == {
        "zone": "A",
        "interval_start": datetime(2025, 12, 31, 23),
        "resolution_minutes": 60,
        "price_per_kwh": Decimal("1.500000000"),
        "currency": "EUR",
        "sequence": 1,
    }


@pytest.mark.parametrize(
    ("price", "unit", "kept"),
    [
        ("40.5", "MWh", "0.040500000"),
        ("0.0000005", "MWh", "0.000000001"),
        ("-0.0000005", "MWh", "-0.000000001"),
        ("0.00000049999", "MWh", "0.000000000"),
        ("999999999.999499", "MWh", "999999.999999499"),
        ("-999999.9999994", "kWh", "-999999.9999994"),
        ("0.0000000005", "kWh", "0.000000001"),
        ("123456.1234567895", "kWh", "123456.123456790"),
        ("0", "kWh", "0"),
        ("-12.5", "kWh", "-12.5"),
        ("1e-3", "kWh", "0.001"),
        (".5", "kWh", "0.5"),
    ],
)
def test_prices_are_exact_per_kwh(feeds, price, unit, kept):
    (row,) = energy(feeds, f"A,2026-01-01T00:00:00Z,15,{price},EUR,{unit},offset,")

    assert row["price_per_kwh"] == Decimal(kept)


@given(st.lists(st.decimals(-(10**8), 10**8, allow_nan=False, places=8), min_size=1, max_size=50))
@settings(max_examples=20, deadline=None)
def test_a_thousandth_is_exact_for_any_price(tmp_path_factory, prices):
    feeds = Feeds(tmp_path_factory.mktemp("prices"))
    rows = energy(feeds, *(f"A,2026-01-01T00:00:00Z,15,{p:f},EUR,MWh,offset," for p in prices))

    assert [row["price_per_kwh"] for row in rows] == [
        (price / 1000).quantize(Decimal("1e-9"), ROUND_HALF_UP) for price in prices
    ]


@pytest.mark.parametrize(
    ("start", "kind", "utc"),
    [
        ("2026-01-01T00:00:00+01:00", "offset", datetime(2025, 12, 31, 23)),
        ("2026-01-01 00:00Z", "offset", datetime(2026, 1, 1)),
        ("2026-01-01T00:00:00", "naive_utc", datetime(2026, 1, 1)),
        ("2026-01-01 00:00", "naive_utc", datetime(2026, 1, 1)),
        ("2026-01-01T00:00:00", "naive_local", datetime(2025, 12, 31, 23)),
        ("2026-07-01 00:00", "naive_local", datetime(2026, 6, 30, 22)),
    ],
)
def test_each_kind_of_timestamp_becomes_utc(feeds, start, kind, utc):
    (row,) = energy(feeds, f"A,{start},60,1,EUR,kWh,{kind},Europe/Stockholm")

    assert row["interval_start"] == utc


def test_a_day_of_23_local_hours(feeds):
    """2026-03-29: 02:00-03:00 doesn't exist in Stockholm; midnight is 23:00 UTC the day before."""
    rows = energy(feeds, *(local(f"2026-03-29T{hour:02}:00:00") for hour in range(24)))

    assert [row["interval_start"] for row in rows] == [
        datetime(2026, 3, 28, 23),
        *(datetime(2026, 3, 29, hour) for hour in range(22)),
    ]
    ((line, reason, detail, raw),) = feeds.rejected("energy")
    assert (line, reason, raw) == (4, "nonexistent_local_time", local("2026-03-29T02:00:00"))
    assert "Europe/Stockholm" in detail
    assert "energy_price_A.csv" in detail


def test_a_day_of_25_local_hours(feeds):
    """2026-10-25: 02:00 comes twice; the first row is the first occurrence, the next the second."""
    hours = [0, 1, 2, 2, *range(3, 24)]
    rows = energy(feeds, *(local(f"2026-10-25T{hour:02}:00:00") for hour in hours))

    assert [row["interval_start"] for row in rows] == [
        datetime(2026, 10, 24, 22),
        datetime(2026, 10, 24, 23),
        *(datetime(2026, 10, 25, hour) for hour in range(23)),
    ]


def test_ambiguous_quarters_are_counted_each_for_itself(feeds):
    """Quarters of one zone must not take the turn of another's, nor of another quarter."""
    quarters = [f"2026-10-25T02:{minute}:00" for minute in ("00", "15")]
    lines = [local(time, price) for price in ("1", "2") for time in quarters]
    lines.insert(1, lines[0].replace("A,", "B,", 1))
    rows = energy(feeds, *lines)

    assert [(row["zone"], row["interval_start"], row["price_per_kwh"]) for row in rows] == [
        ("A", datetime(2026, 10, 25, 0, 0), 1),
        ("B", datetime(2026, 10, 25, 0, 0), 1),
        ("A", datetime(2026, 10, 25, 0, 15), 1),
        ("A", datetime(2026, 10, 25, 1, 0), 2),
        ("A", datetime(2026, 10, 25, 1, 15), 2),
    ]


def test_a_whole_second_delivery_of_an_ambiguous_hour_falls_on_the_same_instants(feeds):
    lines = [local("2026-10-25T02:00:00", price) for price in ("1", "2")]
    feeds.deliver("energy/energy_price_A2.csv", ENERGY, *lines)
    rows = energy(feeds, *lines)

    assert [row["interval_start"].hour for row in rows] == [0, 1, 0, 1]


def test_a_rejected_row_still_takes_its_turn_of_an_ambiguous_hour(feeds):
    (row,) = energy(feeds, local("2026-10-25T02:00:00", ""), local("2026-10-25T02:00:00", "2"))

    assert row["interval_start"] == datetime(2026, 10, 25, 1)


@given(
    tz=st.sampled_from(
        ["Europe/Stockholm", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
    ),
    times=st.lists(
        st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1)).map(
            lambda time: time.replace(microsecond=0)
        )
        | st.sampled_from([datetime(2026, 4, 5, 1, 45), datetime(2026, 10, 4, 2, 15)]),
        min_size=1,
        max_size=20,
        unique=True,
    ),
)
@settings(max_examples=20, deadline=None)
def test_local_times_agree_with_the_standard_library(tmp_path_factory, tz, times):
    """Method: a local time exists if its instant, shown in the zone again, is that time."""
    feeds = Feeds(tmp_path_factory.mktemp("local"))
    rows = energy(feeds, *(local(time.isoformat(), tz=tz) for time in times))

    instants = [time.replace(tzinfo=ZoneInfo(tz)).astimezone(ZoneInfo("UTC")) for time in times]
    assert [row["interval_start"] for row in rows] == [
        instant.replace(tzinfo=None)
        for time, instant in zip(times, instants, strict=True)
        if instant.astimezone(ZoneInfo(tz)).replace(tzinfo=None) == time
    ]


def test_repeated_and_conflicting_prices_all_stay(feeds):
    rows = energy(feeds, GOOD_ENERGY, GOOD_ENERGY, GOOD_ENERGY.replace("1.5", "-2"))

    assert [(row["sequence"], row["price_per_kwh"]) for row in rows] == [
        (1, Decimal("1.5")),
        (2, Decimal("1.5")),
        (3, Decimal(-2)),
    ]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("zone", "", "missing_zone"),
        ("interval_start", "", "missing_interval_start"),
        ("resolution_minutes", "", "missing_resolution_minutes"),
        ("price", "", "missing_price"),
        ("price", "  ", "missing_price"),
        ("currency", "", "missing_currency"),
        ("unit", "", "missing_unit"),
        ("timestamp_kind", "", "missing_timestamp_kind"),
        ("interval_start", "2026-01-01T00:00:00", "naive_timestamp"),
        ("interval_start", "today", "malformed"),
        ("interval_start", "2026-02-30T00:00:00Z", "malformed"),
        ("interval_start", "0000-01-01T00:00:00Z", "malformed"),
        ("resolution_minutes", "quarter", "malformed"),
        ("resolution_minutes", "0", "malformed"),
        ("resolution_minutes", "-15", "malformed"),
        ("resolution_minutes", "7.5", "malformed"),
        ("price", "cheap", "malformed"),
        ("price", "NaN", "malformed"),
        ("price", "inf", "malformed"),
        ("price", "1_000", "malformed"),
        ("price", "1e308", "malformed"),
        ("price", "1000000000", "malformed"),
        ("unit", "J", "malformed"),
        ("timestamp_kind", "guess", "malformed"),
        ("timestamp_kind", "naive_utc", "malformed"),
    ],
)
def test_a_bad_energy_price_has_its_reason(feeds, column, value, reason):
    values = dict(zip(ENERGY.split(","), GOOD_ENERGY.split(","), strict=True)) | {column: value}
    bad = ",".join(values.values())

    assert len(energy(feeds, GOOD_ENERGY, bad, GOOD_ENERGY)) == 2
    ((line, got, detail, raw),) = feeds.rejected("energy")
    assert (line, got, raw) == (3, reason, bad)
    assert detail.startswith("energy_price_A.csv: ")
    assert column in detail or column == "timestamp_kind"


@pytest.mark.parametrize(
    ("tz", "reason"), [("", "missing_tz"), ("Mars/Olympus", "malformed"), ("utc'--", "malformed")]
)
def test_a_local_time_needs_a_zone(feeds, tz, reason):
    assert energy(feeds, local("2026-01-01T00:00:00", tz=tz)) == []
    assert [row[1] for row in feeds.rejected("energy")] == [reason]


def test_the_first_reason_wins(feeds):
    """Malformed first, then the columns in their order, then the rest."""
    energy(
        feeds,
        ",,,,,lot,,",
        ",,,,,,,",
        "A,,,,,,,",
        "A,2026-03-29T02:30:00,,1,EUR,kWh,naive_local,",
        "A,2026-03-29T02:30:00,60,1,EUR,kWh,naive_local,",
        local("2026-03-29T02:30:00"),
    )

    assert [row[1] for row in feeds.rejected("energy")] == [
        "malformed",
        "missing_zone",
        "missing_interval_start",
        "missing_resolution_minutes",
        "missing_tz",
        "nonexistent_local_time",
    ]


def test_the_zone_column_may_be_absent(feeds):
    header = ENERGY.removesuffix(",tz")

    assert len(energy(feeds, GOOD_ENERGY.rpartition(",")[0], header=header)) == 1


# --- CSV as it comes ------------------------------------------------------------------------------


def test_quotes_marks_line_ends_and_extra_columns_are_tolerated(feeds):
    feeds.deliver(
        "fx/fx_rates.csv.gz",
        content=b'\xef\xbb\xbf usd_per_unit,note,"date",currency\r\n'
        b'1.08,"a ""note"", with a comma",2026-01-02,EUR\r\n'
        b"\r\n"
        b'"1.2",,2026-01-02, GBP \r\n',
    )

    assert feeds.land(land_fx_rates).problem is None
    assert feeds.rows("fx/rates.parquet") == [
        {
            "rate_date": date(2026, 1, 2),
            "currency": currency,
            "usd_per_unit": rate,
            "sequence": number,
        }
        for number, (currency, rate) in enumerate(
            [("EUR", Decimal("1.08")), ("GBP", Decimal("1.2"))], 1
        )
    ]


def test_a_broken_line_costs_one_row(feeds):
    """A stray quote must not swallow the lines after it."""
    feeds.deliver(
        "fx/fx_rates.csv",
        content=b"\n".join(
            [
                FX.encode(),
                b"2026-01-02,EUR,1.08",
                b'2026-01-02,"EUR,1.08',
                b"2026-01-02,EUR",
                b"2026-01-02,EUR,1.08,more",
                b"2026-01-02,\xff\xfe,1.08",
                b"2026-01-03,EUR,1.09",
                b"",
            ]
        ),
    )

    delivery = feeds.land(land_fx_rates)

    assert (delivery.delivered_rows, delivery.landed_rows) == (6, 2)
    assert delivery.rejected_by_reason == {"malformed": 4}
    assert [row[0] for row in feeds.rejected("fx")] == [3, 4, 5, 6]
    assert feeds.rejected("fx")[3][3] == "2026-01-02,\\xff\\xfe,1.08"
    assert [row["sequence"] for row in feeds.rows("fx/rates.parquet")] == [1, 6]


def test_files_are_read_in_the_order_of_their_names(feeds):
    """Line numbers are those of each file; the sequence runs on over all of them."""
    for zone in ("B", "A"):
        feeds.deliver(f"energy/energy_price_{zone}.csv", ENERGY, GOOD_ENERGY.replace("A", zone, 1))
    feeds.deliver("energy/energy_price_C.csv.gz", "bad," + ENERGY, "x," + GOOD_ENERGY, ",")

    delivery = feeds.land(land_energy_prices)

    rows = feeds.rows("energy/prices.parquet")
    assert [(row["zone"], row["sequence"]) for row in rows] == [("A", 1), ("B", 2), ("A", 3)]
    assert delivery.file_name == ("energy_price_A.csv, energy_price_B.csv, energy_price_C.csv.gz")
    ((line, _, detail, _),) = feeds.rejected("energy")
    assert line == 3
    assert detail.startswith("energy_price_C.csv.gz: ")


FEEDS = {
    "energy": (land_energy_prices, "energy/energy_price_A.csv", ENERGY, GOOD_ENERGY),
    "carbon": (land_energy_mix, "carbon/carbon_mix_A.csv", CARBON, "A,2026-01-01T00:00:00Z,1,2"),
    "gpu": (land_gpu_prices, "gpu/gpu_prices.csv", GPU, GOOD_GPU),
    "fx": (land_fx_rates, "fx/fx_rates.csv", FX, "2026-01-02,EUR,1.08"),
}


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("trouble", ["missing", "empty", "header", "column", "truncated", "half"])
def test_an_unusable_feed_leaves_the_old_snapshot(feeds, feed, trouble):
    land, name, header, good = FEEDS[feed]
    feeds.deliver(name, header, good, ",".join("," * header.count(",")))
    feeds.land(land)
    before = feeds.contents()
    path = feeds.folder / name
    content = path.read_bytes()
    path.unlink()
    if trouble == "truncated":
        path = path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(content)[:-9])
    elif trouble != "missing":
        path.write_bytes(
            {
                "empty": b"",
                "header": f"{header}\n".encode(),
                "column": content.replace(b"currency", b"coin").replace(b"ts_utc", b"ts"),
                "half": f"{header}\n{good}\n{good[:12]}".encode(),
            }[trouble]
        )

    delivery = feeds.land(land)

    if (feed, trouble) == ("carbon", "missing"):
        assert delivery.problem is None
        assert feeds.rows("carbon/mix.parquet") == []
        return
    expected = {
        "missing": "no such file",
        "empty": "is empty",
        "header": "is empty",
        "column": "line 1: the header lacks the column "
        + ("ts_utc" if feed == "carbon" else "cur"),
        "truncated": "truncated",
        "half": "half-written",
    }[trouble]
    assert expected in delivery.problem
    assert path.name in delivery.problem or trouble == "missing"
    assert delivery.landed_rows == 1
    assert sum(delivery.rejected_by_reason.values()) == 1
    after = feeds.contents()
    changed = {p for p in after if after[p] != before[p]}
    assert changed == {feeds.landing / f"deliveries/{feed}/all.parquet"}
    ((record,),) = [feeds.rows(f"deliveries/{feed}/all.parquet")]
    assert record["problem"] == delivery.problem


@pytest.mark.parametrize("feed", FEEDS)
def test_landing_twice_is_landing_once(feeds, feed):
    land, name, header, good = FEEDS[feed]
    feeds.deliver(name, header, good, "bad")
    once = feeds.land(land), feeds.contents()

    assert (feeds.land(land), feeds.contents()) == once
    assert pq.ParquetFile(feeds.landing / files.SNAPSHOTS[feed][0]).schema_arrow.equals(
        files.SNAPSHOTS[feed][1]
    )
    ((record,),) = [feeds.rows(f"deliveries/{feed}/all.parquet")]
    assert record["delivery_day"] is None
    assert len(record["content_sha256"]) == 64


# --- the other feeds ------------------------------------------------------------------------------


def test_a_zone_without_a_mix_is_no_problem(feeds):
    delivery = feeds.land(land_energy_mix)

    assert (delivery.problem, delivery.landed_rows) == (None, 0)
    assert feeds.rows("carbon/mix.parquet") == []


def test_the_mix_lands_with_nulls(feeds):
    feeds.deliver(
        "carbon/carbon_mix_A.csv",
        CARBON,
        "A,2026-01-01T00:00:00Z,22.9458,100.0",
        "A,2026-01-01T01:00:00,,",
        "A,2026-01-01T02:00:00Z,clean,1",
        "A,2026-01-01T02:00:00Z,1,most",
        "A,later,1,1",
        ",2026-01-01T02:00:00Z,1,1",
        "A,,1,1",
    )

    feeds.land(land_energy_mix)

    first, second = feeds.rows("carbon/mix.parquet")
    assert first == {
        "zone": "A",
        "ts_utc": datetime(2026, 1, 1),
        "carbon_gco2_kwh_lca": Decimal("22.945800"),
        "renewable_pct": Decimal("100.000000"),
        "sequence": 1,
    }
    assert (second["carbon_gco2_kwh_lca"], second["renewable_pct"]) == (None, None)
    assert second["ts_utc"] == datetime(2026, 1, 1, 1)
    assert [row[1] for row in feeds.rejected("carbon")] == [
        *["malformed"] * 3,
        "missing_zone",
        "missing_ts_utc",
    ]


def test_a_gpu_price_lands_with_all_its_columns(feeds):
    feeds.deliver("gpu/gpu_prices.csv.gz", GPU, GOOD_GPU, GOOD_GPU.replace("cloud,eu", ","))

    feeds.land(land_gpu_prices)

    first, second = feeds.rows("gpu/prices.parquet")
    assert first == {
        "observed_at": datetime(2026, 1, 1),
        "provider": "cloud",
        "region": "eu",
        "gpu_type": "H100",
        "price_per_gpu_hour": Decimal("2.500000000"),
        "currency": "USD",
        "price_kind": "spot",
        "sequence": 1,
        "raw": GOOD_GPU,
    }
    assert (second["provider"], second["region"]) == (None, None)


def test_only_rows_identical_in_every_delivered_column_count_once(feeds):
    feeds.deliver(
        "gpu/gpu_prices.csv",
        GPU + ",sku",
        GOOD_GPU + ",a",
        GOOD_GPU + ",b",
        GOOD_GPU + ",a",
        GOOD_GPU.replace("cloud", '"cloud"') + ",a",
    )

    delivery = feeds.land(land_gpu_prices)

    assert [row["sequence"] for row in feeds.rows("gpu/prices.parquet")] == [1, 2]
    assert (delivery.delivered_rows, delivery.landed_rows, delivery.rejected_rows) == (4, 2, 0)


def test_bad_gpu_prices_all_count_even_identical_ones(feeds):
    feeds.deliver(
        "gpu/gpu_prices.csv",
        GPU,
        *[GOOD_GPU.replace("2.5", "")] * 2,
        GOOD_GPU.replace("spot", "futures"),
        GOOD_GPU.replace("2.5", "free"),
        GOOD_GPU.replace("2026-01-01T00:00:00Z", "2026-01-01"),
        GOOD_GPU.replace("00Z", "00"),
        GOOD_GPU.replace("H100", ""),
        GOOD_GPU.replace("USD", ""),
        GOOD_GPU.replace("spot", ""),
        GOOD_GPU.replace("2026-01-01T00:00:00Z", ""),
    )

    feeds.land(land_gpu_prices)

    assert [row[1] for row in feeds.rejected("gpu")] == [
        *["missing_price_per_gpu_hour"] * 2,
        *["malformed"] * 3,
        "naive_timestamp",
        "missing_gpu_type",
        "missing_currency",
        "missing_price_kind",
        "missing_observed_at",
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-01-02,EUR,0", "malformed"),
        ("2026-01-02,EUR,-1", "malformed"),
        ("2026-01-02,EUR,0.0000000001", "malformed"),
        ("2026-01-02,EUR,0.0000000009994", "malformed"),
        ("2026-01-02,EUR,1000000000.000000000001", "malformed"),
        ("2026-01-02,EUR,1e999999999", "malformed"),
        ("2026-01-02,EUR,nan", "malformed"),
        ("02.01.2026,EUR,1", "malformed"),
        ("2026-02-30,EUR,1", "malformed"),
        ("0000-01-01,EUR,1", "malformed"),
        (",EUR,1", "missing_date"),
        ("2026-01-02,,1", "missing_currency"),
        ("2026-01-02,EUR,", "missing_usd_per_unit"),
    ],
)
def test_a_bad_rate_has_its_reason(feeds, line, reason):
    feeds.deliver("fx/fx_rates.csv", FX, line, "2026-01-02,EUR,1.08")

    assert feeds.land(land_fx_rates).rejected_by_reason == {reason: 1}


@pytest.mark.parametrize(
    ("rate", "kept"),
    [
        ("0.000000001", "0.000000001"),
        ("1e9", "1000000000"),
        ("0.0000000237", "0.0000000237"),
        ("1.0000000000005", "1.000000000001"),
    ],
)
def test_a_rate_keeps_twelve_decimals(feeds, rate, kept):
    feeds.deliver("fx/fx_rates.csv", FX, f"2026-01-02,IRR,{rate}")

    assert feeds.land(land_fx_rates).problem is None
    assert [row["usd_per_unit"] for row in feeds.rows("fx/rates.parquet")] == [Decimal(kept)]


LIMITS = {
    "kWh": (
        land_energy_prices,
        "energy/energy_price_A.csv",
        ENERGY,
        "A,2026-01-01T00:00:00Z,60,{},EUR,kWh,offset,",
        ("999999.9999994", "-999999.9999994"),
        ("1000000", "-1e6", "999999.9999995", "1e999999999"),
        "less than 10^6 a kWh was expected",
    ),
    "MWh": (
        land_energy_prices,
        "energy/energy_price_A.csv",
        ENERGY,
        "A,2026-01-01T00:00:00Z,60,{},EUR,MWh,offset,",
        ("999999999.999499",),
        ("1000000000", "999999999.9995", "1e12", "1e99"),
        "less than 10^6 a kWh was expected",
    ),
    "gpu": (
        land_gpu_prices,
        "gpu/gpu_prices.csv",
        GPU,
        "2026-01-01T00:00:00Z,cloud,eu,H100,{},USD,spot",
        ("999999.9999994", "-999999.9999994"),
        ("1000000", "999999.9999995", "1e999999999"),
        "a number below 10^6 was expected",
    ),
    "carbon": (
        land_energy_mix,
        "carbon/carbon_mix_A.csv",
        CARBON,
        "A,2026-01-01T00:00:00Z,{},50",
        ("999999999.999999",),
        ("1e9",),
        "a number below 10^9 was expected",
    ),
}


@pytest.mark.parametrize("feed", LIMITS)
def test_a_price_beyond_its_limit_is_set_aside_by_name(feeds, feed):
    land, name, header, line, within, beyond, expected = LIMITS[feed]
    feeds.deliver(name, header, *(line.format(number) for number in (*within, *beyond)))

    delivery = feeds.land(land)

    assert delivery.landed_rows == len(within)
    rejected = feeds.rejected(delivery.feed)
    assert [row[3] for row in rejected] == [line.format(number) for number in beyond]
    assert all(expected in row[2] for row in rejected)


# --- the development feeds ------------------------------------------------------------------------


@needs_shared
def test_the_development_feeds_land_as_expected(tmp_path):
    source = FolderSource(str(SHARED / "data/dev"))
    landed = {name: land(source, tmp_path) for name, (land, _, _, _) in FEEDS.items()}

    assert all(delivery.problem is None for delivery in landed.values())
    assert landed["gpu"].rejected_by_reason == {"missing_price_per_gpu_hour": 12}
    assert [landed[name].rejected_rows for name in ("energy", "carbon", "fx")] == [0, 0, 0]
    prices = pq.ParquetFile(tmp_path / "energy/prices.parquet").read().to_pylist()
    # The 25-hour day has 100 quarters and 3 extra ones that conflict, in each zone.
    starts = [
        row["interval_start"]
        for row in prices
        if row["zone"] == "SE3"
        and datetime(2025, 10, 25, 22) <= row["interval_start"] < datetime(2025, 10, 26, 23)
    ]
    assert (len(set(starts)), len(starts)) == (100, 103)
