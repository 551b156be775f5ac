"""The sample and the seeds: reproducible, consistent with each other, and complete.

A demo that lacks a feature hides it, so the seeds' features are listed one by one below.
"""

import csv
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import command

from orchestration import sample
from orchestration.errors import PlainError

SEEDS = Path(__file__).parents[1] / "seeds"
Seeds = dict[str, list[dict[str, str]]]

COLUMNS = {
    "catalog/accelerators": "accelerator vendor memory_gb busy_watts idle_watts",
    "catalog/accelerator_aliases": "alias accelerator",
    "catalog/credit_rates": "accelerator model_family credits_per_gpu_minute valid_from valid_to",
    "catalog/plans": "sku name included_credits base_concurrency overage_policy"
    " pre_alert_depletion hard_cap_depletion rollover_min_utilization rollover_rate"
    " energy_baseline_per_kwh energy_markup_rate target_gross_margin valid_from valid_to",
    "catalog/packs": "sku name kind included_credits validity_hours concurrency_multiplier"
    " surcharge_rate valid_from valid_to",
    "catalog/dedicated_clusters": "sku name valid_from valid_to",
    "catalog/price_tiers": "sku charge mode tier up_to unit_price flat_fee package_size"
    " valid_from valid_to",
    "catalog/term_discounts": "sku min_commit_months discount_rate valid_from valid_to",
    "fleet/facilities": "facility_id region zone tz pue overhead_per_gpu_hour"
    " default_price_per_kwh",
    "fleet/clusters": "cluster facility_id default_accelerator",
    "fleet/pools": "cluster accelerator gpu_count valid_from valid_to",
    "fleet/procurement_lots": "lot_id cluster accelerator gpu_count basis capex_per_gpu"
    " salvage_per_gpu useful_life_months price_per_gpu_hour provider price_kind starts_on ends_on"
    " currency",
    "contracts/customers": "customer_id customer_name billing_anchor_day regulated",
    "contracts/subscriptions": "subscription_id customer_id sku quantity starts_on ends_on"
    " commit_months cluster auto_purchase_sku max_auto_purchases_per_cycle",
    "contracts/orders": "order_id customer_id sku quantity ordered_at",
    "contracts/adjustments": "adjustment_id customer_id posted_on credits amount reason",
}
KEYS = {
    "catalog/credit_rates": ("accelerator", "model_family"),
    "catalog/plans": ("sku",),
    "catalog/packs": ("sku",),
    "catalog/dedicated_clusters": ("sku",),
    "catalog/price_tiers": ("sku", "charge", "tier"),
    "catalog/term_discounts": ("sku", "min_commit_months"),
    "fleet/pools": ("cluster", "accelerator"),
}
"""Effective-dated seeds: no two ranges of one key may overlap."""


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    """Every seed by folder and name."""
    read = {}
    for name in COLUMNS:
        with (SEEDS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            read[name] = list(csv.DictReader(file))
    return read


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> sample.SampleSummary:
    """The sample of all 42 days."""
    target = tmp_path_factory.mktemp("sample")
    return sample.generate_sample(target, sample.OPENS_ON, sample.CLOSES_ON)


def read_bytes(summary: sample.SampleSummary) -> dict[str, bytes]:
    """Every file of a sample."""
    return {str(name): (summary.target / name).read_bytes() for name in summary.files}


def read_usage(path: Path) -> Iterator[dict[str, Any] | str]:
    """The lines of a usage file; a line that isn't JSON as text."""
    if path.suffix == ".parquet":
        yield from pq.read_table(path).to_pylist()
        return
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            yield line


def usage_rows(summary: sample.SampleSummary) -> list[tuple[date, dict[str, Any]]]:
    """All readable usage rows with their delivery day."""
    rows = []
    for path in sorted((summary.target / "usage").iterdir()):
        day = date.fromisoformat(path.name.removeprefix("usage_")[:10])
        rows += [(day, row) for row in read_usage(path) if isinstance(row, dict)]
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(text.splitlines()))


def is_good(row: dict[str, Any]) -> bool:
    """True unless the row was broken on purpose; those carry their reason as event id."""
    return not any(row["event_id"].endswith(reason.replace("_", "-")) for reason in sample.BAD_ROWS)


