"""Made-up customers in every state a gauge can show, as the published tables that pages are made of.

A scene says what a customer was granted and used; the wallet is followed day by day, so that the
tables agree with each other the way the books' tables do. Types come from the marts' contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import yaml

from orchestration.settings import DBT_PROJECT_DIR

AS_OF = date(2026, 2, 15)
CYCLE_START = date(2026, 2, 1)
CYCLE_END = date(2026, 3, 1)
LAST_CYCLE = date(2026, 1, 1)
MICRO = Decimal("0.000001")

Row = dict[str, Any]
Kind = tuple[str, str]
"""Cluster and accelerator."""


@dataclass(frozen=True)
class Scene:
    """A customer: what it was granted, and what it used of which kind on each of its last days."""

    customer_id: str
    name: str = ""
    use: tuple[Decimal, ...] = ()
    """Credits a day, oldest first; the last one is of AS_OF."""
    grants: tuple[tuple[str, date, date | None, Decimal], ...] = ()
    """Source, day, last day and credits, in burning order."""
    kinds: tuple[Kind, ...] = (("fra-train", "H100"),)
    """A day's credits are of these kinds in equal parts."""
    plan: str | None = "Studio 50K"
    plan_ends_on: date | None = None
    limit: Decimal | None = Decimal(8)
    policy: str = "bill"
    thresholds: tuple[Decimal, Decimal] = (Decimal("0.6"), Decimal("0.95"))
    auto_purchase: bool = False
    regulated: bool = False
    alerts: int = 0
    """How many burst_cap alerts it has besides those of its thresholds."""
    cycle: tuple[date, date] = (CYCLE_START, CYCLE_END)
    """First day of the current cycle, and of the next one."""
    coming: tuple[date, Decimal] | None = None
    """Day and credits of the plan's next grant."""
    pack: tuple[str, Decimal, Decimal | None] | None = None
    """Name, credits and price of the top-up that it buys by itself."""
    packs: tuple[int, int | None] = (0, None)
    """How many of them were bought in the cycle, and how many are left."""
    fees: Decimal = Decimal(0)
    """Of dedicated clusters, billed and not earned yet."""
    waiting: int = 0
    """Rows that wait because it has no plan, an hour each."""


@dataclass
class Wallet:
    """A scene's wallet, day by day. A day with negative use is a refund; its grant is the scene's."""

    scene: Scene
    days: list[Row] = field(default_factory=list)
    remaining: list[Decimal] = field(default_factory=list)

    def __post_init__(self) -> None:
        scene = self.scene
        self.remaining = [Decimal(0) for _ in scene.grants]
        first = AS_OF - timedelta(days=len(scene.use) - 1)
        for number, used in enumerate(scene.use):
            day = first + timedelta(days=number)
            for place, (_, granted_on, _, credits) in enumerate(scene.grants):
                if granted_on == day or (number == 0 and granted_on < day):
                    self.remaining[place] = credits
            burned, refunded = Decimal(0), max(-used, Decimal(0))
            for place, (_, _, expires_on, _) in enumerate(scene.grants):
                if expires_on is None or day <= expires_on:
                    part = min(self.remaining[place], max(used, Decimal(0)) - burned)
                    self.remaining[place] -= part
                    burned += part
            before_expiry = sum(self.remaining, Decimal(0))
            for place, (_, _, expires_on, _) in enumerate(scene.grants):
                if expires_on == day:
                    self.remaining[place] = Decimal(0)
            self.days.append(
                {
                    "customer_id": scene.customer_id,
                    "balance_date": day,
                    "cycle_start": scene.cycle[0] if day >= scene.cycle[0] else LAST_CYCLE,
                    "burned_credits": burned,
                    "overage_credits": max(used, Decimal(0)) - burned,
                    "refunded_credits": refunded,
                    "expired_credits": before_expiry - sum(self.remaining),
                    "rolled_credits": 0,
                    "closing_credits": sum(self.remaining),
                    "deferred_revenue": sum(self.remaining) / 100,
                }
            )

    def total(self, column: str, last: int | None = None) -> Decimal:
        """The sum of a column over the cycle so far, or over the last days."""
        days = [row for row in self.days if row["balance_date"] >= self.scene.cycle[0]]
        days = self.days[-last:] if last else days
        return sum((row[column] for row in days), Decimal(0))


