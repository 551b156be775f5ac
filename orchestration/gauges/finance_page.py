"""Finance's page: revenue, margin and alerts of all customers at a glance. Not for customers' eyes.

It lies in a folder of its own, so that no web root of customers' pages can hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.gauges import words
from orchestration.gauges.build import PAGE, SETS_KEPT, version_name
from orchestration.gauges.charts import bars_by_month
from orchestration.gauges.names import page_name
from orchestration.gauges.page import LONG, both_sizes, render
from orchestration.gauges.read_models import Alert
from orchestration.gauges.slices import as_of_day, open_publication
from orchestration.settings import Settings
from orchestration.versions import new_version

LAST_DAYS = 30
ALERT_DAYS = 7
ROWS = 8
MONTHS = 6

_TABLES = (
    "billing_controls",
    "credit_alerts",
    "credit_balances",
    "fuel_gauges",
    "margin_daily",
    "margin_monthly",
    "rate_recommendations",
    "usage_daily",
)


@dataclass(frozen=True)
class Margin:
    """Revenue and cost of a month, an accelerator or a customer, in the reporting currency."""

    key: Any
    revenue: Decimal
    cost: Decimal
    margin: Decimal
    gpu_minutes: Decimal | None = None
    breakage: Decimal | None = None
    is_complete: bool = True
    """False where a market price was missing, so that the cost is too low."""

    @property
    def rate(self) -> Decimal | None:
        """Margin as a share of revenue; None without revenue."""
        return self.margin / self.revenue if self.revenue else None


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
    action: str


@dataclass(frozen=True)
class Finance:
    """Everything that finance's page shows, as of the end of a day."""

    as_of: date
    currency: str
    months: tuple[Margin, ...]
    accelerators: tuple[Margin, ...]
    customers: tuple[Margin, ...]
    """Best margin first."""
    total: Margin
    deferred: Decimal
    """Revenue still in the wallets."""
    energy: Energy
    wallets: tuple[Wallet, ...]
    """Empty ones first, then by the day they run out."""
    alerts: tuple[tuple[str, Alert], ...]
    """Customer and alert, newest first."""
    checked: int
    warned: tuple[Warned, ...]
    rates: tuple[Rate, ...]
    names: dict[str, str]
    """The customers' names by id."""


def build_finance_page(settings: Settings) -> Path:
    """Draw finance's page from the current publication, and switch to it.

    Returns:
        The page.
    """
    figures = finance_figures(
        (settings.published_dir / "current").resolve(), settings.reporting_currency
    )
    links = {
        customer: f"../../{settings.pages_dir.name}/current/{page_name(settings, customer)}/{PAGE}"
        for customer in (figures.names if figures else ())
    }
    version = version_name(figures.as_of if figures else None)
    with new_version(settings.finance_dir, version, kept=SETS_KEPT) as staged:
        (staged / PAGE).write_text(finance_page(figures, links), encoding="utf-8")
    return settings.finance_dir / "current" / PAGE


def finance_page(figures: Finance | None, links: dict[str, str]) -> str:
    """The page; without any customer it says so.

    Args:
        figures: what it shows.
        links: where each customer's gauge is, by customer id.
    """
    if figures is None:
        return render("finance.html", finance=None)
    months = figures.months[:MONTHS][::-1]
    few = len(figures.customers) <= 2 * ROWS
    return render(
        "finance.html",
        finance=figures,
        links=links,
        is_long=max(figures.total.revenue, figures.total.cost) >= LONG,
        LAST_DAYS=LAST_DAYS,
        ALERT_DAYS=ALERT_DAYS,
        ROWS=ROWS,
        best=figures.customers if few else figures.customers[:ROWS],
        worst=() if few else figures.customers[: -ROWS - 1 : -1],
        widest=max((abs(row.margin) for row in figures.accelerators), default=Decimal(0)),
        months=both_sizes(
            lambda size: bars_by_month([(m.key, (m.revenue, m.cost)) for m in months], size)
        ),
        status_words={"capped": "capped", "warning": "pre-alert", "ok": ""},
        alert_words=words.alert_words,
    )


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
        total, *_ = _margins(marts, "'all'", recent) or (Margin("all", *_NOTHING),)
        return Finance(
            as_of=as_of,
            currency=currency,
            months=tuple(
                Margin(month, revenue, cost, margin, minutes, breakage)
                for month, revenue, cost, margin, minutes, breakage in marts.execute(
                    "select month, sum(revenue), sum(amortized_cost), sum(gross_margin), "
                    "sum(gpu_minutes), sum(breakage_revenue) "
                    "from margin_monthly group by month order by month desc"
                ).fetchall()
            ),
            accelerators=_margins(marts, "accelerator", recent),
            customers=_margins(marts, "customer_id", recent),
            total=total,
            deferred=_one(
                marts,
                "select sum(deferred_revenue) from credit_balances "
                f"where balance_date = date '{as_of}'",
            ),
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
            warned=tuple(
                Warned(*row)
                for row in marts.execute(
                    "select control, count(*), coalesce(sum(actual), 0) from billing_controls "
                    "where severity = 'warning' and not passed group by control order by control"
                ).fetchall()
            ),
            rates=tuple(
                Rate(*row)
                for row in marts.execute(
                    "select accelerator, credits_per_gpu_minute, recommended_multiplier, "
                    "break_even_multiplier, gross_margin_rate, action "
                    "from rate_recommendations order by accelerator"
                ).fetchall()
            ),
            names=dict(
                marts.execute("select customer_id, customer_name from fuel_gauges").fetchall()
            ),
        )


_NOTHING = (Decimal(0), Decimal(0), Decimal(0), Decimal(0))


def _margins(marts: duckdb.DuckDBPyConnection, key: str, where: str) -> tuple[Margin, ...]:
    return tuple(
        Margin(key, revenue, cost, margin, minutes, is_complete=complete)
        for key, revenue, cost, margin, minutes, complete in marts.execute(
            f"select {key}, sum(revenue), sum(amortized_cost), sum(gross_margin), "
            "sum(gpu_minutes), bool_and(cost_complete) "
            f"from margin_daily where {where} group by 1 order by 4 desc, 1"
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


def _alerts(marts: duckdb.DuckDBPyConnection, as_of: date) -> tuple[tuple[str, Alert], ...]:
    return tuple(
        (
            customer,
            Alert(
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