def utc_day(row: dict[str, Any]) -> date:
    return datetime.fromisoformat(row["ts"]).astimezone(UTC).date()


# Reproducible


def test_the_same_arguments_write_the_same_bytes(whole, tmp_path):
    """Method: write all days again elsewhere and compare every file."""
    again = sample.generate_sample(tmp_path, sample.OPENS_ON, sample.CLOSES_ON)

    assert read_bytes(again) == read_bytes(whole)
    assert again.counts == whole.counts


def test_another_seed_writes_other_usage(whole, tmp_path):
    first = whole.files[0]
    other = sample.generate_sample(tmp_path, sample.OPENS_ON, sample.OPENS_ON, seed=8)

    assert read_bytes(other)[str(first)] != read_bytes(whole)[str(first)]


@pytest.mark.parametrize(
    ("first_day", "last_day"), [("2026-01-05", "2026-01-09"), ("2026-01-20", "2026-02-03")]
)
def test_a_days_usage_does_not_depend_on_the_days_around_it(whole, tmp_path, first_day, last_day):
    """Method: a shorter sample's usage files are those of the long one."""
    part = sample.generate_sample(
        tmp_path, date.fromisoformat(first_day), date.fromisoformat(last_day)
    )

    of_whole = read_bytes(whole)
    of_part = {name: data for name, data in read_bytes(part).items() if name.startswith("usage/")}
    assert len(of_part) == (part.last_day - part.first_day).days + 1
    assert {name: of_whole[name] for name in of_part} == of_part


def test_a_range_that_runs_backwards_is_an_error(tmp_path):
    with pytest.raises(PlainError, match="before the first day"):
        sample.generate_sample(tmp_path, sample.CLOSES_ON, sample.OPENS_ON)


def test_the_command_line_prints_what_it_wrote(tmp_path, capsys):
    assert command("sample", str(tmp_path), "--from", "2026-01-05", "--to", "2026-01-06") == 0

    assert "2026-01-05 .. 2026-01-06" in capsys.readouterr().out
    assert len(list((tmp_path / "usage").iterdir())) == 2


# The usage feed


def test_every_file_format_is_delivered(whole):
    suffixes = Counter("".join(path.suffixes) for path in (whole.target / "usage").iterdir())

    assert suffixes == {".jsonl.gz": 40, ".jsonl": 1, ".parquet": 1}


def test_defects_are_there_and_rare(whole):
    """Shares of all rows; the limits are those that the sample promises."""
    counts, total = whole.counts, whole.usage_rows
    bad = {kind: n for kind, n in counts.items() if kind.startswith("bad/")}

    assert 600 * 42 < total < 1500 * 42
    assert 0.06 < counts["late"] / total < 0.10
    assert 0.003 < counts["duplicate"] / total < 0.008
    assert counts["conflict"] == 2
    assert 10 < counts["correction"] < 60
    assert bad.keys() == {f"bad/{reason}" for reason in sample.BAD_ROWS}
    assert min(bad.values()) >= 2
    assert sum(bad.values()) == 24


def test_no_delivery_fails_the_five_percent_check(whole):
    """At most one bad row a day, of at least 600."""
    files = sample._usage_files(7, sample.OPENS_ON, sample.CLOSES_ON)

    for day, lines in files.items():
        assert len(lines) > 600, day
        assert sum(line.kind.startswith("bad/") for line in lines) <= 1, day


def test_repeated_ids_are_duplicates_or_the_two_conflicts(whole):
    """Method: rows of one id, nulls dropped and numbers compared as numbers."""
    payloads: dict[str, list[dict[str, Any]]] = defaultdict(list)
    days: dict[str, set[date]] = defaultdict(set)
    for day, row in usage_rows(whole):
        metadata = {
            key: float(value) if key == "energy_cost" else value
            for key, value in row["metadata"].items()
            if value is not None
        }
        plain = {key: value for key, value in row.items() if value is not None}
        quantity = {} if row["quantity"] is None else {"quantity": float(row["quantity"])}
        payloads[row["event_id"]].append({**plain, **quantity, "metadata": metadata})
        days[row["event_id"]].add(day)

    repeated = {event: rows for event, rows in payloads.items() if len(rows) > 1}
    conflicts = [event for event, (first, *rest) in repeated.items() if rest != [first]]
    assert len(repeated) == whole.counts["duplicate"] + whole.counts["conflict"]
    assert len(conflicts) == 2
    assert any(len(days[event]) == 2 for event in repeated.keys() - set(conflicts))


