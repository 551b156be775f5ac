"""Small worlds to bill: seeds and feeds written from a few rows, and random ones.

``catalog`` and ``write_world`` make a world of a few hand-written contracts. ``random_world`` draws
one with many customers, whose contracts cut across each other in every way that the seeds allow:
one billing of it tries what would take dozens of billings of one customer each.

The random worlds come with ``posted_usage``, a recomputation of what the job makes of the usage
feed (first delivery wins, plan of the day, rate of the day, posting date), from the rules alone.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

from auditor import cycle_of, decimal, rounded

from orchestration.seeds.staging import seed_contracts

Row = dict[str, Any]
Tables = dict[str, list[Row]]

ONE_DAY = timedelta(days=1)
LONG_AGO = date(2025, 1, 1)
CLUSTER = "hall"

# A plan with nothing remarkable; what a test is about, it says itself.
PLAIN_PLAN: Row = {
    "overage_policy": "bill",
    "pre_alert_depletion": "0.6",
    "hard_cap_depletion": "0.95",
    "rollover_min_utilization": "0.8",
    "rollover_rate": "0.05",
    "energy_baseline_per_kwh": "1",
    "energy_markup_rate": "0",
    "target_gross_margin": "0.3",
    "valid_from": LONG_AGO,
}


def days_from(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + offset * ONE_DAY


# ---------------------------------------------------------------------------------------------
# Seeds and feeds
# ---------------------------------------------------------------------------------------------


def catalog(**tables: list[Row]) -> Tables:
    """One hall with two kinds of GPU, G1 at one credit a minute; `tables` come on top."""
    world: Tables = defaultdict(list)
    world["facilities"].append(
        {
            "facility_id": "site",
            "region": "here",
            "zone": "Z",
            "tz": "UTC",
            "pue": "1.2",
            "overhead_per_gpu_hour": "0.05",
            "default_price_per_kwh": "0.1",
        }
    )
    world["clusters"].append(
        {"cluster": CLUSTER, "facility_id": "site", "default_accelerator": "G1"}
    )
    for accelerator in ("G1", "G2"):
        world["accelerators"].append(
            {"accelerator": accelerator, "vendor": "v", "busy_watts": 500, "idle_watts": 50}
        )
        world["pools"].append(
            {
                "cluster": CLUSTER,
                "accelerator": accelerator,
                "gpu_count": 50,
                "valid_from": LONG_AGO,
            }
        )
    for name, rows in tables.items():
        world[name].extend(rows)
    if not world["credit_rates"]:
        world["credit_rates"].append(
            {
                "accelerator": "G1",
                "model_family": "*",
                "credits_per_gpu_minute": 1,
                "valid_from": LONG_AGO,
            }
        )
    return world


def plan(sku: str, credits: Any, **columns: Any) -> Row:
    return {"sku": sku, "name": sku, "included_credits": credits, **PLAIN_PLAN, **columns}


def pack(sku: str, kind: str, credits: Any, hours: int, **columns: Any) -> Row:
    burst = {"concurrency_multiplier": "2", "surcharge_rate": "0.35"} if kind == "burst" else {}
    terms = {"included_credits": credits, "validity_hours": hours, "valid_from": LONG_AGO}
    return {"sku": sku, "name": sku, "kind": kind, **terms, **burst, **columns}


def tier(sku: str, charge: str, unit_price: Any, **columns: Any) -> Row:
    terms = {"mode": "graduated", "tier": 1, "valid_from": LONG_AGO}
    return {"sku": sku, "charge": charge, "unit_price": unit_price, **terms, **columns}


def customer(customer_id: str, anchor_day: int = 1) -> Row:
    return {
        "customer_id": customer_id,
        "customer_name": customer_id,
        "billing_anchor_day": anchor_day,
        "regulated": "false",
    }


def subscription(customer_id: str, sku: str, starts_on: date, **columns: Any) -> Row:
    return {
        "subscription_id": f"{customer_id}.sub",
        "customer_id": customer_id,
        "sku": sku,
        "quantity": 1,
        "starts_on": starts_on,
        **columns,
    }


def order(customer_id: str, name: str, sku: str, day: date, quantity: int = 1) -> Row:
    return {
        "order_id": f"{customer_id}.{name}",
        "customer_id": customer_id,
        "sku": sku,
        "quantity": quantity,
        "ordered_at": f"{day}T12:00:00Z",
    }


def usage(customer_id: str, event: str, day: date, minutes: Any, hour: int = 12) -> Row:
    return {
        "event_id": f"{customer_id}.{event}",
        "customer_id": customer_id,
        "meter": "gpu_minute",
        "quantity": float(minutes),
        "ts": f"{day}T{hour:02d}:00:00Z",
        "metadata": {"cluster": CLUSTER},
    }


def _write_csv(path: Path, columns: Iterable[str], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_seeds(folder: Path, tables: Tables) -> Path:
    """Every seed of the contract; a cell that a row doesn't have is empty."""
    contracts = {contract.name: contract for contract in seed_contracts()}
    assert tables.keys() <= contracts.keys(), tables.keys() - contracts.keys()
    for name, contract in contracts.items():
        path = folder / contract.folder / f"{name}.csv"
        _write_csv(path, contract.types, tables.get(name, []))
    return folder


