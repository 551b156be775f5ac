"""Finance's figures, read from a publication: what its page and the summary of a run show.

Amounts are in the reporting currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.pages.read_models import RaisedAlert
from orchestration.pages.slices import as_of_day, open_publication

LAST_DAYS = 30
ALERT_DAYS = 7

_TABLES = (
    "billing_controls",
    "credit_alerts",
    "deferred_rollforward",
    "fuel_gauges",
    "gpu_minute_costs",
    "margin_bridge",
    "margin_daily",
    "rate_recommendations",
    "usage_daily",
    "waiting_usage",
)


@dataclass(frozen=True)
class Margin:
    """Revenue and cost of a month, an accelerator or a customer, in the reporting currency."""

    key: Any
    revenue: Decimal
    cost: Decimal
    margin: Decimal
    is_complete: bool = True
    """False where a market price was missing, so that the cost is too low."""

    @property
    def rate(self) -> Decimal | None:
        """Margin as a share of revenue; None without revenue."""
        return self.margin / self.revenue if self.revenue else None


@dataclass(frozen=True)
class FleetMargin(Margin):
    """The margin of all customers together, and what of the fleet's cost none of them carries."""

    unallocated: Decimal = Decimal(0)
    breakage: Decimal = Decimal(0)

    @property
    def after_idle(self) -> Decimal:
        """Margin less the cost that no customer carries."""
        return self.margin - self.unallocated

    @property
    def after_idle_rate(self) -> Decimal | None:
        """The same as a share of revenue; None without revenue."""
        return self.after_idle / self.revenue if self.revenue else None


@dataclass(frozen=True)
class Deferred:
    """What was billed and is not earned yet, of one kind, in the month of the last day."""

    opening: Decimal
    sold: Decimal
    used: Decimal
    expired: Decimal
    closing: Decimal
    expiring: Decimal
    """The part of the closing that is over within twelve months."""


@dataclass(frozen=True)
class Waiting:
    """Usage that is delivered and not billed yet."""

    customer_id: str
    reason: str
    rows: int
    gpu_minutes: Decimal
    since: date
    """Delivery day of the oldest row."""


@dataclass(frozen=True)
class Wallet:
    """A customer whose credits run low."""

    customer_id: str
    balance: Decimal
    depletion: Decimal
    overage: Decimal
    runs_out_on: date | None
    status: str
    auto_purchase: bool


@dataclass(frozen=True)
class Warned:
    """A control that warns, and how often."""

    control: str
    count: int
    total: Decimal
    scopes: tuple[str, ...]
    """What it warns about, each by name."""


@dataclass(frozen=True)
class Energy:
    """Energy of the busy GPUs of a site, and what customers paid beyond their plans' baseline."""

    kwh: Decimal
    cost: Decimal
    surcharge: Decimal


@dataclass(frozen=True)
class Rate:
    """A recommended credit rate."""

    accelerator: str
    credits_per_gpu_minute: Decimal | None
    recommended_multiplier: Decimal | None
    break_even_multiplier: Decimal | None
    gross_margin_rate: Decimal | None
    revenue_per_credit: Decimal | None
    amortized_cost_per_gpu_minute: Decimal | None
    action: str


@dataclass(frozen=True)
class Finance:
    """Everything that finance's page shows, as of the end of a day."""

    as_of: date
    currency: str
    months: tuple[FleetMargin, ...]
    accelerators: tuple[Margin, ...]
    customers: tuple[Margin, ...]
    """Best margin first."""
    total: FleetMargin
    """Of the last days, on days of use for what no customer carries."""
    deferred: dict[str, Deferred]
    """By kind: credits, dedicated."""
    waiting: tuple[Waiting, ...]
    """Most GPU minutes first."""
    energy: Energy
    wallets: tuple[Wallet, ...]
    """Empty ones first, then by the day they run out."""
    alerts: tuple[tuple[str, RaisedAlert], ...]
    """Customer and alert, newest first."""
    checked: int
    warned: tuple[Warned, ...]
    rates: tuple[Rate, ...]
    names: dict[str, str]
    """The customers' names by id."""


def finance_figures(published: Path, currency: str) -> Finance | None:
    """Read what the page shows from one publication; None when it has no customer.

    Args:
        published: the folder of one publication, not the link to the current one.
        currency: the reporting currency.
    """
    with open_publication(published, _TABLES) as marts:
        as_of = as_of_day(marts)
        if as_of is None:
            return None
        recent = f"posting_date > date '{as_of}' - {LAST_DAYS}"
        return Finance(
            as_of=as_of,
            currency=currency,
            months=fleet_margins(marts),
            accelerators=_margins(marts, "accelerator", recent),
            customers=_margins(marts, "customer_id", recent),
            total=_total(marts, as_of, recent),
            deferred=deferred_of(marts, as_of),
            waiting=waiting_of(marts),
            energy=Energy(
                kwh=_one(marts, f"select sum(busy_kwh) from usage_daily where {recent}"),
                cost=_one(marts, f"select sum(energy_cost) from usage_daily where {recent}"),
                surcharge=_one(
                    marts, f"select sum(energy_revenue) from margin_daily where {recent}"
                ),
            ),
            wallets=_wallets(marts),
            alerts=_alerts(marts, as_of),
            checked=marts.execute(
                "select count(*) from billing_controls where severity = 'error'"
            ).fetchall()[0][0],
            warned=warned_of(marts),
            rates=rates_of(marts),
            names=dict(
                marts.execute("select customer_id, customer_name from fuel_gauges").fetchall()
            ),
        )