def test_late_rows_reach_back_at_most_to_three_days_before_the_books_open(whole):
    delays = Counter()
    for day, row in usage_rows(whole):
        if is_good(row) and row.get("kind") is None:
            assert utc_day(row) >= sample.OLDEST_USAGE
            delays[(day - utc_day(row)).days] += 1

    assert min(delays) == 0
    assert set(range(1, 21)) <= set(delays) <= set(range(sample.LONGEST_DELAY_DAYS))


def test_some_rows_arrive_after_their_cycle_has_closed(whole, seeds):
    """Those become adjustments: delivered later than three days after the cycle's end."""
    anchors = {
        row["customer_id"]: int(row["billing_anchor_day"]) for row in seeds["contracts/customers"]
    }
    after_close = Counter()
    for day, row in usage_rows(whole):
        if is_good(row) and utc_day(row) >= sample.OPENS_ON:
            closes_on = next_anchor(utc_day(row), anchors[row["customer_id"]]) + timedelta(days=3)
            after_close[row["customer_id"]] += day > closes_on

    assert sum(after_close.values()) > 100
    assert after_close["retro-render"] > 0, "late usage of a customer whose plan has ended"


def next_anchor(day: date, anchor: int) -> date:
    """The first day of the cycle after the one of ``day``."""
    while True:
        day += timedelta(days=1)
        if day.day == anchor:
            return day


def test_one_sunday_posts_less_than_nothing(whole):
    """Pixel Pantry, 1 February: a void of 26 January and no use, so the ledger refunds."""
    sunday = sample.REFUNDED_ON
    posted = [
        float(row["quantity"])
        for day, row in usage_rows(whole)
        if row["customer_id"] == "pixel-pantry" and sunday in (day, utc_day(row))
        # Use of the open cycle, since 28 January, is posted on its own day.
        if utc_day(row) < date(2026, 1, 28) or utc_day(row) == sunday
    ]

    assert sum(posted) < 0


def test_the_meter_speaks_all_its_units_and_spellings(whole):
    rows = [row for _, row in usage_rows(whole) if is_good(row)]

    assert {row["meter"] for row in rows} == {
        "gpu_minute",
        "gpu_second",
        "gpu_millisecond",
        "gpu_hour",
    }
    assert {row.get("kind") for row in rows} == {None, "correction", "retraction"}
    assert any("energy_cost" in row["metadata"] for row in rows)
    assert any("duration_s" not in row["metadata"] for row in rows)
    assert any("gpu_type" not in row["metadata"] for row in rows)
    assert any("model_family" not in row["metadata"] for row in rows)
    assert any(row["metadata"]["gpu_count"] == 0.25 for row in rows)
    assert any(row["ts"].endswith("-06:00") for row in rows)
    assert max(row["metadata"].get("duration_s") or 0 for row in rows) > 2 * 3600


def test_usage_names_only_what_the_seeds_know(whole, seeds):
    """Good rows; the broken ones name strangers on purpose."""
    customers = values(seeds, "contracts/customers", "customer_id")
    clusters = values(seeds, "fleet/clusters", "cluster")
    spellings = values(seeds, "catalog/accelerators", "accelerator")
    spellings |= values(seeds, "catalog/accelerator_aliases", "alias")

    named = [row for _, row in usage_rows(whole) if is_good(row)]
    assert {row["customer_id"] for row in named} == customers
    assert {row["metadata"]["cluster"] for row in named} == clusters
    assert {row["metadata"].get("gpu_type") for row in named} - {None} <= spellings


