"""Cuts the publication into one slice per customer; nothing of another customer gets past here.

Every query yields the customer first. Figures that no published table has (what is left of a
grant, sums over a cycle) are worked out here, in SQL, exactly.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

WINDOW_DAYS = 28
"""How many days of history a page shows, and how many the range of a projection rests on."""

# fuel_gauges has one row per customer of today; what the books hold of others is on no page.
_QUERIES = {
    "days": """
        select balances.customer_id, balance_date as date, burned_credits as burned,
            overage_credits as overage, refunded_credits as refunded, expired_credits as expired,
            closing_credits as closing,
            cast(closing_credits + expired_credits + rolled_credits as decimal(38, 6))
                as before_expiry
        from credit_balances as balances
        inner join fuel_gauges as gauges on balances.customer_id = gauges.customer_id
        where balance_date > gauges.as_of - $window
        order by balances.customer_id, balance_date
    """,
    "grants": """
        with moves as (
            select grant_id,
                sum(case when starts_with(credit_account, 'wallet:') then credits else -credits end)
                    as remaining
            from credit_ledger
            where grant_id is not null
            group by grant_id
        )
        select grants.customer_id, source, sku, granted_on, expires_on, credits,
            cast(remaining as decimal(38, 6)) as remaining
        from credit_grants as grants
        inner join moves using (grant_id)
        inner join fuel_gauges as gauges on grants.customer_id = gauges.customer_id
        where remaining > 0 or grants.cycle_start = gauges.cycle_start
        order by grants.customer_id, priority, expires_on nulls last, granted_on, grant_id
    """,
    # The cost of a minute is that of the open invoice, rounded once: half away from zero.
    "uses": """
        with costs as (
            select lines.customer_id, lines.cluster, lines.accelerator,
                sum(cast(lines.amortized_cost * 1000000 as hugeint)) as cost_micro,
                sum(cast(lines.gpu_minutes * 1000000 as hugeint)) as minutes_micro
            from invoice_lines as lines
            inner join fuel_gauges as gauges
                on lines.customer_id = gauges.customer_id and lines.cycle_start = gauges.cycle_start
            where lines.line_type = 'credit_usage'
            group by all
        )
        select usage_rows.customer_id, usage_rows.cluster, usage_rows.accelerator,
            bool_or(is_dedicated) as is_dedicated,
            cast(sum(gpu_minutes) as decimal(38, 6)) as gpu_minutes,
            cast(sum(credits) as decimal(38, 6)) as credits,
            cast(case when any_value(minutes_micro) > 0 and any_value(cost_micro) >= 0
                then cast((2 * any_value(cost_micro) * 1000000 + any_value(minutes_micro))
                    // (2 * any_value(minutes_micro)) as decimal(24, 0)) * 0.000001
                end as decimal(18, 6)) as cost_per_gpu_minute
        from usage_daily as usage_rows
        inner join fuel_gauges as gauges
            on usage_rows.customer_id = gauges.customer_id
                and usage_rows.cycle_start = gauges.cycle_start
        left join costs
            on usage_rows.customer_id = costs.customer_id
                and usage_rows.cluster = costs.cluster
                and usage_rows.accelerator = costs.accelerator
        group by usage_rows.customer_id, usage_rows.cluster, usage_rows.accelerator
        order by usage_rows.customer_id, credits desc, gpu_minutes desc,
            usage_rows.cluster, usage_rows.accelerator
    """,
    "use_days": """
        select usage_rows.customer_id, posting_date as date, cluster, accelerator,
            cast(sum(credits) as decimal(38, 6)) as credits
        from usage_daily as usage_rows
        inner join fuel_gauges as gauges on usage_rows.customer_id = gauges.customer_id
        where posting_date > gauges.as_of - $window
        group by all
        having sum(credits) <> 0
        order by all
    """,
    "alerts": """
        select alerts.customer_id, raised_on, alert_type, alerts.depletion, alerts.balance, threshold
        from credit_alerts as alerts
        inner join fuel_gauges as gauges
            on alerts.customer_id = gauges.customer_id and alerts.cycle_start = gauges.cycle_start
        order by alerts.customer_id, raised_on desc, alert_type
    """,
    "outlook": """
        select outlook.* exclude (as_of)
        from wallet_outlook as outlook
        inner join fuel_gauges as gauges on outlook.customer_id = gauges.customer_id
        order by outlook.customer_id
    """,
    # Energy of hours without a mix has no share; the share is that of the other kWh.
    "sites": """
        select record.customer_id, region, cluster,
            cast(sum(kwh) as decimal(38, 6)) as kwh,
            cast(sum(carbon_kg) as decimal(38, 6)) as carbon_kg,
            coalesce(sum(mix_kwh), 0) as kwh_with_share,
            sum(record.renewable_kwh) as renewable_kwh
        from compliance_usage as record
        inner join fuel_gauges as gauges on record.customer_id = gauges.customer_id
        where usage_date >= gauges.cycle_start and usage_date < gauges.cycle_end
        group by all
        order by record.customer_id, kwh desc, region, cluster
    """,
}
_TABLES = (
    "fuel_gauges",
    "credit_balances",
    "credit_grants",
    "credit_ledger",
    "credit_alerts",
    "usage_daily",
    "invoice_lines",
    "compliance_usage",
    "wallet_outlook",
)

Row = dict[str, Any]


class ForeignRow(AssertionError):
    """A row of one customer was about to enter another's slice; nothing may be built from it."""


@dataclass(frozen=True)
class CustomerSlice:
    """Everything that a page may say about one customer, and not a row of any other.

    Attributes:
        gauge: the customer's row of fuel_gauges.
        rows: the rows of each query of this module, by its name.
    """

    customer_id: str
    gauge: Row
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _QUERIES})

    def add(self, name: str, row: Row) -> None:
        """Take in a row of a query.

        Raises:
            ForeignRow: the row belongs to another customer.
        """
        if row["customer_id"] != self.customer_id:
            raise ForeignRow(f"{name}: a row of another customer came to {self.customer_id!r}")
        self.rows[name].append(row)


