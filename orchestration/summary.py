"""The summary that a run ends with: what came in, what was billed, where to look."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from orchestration.settings import Settings

_SCOPES_SHOWN = 3


def summarize(settings: Settings) -> str:
    """A readable page of figures from the current publication."""
    current = settings.published_dir / "current"
    manifest = json.loads((current / "manifest.json").read_text(encoding="utf-8"))
    with duckdb.connect(str(current / "marts.duckdb"), read_only=True) as marts:
        lines = [
            "",
            f"Published: books as of {manifest['last_delivery_day']}, "
            f"deliveries since {manifest['first_delivery_day']}",
            "",
            *_rows(settings, marts),
            "",
            *_credits(marts),
            "",
            *_invoices(marts),
            "",
            *_margin(marts),
            "",
            *_controls(marts),
            "",
            "Where to look",
            f"  Parquet, a folder per table   {current}",
            f"  DuckDB file                   {current / 'marts.duckdb'}",
            f"  FOCUS 1.2, for FinOps tools   {current / 'focus_cost_and_usage.csv'}",
            "  open it                       "
            f".venv/bin/python -c \"import duckdb; duckdb.connect('{_short(current)}/marts.duckdb', "
            "read_only=True).sql('from invoices order by cycle_start').show()\"",
            *_pages(settings),
            "  in the browser                make ui",
        ]
    return "\n".join(lines)


def _pages(settings: Settings) -> list[str]:
    """Where the pages are; books on trial have none."""
    if not (settings.pages_dir / "current").exists():
        return []
    return [
        f"  a gauge per customer          {settings.pages_dir / 'current'}",
        "  as a customer sees it         make portal CUSTOMER=<customer_id>",
        f"  finance's page                {settings.finance_dir / 'current' / 'index.html'}",
    ]


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _rows(settings: Settings, marts: duckdb.DuckDBPyConnection) -> list[str]:
    [(days, delivered)] = marts.execute(
        "select count(*), coalesce(sum(delivered_rows), 0) from read_parquet($1) "
        "where problem is null and delivery_day is not null",
        [str(settings.landing_dir / "deliveries" / "usage" / "*.parquet")],
    ).fetchall()
    [(billed,)] = marts.execute("select coalesce(sum(event_count), 0) from usage_daily").fetchall()
    [(conflicts,)] = marts.execute("select count(*) from usage_conflicts").fetchall()
    reasons = marts.execute(
        "select reason, count(*) from rejected_rows where feed = 'usage' group by 1 order by 2 desc, 1"
    ).fetchall()
    other = marts.execute(
        "select feed || ': ' || reason, count(*) from rejected_rows where feed <> 'usage' "
        "group by 1 order by 1"
    ).fetchall()
    set_aside = sum(count for _, count in reasons)
    return [
        f"Usage rows, {days} delivery days",
        f"  delivered          {delivered:>14,}",
        f"  billed             {billed:>14,}",
        f"  repeated           {delivered - billed - conflicts - set_aside:>14,}",
        f"  in conflict        {conflicts:>14,}",
        f"  set aside          {set_aside:>14,}",
        *(f"    {reason:<25}{count:>6,}" for reason, count in reasons),
        *(f"Other feeds, set aside: {reason} {count:,}" for reason, count in other),
    ]


def _credits(marts: duckdb.DuckDBPyConnection) -> list[str]:
    [(minutes, rated)] = marts.execute(
        "select coalesce(sum(gpu_minutes), 0), coalesce(sum(credits), 0) from usage_daily"
    ).fetchall()
    [(granted, burned, overage, expired)] = marts.execute(
        "select "
        + ", ".join(
            f"coalesce(sum(credits) filter (kind = '{kind}'), 0)"
            for kind in ("grant", "burn", "overage", "expiry")
        )
        + " from credit_ledger"
    ).fetchall()
    [(balance, deferred)] = marts.execute(
        "select coalesce(sum(closing_credits), 0), coalesce(sum(deferred_revenue), 0) "
        "from credit_balances where balance_date = (select max(balance_date) from credit_balances)"
    ).fetchall()
    return [
        "Credits",
        f"  GPU minutes        {minutes:>14,.0f}",
        f"  rated              {rated:>14,.0f}",
        f"  granted            {granted:>14,.0f}",
        f"  burned             {burned:>14,.0f}",
        f"  beyond the wallets {overage:>14,.0f}",
        f"  expired            {expired:>14,.0f}",
        f"  in the wallets     {balance:>14,.0f}   worth {deferred:,.2f} of deferred revenue",
    ]


def _invoices(marts: duckdb.DuckDBPyConnection) -> list[str]:
    lines = ["Invoices"]
    for status, count, total, currency in marts.execute(
        "select status, count(*), sum(total), any_value(currency) from invoices group by 1 order by 1"
    ).fetchall():
        lines.append(f"  {status:<10} {count:>6}  {total:>16,.2f} {currency}")
    return lines


def _margin(marts: duckdb.DuckDBPyConnection) -> list[str]:
    lines = ["Margin by month          revenue           cost         margin    rate   breakage"]
    for month, revenue, cost, margin, breakage in marts.execute(
        "select month, sum(revenue), sum(amortized_cost), sum(gross_margin), sum(breakage_revenue) "
        "from margin_monthly group by 1 order by 1"
    ).fetchall():
        rate = f"{margin / revenue:>7.1%}" if revenue else "      -"
        lines.append(
            f"  {month:%Y-%m}         {revenue:>14,.2f} {cost:>14,.2f} {margin:>14,.2f} {rate} "
            f"{breakage:>10,.2f}"
        )
    return lines


def _controls(marts: duckdb.DuckDBPyConnection) -> list[str]:
    [(checked, failed)] = marts.execute(
        "select count(*), count(*) filter (not passed) from billing_controls where severity = 'error'"
    ).fetchall()
    lines = [f"Controls: {checked:,} identities checked, {failed} failed"]
    for control, count, actual, scopes in marts.execute(
        "select control, count(*), sum(actual), list(scope order by scope) from billing_controls "
        "where severity = 'warning' and not passed group by 1 order by 1"
    ).fetchall():
        lines.append(f"  warning: {control} ({count} of them, {actual:,.2f} in all)")
        lines += [f"    {scope}" for scope in scopes[:_SCOPES_SHOWN]]
        if count > _SCOPES_SHOWN:
            lines.append(f"    and {count - _SCOPES_SHOWN} more, in billing_controls")
    return lines