def test_every_day_of_use_has_a_plan_and_every_gpu_a_rate(whole, seeds):
    plans = values(seeds, "catalog/plans", "sku")
    ranges = defaultdict(list)
    for row in seeds["contracts/subscriptions"]:
        if row["sku"] in plans:
            ranges[row["customer_id"]].append(valid_range(row, "starts_on", "ends_on"))
    rated = {row["accelerator"] for row in seeds["catalog/credit_rates"]}
    aliases = {r["alias"]: r["accelerator"] for r in seeds["catalog/accelerator_aliases"]}
    default = {r["cluster"]: r["default_accelerator"] for r in seeds["fleet/clusters"]}

    for _, row in usage_rows(whole):
        if is_good(row):
            day = utc_day(row)
            assert any(first <= day < last for first, last in ranges[row["customer_id"]]), row
            raw = row["metadata"].get("gpu_type") or default[row["metadata"]["cluster"]]
            assert aliases.get(raw, raw) in rated, row


# The other feeds


def test_energy_prices_come_in_three_shapes_and_cover_the_window(whole):
    shapes = {}
    for path in (whole.target / "energy").iterdir():
        rows = read_csv(path)
        assert " ".join(rows[0]) == (
            "zone interval_start resolution_minutes price currency unit timestamp_kind tz"
        )
        assert rows[0]["interval_start"] < "2026-01-04"
        assert rows[-1]["interval_start"] > "2026-02-16"
        assert 0.01 < sum(float(row["price"]) < 0 for row in rows) / len(rows) < 0.1
        first = rows[0]
        shapes[first["zone"]] = tuple(
            first[key] for key in ("resolution_minutes", "currency", "unit", "timestamp_kind")
        )

    assert shapes == {
        "DE-LU": ("60", "EUR", "kWh", "offset"),
        "ERCOT-WEST": ("60", "USD", "MWh", "naive_utc"),
        "SE2": ("15", "SEK", "kWh", "naive_local"),
    }


def test_energy_prices_miss_hours_repeat_one_and_restate_one(whole):
    """45 days of 24 hours, less 1 hour in Germany and Sweden and 2 in Texas."""
    prices = {
        path.stem.removeprefix("energy_price_"): read_csv(path)
        for path in (whole.target / "energy").iterdir()
    }
    starts = {zone: Counter(row["interval_start"] for row in rows) for zone, rows in prices.items()}

    assert len(starts["DE-LU"]) == 45 * 24 - 1
    assert len(starts["ERCOT-WEST"]) == 45 * 24 - 2
    assert len(starts["SE2"]) == (45 * 24 - 1) * 4
    repeated = {
        (zone, start): {row["price"] for row in prices[zone] if row["interval_start"] == start}
        for zone, counts in starts.items()
        for start, count in counts.items()
        if count > 1
    }
    assert {zone: len(distinct) for (zone, _), distinct in repeated.items()} == {
        "DE-LU": 1,
        "ERCOT-WEST": 2,
    }


def test_one_zone_has_no_energy_mix(whole, seeds):
    zones = values(seeds, "fleet/facilities", "zone")
    priced = {p.stem.removeprefix("energy_price_") for p in (whole.target / "energy").iterdir()}
    mixed = {p.stem.removeprefix("carbon_mix_") for p in (whole.target / "carbon").iterdir()}

    assert priced == zones
    assert zones - mixed == {"ERCOT-WEST"}
    for path in (whole.target / "carbon").iterdir():
        rows = read_csv(path)
        assert list(rows[0]) == ["zone", "ts_utc", "carbon_gco2_kwh_lca", "renewable_pct"]
        assert all(0 <= float(row["renewable_pct"]) <= 100 for row in rows)


def test_gpu_prices_reach_back_five_weeks_and_repeat_a_few_rows(whole, seeds):
    rows = read_csv(whole.target / "gpu/gpu_prices.csv.gz")
    distinct = {tuple(row.values()) for row in rows}

    assert " ".join(rows[0]) == (
        "observed_at provider region gpu_type price_per_gpu_hour currency price_kind"
    )
    assert rows[0]["observed_at"].startswith("2025-12-01")
    assert {row["price_kind"] for row in rows} == {
        "spot",
        "on_demand",
        "market_min",
        "market_median",
    }
    assert 5 < len(rows) - len(distinct) < 60
    unknown = {row["gpu_type"] for row in rows} - values(
        seeds, "catalog/accelerators", "accelerator"
    )
    assert unknown == {"B200"}


