"""The read model of a fuel gauge: everything a customer's page shows, and nothing else.

It is what a portal that draws its own page reads, as JSON: credits, minutes and money are decimal
strings, days are ISO dates (UTC).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from orchestration.pages.projection import (
    WEEK,
    PaceRange,
    pace_range,
    reached_on,
    runs_dry,
    unused,
)
from orchestration.pages.slices import CustomerSlice, Row

Amount = Annotated[
    Decimal, PlainSerializer(lambda amount: format(amount, "f"), return_type=str, when_used="json")
]

# The night of the day after next has run by then: see orchestration/defs/schedules.py.
_RENEWED_AFTER = timedelta(days=2)
_RENEWED_BY = time(6, 0, tzinfo=UTC)


class GaugeState(StrEnum):
    """What the page says first; the first that applies."""

    NEW = "new"
    OVERDRAWN = "overdrawn"
    EMPTY = "empty"
    EXPIRED = "expired"
    CAPPED = "capped"
    WARNING = "warning"
    IDLE = "idle"
    HEALTHY = "healthy"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Model):
    """The customer's plan on the last day, or its latest one."""

    sku: str
    name: str
    ends_on: date | None
    """First day without it; None if open."""
    concurrency_limit: Amount | None
    """GPUs at once; None is no limit."""
    overage_policy: str | None


class Threshold(_Model):
    """A depletion at which something happens."""

    kind: Literal["pre_alert", "hard_cap"]
    depletion: Amount
    remaining: Amount
    """Credits that are left when it is reached."""
    is_reached: bool
    crossed_on: date | None
    """The day it was reached last in this cycle, as the cycle's alerts say, even if not any more."""
    expected_on: date | None
    """The day it will be reached at the pace of all use; None if not in this cycle."""


class ProjectedRange(_Model):
    """Between which days the credits run out, if the pace stays within that of the last weeks."""

    history_days: int
    slowest_daily: Amount
    fastest_daily: Amount
    earliest: date | None
    """None if the credits expire first."""
    latest: date | None
    """None if the credits expire first, or last for good."""


class Expiring(_Model):
    """What expires unused at the pace of all use in the last seven days."""

    credits: Amount
    first_on: date
    """The first day at whose end some expire."""
    runs_out_on: date | None
    """First day without credits, expiry counted; None if the others last for good."""


class Day(_Model):
    """A day of the wallet."""

    date: date
    burned: Amount
    overage: Amount
    refunded: Amount
    """Given back because corrections outweighed the use of the day."""
    expired: Amount
    """Expired unused at the end of the day."""
    closing: Amount
    before_expiry: Amount
    """What depletion is measured with: what was left before any of it expired or rolled over."""


class Coming(_Model):
    """The next grant of the plan."""

    granted_on: date
    credits: Amount


class AutoPurchase(_Model):
    """The top-up that the plan buys by itself at the hard cap."""

    sku: str
    name: str
    credits: Amount
    """Of one pack."""
    price: Amount | None
    """Of one pack, in the currency of the gauge; None if the catalog has none."""
    bought: int
    """Packs bought in this cycle so far."""
    left: int | None
    """Packs that may still be bought in this cycle; None is no limit."""


class Grant(_Model):
    """A grant, and what is left of it."""

    source: str
    sku: str | None
    granted_on: date
    expires_on: date | None
    """Last day on which it can burn."""
    credits: Amount
    remaining: Amount


class Use(_Model):
    """What ran in this cycle on one kind of GPU of one cluster."""

    cluster: str
    accelerator: str
    is_dedicated: bool
    gpu_minutes: Amount
    credits: Amount
    cost_per_gpu_minute: Amount | None
    """Amortized cost in the reporting currency; None where the contract doesn't show it."""


class UseDay(_Model):
    """Credits used on a day on one kind of GPU of one cluster."""

    date: date
    cluster: str
    accelerator: str
    credits: Amount


class RaisedAlert(_Model):
    """An alert of this cycle."""

    raised_on: date
    alert_type: str
    depletion: Amount
    balance: Amount
    threshold: Amount | None


class Site(_Model):
    """Energy of the busy GPUs of a cluster in this cycle."""

    region: str
    cluster: str
    kwh: Amount
    carbon_kg: Amount | None
    """Kilograms of CO2 equivalent; None where the grid's mix is not known."""
    kwh_with_share: Amount
    """The part of the kWh of which the renewable share is known."""
    renewable_kwh: Amount | None