def tables(scenes: Iterable[Scene]) -> dict[str, list[Row]]:
    """The rows of every table that pages are made of."""
    found: dict[str, list[Row]] = {name: [] for name in contract()}
    for scene in scenes:
        wallet = Wallet(scene)
        _add_books(found, wallet)
        found["fuel_gauges"].append(_gauge(wallet))
        found["credit_balances"] += wallet.days
        found["credit_alerts"] += _alerts(wallet)
        for place, grant in enumerate(scene.grants):
            _add_grant(found, wallet, place, grant)
        for row in wallet.days:
            for kind in scene.kinds:
                used = row["burned_credits"] + row["overage_credits"] - row["refunded_credits"]
                used /= len(scene.kinds)
                _add_use(found, scene, row["balance_date"], kind, used.quantize(MICRO))
    found["margin_bridge"] = _bridge(found["margin_monthly"])
    return found


def publish(folder: Path, scenes: Iterable[Scene], **changes: Any) -> Path:
    """Write a publication of scenes; ``changes`` replace whole tables."""
    found = {**tables(scenes), **changes}
    with duckdb.connect(":memory:") as connection:
        for name, rows in found.items():
            kinds = contract()[name]
            columns = ", ".join(f'"{column}" {kind}' for column, kind in kinds.items())
            connection.execute(f'create table "{name}" ({columns})')
            if rows:
                given = pa.table(
                    {
                        column: [_typed(row.get(column), kind) for row in rows]
                        for column, kind in kinds.items()
                    }
                )
                connection.register("given", given)
                connection.execute(f'insert into "{name}" from given')
            (folder / name).mkdir(parents=True)
            connection.execute(f"copy \"{name}\" to '{folder / name / 'part-0.parquet'}'")
    return folder


@cache
def contract() -> dict[str, dict[str, str]]:
    """The columns of the tables that pages and the summary read, with the types of the marts' contract."""
    described = [
        model
        for folder in ("marts", "controls")
        for path in (DBT_PROJECT_DIR / "models" / folder).glob("_*.yml")
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", [])
    ]
    wanted = {
        "billing_controls",
        "compliance_usage",
        "credit_alerts",
        "credit_balances",
        "credit_grants",
        "credit_ledger",
        "deferred_rollforward",
        "fuel_gauges",
        "gpu_minute_costs",
        "invoice_lines",
        "invoices",
        "margin_bridge",
        "margin_daily",
        "margin_monthly",
        "rate_recommendations",
        "rejected_rows",
        "usage_conflicts",
        "usage_daily",
        "waiting_usage",
        "wallet_outlook",
    }
    return {
        model["name"]: {
            column["name"]: column["data_type"].replace("string", "varchar")
            for column in model["columns"]
        }
        for model in described
        if model["name"] in wanted
    }


def _typed(value: Any, kind: str) -> Any:
    if value is None or not kind.startswith("decimal"):
        return value
    scale = int(kind.rpartition(",")[2].strip(" )"))
    return Decimal(value).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)


def _add_books(found: dict[str, list[Row]], wallet: Wallet) -> None:
    """What is to come, what is deferred and what waits."""
    scene = wallet.scene
    coming, pack = scene.coming or (None, None), scene.pack or (None, None, None)
    found["wallet_outlook"].append(
        {
            "customer_id": scene.customer_id,
            "as_of": AS_OF,
            "next_grant_on": coming[0],
            "next_grant_credits": coming[1],
            "pack_sku": scene.pack and "top-up",
            "pack_name": pack[0],
            "pack_credits": pack[1],
            "pack_price": pack[2],
            "packs_bought": scene.packs[0] if scene.pack else None,
            "packs_left": scene.packs[1],
        }
    )
    left = sum(wallet.remaining, Decimal(0)) / 100
    for kind, value in (("credits", left), ("dedicated", scene.fees)):
        if value:
            found["deferred_rollforward"].append(
                {"month": AS_OF.replace(day=1), "customer_id": scene.customer_id, "kind": kind,
                 "opening": 0, "sold": value, "used": 0, "expired": 0, "closing": value,
                 "expiring_within_12_months": value}
            )  # fmt: skip
    if scene.waiting:
        found["waiting_usage"].append(
            {"usage_month": AS_OF.replace(day=1), "customer_id": scene.customer_id,
             "reason": "no_active_plan", "usage_rows": scene.waiting,
             "gpu_minutes": 60 * scene.waiting, "first_usage_date": AS_OF,
             "last_usage_date": AS_OF, "first_delivery_date": AS_OF}
        )  # fmt: skip