def test_every_market_lot_finds_prices_from_its_first_week_on(whole, seeds):
    """An observation of the lot's kind and provider before the ISO week of the first cost day."""
    rows = read_csv(whole.target / "gpu/gpu_prices.csv.gz")
    for lot in seeds["fleet/procurement_lots"]:
        if lot["basis"] == "market":
            assert any(
                row["gpu_type"] == lot["accelerator"]
                and row["observed_at"] < "2026-01-05"
                and lot["price_kind"] == row["price_kind"]
                and lot["provider"] in ("", row["provider"])
                for row in rows
            ), lot


def test_exchange_rates_rest_on_weekends_and_know_every_currency(whole, seeds):
    rows = read_csv(whole.target / "fx/fx_rates.csv")

    assert list(rows[0]) == ["date", "currency", "usd_per_unit"]
    assert all(date.fromisoformat(row["date"]).weekday() < 5 for row in rows)
    first_lot = min(row["starts_on"] for row in seeds["fleet/procurement_lots"])
    assert rows[0]["date"] < first_lot
    used = values(seeds, "fleet/procurement_lots", "currency") | {"SEK", "EUR"}
    assert used - {"USD"} == {row["currency"] for row in rows}


# The seeds


def values(seeds: Seeds, name: str, column: str) -> set[str]:
    """The values of a column, blanks left out."""
    return {row[column] for row in seeds[name]} - {""}


def valid_range(row: dict[str, str], first: str, last: str) -> tuple[date, date]:
    """Half-open range of a seed row; no end means forever."""
    return date.fromisoformat(row[first]), date.fromisoformat(row[last] or "9999-12-31")


def test_every_seed_has_its_columns(seeds):
    for name, rows in seeds.items():
        assert rows, name
        assert list(rows[0]) == COLUMNS[name].split(), name
        assert all(None not in row and None not in row.values() for row in rows), name


def test_effective_ranges_do_not_overlap(seeds):
    for name, key in KEYS.items():
        ranges = defaultdict(list)
        for row in seeds[name]:
            ranges[tuple(row[column] for column in key)].append(
                valid_range(row, "valid_from", "valid_to")
            )
        for owner, spans in ranges.items():
            spans.sort()
            assert all(first < last for first, last in spans), (name, owner)
            assert all(a[1] <= b[0] for a, b in pairwise(spans)), (name, owner)


def test_ids_are_unique(seeds):
    for name, column in [
        ("catalog/accelerators", "accelerator"),
        ("catalog/accelerator_aliases", "alias"),
        ("fleet/facilities", "facility_id"),
        ("fleet/clusters", "cluster"),
        ("fleet/procurement_lots", "lot_id"),
        ("contracts/customers", "customer_id"),
        ("contracts/subscriptions", "subscription_id"),
        ("contracts/orders", "order_id"),
        ("contracts/adjustments", "adjustment_id"),
    ]:
        ids = [row[column] for row in seeds[name]]
        assert len(ids) == len(set(ids)), name


def test_every_reference_exists(seeds):
    """One line per foreign key: seed, column, seed it points at, column."""
    skus = set()
    for name in ("catalog/plans", "catalog/packs", "catalog/dedicated_clusters"):
        skus |= values(seeds, name, "sku")
    for name in ("catalog/price_tiers", "contracts/subscriptions", "contracts/orders"):
        assert values(seeds, name, "sku") <= skus, name
    assert skus == values(seeds, "catalog/price_tiers", "sku"), "a SKU without a price"
    for name, column, target, key in [
        ("catalog/accelerator_aliases", "accelerator", "catalog/accelerators", "accelerator"),
        ("catalog/credit_rates", "accelerator", "catalog/accelerators", "accelerator"),
        ("catalog/term_discounts", "sku", "catalog/plans", "sku"),
        ("fleet/clusters", "facility_id", "fleet/facilities", "facility_id"),
        ("fleet/clusters", "default_accelerator", "catalog/accelerators", "accelerator"),
        ("fleet/pools", "cluster", "fleet/clusters", "cluster"),
        ("fleet/pools", "accelerator", "catalog/accelerators", "accelerator"),
        ("contracts/subscriptions", "customer_id", "contracts/customers", "customer_id"),
        ("contracts/subscriptions", "cluster", "fleet/clusters", "cluster"),
        ("contracts/subscriptions", "auto_purchase_sku", "catalog/packs", "sku"),
        ("contracts/orders", "customer_id", "contracts/customers", "customer_id"),
        ("contracts/adjustments", "customer_id", "contracts/customers", "customer_id"),
    ]:
        assert values(seeds, name, column) <= values(seeds, target, key), (name, column)


