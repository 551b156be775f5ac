"""A second opinion on the credit books: slow, small, and written from the rules alone.

The job computes grants, ledger, balances and invoice lines set by set in SQL. This module walks
through the same books one customer and one day at a time, with exact fractions, and shares no
code with the job. Where the two disagree, one of them misread the rules.

What belongs here: cycles, plan grants, packs, auto-purchase, burn, overage, rollover, expiry,
refunds, adjustments, and the invoice lines that follow from them and from dedicated clusters.
What does not: rating of usage, burst and energy surcharges, cost. Usage comes in as posted credits.

Section numbers in the comments (§) are those of the billing rules.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any, TypeVar

ZERO = Fraction(0)
ONE_DAY = timedelta(days=1)
NEVER = date.max

# §2.3: what burns first
PRIORITY = {
    "burst_pack": 10,
    "rollover": 20,
    "refund": 30,
    "adjustment": 30,
    "plan": 40,
    "top_up": 50,
    "auto_purchase": 60,
}
SOURCE_OF_PACK = {"burst": "burst_pack", "top_up": "top_up"}


class SeedError(ValueError):
    """The contracts or the catalog can't be billed as they stand."""


# ---------------------------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------------------------


def rounded(x: Fraction, places: int) -> Fraction:
    """`round(x, n)` of the rules: half away from zero."""
    scaled = abs(x) * 10**places
    whole = floor(scaled + Fraction(1, 2))
    return Fraction(whole if x >= 0 else -whole, 10**places)


def floored(x: Fraction, places: int) -> Fraction:
    """`floor6` of §2.7, for any number of places."""
    return Fraction(floor(x * 10**places), 10**places)


def decimal(x: Fraction, places: int) -> Decimal:
    """A rounded fraction as an exact decimal, whatever the decimal context says."""
    scaled = rounded(x, places) * 10**places
    digits = tuple(int(digit) for digit in str(abs(scaled.numerator)))
    return Decimal((int(scaled < 0), digits, -places))


def ratio(numerator: Fraction, denominator: Fraction) -> Fraction:
    """A unit price for display: 0 where there are no units."""
    return numerator / denominator if denominator else ZERO


# ---------------------------------------------------------------------------------------------
# Seeds
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Versioned:
    """A seed row with effective dates: from inclusive, to exclusive, None = open."""

    valid_from: date | None = None
    valid_to: date | None = None

    def valid_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day < self.valid_to
        )


@dataclass(frozen=True, kw_only=True)
class Plan(Versioned):
    sku: str
    included_credits: Fraction
    overage_policy: str = "bill"
    hard_cap_depletion: Fraction = Fraction(95, 100)
    rollover_min_utilization: Fraction = Fraction(80, 100)
    rollover_rate: Fraction = Fraction(5, 100)


@dataclass(frozen=True, kw_only=True)
class Pack(Versioned):
    sku: str
    kind: str  # burst or top_up
    included_credits: Fraction = ZERO
    validity_hours: int


@dataclass(frozen=True, kw_only=True)
class Tier(Versioned):
    sku: str
    charge: str  # base, overage, pack or dedicated
    mode: str  # graduated, volume or package
    tier: int = 1
    up_to: Fraction | None = None
    unit_price: Fraction = ZERO
    flat_fee: Fraction = ZERO
    package_size: Fraction | None = None


@dataclass(frozen=True, kw_only=True)
class TermDiscount(Versioned):
    sku: str
    min_commit_months: int
    discount_rate: Fraction


@dataclass(frozen=True, kw_only=True)
class DedicatedCluster(Versioned):
    sku: str


@dataclass(frozen=True, kw_only=True)
class Pool(Versioned):
    cluster: str
    accelerator: str
    gpu_count: Fraction


@dataclass(frozen=True, kw_only=True)
class Customer:
    customer_id: str
    billing_anchor_day: int


@dataclass(frozen=True, kw_only=True)
class Subscription:
    subscription_id: str
    customer_id: str
    sku: str
    quantity: Fraction = Fraction(1)
    starts_on: date
    ends_on: date | None = None  # exclusive
    commit_months: int = 0
    cluster: str | None = None
    auto_purchase_sku: str | None = None
    max_auto_purchases_per_cycle: int | None = None

    def active_on(self, day: date) -> bool:
        return self.starts_on <= day < (self.ends_on or NEVER)


@dataclass(frozen=True, kw_only=True)
class Order:
    order_id: str
    customer_id: str
    sku: str
    quantity: Fraction = Fraction(1)
    ordered_at: datetime


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    adjustment_id: str
    customer_id: str
    posted_on: date
    credits: Fraction = ZERO
    amount: Fraction = ZERO


@dataclass(kw_only=True)
class Seeds:
    customers: list[Customer] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    dedicated_clusters: list[DedicatedCluster] = field(default_factory=list)
    price_tiers: list[Tier] = field(default_factory=list)
    term_discounts: list[TermDiscount] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)


AnyRow = TypeVar("AnyRow")


