"""The summary that a run ends with: what came in, what was billed, where to look."""

from __future__ import annotations

import glob
import json
from decimal import Decimal
from pathlib import Path

import duckdb

from orchestration.pages import words
from orchestration.pages.figures import deferred_of, fleet_margins, rates_of, waiting_of, warned_of
from orchestration.pages.slices import as_of_day
from orchestration.printable import printable
from orchestration.settings import Settings

_WAITING_SHOWN = 8
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
            *_deferred(marts),
            "",
            *_waiting(marts),
            "",
            *_rates(settings, marts),
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
        "select count(*), coalesce(sum(delivered_rows), 0) "
        "from read_parquet($1, hive_partitioning = false) where problem is null and delivery_day is not null",
        [glob.escape(str(settings.landing_dir)) + "/deliveries/usage/*.parquet"],
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
    [(balance,)] = marts.execute(
        "select coalesce(sum(closing_credits), 0) from credit_balances "
        "where balance_date = (select max(balance_date) from credit_balances)"
    ).fetchall()
    return [
        "Credits",
        f"  GPU minutes        {minutes:>14,.0f}",
        f"  rated              {rated:>14,.0f}",
        f"  granted            {granted:>14,.0f}",
        f"  burned             {burned:>14,.0f}",
        f"  beyond the wallets {overage:>14,.0f}",
        f"  expired            {expired:>14,.0f}",
        f"  in the wallets     {balance:>14,.0f}",
    ]


def _invoices(marts: duckdb.DuckDBPyConnection) -> list[str]:
    lines = ["Invoices"]
    for status, count, total, currency in marts.execute(
        "select status, count(*), sum(total), any_value(currency) from invoices group by 1 order by 1"
    ).fetchall():
        lines.append(f"  {status:<10} {count:>6}  {total:>16,.2f} {currency}")
    return lines


def _margin(marts: duckdb.DuckDBPyConnection) -> list[str]:
    """Margin, and below it what of the fleet's cost no customer carries."""
    lines = [
        "Margin by month          revenue           cost         margin    rate   breakage",
    ]
    for month in sorted(fleet_margins(marts), key=lambda month: month.key):
        incomplete = "" if month.is_complete else "   a market price is missing: cost is too low"
        lines += [
            f"  {month.key:%Y-%m}         {month.revenue:>14,.2f} {month.cost:>14,.2f} "
            f"{month.margin:>14,.2f} {_rate(month.rate)} {month.breakage:>10,.2f}",
            f"    after idle   {'unallocated':>14} {month.unallocated:>14,.2f} "
            f"{month.after_idle:>14,.2f} {_rate(month.after_idle_rate)}{incomplete}",
        ]
    return lines


def _rate(ratio: Decimal | None) -> str:
    return f"{'-' if ratio is None else _typed(words.rate(ratio)):>7}"


def _typed(text: str) -> str:
    """A text of a page in the characters of a keyboard."""
    return text.replace("−", "-").replace("\u00a0", " ")


def _deferred(marts: duckdb.DuckDBPyConnection) -> list[str]:
    as_of = as_of_day(marts)
    kinds = deferred_of(marts, as_of) if as_of else {}
    total = sum((kind.closing for kind in kinds.values()), Decimal(0))
    return [
        f"Billed and not earned yet {total:>16,.2f}",
        *(
            f"  {words.DEFERRED.get(name, name):<22} {kind.closing:>17,.2f}   "
            f"{kind.expiring:,.2f} of it over within 12 months"
            for name, kind in kinds.items()
        ),
    ]


def _waiting(marts: duckdb.DuckDBPyConnection) -> list[str]:
    """What is not billed yet, by reason and customer; the first few of each."""
    waiting = waiting_of(marts)
    if not waiting:
        return ["Not billed yet: nothing waits"]
    minutes = sum((one.gpu_minutes for one in waiting), Decimal(0))
    lines = [
        f"Not billed yet: {sum(one.rows for one in waiting):,} rows, {minutes:,.0f} GPU minutes "
        "wait for a seed edit",
        *(
            f"  {one.reason:<22} {printable(one.customer_id):<20} {one.rows:>8,} rows "
            f"{one.gpu_minutes:>14,.0f} GPU minutes, delivered from {one.since} on"
            for one in waiting[:_WAITING_SHOWN]
        ),
    ]
    if len(waiting) > _WAITING_SHOWN:
        lines.append(f"  and {len(waiting) - _WAITING_SHOWN} more in waiting_usage")
    return lines


def _rates(settings: Settings, marts: duckdb.DuckDBPyConnection) -> list[str]:
    """Which credit rates to change, and why; those to keep are only counted."""
    rates = rates_of(marts)
    changed = [rate for rate in rates if rate.action != "keep"]
    return [
        f"Credit rates: {len(changed)} of {len(rates)} to change for the plans' target margin",
        *(
            f"  {printable(rate.accelerator):<12} "
            + _typed(words.rate_words(rate, settings.reporting_currency))
            for rate in changed
        ),
    ]


def _controls(marts: duckdb.DuckDBPyConnection) -> list[str]:
    [(checked, failed)] = marts.execute(
        "select count(*), count(*) filter (not passed) from billing_controls where severity = 'error'"
    ).fetchall()
    lines = [f"Controls: {checked:,} identities checked, {failed} failed"]
    for warned in warned_of(marts):
        said = _typed(words.warned_words(warned.control, warned.count, warned.total))
        lines.append(f"  warning: {warned.control} ({said})")
        lines += [f"    {_typed(scope)}" for scope in warned.scopes[:_SCOPES_SHOWN]]
        if warned.count > _SCOPES_SHOWN:
            lines.append(f"    and {warned.count - _SCOPES_SHOWN} more, in billing_controls")
    return lines