def test_a_customer_has_one_plan_at_a_time(seeds):
    plans = values(seeds, "catalog/plans", "sku")
    ranges = defaultdict(list)
    for row in seeds["contracts/subscriptions"]:
        if row["sku"] in plans:
            ranges[row["customer_id"]].append(valid_range(row, "starts_on", "ends_on"))

    assert ranges.keys() == values(seeds, "contracts/customers", "customer_id")
    for customer, spans in ranges.items():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(spans)), customer


def test_the_last_tier_of_a_price_is_open_ended(seeds):
    prices = defaultdict(list)
    for row in seeds["catalog/price_tiers"]:
        prices[row["sku"], row["charge"], row["valid_from"]].append(row)
    for price, tiers in prices.items():
        tiers.sort(key=lambda row: int(row["tier"]))
        limits = [row["up_to"] for row in tiers]
        assert limits[-1] == "", price
        assert "" not in limits[:-1], price
        assert [float(x) for x in limits[:-1]] == sorted(float(x) for x in limits[:-1]), price
        assert len({row["mode"] for row in tiers}) == 1, price
        assert all(row["package_size"] for row in tiers if row["mode"] == "package"), price


def test_lots_add_up_to_pools_every_day(seeds):
    """GPUs bought and rented = GPUs in the pool, on each day of the sample."""
    for number in range(-60, 42):
        day = sample.OPENS_ON + timedelta(days=number)
        lots, pools = Counter(), Counter()
        for row in seeds["fleet/procurement_lots"]:
            first, last = valid_range(row, "starts_on", "ends_on")
            if first <= day < last:
                lots[row["cluster"], row["accelerator"]] += int(row["gpu_count"])
        for row in seeds["fleet/pools"]:
            first, last = valid_range(row, "valid_from", "valid_to")
            if first <= day < last:
                pools[row["cluster"], row["accelerator"]] += int(row["gpu_count"])
        assert lots == pools, day


def has(name: str, **wanted: str) -> Callable[[Seeds], bool]:
    """True when a row of the seed has these values."""
    return lambda seeds: any(
        all(row[column] == value for column, value in wanted.items()) for row in seeds[name]
    )


def inside_the_sample(name: str, column: str, **wanted: str) -> Callable[[Seeds], bool]:
    """True when a date of the seed lies within the sample's days, on a row with these values."""
    return lambda seeds: any(
        str(sample.OPENS_ON) < row[column][:10] <= str(sample.CLOSES_ON)
        for row in seeds[name]
        if all(row[key] == value for key, value in wanted.items())
    )


