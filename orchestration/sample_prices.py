"""Prices of the sample: how energy, its mix, GPU prices and exchange rates move, zone by zone, day by day.

Each day's rows are a function of ``(seed, day)`` alone, as text, the way such feeds come.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
"""One row of a feed, by column."""

# --------------------------------------------------------------------------------------
# Energy price and mix
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Zone:
    """How one bidding zone prices energy, and how its prices are delivered."""

    name: str
    tz: str
    currency: str
    unit: str
    resolution_minutes: int
    timestamp_kind: str
    mean: float
    """Mean price in the zone's currency and unit."""
    swing: float
    """Height of the two daily peaks, as a share of the mean."""
    glut_share: float
    """Share of days with more wind or sun than demand, so some hours priced below zero."""
    renewable_pct: float | None
    """Mean share of renewable energy; None = nobody publishes a mix for the zone."""
    fossil_gco2_kwh: float
    """Life-cycle emissions of the rest of the mix."""
    missing: tuple[tuple[date, int], ...]
    """UTC days and hours that the exchange never published."""


# fmt: off
ZONES = (
    Zone("DE-LU", "Europe/Berlin", "EUR", "kWh", 60, "offset",
         0.094, 0.38, 0.24, 52, 620, ((date(2026, 1, 14), 3),)),
    Zone("ERCOT-WEST", "America/Chicago", "USD", "MWh", 60, "naive_utc",
         31.0, 0.45, 0.44, None, 0, ((date(2026, 1, 21), 17), (date(2026, 2, 3), 5))),
    Zone("SE2", "Europe/Stockholm", "SEK", "kWh", 15, "naive_local",
         0.31, 0.30, 0.16, 96, 230, ((date(2026, 1, 29), 11),)),
)
# fmt: on

REPEATED_PRICE = ("DE-LU", datetime(2026, 1, 10, 6, tzinfo=UTC))
"""Delivered twice with one price."""
RESTATED_PRICE = ("ERCOT-WEST", datetime(2026, 1, 28, 22, tzinfo=UTC))
"""Delivered twice; the second price counts."""


def _bump(hour: float, peak: float, width: float) -> float:
    """1 at the peak hour, falling to 0 over ``width`` hours; round the clock."""
    distance = min((hour - peak) % 24, (peak - hour) % 24)
    return math.exp(-((distance / width) ** 2))


