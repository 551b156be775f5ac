"""What the seeds say about the feeds: which ids they know, and which prices they need."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestration.seeds.staging import check_seeds
from orchestration.sources.folder import UndatedFeed


@dataclass(frozen=True)
class Market:
    """Whose price a lot on the market follows; None means any.

    Compared without regard to a region or accelerator.
    """

    provider: str | None
    price_kind: str | None

    def __str__(self) -> str:
        return f"{self.provider or 'any provider'}, {self.price_kind or 'any price'}"

    def covers(self, provider: str | None, price_kind: str | None) -> bool:
        """Whether an observation of this provider and kind counts."""
        return self.provider in (None, provider) and self.price_kind in (None, price_kind)


@dataclass(frozen=True)
class Needs:
    """The seeds as the gates see them, as of a day."""

    customers: frozenset[str]
    clusters: frozenset[str]
    accelerators: frozenset[str]
    """Names and aliases."""
    fleet_gpus: int
    """GPUs of the largest cluster; 0 if no cluster has a pool."""
    zones: dict[str, Decimal | None]
    """Energy zones with a facility, and the default price per kWh there, if it has one."""
    lot_currencies: frozenset[str]
    markets: tuple[Market, ...]


def needed_feeds(seeds_dir: Path, reporting_currency: str) -> frozenset[UndatedFeed]:
    """The feeds of prices that the seeds cannot do without: a night needs their files.

    Energy prices where a facility has no default price, GPU prices for a lot on the market,
    exchange rates for a lot in another currency. What currencies the prices themselves are in is
    known when they are landed; a control then names each one without a rate.

    Raises:
        SeedError: they break their contract.
    """
    seeds = check_seeds(seeds_dir)
    lots = seeds["procurement_lots"]
    needed: set[UndatedFeed] = set()
    if any(row["default_price_per_kwh"] is None for row in seeds["facilities"]):
        needed.add("energy")
    if any(lot["basis"] == "market" for lot in lots):
        needed.add("gpu")
    if any(lot["basis"] != "market" and lot["currency"] != reporting_currency for lot in lots):
        needed.add("fx")
    return frozenset(needed)


def read_needs(seeds_dir: Path, as_of: date) -> Needs:
    """Read the seeds.

    Raises:
        SeedError: they break their contract.
    """
    seeds = check_seeds(seeds_dir)
    gpus: dict[str, int] = defaultdict(int)
    for pool in seeds["pools"]:
        gpus[pool["cluster"]] += pool["gpu_count"]
    lots = [lot for lot in seeds["procurement_lots"] if _is_live(lot, as_of)]
    markets = {
        Market(lot["provider"], lot["price_kind"]) for lot in lots if lot["basis"] == "market"
    }
    return Needs(
        customers=frozenset(row["customer_id"] for row in seeds["customers"]),
        clusters=frozenset(row["cluster"] for row in seeds["clusters"]),
        accelerators=frozenset(
            [row["accelerator"] for row in seeds["accelerators"]]
            + [row["alias"] for row in seeds["accelerator_aliases"]]
        ),
        fleet_gpus=max(gpus.values(), default=0),
        zones={row["zone"]: row["default_price_per_kwh"] for row in seeds["facilities"]},
        lot_currencies=frozenset(lot["currency"] for lot in lots if lot["currency"]),
        markets=tuple(sorted(markets, key=str)),
    )


def _is_live(lot: dict[str, Any], day: date) -> bool:
    return lot["starts_on"] <= day and (lot["ends_on"] is None or day < lot["ends_on"])