class Gauge(_Model):
    """One customer's fuel gauge at the end of a day."""

    schema_version: Literal[1] = 1
    customer_id: str
    customer_name: str
    as_of: date
    renewed_by: datetime
    """When the next figures are due: read later, these are out of date."""
    currency: str
    top_up_url: str | None
    cycle_start: date
    cycle_end: date
    """First day of the next cycle."""
    state: GaugeState
    plan: Plan | None
    auto_purchase: bool
    automatic: AutoPurchase | None
    """What it buys by itself; None if nothing."""
    coming: Coming | None
    """The next grant of the plan; None if none is to come."""
    balance: Amount
    expired_today: Amount
    """What expired unused at the end of ``as_of``; the balance is what was left then."""
    capacity: Amount
    """What a full tank is: burned in the cycle and still there before anything expired today."""
    granted_in_cycle: Amount
    burned_in_cycle: Amount
    overage_in_cycle: Amount
    depletion: Amount
    mean_daily_burn: Amount
    """What the wallet gave a day in the last seven days."""
    mean_daily_use: Amount
    """The same with what was used beyond the wallet: the pace of all use."""
    projected_depletion_date: date | None
    """As fuel_gauges has it: at the mean daily burn, and as if nothing expired before it."""
    used_up_on: date | None
    """First day without credits at the pace of all use; None if they expire before."""
    projected_range: ProjectedRange | None
    expiring: Expiring | None
    next_expiry_on: date | None
    next_expiry_credits: Amount | None
    last_expiry_on: date | None
    """Last day on which any of the credits can burn; None if some never expire, or none are left."""
    thresholds: tuple[Threshold, ...]
    days: tuple[Day, ...]
    grants: tuple[Grant, ...]
    """In burning order; those of this cycle that are used up, too."""
    uses: tuple[Use, ...]
    use_days: tuple[UseDay, ...]
    alerts: tuple[RaisedAlert, ...]
    """Newest first."""
    sites: tuple[Site, ...] | None
    """Only for regulated customers."""


def gauge_of(
    customer: CustomerSlice, *, currency: str, shows_cost: bool, top_up_url: str | None = None
) -> Gauge:
    """Put a customer's slice into the form of its page.

    Args:
        customer: the slice; nothing else of the publication is looked at.
        currency: of amortized costs.
        shows_cost: whether the customer's contract shows it what its GPU minutes cost.
        top_up_url: where the page's top-up link leads; none without one.
    """
    row = customer.gauge
    days = tuple(_of(Day, day) for day in customer.rows["days"])
    grants = tuple(_of(Grant, grant) for grant in customer.rows["grants"])
    alerts = tuple(_of(RaisedAlert, alert) for alert in customer.rows["alerts"])
    as_of: date = row["as_of"]
    last_expiry = _last_expiry(grants)
    daily_use = [_micro(day.burned + day.overage) for day in days]
    week_used = sum(daily_use[-WEEK:])
    balance = _micro(row["balance"])
    before_expiry = days[-1].before_expiry if days else row["balance"]
    paces = pace_range(daily_use, week_used, balance, as_of, last_expiry)
    uses = (_of(Use, use) for use in customer.rows["uses"])
    [outlook] = customer.rows["outlook"]
    return Gauge(
        customer_id=customer.customer_id,
        customer_name=row["customer_name"],
        as_of=as_of,
        renewed_by=datetime.combine(as_of + _RENEWED_AFTER, _RENEWED_BY),
        currency=currency,
        top_up_url=top_up_url,
        cycle_start=row["cycle_start"],
        cycle_end=row["cycle_end"],
        state=_state(row, before_expiry, is_new=not days),
        plan=_plan(row),
        auto_purchase=row["auto_purchase"],
        automatic=_automatic(outlook),
        coming=_coming(outlook),
        balance=row["balance"],
        expired_today=days[-1].expired if days else Decimal(0),
        capacity=row["burned_in_cycle"] + before_expiry,
        granted_in_cycle=row["granted_in_cycle"],
        burned_in_cycle=row["burned_in_cycle"],
        overage_in_cycle=row["overage_in_cycle"],
        depletion=row["depletion"],
        mean_daily_burn=row["mean_daily_burn"],
        mean_daily_use=_daily(week_used),
        projected_depletion_date=row["projected_depletion_date"],
        used_up_on=runs_dry(balance, week_used, as_of, last_expiry) if balance > 0 else None,
        projected_range=_range(paces) if paces else None,
        expiring=_expiring(grants, week_used, as_of),
        next_expiry_on=row["next_expiry_on"],
        next_expiry_credits=row["next_expiry_credits"],
        last_expiry_on=last_expiry,
        thresholds=_thresholds(row, before_expiry, alerts, week_used),
        days=days,
        grants=grants,
        uses=tuple(
            use if shows_cost else use.model_copy(update={"cost_per_gpu_minute": None})
            for use in uses
        ),
        use_days=tuple(_of(UseDay, use) for use in customer.rows["use_days"]),
        alerts=alerts,
        sites=tuple(_of(Site, site) for site in customer.rows["sites"])
        if row["is_regulated"]
        else None,
    )