def _local_hours(tz: str, day: date) -> list[datetime]:
    """The UTC starts of the hours of a local day: 23, 24 or 25 of them."""
    zone = ZoneInfo(tz)
    start = datetime.combine(day, time(), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    return [start + timedelta(hours=hour) for hour in range((end - start) // timedelta(hours=1))]


def _glut(zone: Zone, day: date, seed: int) -> bool:
    """True when the night of ``day``, on a Sunday its noon, has more energy than demand."""
    return Random(f"{seed}/{zone.name}/{day}/glut").random() < zone.glut_share


def energy_rows(seed: int, zone: Zone, day: date) -> Iterator[Row]:
    """Prices of one local day of a zone, in the order of time."""
    random = Random(f"{seed}/{zone.name}/{day}/price")
    local = ZoneInfo(zone.tz)
    mood = random.uniform(0.8, 1.25) * (0.86 if day.weekday() >= 5 else 1.0)
    glut = _glut(zone, day, seed)
    glut_at = 12.5 if day.weekday() == 6 else 2.5
    for start in _local_hours(zone.tz, day):
        for minute in range(0, 60, zone.resolution_minutes):
            moment = start + timedelta(minutes=minute)
            local_time = moment.astimezone(local)
            hour = local_time.hour + local_time.minute / 60
            shape = 1 + zone.swing * (_bump(hour, 8.5, 2) + 1.2 * _bump(hour, 18.5, 2.5) - 0.45)
            if glut:
                shape -= 1.25 * _bump(hour, glut_at, 2.2)
            price = zone.mean * (mood * shape + random.uniform(-0.05, 0.05))
            if (start.date(), start.hour) in zone.missing:
                continue
            written = {
                "offset": local_time.isoformat(),
                "naive_local": local_time.replace(tzinfo=None).isoformat(),
                "naive_utc": moment.replace(tzinfo=None).isoformat(),
            }[zone.timestamp_kind]
            digits = 2 if zone.unit == "MWh" else 5
            row = {
                "zone": zone.name,
                "interval_start": written,
                "resolution_minutes": zone.resolution_minutes,
                "price": f"{price:.{digits}f}",
                "currency": zone.currency,
                "unit": zone.unit,
                "timestamp_kind": zone.timestamp_kind,
                "tz": zone.tz,
            }
            yield row
            if (zone.name, moment) == REPEATED_PRICE:
                yield row
            if (zone.name, moment) == RESTATED_PRICE:
                yield row | {"price": f"{price * 1.1:.{digits}f}"}


def mix_rows(seed: int, zone: Zone, day: date) -> Iterator[Row]:
    """Energy mix of one UTC day of a zone, hourly."""
    random = Random(f"{seed}/{zone.name}/{day}/mix")
    windy = random.uniform(-12, 8) + (14 if _glut(zone, day, seed) else 0)
    for hour in range(24):
        if zone.renewable_pct is None:
            return
        sun = 8 * _bump(hour, 11.5, 2.5)
        spread = 0.12 if zone.renewable_pct > 90 else 1.0
        renewable = zone.renewable_pct + spread * (windy + sun + random.uniform(-3, 3))
        renewable = min(renewable, 99.0)
        yield {
            "zone": zone.name,
            "ts_utc": f"{day}T{hour:02d}:00:00Z",
            "carbon_gco2_kwh_lca": f"{18 + zone.fossil_gco2_kwh * (100 - renewable) / 100:.3f}",
            "renewable_pct": f"{renewable:.3f}",
        }


# --------------------------------------------------------------------------------------
# GPU market prices and exchange rates
# --------------------------------------------------------------------------------------

MARKET_PRICES = {
    "H100": 2.15,
    "H200": 2.85,
    "A100": 1.15,
    "L40S": 0.80,
    "L4": 0.36,
    "MI300X": 1.95,
    "inferentia2": 0.33,
    "trainium2": 0.92,
    "B200": 4.40,
}
"""Typical USD per GPU hour. B200 is traded but not in the catalog: kept, unused."""

PROVIDERS = (
    # provider, region, currency, price kinds with their level against the typical price
    ("cumulus", "us-south", "USD", {"spot": 0.82, "on_demand": 1.12}),
    ("nordlys", "eu-north", "EUR", {"spot": 0.88, "on_demand": 1.15}),
    ("gpu-bazaar", "global", "USD", {"market_min": 0.74, "market_median": 1.0}),
)

USD_PER_UNIT = {"EUR": 1.0850, "SEK": 0.0960}
MARKET_HISTORY_WEEKS = 5
RATES_FROM = date(2025, 10, 27)
"""Before the first date in the seeds: a lot bought in EUR needs the rate of its first day."""


def market_rows(seed: int, day: date) -> Iterator[Row]:
    """GPU price observations of one day; each provider is looked at on two days of a week."""
    year, week, weekday = day.isocalendar()
    for number, (provider, region, currency, kinds) in enumerate(PROVIDERS):
        if weekday not in (1 + number, 4 + number):
            continue
        random = Random(f"{seed}/{provider}/{day}")
        observed_at = f"{day}T{6 + number:02d}:{random.randrange(60):02d}:00Z"
        for accelerator, typical in MARKET_PRICES.items():
            moved = Random(f"{seed}/{accelerator}/{year}-{week}").uniform(0.95, 1.05)
            for price_kind, level in kinds.items():
                usd = typical * level * moved * random.uniform(0.99, 1.01)
                price = usd / USD_PER_UNIT.get(currency, 1.0)
                row = {
                    "observed_at": observed_at,
                    "provider": provider,
                    "region": region,
                    "gpu_type": accelerator,
                    "price_per_gpu_hour": f"{price:.4f}",
                    "currency": currency,
                    "price_kind": price_kind,
                }
                yield row
                if random.random() < 0.02:
                    yield row


def rate_rows(seed: int, day: date) -> Iterator[Row]:
    """Exchange rates of one day; the central bank rests on weekends."""
    if day.weekday() >= 5:
        return
    for currency, usual in USD_PER_UNIT.items():
        wave = 0.012 * math.sin(day.toordinal() / 17 + len(currency))
        noise = Random(f"{seed}/{currency}/{day}").uniform(-0.002, 0.002)
        rate = usual * (1 + wave + noise)
        yield {"date": day.isoformat(), "currency": currency, "usd_per_unit": f"{rate:.5f}"}