def _bridge(months: list[Row]) -> list[Row]:
    """The margin of all customers; half of what they carry is unallocated."""
    rows = []
    for month in sorted({row["month"] for row in months}):
        revenue, cost, margin = (
            sum((row[column] for row in months if row["month"] == month), Decimal(0))
            for column in ("revenue", "amortized_cost", "gross_margin")
        )
        rows.append(
            {"month": month, "revenue": revenue, "breakage_revenue": 0, "amortized_cost": cost,
             "gross_margin": margin, "unallocated_cost": cost / 2,
             "margin_after_idle": margin - cost / 2, "cost_of_other_months": 0,
             "fleet_cost": cost * 3 / 2, "cost_complete": True}
        )  # fmt: skip
    return rows


def _gauge(wallet: Wallet) -> Row:
    scene = wallet.scene
    balance = sum(wallet.remaining, Decimal(0))
    expired = wallet.days[-1]["expired_credits"] if wallet.days else Decimal(0)
    burned, overage = wallet.total("burned_credits"), wallet.total("overage_credits")
    week = wallet.total("burned_credits", last=7)
    before_expiry = balance + expired
    depletion = (
        (burned / (burned + before_expiry)) if burned + before_expiry else Decimal(bool(overage))
    )
    live = [g for g, left in zip(scene.grants, wallet.remaining, strict=True) if left > 0]
    expiries = [expires_on for _, _, expires_on, _ in live]
    projected = AS_OF + timedelta(days=1 + int(balance * 7 // week)) if week else None
    if projected and None not in expiries and projected > max(expiries, default=projected):
        projected = None
    reached = [scene.plan is not None and depletion >= threshold for threshold in scene.thresholds]
    return {
        "customer_id": scene.customer_id,
        "customer_name": scene.name or scene.customer_id,
        "is_regulated": scene.regulated,
        "plan_sku": scene.plan and "studio-50k",
        "plan_name": scene.plan,
        "plan_ends_on": scene.plan_ends_on,
        "concurrency_limit": scene.limit,
        "overage_policy": scene.plan and scene.policy,
        "pre_alert_depletion": scene.plan and scene.thresholds[0],
        "hard_cap_depletion": scene.plan and scene.thresholds[1],
        "as_of": AS_OF,
        "cycle_start": scene.cycle[0],
        "cycle_end": scene.cycle[1],
        "balance": balance,
        "granted_in_cycle": sum(
            (credits for _, day, _, credits in scene.grants if scene.cycle[0] <= day <= AS_OF),
            Decimal(0),
        ),
        "burned_in_cycle": burned,
        "overage_in_cycle": overage,
        "depletion": depletion.quantize(MICRO, ROUND_HALF_UP),
        "mean_daily_burn": (week / 7).quantize(MICRO, ROUND_HALF_UP),
        "projected_depletion_date": projected,
        "clusters": ",".join(sorted({cluster for cluster, _ in scene.kinds})),
        "accelerators": ",".join(sorted({accelerator for _, accelerator in scene.kinds})),
        "auto_purchase": scene.auto_purchase,
        "next_expiry_on": min((day for day in expiries if day), default=None),
        "status": "capped" if reached[1] else "warning" if reached[0] else "ok",
    }


def _alerts(wallet: Wallet) -> list[Row]:
    scene = wallet.scene
    alerts = []
    burned, reached = Decimal(0), {"pre_alert": False, "hard_cap": False}
    for row in wallet.days:
        if row["balance_date"] < scene.cycle[0] or scene.plan is None:
            continue
        burned += row["burned_credits"]
        total = burned + row["closing_credits"] + row["expired_credits"]
        depletion = burned / total if total else Decimal(0)
        for kind, threshold in zip(reached, scene.thresholds, strict=True):
            if depletion >= threshold and not reached[kind]:
                alerts.append((row, kind, depletion, threshold))
            reached[kind] = depletion >= threshold
    late = [row for row in wallet.days if row["balance_date"] >= scene.cycle[0]]
    alerts += [
        (late[number % len(late)], "burst_cap", Decimal("0.1"), None)
        for number in range(scene.alerts)
    ]
    return [
        {
            "alert_id": f"{scene.customer_id}/{scene.cycle[0]}/{kind}/{row['balance_date']}/{number}",
            "customer_id": scene.customer_id,
            "cycle_start": scene.cycle[0],
            "raised_on": row["balance_date"],
            "alert_type": kind,
            "depletion": depletion.quantize(MICRO),
            "balance": row["closing_credits"],
            "threshold": threshold,
        }
        for number, (row, kind, depletion, threshold) in enumerate(alerts)
    ]


def _add_grant(found: dict[str, list[Row]], wallet: Wallet, place: int, grant: Any) -> None:
    source, granted_on, expires_on, credits = grant
    customer = wallet.scene.customer_id
    grant_id = f"{customer}/{source}/{granted_on}/{place}"
    current = wallet.scene.cycle[0]
    cycle = current if granted_on >= current else LAST_CYCLE
    shared = {"customer_id": customer, "grant_id": grant_id, "cycle_start": cycle}
    found["credit_grants"].append(
        {
            **shared,
            "source": source,
            "sku": f"{source}-sku",
            "granted_on": granted_on,
            "expires_on": expires_on,
            "priority": place,
            "credits": credits,
        }
    )
    gone = credits - wallet.remaining[place]
    found["credit_ledger"].append(
        {
            **shared,
            "kind": "grant",
            "debit_account": f"issued:{source}",
            "credit_account": f"wallet:{customer}:{grant_id}",
            "credits": credits,
        }
    )
    if gone:
        found["credit_ledger"].append(
            {
                **shared,
                "kind": "burn",
                "debit_account": f"wallet:{customer}:{grant_id}",
                "credit_account": f"consumed:{customer}",
                "credits": gone,
            }
        )


def _add_use(
    found: dict[str, list[Row]], scene: Scene, day: date, kind: Kind, credits: Decimal
) -> None:
    if not credits:
        return
    cluster, accelerator = kind
    shared = {
        "customer_id": scene.customer_id,
        "cycle_start": scene.cycle[0] if day >= scene.cycle[0] else LAST_CYCLE,
        "cluster": cluster,
        "accelerator": accelerator,
        "model_family": "llm",
        "gpu_minutes": credits / 4,
    }
    found["usage_daily"].append(
        {**shared, "usage_date": day, "posting_date": day, "is_dedicated": False,
         "credits": credits, "busy_kwh": credits / 100, "energy_cost": credits / 1000}
    )  # fmt: skip
    found["invoice_lines"].append(
        {**shared, "line_type": "credit_usage", "amortized_cost": credits / 200}
    )
    revenue, cost = ((credits / part).quantize(MICRO) for part in (100, 200))
    margin = {"revenue": revenue, "amortized_cost": cost, "gross_margin": revenue - cost}
    found["margin_daily"].append(
        {**shared, **margin, "posting_date": day, "cost_complete": True, "energy_revenue": 0}
    )
    found["margin_monthly"].append(
        {**shared, **margin, "month": day.replace(day=1), "breakage_revenue": 0}
    )
    found["gpu_minute_costs"].append(
        {**shared, "cost_date": day, "unallocated_cost": cost / 2, "busy_minutes": credits / 4}
    )
    if scene.regulated:
        found["compliance_usage"].append(
            {**shared, "usage_date": day, "facility_id": "fra-1", "region": "eu-central",
             "kwh": credits / 100, "carbon_kg": credits / 1000,
             "mix_kwh": credits / 100, "renewable_kwh": credits / 100 * Decimal("0.6")}
        )  # fmt: skip


def plan(credits: int | str, *, on: date = CYCLE_START) -> tuple[str, date, date | None, Decimal]:
    """A plan grant that lives to the end of its cycle."""
    end = CYCLE_END if on >= CYCLE_START else CYCLE_START
    return ("plan", on, end - timedelta(days=1), Decimal(credits))


def daily(*credits: int | str, days: int = 28) -> tuple[Decimal, ...]:
    """Credits a day, repeated over so many days."""
    return tuple(Decimal(credits[day % len(credits)]) for day in range(days))


_JANUARY = plan(60_000, on=LAST_CYCLE)
_HOSTILE = '"><script>alert(1)</script>'

SCENES = {
    scene.customer_id: scene
    for scene in (
        Scene("healthy", "Ada Labs", daily(900, 1100, "1234.567891", 800), (_JANUARY, plan(50_000))),
        Scene("sixty", "Sixty Studio", daily(2200, 2000, 2400), (_JANUARY, plan(50_000))),
        Scene("capped", "Ninety-Five Ltd", daily(3200), (_JANUARY, plan(50_000)), policy="waive"),
        Scene("empty", "Empty Tank", daily(2000), (_JANUARY, plan(30_000))),
        Scene("overdrawn", "Over & Out", daily(2000, 2500), (_JANUARY, plan(20_000))),
        Scene("idle", "Quiet Quarter", daily(1000, days=20) + daily(0, days=8),
              (_JANUARY, plan(50_000))),
        Scene("new", "New Here"),
        Scene("young", "Five Days Old", daily(700, 900, days=5), (plan(50_000),)),
        Scene("unlimited", "No Limits", daily(5000, 7000),
              (plan(300_000, on=LAST_CYCLE), plan(300_000),
               ("top_up", date(2026, 2, 6), date(2027, 2, 6), Decimal(10_000))),
              limit=None, auto_purchase=True),
        Scene("regulated", "Gene Harbor", daily(900, 1000), (_JANUARY, plan(50_000)),
              regulated=True, kinds=(("fra-train", "H200"), ("ost-green", "A100"))),
        Scene("planless", "No Plan", daily(0, days=3), plan=None, limit=None),
        Scene("ended", "Gone Fishing", daily(1000, days=12) + daily(0, days=16), (_JANUARY,),
              plan_ends_on=date(2026, 1, 24)),
        Scene("huge", "Very Large", daily("123456789012.345678"),
              (plan(4 * 10**12, on=LAST_CYCLE), plan(4 * 10**12))),
        Scene("many", "Many of Everything", daily(1000, 3000),
              (*(plan(20_000 + n, on=LAST_CYCLE) for n in range(3)),
               *(("auto_purchase", date(2026, 2, 1 + n % 14), date(2027, 2, 1 + n % 14),
                  Decimal(1000 + n)) for n in range(25)), plan(90_000)),
              kinds=tuple((f"cluster-{n}", f"GPU-{n}") for n in range(12)), alerts=40),
        Scene("hostile-markup", f"{_HOSTILE}{{{{ 7 * 7 }}}}</title><b>&amp;", daily(900),
              (_JANUARY, plan(50_000)), kinds=((_HOSTILE, "<img src=x onerror=alert(1)>"),),
              plan="</p><script>alert(2)</script>"),
        Scene("hostile-long", "N" * 300, daily(900), (_JANUARY, plan(50_000)),
              kinds=(("c" * 300, "a" * 300),), plan="p" * 300),
        Scene("hostile-text", "\u202eשלום evil\u202c\nline\r\nbreak\ttab \x07\x00 العربية",
              daily(900), (_JANUARY, plan(50_000)), kinds=(("\u202egpu\u202c", "ال"),)),
        Scene("buyer", "Buys By Itself", daily(2900), (_JANUARY, plan(50_000)), auto_purchase=True,
              pack=("Top-up 10K", Decimal(10_000), Decimal(125)), packs=(2, 1),
              coming=(CYCLE_END, Decimal(50_000))),
        Scene("bought-out", "All Packs Bought", daily(3250), (_JANUARY, plan(50_000)),
              auto_purchase=True, pack=("Top-up 10K", Decimal(10_000), None), packs=(3, 0),
              coming=(CYCLE_END, Decimal(50_000))),
        Scene("topped-up", "Crossed And Below Again", daily(2500, days=27) + daily(500, days=1),
              (_JANUARY, plan(50_000), ("top_up", AS_OF, date(2027, 2, 15), Decimal(60_000))),
              coming=(CYCLE_END, Decimal(50_000)), waiting=3),
        Scene("beyond", "Far Beyond", daily(2500, days=24) + daily(20_000, days=4),
              (_JANUARY, plan(50_000),
               ("top_up", AS_OF, date(2027, 2, 15), Decimal(40_000))),
              coming=(CYCLE_END, Decimal(50_000)), fees=Decimal("3124.64")),
        Scene("refunded", "Corrected Ltd",
              (*daily(1500, days=22), Decimal("-6000.5"), *daily(900, days=5)),
              (_JANUARY, ("refund", date(2026, 2, 10), date(2026, 2, 28), Decimal("6000.5")),
               plan(50_000))),
        Scene("last-day", "On Its Last Day", daily(1200), (plan(50_000, on=LAST_CYCLE),
              ("plan", date(2026, 1, 16), AS_OF, Decimal(50_000))),
              cycle=(date(2026, 1, 16), date(2026, 2, 16)),
              coming=(date(2026, 2, 16), Decimal(50_000))),
        Scene("renewed", "Renewed Before", daily(2200), (_JANUARY, plan(60_000)),
              coming=(date(2026, 2, 20), Decimal(60_000))),
        Scene("close", "Thresholds Close By", daily(900), (_JANUARY, plan(50_000)),
              thresholds=(Decimal("0.9"), Decimal("0.95"))),
    )
}  # fmt: skip