def _instant(text: str) -> datetime:
    """All instants are UTC; an explicit offset is honoured, none means UTC."""
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)


CELL: dict[str, Callable[[str], Any]] = {  # how a column of each type is read
    "str": str,
    "int": int,
    "Fraction": Fraction,
    "date": date.fromisoformat,
    "datetime": _instant,
}


def _read(path: Path, row_type: type[AnyRow]) -> list[AnyRow]:
    """The columns of a CSV file that a contract names; an empty cell leaves its default."""
    types = {column.name: str(column.type).split(" | ")[0] for column in fields(row_type)}  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        return [
            row_type(**{name: CELL[types[name]](row[name]) for name in types if row.get(name)})
            for row in csv.DictReader(file)
        ]


def load_seeds(folder: Path | str) -> Seeds:
    """The seed files that the credit books depend on; `contracts/adjustments` may be absent."""
    catalog, contracts = Path(folder) / "catalog", Path(folder) / "contracts"
    adjustments = contracts / "adjustments.csv"
    return Seeds(
        customers=_read(contracts / "customers.csv", Customer),
        subscriptions=_read(contracts / "subscriptions.csv", Subscription),
        orders=_read(contracts / "orders.csv", Order),
        adjustments=_read(adjustments, Adjustment) if adjustments.exists() else [],
        plans=_read(catalog / "plans.csv", Plan),
        packs=_read(catalog / "packs.csv", Pack),
        dedicated_clusters=_read(catalog / "dedicated_clusters.csv", DedicatedCluster),
        price_tiers=_read(catalog / "price_tiers.csv", Tier),
        term_discounts=_read(catalog / "term_discounts.csv", TermDiscount),
        pools=_read(Path(folder) / "fleet" / "pools.csv", Pool),
    )


# ---------------------------------------------------------------------------------------------
# Cycles (§1.2)
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cycle:
    start: date
    end: date  # exclusive

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        return self.end - ONE_DAY

    def active_days(self, subscription: Subscription) -> int:
        starts = max(self.start, subscription.starts_on)
        ends = min(self.end, subscription.ends_on or NEVER)
        return max(0, (ends - starts).days)

    def first_active_day(self, subscription: Subscription) -> date:
        return max(self.start, subscription.starts_on)


def cycle_of(day: date, anchor_day: int) -> Cycle:
    """The billing cycle that contains a day: from one anchor day to the next."""
    this_month = day.replace(day=anchor_day)
    next_month = (day.replace(day=28) + 4 * ONE_DAY).replace(day=anchor_day)
    last_month = (day.replace(day=1) - ONE_DAY).replace(day=anchor_day)
    if this_month <= day:
        return Cycle(this_month, next_month)
    return Cycle(last_month, this_month)


# ---------------------------------------------------------------------------------------------
# Prices (§3)
# ---------------------------------------------------------------------------------------------


def price(tiers: Sequence[Tier], units: Fraction) -> Fraction:
    """The exact price of a number of units. Tiers cover (previous up_to, up_to]."""
    if units == 0:
        return ZERO
    tiers = sorted(tiers, key=lambda tier: tier.tier)
    if not tiers or tiers[-1].up_to is not None:
        raise SeedError("a price needs tiers, and the last one is open-ended")
    if tiers[0].mode == "graduated":
        amount, below = ZERO, ZERO
        for tier in tiers:
            if units <= below:
                break
            above = units if tier.up_to is None else min(units, tier.up_to)
            amount += (above - below) * tier.unit_price + tier.flat_fee
            below = above
        return amount
    reached = next(tier for tier in tiers if tier.up_to is None or units <= tier.up_to)
    if reached.mode == "volume":
        return units * reached.unit_price + reached.flat_fee
    if reached.mode == "package" and reached.package_size:
        return ceil(units / reached.package_size) * reached.unit_price + reached.flat_fee
    raise SeedError(f"{reached.sku}: unknown price mode {reached.mode}")


AnyVersion = TypeVar("AnyVersion", bound=Versioned)


class Catalog:
    """The catalog as of a day."""

    def __init__(self, seeds: Seeds) -> None:
        self.seeds = seeds
        self.plan_skus = {plan.sku for plan in seeds.plans}
        self.dedicated_skus = {cluster.sku for cluster in seeds.dedicated_clusters}

    @staticmethod
    def _one(what: str, found: list[AnyVersion]) -> AnyVersion:
        if len(found) != 1:
            raise SeedError(f"{len(found)} versions of {what}")
        return found[0]

    def plan(self, sku: str, day: date) -> Plan:
        found = [plan for plan in self.seeds.plans if plan.sku == sku and plan.valid_on(day)]
        return self._one(f"plan {sku} on {day}", found)

    def pack(self, sku: str, day: date) -> Pack:
        found = [pack for pack in self.seeds.packs if pack.sku == sku and pack.valid_on(day)]
        return self._one(f"pack {sku} on {day}", found)

    def tiers(self, sku: str, charge: str, day: date) -> list[Tier]:
        return [
            tier
            for tier in self.seeds.price_tiers
            if (tier.sku, tier.charge) == (sku, charge) and tier.valid_on(day)
        ]

    def discount_rate(self, sku: str, commit_months: int, day: date) -> Fraction:
        """The term discount with the largest minimum that the commitment reaches."""
        earned = [
            discount
            for discount in self.seeds.term_discounts
            if discount.sku == sku
            and discount.min_commit_months <= commit_months
            and discount.valid_on(day)
        ]
        if not earned:
            return ZERO
        return max(earned, key=lambda discount: discount.min_commit_months).discount_rate

    def gpu_count(self, cluster: str | None, day: date) -> Fraction:
        pools = [p for p in self.seeds.pools if p.cluster == cluster and p.valid_on(day)]
        return sum((pool.gpu_count for pool in pools), ZERO)