def write_feeds(folder: Path, deliveries: dict[date, list[Row]]) -> Path:
    """The usage deliveries, and one row of every other feed: cost is not what is looked at."""
    first = min(deliveries)
    for day, rows in deliveries.items():
        path = folder / "usage" / f"usage_{day}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    price = {
        "zone": "Z",
        "interval_start": f"{first}T00:00:00+00:00",
        "resolution_minutes": 60,
        "price": "0.11",
        "currency": "USD",
        "unit": "kWh",
        "timestamp_kind": "offset",
        "tz": "UTC",
    }
    mix = {
        "zone": "Z",
        "ts_utc": f"{first}T00:00:00Z",
        "carbon_gco2_kwh_lca": "20",
        "renewable_pct": "90",
    }
    market = {
        "observed_at": f"{first}T00:00:00Z",
        "provider": "p",
        "region": "here",
        "gpu_type": "G1",
        "price_per_gpu_hour": "2",
        "currency": "USD",
        "price_kind": "market_median",
    }
    rate = {"date": first, "currency": "EUR", "usd_per_unit": "1.1"}
    _write_csv(folder / "energy" / "energy_price_Z.csv", price, [price])
    _write_csv(folder / "carbon" / "carbon_mix_Z.csv", mix, [mix])
    _write_csv(folder / "gpu" / "gpu_prices.csv", market, [market])
    _write_csv(folder / "fx" / "fx_rates.csv", rate, [rate])
    return folder


def delivered_on_its_day(rows: list[Row], first: date, last: date) -> dict[date, list[Row]]:
    """Deliveries of the given days; a day without rows gets one of no minutes, none may be empty.

    The row is of the first customer that has one.
    """
    deliveries: dict[date, list[Row]] = {day: [] for day in days_from(first, last)}
    for row in rows:
        deliveries[date.fromisoformat(row["ts"][:10])].append(row)
    for day, of_day in deliveries.items():
        if not of_day:
            of_day.append(usage(rows[0]["customer_id"], f"nothing-{day}", day, 0))
    return deliveries


# ---------------------------------------------------------------------------------------------
# Random worlds
# ---------------------------------------------------------------------------------------------

FIRST_DELIVERY = date(2026, 1, 7)
BOOKS_OPEN_ON = date(2026, 1, 10)
LAST_DELIVERY = date(2026, 2, 24)
NEW_PRICES = date(2026, 1, 30)
"""From here on many prices and plans have another version: inside a cycle for nearly everybody."""

BACK_AGAIN = "paid-later"
"""A plan without credits, all of whose usage is overage; `back` has it twice in one cycle."""

OWN_CLUSTERS = ("own-1", "own-2", "own-3")
MODES = ("graduated", "volume", "package")


@dataclass
class World:
    """Contracts and the deliveries of their usage."""

    seeds: Tables
    deliveries: dict[date, list[Row]] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    """A customer with the same contracts and more usage, and whose twin it is."""


def _number(random: Random, low: float, high: float, places: int = 6) -> Decimal:
    return Decimal(str(round(random.uniform(low, high), places)))


