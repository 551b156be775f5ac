"""Finance's page: revenue, margin and alerts of all customers at a glance. Not for customers' eyes.

It lies in a folder of its own, so that no web root of customers' pages can hold it.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from orchestration.pages import words
from orchestration.pages.build import PAGE, SETS_KEPT, version_name
from orchestration.pages.charts import bars_by_month
from orchestration.pages.figures import ALERT_DAYS, LAST_DAYS, Finance, finance_figures
from orchestration.pages.gauge_page import LONG, both_sizes, render
from orchestration.pages.names import page_name
from orchestration.settings import Settings
from orchestration.store.versions import new_version

ROWS = 8
MONTHS = 6


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
        rate_words=lambda rate: words.rate_words(rate, figures.currency),
        warned_words=words.warned_words,
        waiting_words=words.WAITING,
        kind_words=words.DEFERRED,
        unearned=sum((kind.closing for kind in figures.deferred.values()), Decimal(0)),
    )