# ---------------------------------------------------------------------------------------------
# Depletion and auto-purchase (§2.4, §2.5)
# ---------------------------------------------------------------------------------------------


def depletion(burned_in_cycle: Fraction, balance: Fraction, day_has_overage: bool) -> Fraction:
    """§2.4, with the balance after the day's burn and before what leaves at its end."""
    if burned_in_cycle + balance == 0:
        return Fraction(1) if day_has_overage else ZERO
    return burned_in_cycle / (burned_in_cycle + balance)


def packs_by_trial(
    burned: Fraction, balance: Fraction, usage: Fraction, pack: Fraction, cap: Fraction
) -> int:
    """§2.5 as defined: the smallest number of packs that brings depletion below the cap."""
    packs = 0
    while True:
        wallet = balance + packs * pack
        burn = min(usage, wallet)
        if depletion(burned + burn, wallet - burn, usage > burn) < cap:
            return packs
        packs += 1


def packs_by_formula(
    burned: Fraction, balance: Fraction, usage: Fraction, pack: Fraction, cap: Fraction
) -> int:
    """§2.5 in closed form."""
    x, b = burned + usage, burned + balance
    if x == 0 or x < cap * b:
        return 0
    return floor((x / cap - b) / pack) + 1


# ---------------------------------------------------------------------------------------------
# Books
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UsageRow:
    """One row of `usage_daily`; only needed to tell regular overage from adjustments."""

    key: tuple[str, ...]
    credits: Decimal
    is_adjustment: bool


@dataclass(frozen=True)
class Grant:
    grant_id: str
    customer_id: str
    source: str
    sku: str | None
    granted_on: date
    expires_on: date
    priority: int
    credits: Decimal
    amount: Decimal
    unit_price: Decimal
    cycle_start: date
    origin_id: str


@dataclass(frozen=True)
class Transfer:
    transfer_id: str
    posted_on: date
    kind: str
    debit_account: str
    credit_account: str
    customer_id: str
    grant_id: str | None
    credits: Decimal
    unit_price: Decimal
    value: Decimal
    cycle_start: date


@dataclass(frozen=True)
class Balance:
    customer_id: str
    balance_date: date
    cycle_start: date
    opening_credits: Decimal
    granted_credits: Decimal
    burned_credits: Decimal
    overage_credits: Decimal
    expired_credits: Decimal
    rolled_credits: Decimal
    refunded_credits: Decimal
    closing_credits: Decimal
    burned_in_cycle: Decimal
    depletion: Decimal
    deferred_revenue: Decimal


@dataclass(frozen=True)
class Line:
    invoice_line_id: str
    customer_id: str
    cycle_start: date
    cycle_end: date
    line_type: str
    sku: str | None
    cluster: str | None
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    is_adjustment: bool
    status: str


@dataclass
class Books:
    grants: list[Grant] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


@dataclass
class Wallet:
    """A grant and what has left it."""

    grant_id: str
    source: str
    sku: str | None
    granted_on: date
    expires_on: date
    credits: Fraction
    value: Fraction
    plan: Plan | None = None  # the version a plan grant was made under
    out: Fraction = ZERO

    @property
    def left(self) -> Fraction:
        return self.credits - self.out

    @property
    def value_out(self) -> Fraction:
        return rounded(self.value * self.out / self.credits, 6)

    @property
    def unit_price(self) -> Fraction:
        return self.value / self.credits

    def take(self, credits: Fraction) -> Fraction:
        """Takes credits out; the value they carry is the difference of cumulative value (§2.8)."""
        before = self.value_out
        self.out += credits
        assert credits > 0
        assert self.left >= 0
        return self.value_out - before

    def burn_order(self) -> tuple[int, date, date, str]:
        return (PRIORITY[self.source], self.expires_on, self.granted_on, self.grant_id)


@dataclass
class RolledOut:
    """Credits between two cycles: rolled out on the last day, granted on the next (§2.7)."""

    old: Wallet
    credits: Fraction
    value: Fraction