def _tiers(
    random: Random, sku: str, charge: str, price: tuple[float, float], units: int
) -> list[Row]:
    """Up to three tiers that matter around `units`, often others before and after the change."""
    versions: list[Row] = [{"valid_from": LONG_AGO}]
    if random.random() < 0.6 or (sku, charge) == (BACK_AGAIN, "overage"):
        versions = [
            {"valid_from": LONG_AGO, "valid_to": NEW_PRICES},
            {"valid_from": NEW_PRICES},
        ]
    rows = []
    for version in versions:
        mode = random.choice(MODES)
        size = max(1, random.choice([1, units // 4, units // 30])) if mode == "package" else None
        bounds = sorted(random.sample(range(1, 2 * units + 3), random.choice([0, 1, 2])))
        scale = size or 1
        for number, up_to in enumerate([*bounds, None], start=1):
            rows.append(
                tier(
                    sku,
                    charge,
                    _number(random, price[0] * scale, price[1] * scale, 9),
                    mode=mode,
                    tier=number,
                    up_to=up_to,
                    flat_fee=random.choice([None, 0, "1.25", "0.000001", 7]),
                    package_size=size,
                    **version,
                )
            )
    return rows


def _random_catalog(random: Random) -> Tables:
    versions: list[Row] = [
        {"valid_from": LONG_AGO, "valid_to": NEW_PRICES},
        {"valid_from": NEW_PRICES},
    ]
    world = catalog(
        credit_rates=[
            {
                "accelerator": accelerator,
                "model_family": family,
                "credits_per_gpu_minute": credits,
                "valid_from": valid_from,
                "valid_to": valid_to,
            }
            for accelerator, family, credits, valid_from, valid_to in (
                ("G1", "*", "1.000001", LONG_AGO, None),
                ("G2", "*", "0.333333", LONG_AGO, NEW_PRICES),
                ("G2", "*", "0.5", NEW_PRICES, None),
                ("G2", "chat", "2.718281", LONG_AGO, None),
            )
        ]
    )
    for sku, credits, terms in (
        ("tidy", 100, {}),
        ("odd", "33.333333", {"rollover_min_utilization": "0.5", "rollover_rate": "0.333333"}),
        ("eager", 240, {"rollover_min_utilization": "0", "rollover_rate": "1"}),
        ("plain", 200, {"rollover_rate": "0", "hard_cap_depletion": "1"}),
        ("waived", 60, {"overage_policy": "waive", "base_concurrency": 1}),
        (BACK_AGAIN, 0, {"overage_policy": "bill"}),
        ("early-cap", 150, {"pre_alert_depletion": "0.2", "hard_cap_depletion": "0.333333"}),
    ):
        if sku in ("odd", "waived"):
            other = {"odd": {"rollover_rate": "0.1"}, "waived": {"overage_policy": "bill"}}[sku]
            changed = [plan(sku, credits, **terms | versions[0])]
            changed += [plan(sku, 70, **terms | other | versions[1])]
            world["plans"] += changed
        else:
            world["plans"].append(plan(sku, credits, **terms))
        units = int(float(credits)) or 40
        world["price_tiers"] += _tiers(random, sku, "base", (0.005, 0.02), units)
        world["price_tiers"] += _tiers(random, sku, "overage", (0.01, 0.03), units // 3)
        if random.random() < 0.7:
            for months in random.sample([1, 6, 12, 24], 2):
                world["term_discounts"].append(
                    {
                        "sku": sku,
                        "min_commit_months": months,
                        "discount_rate": _number(random, 0, 0.4),
                        "valid_from": random.choice([LONG_AGO, NEW_PRICES]),
                    }
                )
    for sku, kind, credits, hours in (
        ("window", "burst", 0, 48),
        ("weekend", "burst", "20.5", 48),
        ("small-top", "top_up", "7.654321", 72),
        ("year-top", "top_up", 50, 8760),
        ("day-top", "top_up", "12.5", 1),
    ):
        if random.random() < 0.5:
            world["packs"].append(pack(sku, kind, credits, hours, **versions[0]))
            world["packs"].append(pack(sku, kind, credits, hours + 24, **versions[1]))
        else:
            world["packs"].append(pack(sku, kind, credits, hours))
        if sku == "window":
            # Nearly half a cent: whoever rounds it twice is a cent off.
            world["price_tiers"].append(tier(sku, "pack", "4.994999999"))
        else:
            world["price_tiers"] += _tiers(random, sku, "pack", (0.5, 9), 4)
    world["dedicated_clusters"].append({"sku": "own", "valid_from": LONG_AGO})
    world["price_tiers"] += _tiers(random, "own", "dedicated", (10, 90), 8)
    for cluster in OWN_CLUSTERS:
        world["clusters"].append({**world["clusters"][0], "cluster": cluster})
    for cluster, accelerator, gpus, version in (
        ("own-1", "G1", 5, {"valid_from": LONG_AGO}),
        ("own-1", "G2", 3, {"valid_from": NEW_PRICES}),
        ("own-2", "G1", 9, versions[0]),
        ("own-2", "G1", 4, versions[1]),
        # own-3 has no GPUs that anybody wrote down
    ):
        pool = {"cluster": cluster, "accelerator": accelerator, "gpu_count": gpus}
        world["pools"].append(pool | version)
    return world


class _Author:
    """Draws one customer: contracts first, then usage that knows them, then the deliveries."""

    def __init__(self, world: World, random: Random, name: str) -> None:
        self.world, self.random, self.name = world, random, name
        self.rows: list[tuple[date, Row]] = []  # with the day of delivery
        self.segments: list[tuple[date, date | None, str]] = []
        self.clusters = [CLUSTER] * 9 + list(OWN_CLUSTERS)

    def contracts(self) -> None:
        random, name, seeds = self.random, self.name, self.world.seeds
        seeds["customers"].append(customer(name, random.randint(1, 28)))
        starts = LONG_AGO + random.randint(200, 365) * ONE_DAY
        if random.random() < 0.35:
            starts = FIRST_DELIVERY + random.randint(0, 30) * ONE_DAY
        skus = sorted({row["sku"] for row in seeds["plans"]})
        sku = random.choice(skus)
        buys = random.random() < 0.3
        count = random.choice([1, 1, 2, 2, 3, 4])
        for number in range(count):
            last = number == count - 1
            ends = None
            if not last or random.random() < 0.2:
                begin = max(starts, BOOKS_OPEN_ON - 20 * ONE_DAY)
                ends = begin + random.randint(3, 60 // count) * ONE_DAY
            row = subscription(
                name,
                sku,
                starts,
                subscription_id=f"{name}.s{number}",
                ends_on=ends,
                quantity=random.choice([1, 1, 1, 2, 3, 5]),
                commit_months=random.choice([None, 0, 1, 6, 12, 36]),
            )
            if buys:
                row["auto_purchase_sku"] = random.choice(["small-top", "year-top", "day-top"])
                row["max_auto_purchases_per_cycle"] = random.choice([None, None, 0, 1, 3, 40])
            seeds["subscriptions"].append(row)
            self.segments.append((starts, ends, sku))
            if ends is None:
                break
            starts = ends + random.choice([0, 0, 0, 1, random.randint(2, 12)]) * ONE_DAY
            sku = sku if random.random() < 0.3 else random.choice(skus)
        packs = sorted({row["sku"] for row in seeds["packs"]})
        for number in range(random.choice([0, 0, 1, 2, 3, 5])):
            day = BOOKS_OPEN_ON + random.randint(-25, 50) * ONE_DAY
            clock = f"{random.randint(0, 23):02d}:{random.randint(0, 59):02d}:00"
            seeds["orders"].append(
                order(name, f"o{number}", random.choice(packs), day, random.choice([1, 2, 3, 9]))
                | {"ordered_at": f"{day}T{clock}{random.choice(['Z', '+05:30', '-08:00'])}"}
            )
        for number in range(random.choice([0, 0, 0, 1, 2])):
            credits = random.choice([None, 0, "5.000001", _number(random, 1, 40)])
            seeds["adjustments"].append(
                {
                    "adjustment_id": f"{name}.a{number}",
                    "customer_id": name,
                    "posted_on": BOOKS_OPEN_ON + random.randint(0, 50) * ONE_DAY,
                    "credits": credits,
                    "amount": random.choice([None, "-12.5", "3.333333", "0"]),
                    "reason": "goodwill",
                }
            )

    def own_cluster(self, cluster: str) -> None:
        """For a while in the middle, often to the end, sometimes after it."""
        self.clusters += [cluster] * 5
        starts = BOOKS_OPEN_ON + self.random.randint(-40, 30) * ONE_DAY
        lasts = self.random.choice([None, 3, 20, 45])
        self.world.seeds["subscriptions"].append(
            subscription(
                self.name,
                "own",
                starts,
                subscription_id=f"{self.name}.own",
                ends_on=lasts and starts + lasts * ONE_DAY,
                cluster=cluster,
                quantity=2,
                commit_months=12,
            )
        )

    def plan_on(self, day: date) -> str | None:
        for starts, ends, sku in self.segments:
            if starts <= day and (ends is None or day < ends):
                return sku
        return None

    def usage(self) -> None:
        random = self.random
        plans = {row["sku"]: row for row in self.world.seeds["plans"]}
        keen = random.choice([0.1, 0.5, 0.79, 0.82, 0.9, 0.97, 1.0, 1.2, 2, 4])
        busy = random.choice([0.1, 0.25, 0.4])
        for day in days_from(FIRST_DELIVERY - 30 * ONE_DAY, LAST_DELIVERY):
            often = busy if day >= BOOKS_OPEN_ON - 10 * ONE_DAY else 0.03
            sku = self.plan_on(day)
            if sku is None:
                often = 0.01  # rejected: there is no plan
            if random.random() >= often:
                continue
            credits = float(plans[sku]["included_credits"]) or 40 if sku else 10.0
            for _ in range(random.choice([1, 1, 1, 2, 3])):
                minutes = credits * keen / 30 / busy * random.uniform(0.05, 1.5)
                self.row(day, _number(random, minutes / 2, minutes))
                if random.random() < 0.08:
                    self.correct(day, minutes)

    def row(self, day: date, minutes: Decimal, corrects: str | None = None) -> None:
        random = self.random
        row = usage(self.name, f"e{len(self.rows)}", day, minutes, random.randint(0, 23))
        row["metadata"]["cluster"] = random.choice(self.clusters)
        row["metadata"]["gpu_type"] = random.choice(["G1", "G1", "G2"])
        if random.random() < 0.3:
            row["metadata"]["model_family"] = random.choice(["chat", "video"])
        if corrects:
            row |= {"kind": "correction", "corrects_event_id": corrects}
        delay = random.choice(
            [0] * 12 + [1, 1, 2, 3, 4, random.randint(5, 20), random.randint(20, 45)]
        )
        delivery = max(day + delay * ONE_DAY, FIRST_DELIVERY + random.randint(0, 3) * ONE_DAY)
        self.rows.append((delivery, row))

    def correct(self, day: date, minutes: float) -> None:
        """Gives minutes back, often more than the day had, often on a day without any use."""
        later = day + self.random.choice([0, 0, 1, 3, 9]) * ONE_DAY
        back = _number(self.random, 0.1 * minutes, 4 * minutes)
        if self.plan_on(later):
            self.row(later, -back, corrects=self.rows[-1][1]["event_id"])

    def deliver(self) -> None:
        for day, row in self.rows:
            if day <= LAST_DELIVERY:
                self.world.deliveries[day].append(row)
            again = day + self.random.randint(0, 9) * ONE_DAY
            if self.random.random() < 0.02 and again <= LAST_DELIVERY:
                self.world.deliveries[again].append(row)

    def twin(self) -> _Author:
        """The same customer with more usage: bigger slices, and slices that weren't there."""
        world, random, name = self.world, self.random, f"{self.name}-twin"
        seeds = world.seeds
        for table, key in (
            ("customers", None),
            ("subscriptions", "subscription_id"),
            ("orders", "order_id"),
            ("adjustments", "adjustment_id"),
        ):
            for row in [row for row in seeds[table] if row["customer_id"] == self.name]:
                copy = row | {"customer_id": name}
                if key:
                    copy[key] = name + row[key].removeprefix(self.name)
                seeds[table].append(copy)
        twin = _Author(world, random, name)
        twin.segments = self.segments
        for day, row in self.rows:
            copy = json.loads(json.dumps(row).replace(f'"{self.name}', f'"{name}'))
            if copy.get("kind") is None and random.random() < 0.4:
                copy["quantity"] = round(copy["quantity"] + random.uniform(0.000001, 9), 6)
            twin.rows.append((day, copy))
        for _ in range(8):
            day = BOOKS_OPEN_ON + random.randint(0, 44) * ONE_DAY
            if twin.plan_on(day):
                twin.row(day, _number(random, 0.000001, 12))
        world.twins[name] = self.name
        return twin


def _add_corners(world: World) -> None:
    """What chance would hardly hit.

    ``back`` leaves a plan in the cycle from 15 January, with nothing used, and comes back to it
    after the prices changed; only then it uses something. The cycle's first day with the plan is
    the one that counts.
    """
    seeds = world.seeds
    seeds["customers"].append(customer("back", 15))
    for number, (starts, ends) in enumerate(
        [(date(2025, 11, 1), date(2026, 1, 20)), (date(2026, 2, 1), None)]
    ):
        row = subscription("back", BACK_AGAIN, starts, subscription_id=f"back.s{number}")
        seeds["subscriptions"].append(row | {"ends_on": ends})
    for day in (date(2026, 2, 3), date(2026, 2, 9)):
        row = usage("back", f"on-{day}", day, "30.5")
        row["metadata"]["gpu_type"] = "G1"
        world.deliveries[day].append(row)


def random_world(seed: int, customers: int, twins: int) -> World:
    """A world of so many customers, some of them with a twin; the same seed, the same world."""
    random = Random(seed)
    world = World(_random_catalog(random))
    world.deliveries = {day: [] for day in days_from(FIRST_DELIVERY, LAST_DELIVERY)}
    for number in range(customers):
        author = _Author(world, Random(f"{seed}/{number}"), f"c{number:03d}")
        author.contracts()
        if twins <= number < twins + len(OWN_CLUSTERS):
            author.own_cluster(OWN_CLUSTERS[number - twins])
        author.usage()
        for one in [author, author.twin()] if number < twins else [author]:
            one.deliver()
    _add_corners(world)
    for of_day in world.deliveries.values():
        random.shuffle(of_day)
    assert all(world.deliveries.values()), "a delivery without rows is a problem of its own"
    return world


# ---------------------------------------------------------------------------------------------
# What becomes of the usage
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Posted:
    """A row of usage as it is billed."""

    customer_id: str
    usage_date: date
    posting_date: date
    cluster: str
    accelerator: str
    model_family: str
    is_adjustment: bool
    is_dedicated: bool
    gpu_minutes: Decimal
    credits: Decimal


def posted_usage(world: World, days_until_close: int = 3) -> list[Posted]:
    """Rules 1.1 to 1.4, one row of the feed after the other."""
    anchors = {row["customer_id"]: row["billing_anchor_day"] for row in world.seeds["customers"]}
    seen: set[str] = set()
    minutes: dict[tuple[Any, ...], Fraction] = defaultdict(Fraction)
    for delivery_day in sorted(world.deliveries):
        for row in world.deliveries[delivery_day]:
            if row["event_id"] in seen:
                continue
            seen.add(row["event_id"])
            customer_id, metadata = row["customer_id"], row["metadata"]
            day, cluster = date.fromisoformat(row["ts"][:10]), metadata["cluster"]
            subscriptions = [
                subscribed
                for subscribed in world.seeds["subscriptions"]
                if subscribed["customer_id"] == customer_id
                and subscribed["starts_on"] <= day < (subscribed["ends_on"] or date.max)
            ]
            is_dedicated = any(s.get("cluster") == cluster for s in subscriptions)
            if not is_dedicated and not any(not s.get("cluster") for s in subscriptions):
                continue  # no plan: rejected
            cycle = cycle_of(day, anchors[customer_id])
            closes_on = cycle.end + days_until_close * ONE_DAY
            if cycle.end <= cycle_of(BOOKS_OPEN_ON, anchors[customer_id]).start:
                posting, late = max(delivery_day, BOOKS_OPEN_ON), True
            else:
                late = delivery_day > closes_on
                posting = delivery_day if late else day
            family = metadata.get("model_family", "unspecified")
            gpu = metadata["gpu_type"]
            key = (customer_id, day, posting, cluster, gpu, family, late, is_dedicated)
            minutes[key] += Fraction(str(row["quantity"]))
    found = []
    for key, total in minutes.items():
        rate = Fraction(0) if key[-1] else _rate(world, key[4], key[5], key[1])
        found.append(Posted(*key, decimal(total, 6), decimal(rounded(total * rate, 6), 6)))
    return sorted(found)


def _rate(world: World, accelerator: str, family: str, day: date) -> Fraction:
    rates = {
        row["model_family"]: Fraction(str(row["credits_per_gpu_minute"]))
        for row in world.seeds["credit_rates"]
        if row["accelerator"] == accelerator
        and row["valid_from"] <= day < (row["valid_to"] or date.max)
    }
    return rates.get(family, rates["*"])