def _range(paces: PaceRange) -> ProjectedRange:
    return ProjectedRange(
        history_days=paces.days,
        slowest_daily=_daily(paces.slowest),
        fastest_daily=_daily(paces.fastest),
        earliest=paces.earliest,
        latest=paces.latest,
    )


def _coming(outlook: Row) -> Coming | None:
    if outlook["next_grant_on"] is None:
        return None
    return Coming(granted_on=outlook["next_grant_on"], credits=outlook["next_grant_credits"])


def _automatic(outlook: Row) -> AutoPurchase | None:
    if outlook["pack_sku"] is None:
        return None
    return AutoPurchase(
        sku=outlook["pack_sku"],
        name=outlook["pack_name"] or outlook["pack_sku"],
        credits=outlook["pack_credits"],
        price=outlook["pack_price"],
        bought=outlook["packs_bought"],
        left=outlook["packs_left"],
    )


def _expiring(grants: Sequence[Grant], week_used: int, as_of: date) -> Expiring | None:
    live = [(_micro(grant.remaining), grant.expires_on) for grant in grants if grant.remaining > 0]
    lost = unused(live, week_used, as_of)
    if lost is None:
        return None
    return Expiring(
        credits=_credits(lost.credits), first_on=lost.first_on, runs_out_on=lost.runs_dry_on
    )


def _state(row: Row, before_expiry: Decimal, *, is_new: bool) -> GaugeState:
    if is_new:
        return GaugeState.NEW
    if before_expiry <= 0:
        return GaugeState.OVERDRAWN if row["overage_in_cycle"] > 0 else GaugeState.EMPTY
    if row["status"] == "capped":
        return GaugeState.CAPPED
    if row["balance"] <= 0:
        return GaugeState.EXPIRED
    if row["status"] == "warning":
        return GaugeState.WARNING
    return GaugeState.HEALTHY if row["mean_daily_burn"] > 0 else GaugeState.IDLE


def _plan(row: Row) -> Plan | None:
    if row["plan_sku"] is None:
        return None
    return Plan(
        sku=row["plan_sku"],
        name=row["plan_name"] or row["plan_sku"],
        ends_on=row["plan_ends_on"],
        concurrency_limit=row["concurrency_limit"],
        overage_policy=row["overage_policy"],
    )


def _thresholds(
    row: Row, before_expiry: Decimal, alerts: Sequence[RaisedAlert], week_used: int
) -> tuple[Threshold, ...]:
    burned, balance = _micro(row["burned_in_cycle"]), _micro(before_expiry)
    reached = {
        "pre_alert": row["status"] in ("warning", "capped"),
        "hard_cap": row["status"] == "capped",
    }
    thresholds = []
    for kind in ("pre_alert", "hard_cap"):
        depletion: Decimal | None = row[f"{kind}_depletion"]
        if depletion is None:
            continue
        # Of 10^12: a share has six decimals and so has a credit.
        at = _micro(depletion) * (burned + balance)
        expected = reached_on(_ceil_micro(at) - burned, week_used, row["as_of"])
        crossed = [alert.raised_on for alert in alerts if alert.alert_type == kind]
        thresholds.append(
            Threshold(
                kind=kind,
                depletion=depletion,
                remaining=_credits(burned + balance - _ceil_micro(at)),
                is_reached=reached[kind],
                crossed_on=max(crossed, default=None),
                expected_on=expected
                if expected
                and row["balance"] > 0
                and not reached[kind]
                and expected < row["cycle_end"]
                else None,
            )
        )
    return tuple(thresholds)


def _last_expiry(grants: Sequence[Grant]) -> date | None:
    live = [grant.expires_on for grant in grants if grant.remaining > 0]
    expiries = [expiry for expiry in live if expiry is not None]
    return max(expiries) if live and len(expiries) == len(live) else None


def _of(model: type[Any], row: Row) -> Any:
    return model(**{name: value for name, value in row.items() if name != "customer_id"})


def _micro(amount: Decimal) -> int:
    return int(amount.scaleb(6))


def _credits(micro: int) -> Decimal:
    return Decimal(micro).scaleb(-6)


def _daily(week_micro: int) -> Decimal:
    """A week's micro-credits as credits a day, rounded half away from zero; never negative."""
    return _credits((2 * week_micro + WEEK) // (2 * WEEK))


def _ceil_micro(trillionths: int) -> int:
    return -(-trillionths // 1_000_000)