TIERS = "catalog/price_tiers"
LOTS = "fleet/procurement_lots"
SUBSCRIPTIONS = "contracts/subscriptions"
FEATURES: dict[str, Callable[[Seeds], bool]] = {
    "overage, graduated with a flat fee": lambda seeds: any(
        float(row["flat_fee"] or 0) > 0
        for row in seeds[TIERS]
        if row["charge"] == "overage" and row["mode"] == "graduated"
    ),
    "overage, volume": has(TIERS, charge="overage", mode="volume"),
    "overage, package": has(TIERS, charge="overage", mode="package"),
    "overage, waived": has("catalog/plans", overage_policy="waive"),
    "base, graduated": has(TIERS, charge="base", mode="graduated", tier="2"),
    "base, volume": has(TIERS, charge="base", mode="volume", tier="2"),
    "base, package": has(TIERS, charge="base", mode="package"),
    "dedicated price with tiers": has(TIERS, charge="dedicated", tier="2"),
    "pack price with tiers": has(TIERS, sku="top-up-10k", charge="pack", tier="2"),
    "a price change": inside_the_sample(TIERS, "valid_from"),
    "a plan change": inside_the_sample("catalog/plans", "valid_from", sku="studio-50k"),
    "a credit rate change": inside_the_sample("catalog/credit_rates", "valid_from"),
    "an exact model family": has("catalog/credit_rates", model_family="video-diffusion"),
    "unlimited concurrency": has("catalog/plans", base_concurrency=""),
    "term discount of 20 % for 12 months": has(
        "catalog/term_discounts", sku="studio-50k", min_commit_months="12", discount_rate="0.20"
    ),
    "burst pack": has("contracts/orders", sku="weekend-burst"),
    "burst pack without credits": has("contracts/orders", sku="burst-pass"),
    "top-up": has("contracts/orders", sku="top-up-10k"),
    "auto-purchase with a limit": has(
        SUBSCRIPTIONS, auto_purchase_sku="top-up-10k", max_auto_purchases_per_cycle="4"
    ),
    "dedicated cluster": has(SUBSCRIPTIONS, sku="dedicated", cluster="abi-lane"),
    "more than one plan at once": has(SUBSCRIPTIONS, sku="scale-1m", quantity="4"),
    "a plan that starts inside": inside_the_sample(
        SUBSCRIPTIONS, "starts_on", customer_id="agri-scan"
    ),
    "a plan that ends": inside_the_sample(SUBSCRIPTIONS, "ends_on", customer_id="retro-render"),
    "a plan changed for another": inside_the_sample(
        SUBSCRIPTIONS, "ends_on", customer_id="tutor-tree"
    ),
    "regulated customer": has("contracts/customers", regulated="true"),
    "goodwill credits": inside_the_sample("contracts/adjustments", "posted_on", amount=""),
    "credit note": inside_the_sample("contracts/adjustments", "posted_on", credits=""),
    "owned lot in another currency": has(LOTS, basis="owned", currency="EUR"),
    "reserved lot": has(LOTS, basis="reserved", currency="EUR"),
    "market lot of any provider": has(LOTS, basis="market", provider="", price_kind="spot"),
    "market lot of one provider": has(LOTS, basis="market", provider="cumulus", price_kind="spot"),
    "a lot that starts inside": inside_the_sample(LOTS, "starts_on"),
    "a lot that ends inside": inside_the_sample(LOTS, "ends_on"),
    "a pool that grows": inside_the_sample("fleet/pools", "valid_from"),
    "a cluster with two kinds of GPU": lambda seeds: (
        len({row["accelerator"] for row in seeds["fleet/pools"] if row["cluster"] == "abi-lane"})
        == 2
    ),
    "a cluster without a pool": lambda seeds: bool(
        values(seeds, "fleet/clusters", "cluster") - values(seeds, "fleet/pools", "cluster")
    ),
    "three facilities in three zones": lambda seeds: (
        len(values(seeds, "fleet/facilities", "zone")) == 3
    ),
    "eight accelerators": lambda seeds: (
        values(seeds, "catalog/accelerators", "accelerator")
        == {"H100", "H200", "A100", "L40S", "L4", "MI300X", "inferentia2", "trainium2"}
    ),
    "vendor spellings": has("catalog/accelerator_aliases", alias="nvidia-h100-80gb-hbm3"),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_seeds_show_every_feature(seeds, feature):
    assert FEATURES[feature](seeds)


def test_frame_forge_pays_480_a_cycle(seeds):
    """50,000 credits at 0.012 = 600.00; 12 months, 20 % off = -120.00; net 480.00."""
    plan = next(row for row in seeds["catalog/plans"] if row["sku"] == "studio-50k")
    price = next(
        row for row in seeds[TIERS] if row["sku"] == "studio-50k" and row["charge"] == "base"
    )
    term = next(row for row in seeds[SUBSCRIPTIONS] if row["subscription_id"] == "sub-frame-forge")

    assert (plan["included_credits"], price["unit_price"]) == ("50000", "0.012")
    assert (term["sku"], term["commit_months"]) == ("studio-50k", "12")
    assert has("catalog/term_discounts", sku="studio-50k", discount_rate="0.20")(seeds)