class CustomerBooks:
    """The books of one customer, kept day by day."""

    def __init__(
        self,
        customer: Customer,
        seeds: Seeds,
        catalog: Catalog,
        books: Books,
        last_day: date,
        days_until_close: int,
    ) -> None:
        self.id = customer.customer_id
        self.anchor_day = customer.billing_anchor_day
        self.catalog = catalog
        self.books = books
        self.last_day = last_day
        self.days_until_close = days_until_close
        subscriptions = [s for s in seeds.subscriptions if s.customer_id == self.id]
        self.plans = [s for s in subscriptions if s.sku in catalog.plan_skus]
        self.dedicated = [s for s in subscriptions if s.sku in catalog.dedicated_skus]
        self.orders = [o for o in seeds.orders if o.customer_id == self.id]
        self.adjustments = [a for a in seeds.adjustments if a.customer_id == self.id]
        self.wallets: list[Wallet] = []
        self.rolled_out: list[RolledOut] = []
        self.burned_in_cycle = ZERO
        self.packs_in_cycle: dict[str, int] = {}  # auto-purchased, per subscription
        self.plan_grants_of_cycle: list[Wallet] = []
        self.overage: dict[tuple[date, str], Fraction] = defaultdict(lambda: ZERO)
        self.overage_of_day: dict[date, tuple[str, Fraction]] = {}
        self.today: dict[str, Fraction] = {}

    # -- time and plans ------------------------------------------------------------------------

    def cycle(self, day: date) -> Cycle:
        return cycle_of(day, self.anchor_day)

    def subscription_on(self, day: date) -> Subscription | None:
        """A customer has at most one plan subscription on any day."""
        active = [s for s in self.plans if s.active_on(day)]
        if len(active) > 1:
            raise SeedError(f"{self.id} has {len(active)} plans on {day}")
        return active[0] if active else None

    def subscription_for_posting(self, day: date) -> Subscription | None:
        """§1.3: the plan of the posting day; no plan that day: the latest before it."""
        ended = [s for s in self.plans if s.starts_on < (s.ends_on or NEVER) <= day]
        latest = max(ended, key=lambda s: s.ends_on or NEVER) if ended else None
        return self.subscription_on(day) or latest

    # -- writing -------------------------------------------------------------------------------

    def transfer(
        self,
        day: date,
        kind: str,
        accounts: tuple[str, str],
        grant_id: str | None,
        credits: Fraction,
        unit_price: Fraction,
        value: Fraction,
    ) -> None:
        self.books.transfers.append(
            Transfer(
                transfer_id=f"{self.id}/{day}/{kind}/{grant_id or 'overage'}",
                posted_on=day,
                kind=kind,
                debit_account=accounts[0],
                credit_account=accounts[1],
                customer_id=self.id,
                grant_id=grant_id,
                credits=decimal(credits, 6),
                unit_price=decimal(unit_price, 12),
                value=decimal(value, 6),
                cycle_start=self.cycle(day).start,
            )
        )
        self.today[kind] = self.today.get(kind, ZERO) + credits

    def line(
        self,
        cycle: Cycle,
        line_type: str,
        origin: str,
        sku: str | None,
        quantity: Fraction,
        unit_price: Fraction,
        amount: Fraction,
        cluster: str | None = None,
        is_adjustment: bool = False,
    ) -> None:
        closes_on = cycle.end + self.days_until_close * ONE_DAY
        suffix = "/adjustment" if is_adjustment else ""
        self.books.lines.append(
            Line(
                invoice_line_id=f"{self.id}/{cycle.start}/{line_type}/{origin}{suffix}",
                customer_id=self.id,
                cycle_start=cycle.start,
                cycle_end=cycle.end,
                line_type=line_type,
                sku=sku,
                cluster=cluster,
                quantity=decimal(quantity, 6),
                unit_price=decimal(unit_price, 12),
                amount=decimal(amount, 2),
                is_adjustment=is_adjustment,
                status="final" if closes_on <= self.last_day else "open",
            )
        )

    def grant(
        self,
        day: date,
        source: str,
        origin: str,
        sku: str | None,
        credits: Fraction,
        value: Fraction,
        expires_on: date,
        plan: Plan | None = None,
    ) -> Wallet | None:
        """Opens a wallet and fills it. A transfer is of a positive number of credits."""
        if credits == 0:
            return None
        wallet = Wallet(
            grant_id=f"{self.id}/{source}/{day}/{origin}",
            source=source,
            sku=sku,
            granted_on=day,
            expires_on=expires_on,
            credits=credits,
            value=value,
            plan=plan,
        )
        self.wallets.append(wallet)
        self.books.grants.append(
            Grant(
                grant_id=wallet.grant_id,
                customer_id=self.id,
                source=source,
                sku=sku,
                granted_on=day,
                expires_on=expires_on,
                priority=PRIORITY[source],
                credits=decimal(credits, 6),
                amount=decimal(value, 6),
                unit_price=decimal(wallet.unit_price, 12),
                cycle_start=self.cycle(day).start,
                origin_id=origin,
            )
        )
        kind = "refund" if source == "refund" else "grant"
        from_account = f"consumed:{self.id}" if source == "refund" else f"issued:{source}"
        accounts = (from_account, self.account(wallet))
        self.transfer(day, kind, accounts, wallet.grant_id, credits, wallet.unit_price, value)
        return wallet

    def account(self, wallet: Wallet) -> str:
        return f"wallet:{self.id}:{wallet.grant_id}"

    def take(self, day: date, kind: str, wallet: Wallet, credits: Fraction, to: str) -> Fraction:
        """One transfer out of a wallet; returns the value that went with it."""
        value = wallet.take(credits)
        accounts = (self.account(wallet), f"{to}:{self.id}")
        self.transfer(day, kind, accounts, wallet.grant_id, credits, wallet.unit_price, value)
        return value

    # -- the steps of a day, in their order ----------------------------------------------------

    def run_day(self, day: date, posted: Fraction) -> None:
        cycle = self.cycle(day)
        self.today = {}
        if day == cycle.start:
            self.burned_in_cycle = ZERO
            self.packs_in_cycle = {}
            self.plan_grants_of_cycle = []
        opening = self.balance()
        usage = max(posted, ZERO)

        self.grant_rollovers(day, cycle)
        self.grant_plans(day, cycle)
        self.grant_orders(day, cycle)
        self.grant_adjustments(day, cycle)
        self.refund(day, cycle, -min(posted, ZERO))
        self.auto_purchase(day, cycle, usage)
        uncovered = self.burn(day, usage)
        self.charge_overage(day, cycle, uncovered)
        depleted = depletion(self.burned_in_cycle, self.balance(), uncovered > 0)
        if day == cycle.last_day:
            self.roll_out(day)
        self.expire(day)

        self.bill_dedicated_clusters(day, cycle)
        self.close_day(day, cycle, opening, depleted)

    def balance(self) -> Fraction:
        return sum((wallet.left for wallet in self.wallets), ZERO)

    def grant_rollovers(self, day: date, cycle: Cycle) -> None:
        """§2.7: what was rolled out yesterday lives to the end of this cycle."""
        for rolled in self.rolled_out:
            self.grant(
                day,
                "rollover",
                rolled.old.grant_id,
                rolled.old.sku,
                rolled.credits,
                rolled.value,
                cycle.last_day,
            )
        self.rolled_out = []

    def grant_plans(self, day: date, cycle: Cycle) -> None:
        """§2.1 and §3: included credits and base price, prorated by active days."""
        for subscription in self.plans:
            if day != cycle.first_active_day(subscription) or not subscription.active_on(day):
                continue
            sku = subscription.sku
            plan = self.catalog.plan(sku, day)
            share = Fraction(cycle.active_days(subscription), cycle.days)
            full_credits = plan.included_credits * subscription.quantity
            credits = rounded(full_credits * share, 6)
            base = price(self.catalog.tiers(sku, "base", day), full_credits)
            rate = self.catalog.discount_rate(sku, subscription.commit_months, day)
            net = base * (1 - rate) * share
            wallet = self.grant(
                day,
                "plan",
                subscription.subscription_id,
                sku,
                credits,
                rounded(net, 6),
                cycle.last_day,
                plan,
            )
            if wallet:
                self.plan_grants_of_cycle.append(wallet)
            origin, list_price = subscription.subscription_id, ratio(base, full_credits)
            self.line(cycle, "base_credits", origin, sku, credits, list_price, base * share)
            if rate:
                unit_price, amount = -list_price * rate, -base * rate * share
                self.line(cycle, "term_discount", origin, sku, credits, unit_price, amount)

    def grant_orders(self, day: date, cycle: Cycle) -> None:
        """§2.2: packs are granted on the day of `ordered_at`."""
        for order in self.orders:
            if order.ordered_at.astimezone(UTC).date() != day:
                continue
            pack = self.catalog.pack(order.sku, day)
            source = SOURCE_OF_PACK[pack.kind]
            amount = price(self.catalog.tiers(order.sku, "pack", day), order.quantity)
            until = order.ordered_at.astimezone(UTC) + timedelta(hours=pack.validity_hours)
            self.grant(
                day,
                source,
                order.order_id,
                order.sku,
                pack.included_credits * order.quantity,
                rounded(amount, 6),
                until.date(),
            )
            unit_price = ratio(amount, order.quantity)
            self.line(cycle, source, order.order_id, order.sku, order.quantity, unit_price, amount)

    def grant_adjustments(self, day: date, cycle: Cycle) -> None:
        """A person's goodwill: worth nothing, expires with the cycle."""
        for adjustment in self.adjustments:
            if adjustment.posted_on != day:
                continue
            origin = adjustment.adjustment_id
            credits = rounded(adjustment.credits, 6)
            self.grant(day, "adjustment", origin, None, credits, ZERO, cycle.last_day)
            if adjustment.amount:
                one = Fraction(1)
                price = rounded(adjustment.amount, 2)
                self.line(cycle, "adjustment", origin, None, one, price, adjustment.amount)

    def refund(self, day: date, cycle: Cycle, credits: Fraction) -> None:
        """§2.9: negative posted usage, valued like the cycle's latest plan grant (§2.8)."""
        if self.plan_grants_of_cycle:
            latest = max(self.plan_grants_of_cycle, key=lambda w: (w.granted_on, w.grant_id))
            value = rounded(latest.unit_price * credits, 6)
        else:
            value = ZERO
        self.grant(day, "refund", str(cycle.start), None, credits, value, cycle.last_day)

    def auto_purchase(self, day: date, cycle: Cycle, usage: Fraction) -> None:
        """§2.5: one grant a day, priced like one order of that many packs."""
        subscription = self.subscription_on(day)
        if subscription is None or subscription.auto_purchase_sku is None:
            return
        sku = subscription.auto_purchase_sku
        pack = self.catalog.pack(sku, day)
        if pack.kind != "top_up" or pack.included_credits <= 0:
            raise SeedError(f"auto-purchase of {sku}, which is not a top-up with credits")
        cap = self.catalog.plan(subscription.sku, day).hard_cap_depletion
        if not 0 < cap <= 1:
            raise SeedError(f"auto-purchase needs a hard cap in (0, 1], not {cap}")
        state = (self.burned_in_cycle, self.balance(), usage, pack.included_credits, cap)
        packs = packs_by_trial(*state)
        assert packs == packs_by_formula(*state), f"closed form differs: {self.id} {day}"
        bought = self.packs_in_cycle.get(subscription.subscription_id, 0)
        if subscription.max_auto_purchases_per_cycle is not None:
            packs = max(0, min(packs, subscription.max_auto_purchases_per_cycle - bought))
        if packs == 0:
            return
        self.packs_in_cycle[subscription.subscription_id] = bought + packs
        amount = price(self.catalog.tiers(sku, "pack", day), Fraction(packs))
        until = datetime.combine(day, time.min) + timedelta(hours=pack.validity_hours)
        wallet = self.grant(
            day,
            "auto_purchase",
            subscription.subscription_id,
            sku,
            packs * pack.included_credits,
            rounded(amount, 6),
            until.date(),
        )
        assert wallet is not None
        quantity = Fraction(packs)
        unit_price = amount / quantity
        self.line(cycle, "auto_purchase", wallet.grant_id, sku, quantity, unit_price, amount)

    def burn(self, day: date, usage: Fraction) -> Fraction:
        """§2.3: anything live on the day may burn. Returns what no wallet covers."""
        for wallet in sorted(self.wallets, key=Wallet.burn_order):
            credits = min(usage, wallet.left)
            if credits > 0:
                self.take(day, "burn", wallet, credits, to="consumed")
                self.burned_in_cycle += credits
                usage -= credits
        return usage

    def charge_overage(self, day: date, cycle: Cycle, credits: Fraction) -> None:
        """§2.6: the revenue of a day is the change of the cycle's price."""
        if credits == 0:
            return
        subscription = self.subscription_for_posting(day)
        sku = subscription.sku if subscription else ""
        before = self.overage[cycle.start, sku]
        after = before + credits
        self.overage[cycle.start, sku] = after
        self.overage_of_day[day] = (sku, credits)
        value = rounded(self.overage_price(cycle, sku, after), 6) - rounded(
            self.overage_price(cycle, sku, before), 6
        )
        accounts = (f"overage:{self.id}", f"consumed:{self.id}")
        self.transfer(day, "overage", accounts, None, credits, value / credits, value)

    def overage_price(self, cycle: Cycle, sku: str, credits: Fraction) -> Fraction:
        """The plan's tiers and policy on the first day of the cycle with that plan."""
        day = cycle.start
        while day < cycle.end:
            subscription = self.subscription_for_posting(day)
            if subscription and subscription.sku == sku:
                if self.catalog.plan(sku, day).overage_policy == "waive":
                    return ZERO
                return price(self.catalog.tiers(sku, "overage", day), credits)
            day += ONE_DAY
        return ZERO  # nobody ever sold this customer a plan

    def roll_out(self, day: date) -> None:
        """§2.7: a share of each plan grant rolls when the cycle's utilization is high enough."""
        grants = self.plan_grants_of_cycle
        if not grants or self.subscription_on(day + ONE_DAY) is None:
            return
        granted = sum((wallet.credits for wallet in grants), ZERO)
        burned = sum((wallet.out for wallet in grants), ZERO)  # nothing else has left them yet
        utilization = burned / granted
        for wallet in grants:
            assert wallet.plan is not None
            if utilization <= wallet.plan.rollover_min_utilization:
                continue
            credits = floored(wallet.left * wallet.plan.rollover_rate, 6)
            if credits > 0:
                value = self.take(day, "rollover", wallet, credits, to="rolled")
                self.rolled_out.append(RolledOut(wallet, credits, value))

    def expire(self, day: date) -> None:
        """What is left of a grant on the last day it can burn is gone: breakage."""
        for wallet in self.wallets:
            if wallet.expires_on == day and wallet.left > 0:
                self.take(day, "expiry", wallet, wallet.left, to="expired")

    def bill_dedicated_clusters(self, day: date, cycle: Cycle) -> None:
        """§3: tiers on the cluster's GPUs of the first active day, prorated by days."""
        for subscription in self.dedicated:
            if day != cycle.first_active_day(subscription) or not subscription.active_on(day):
                continue
            gpus = self.catalog.gpu_count(subscription.cluster, day)
            full = price(self.catalog.tiers(subscription.sku, "dedicated", day), gpus)
            share = Fraction(cycle.active_days(subscription), cycle.days)
            self.line(
                cycle,
                "dedicated_cluster",
                subscription.subscription_id,
                subscription.sku,
                gpus,
                ratio(full, gpus),
                full * share,
                cluster=subscription.cluster,
            )

    def close_day(self, day: date, cycle: Cycle, opening: Fraction, depleted: Fraction) -> None:
        if not self.wallets and not self.overage:
            return  # balances begin on the first ledger day
        deferred = sum((wallet.value - wallet.value_out for wallet in self.wallets), ZERO)
        deferred += sum((rolled.value for rolled in self.rolled_out), ZERO)

        def moved(kind: str) -> Decimal:
            return decimal(self.today.get(kind, ZERO), 6)

        self.books.balances.append(
            Balance(
                customer_id=self.id,
                balance_date=day,
                cycle_start=cycle.start,
                opening_credits=decimal(opening, 6),
                granted_credits=moved("grant"),
                burned_credits=moved("burn"),
                overage_credits=moved("overage"),
                expired_credits=moved("expiry"),
                rolled_credits=moved("rollover"),
                refunded_credits=moved("refund"),
                closing_credits=decimal(self.balance(), 6),
                burned_in_cycle=decimal(self.burned_in_cycle, 6),
                depletion=decimal(depleted, 6),
                deferred_revenue=decimal(deferred, 6),
            )
        )

    # -- lines that sum up a cycle -------------------------------------------------------------

    def credit_lines(self) -> None:
        """`rollover` and `expiry`: one per SKU, where the ledger posts them, 0.00."""
        skus = {wallet.grant_id: wallet.sku for wallet in self.wallets}
        totals: dict[tuple[date, str, str], Fraction] = defaultdict(lambda: ZERO)
        for transfer in self.books.transfers:
            if transfer.customer_id == self.id and transfer.kind in ("rollover", "expiry"):
                sku = skus[transfer.grant_id or ""] or ""
                totals[transfer.cycle_start, transfer.kind, sku] += Fraction(transfer.credits)
        for (start, kind, sku), credits in totals.items():
            self.line(self.cycle(start), kind, sku, sku or None, credits, ZERO, ZERO)

    def overage_lines(
        self, usage_rows: Mapping[tuple[str, date], Sequence[UsageRow]] | None
    ) -> None:
        """One per plan and cycle; what adjustment usage adds stands on a line of its own (§3)."""
        regular: dict[tuple[date, str], Fraction] = defaultdict(lambda: ZERO)
        for day, (sku, credits) in self.overage_of_day.items():
            rows = usage_rows[self.id, day] if usage_rows is not None else None
            share = credits if rows is None else regular_share(credits, rows)
            regular[self.cycle(day).start, sku] += share
        for (start, sku), total in self.overage.items():
            cycle, of_regular = self.cycle(start), regular[start, sku]
            full_price = self.overage_price(cycle, sku, total)
            regular_price = self.overage_price(cycle, sku, of_regular)
            for is_adjustment, credits, amount in (
                (False, of_regular, regular_price),
                (True, total - of_regular, full_price - regular_price),
            ):
                if credits:
                    unit_price = amount / credits
                    self.line(
                        cycle,
                        "overage",
                        sku,
                        sku or None,
                        credits,
                        unit_price,
                        amount,
                        is_adjustment=is_adjustment,
                    )