def _margins(marts: duckdb.DuckDBPyConnection, key: str, where: str) -> tuple[Margin, ...]:
    return tuple(
        Margin(*row)
        for row in marts.execute(
            f"select {key}, sum(revenue), sum(amortized_cost), sum(gross_margin), "
            f"bool_and(cost_complete) from margin_daily where {where} group by 1 order by 4 desc, 1"
        ).fetchall()
    )


def fleet_margins(marts: duckdb.DuckDBPyConnection) -> tuple[FleetMargin, ...]:
    """Every calendar month, the latest first."""
    return tuple(
        FleetMargin(*row)
        for row in marts.execute(
            "select month, revenue, amortized_cost, gross_margin, cost_complete, unallocated_cost, "
            "breakage_revenue from margin_bridge order by month desc"
        ).fetchall()
    )


def _total(marts: duckdb.DuckDBPyConnection, as_of: date, recent: str) -> FleetMargin:
    """The last days. Their cost is complete where that of every month they touch is."""
    [(revenue, cost, margin)] = marts.execute(
        "select coalesce(sum(revenue), 0), coalesce(sum(amortized_cost), 0), "
        f"coalesce(sum(gross_margin), 0) from margin_daily where {recent}"
    ).fetchall()
    [(complete,)] = marts.execute(
        "select coalesce(bool_and(cost_complete), true) from margin_bridge "
        f"where month >= date_trunc('month', date '{as_of}' - {LAST_DAYS - 1})"
    ).fetchall()
    unallocated = _one(
        marts,
        "select sum(unallocated_cost) from gpu_minute_costs "
        f"where cost_date > date '{as_of}' - {LAST_DAYS}",
    )
    return FleetMargin("all", revenue, cost, margin, complete, unallocated)


def deferred_of(marts: duckdb.DuckDBPyConnection, as_of: date) -> dict[str, Deferred]:
    """The month of the last day, by kind."""
    return {
        kind: Deferred(*figures)
        for kind, *figures in marts.execute(
            "select kind, sum(opening), sum(sold), sum(used), sum(expired), sum(closing), "
            "sum(expiring_within_12_months) from deferred_rollforward "
            f"where month = date_trunc('month', date '{as_of}') group by kind order by kind"
        ).fetchall()
    }


def waiting_of(marts: duckdb.DuckDBPyConnection) -> tuple[Waiting, ...]:
    """All that waits, by customer and reason; most GPU minutes first."""
    return tuple(
        Waiting(*row)
        for row in marts.execute(
            "select customer_id, reason, cast(sum(usage_rows) as bigint), sum(gpu_minutes), "
            "min(first_delivery_date) from waiting_usage "
            "group by customer_id, reason order by 4 desc, 3 desc, 1, 2"
        ).fetchall()
    )


def rates_of(marts: duckdb.DuckDBPyConnection) -> tuple[Rate, ...]:
    """The recommended credit rates, by accelerator."""
    return tuple(
        Rate(*row)
        for row in marts.execute(
            "select accelerator, credits_per_gpu_minute, recommended_multiplier, "
            "break_even_multiplier, gross_margin_rate, revenue_per_credit, "
            "amortized_cost_per_gpu_minute, action from rate_recommendations order by accelerator"
        ).fetchall()
    )


def warned_of(marts: duckdb.DuckDBPyConnection) -> tuple[Warned, ...]:
    """The controls that warn, by name."""
    return tuple(
        Warned(control, count, total, tuple(scopes))
        for control, count, total, scopes in marts.execute(
            "select control, count(*), coalesce(sum(actual), 0), list(scope order by scope) "
            "from billing_controls where severity = 'warning' and not passed "
            "group by control order by control"
        ).fetchall()
    )


def _wallets(marts: duckdb.DuckDBPyConnection) -> tuple[Wallet, ...]:
    """Who needs a call: empty, capped, past the pre-alert, or running out before a renewal."""
    return tuple(
        Wallet(*row)
        for row in marts.execute(
            "select customer_id, balance, depletion, overage_in_cycle, "
            "case when balance > 0 then projected_depletion_date end as runs_out_on, "
            "status, auto_purchase from fuel_gauges "
            "where status <> 'ok' or overage_in_cycle > 0 or projected_depletion_date < cycle_end "
            "order by balance > 0, runs_out_on nulls last, overage_in_cycle desc, depletion desc, "
            "customer_id"
        ).fetchall()
    )


def _alerts(marts: duckdb.DuckDBPyConnection, as_of: date) -> tuple[tuple[str, RaisedAlert], ...]:
    return tuple(
        (
            customer,
            RaisedAlert(
                raised_on=raised,
                alert_type=kind,
                depletion=depletion,
                balance=balance,
                threshold=at,
            ),
        )
        for customer, raised, kind, depletion, balance, at in marts.execute(
            "select customer_id, raised_on, alert_type, depletion, balance, threshold "
            f"from credit_alerts where raised_on > date '{as_of}' - {ALERT_DAYS} "
            "order by raised_on desc, customer_id, alert_type"
        ).fetchall()
    )


def _one(marts: duckdb.DuckDBPyConnection, query: str) -> Decimal:
    """The one sum of a query; 0 where there is nothing to add."""
    rows: Sequence[Any] = marts.execute(query).fetchall()
    return rows[0][0] or Decimal(0)