def open_publication(published: Path, tables: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
    """A connection that sees the Parquet files of a publication as tables, and nothing else.

    Args:
        published: the folder of one publication, not the link to the current one, which may move.
        tables: the names of the tables wanted.
    """
    connection = duckdb.connect(
        ":memory:",
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
    )
    connection.execute("set TimeZone = 'UTC'")
    for table in tables:
        files = (glob.escape(str(published / table)) + "/*.parquet").replace("'", "''")
        connection.execute(
            f"create view \"{table}\" as from read_parquet('{files}', hive_partitioning = false)"
        )
    return connection


def customer_slices(published: Path) -> Iterator[CustomerSlice]:
    """Every customer's slice of a publication, by customer id."""
    with open_publication(published, _TABLES) as connection:
        slices = {
            row["customer_id"]: CustomerSlice(row["customer_id"], row)
            for row in _rows(connection, "select * from fuel_gauges order by customer_id", {})
        }
        for name, query in _QUERIES.items():
            parameters = {"window": WINDOW_DAYS} if "$window" in query else {}
            for row in _rows(connection, query, parameters):
                slices[row["customer_id"]].add(name, row)
    yield from slices.values()


def as_of_day(connection: duckdb.DuckDBPyConnection) -> date | None:
    """The last delivery day of a publication; None when it has no customer."""
    [(as_of,)] = connection.execute("select max(as_of) from fuel_gauges").fetchall()
    day: date | None = as_of
    return day


def _rows(connection: duckdb.DuckDBPyConnection, query: str, parameters: Row) -> Iterator[Row]:
    result = connection.execute(query, parameters)
    names = [column[0] for column in result.description or ()]
    for row in result.fetchall():
        yield dict(zip(names, row, strict=True))