def regular_share(credits: Fraction, rows: Sequence[UsageRow]) -> Fraction:
    """Spreads a day's overage over its rows by credits and sums what regular rows get.

    Each share is rounded to a micro-credit; the rounding remainder goes to the largest share
    (ties: lowest key).
    """
    rows = sorted(rows, key=lambda row: row.key)
    total = sum((Fraction(row.credits) for row in rows), ZERO)
    shares = [rounded(credits * Fraction(row.credits) / total, 6) for row in rows]
    largest = max(range(len(rows)), key=lambda i: (shares[i], -i))
    shares[largest] += credits - sum(shares, ZERO)
    return sum(
        (share for share, row in zip(shares, rows, strict=True) if not row.is_adjustment), ZERO
    )


# ---------------------------------------------------------------------------------------------
# The audit
# ---------------------------------------------------------------------------------------------


def audit(
    seeds: Seeds,
    posted_usage: Mapping[tuple[str, date], Decimal],
    *,
    books_open_on: date,
    last_day: date,
    days_until_close: int = 3,
    usage_rows: Mapping[tuple[str, date], Sequence[UsageRow]] | None = None,
) -> Books:
    """The books of all customers as of the end of `last_day`.

    `posted_usage` holds the credits of a customer on a posting date (signed, 6 places). With
    `usage_rows` (the same credits, row by row) overage of adjustment rows gets its own lines;
    without them all overage stands on the regular line. What is dated after `last_day` has not
    happened yet: usage, orders and adjustments of the future are passed over.
    """
    books, catalog = Books(), Catalog(seeds)
    anchors = {c.customer_id: c.billing_anchor_day for c in seeds.customers}
    opens_on = {c: cycle_of(books_open_on, anchor).start for c, anchor in anchors.items()}
    for customer_id, day in posted_usage:
        if customer_id not in anchors or day < opens_on[customer_id]:
            raise ValueError(f"usage of {customer_id} on {day} is outside the books")
    for adjustment in seeds.adjustments:
        if adjustment.credits < 0:
            raise SeedError(f"adjustment {adjustment.adjustment_id} has negative credits")
        if adjustment.posted_on < opens_on.get(adjustment.customer_id, NEVER):
            raise SeedError(f"adjustment {adjustment.adjustment_id} is outside the open books")

    for customer in sorted(seeds.customers, key=lambda c: c.customer_id):
        own = CustomerBooks(customer, seeds, catalog, books, last_day, days_until_close)
        day = opens_on[customer.customer_id]
        while day <= last_day:
            posted = posted_usage.get((customer.customer_id, day), Decimal(0))
            own.run_day(day, Fraction(posted))
            day += ONE_DAY
        own.credit_lines()
        own.overage_lines(usage_rows)
    return books


def broken_identities(
    books: Books, posted_usage: Mapping[tuple[str, date], Decimal], last_day: date
) -> list[str]:
    """§6, as far as the credit books go: one sentence for each identity that does not hold."""
    broken: list[str] = []
    moved: dict[tuple[str, date, str], Fraction] = defaultdict(lambda: ZERO)
    value: dict[tuple[str, str], Fraction] = defaultdict(lambda: ZERO)
    wallets: dict[str, Fraction] = defaultdict(lambda: ZERO)
    for transfer in books.transfers:
        credits = Fraction(transfer.credits)
        if credits <= 0 or transfer.debit_account == transfer.credit_account:
            broken.append(f"{transfer.transfer_id}: not a positive transfer between two accounts")
        moved[transfer.customer_id, transfer.posted_on, transfer.kind] += credits
        value[transfer.customer_id, transfer.kind] += Fraction(transfer.value)
        wallets[transfer.debit_account] -= credits
        wallets[transfer.credit_account] += credits
        if transfer.debit_account.startswith("wallet:") and wallets[transfer.debit_account] < 0:
            broken.append(f"{transfer.transfer_id}: wallet below zero")
    for name in ("transfer_id", "grant_id"):
        ids = [getattr(r, name) for r in (books.transfers if name[0] == "t" else books.grants)]
        if len(ids) != len(set(ids)):
            broken.append(f"{name} is not unique")

    issued = sum((Fraction(grant.credits) for grant in books.grants), ZERO)
    into_wallets = sum(
        (c for (_, _, kind), c in moved.items() if kind in ("grant", "refund")), ZERO
    )
    if issued != into_wallets:
        broken.append(f"grants issued {issued} != transfers into wallets {into_wallets}")

    closing: dict[str, Balance] = {}
    for row in books.balances:
        key = (row.customer_id, row.balance_date)
        flow = (
            row.opening_credits
            + row.granted_credits
            + row.refunded_credits
            - row.burned_credits
            - row.expired_credits
            - row.rolled_credits
        )
        if flow != row.closing_credits or row.closing_credits < 0:
            broken.append(f"{key}: opening and flows give {flow}, closing {row.closing_credits}")
        if key[0] in closing and closing[key[0]].closing_credits != row.opening_credits:
            broken.append(f"{key}: does not open where the day before closed")
        closing[row.customer_id] = row
    for (customer_id, day), posted in posted_usage.items():
        rated = (
            moved[customer_id, day, "burn"]
            + moved[customer_id, day, "overage"]
            - moved[customer_id, day, "refund"]
        )
        if day <= last_day and rated != Fraction(posted):
            broken.append(f"{customer_id} {day}: rated {posted}, booked {rated}")

    for customer_id, row in closing.items():
        # a rollover carries its value over: out of one wallet, into another a day later
        charged = value[customer_id, "grant"] + value[customer_id, "refund"]
        left = sum((value[customer_id, k] for k in ("burn", "expiry", "rollover")), ZERO)
        in_transit = sum(
            (
                Fraction(t.value)
                for t in books.transfers
                if t.customer_id == customer_id and t.kind == "rollover" and t.posted_on == last_day
            ),
            ZERO,
        )
        if charged - left + in_transit != Fraction(row.deferred_revenue):
            broken.append(f"{customer_id}: deferred revenue does not roll forward")
    return broken
