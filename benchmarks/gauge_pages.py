"""How long the gauge pages of a night take: a made-up publication of 1,000 customers, all pages.

``python -m benchmarks.gauge_pages FOLDER [CUSTOMERS]`` writes the publication below FOLDER, builds
every page and finance's, and says what it took. It fails when 1,000 pages take more than a minute.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import duckdb

from orchestration.pages.build import PAGE, build_pages, read_gauges
from orchestration.pages.finance_page import build_finance_page
from orchestration.pages.gauge_page import gauge_page
from orchestration.settings import Settings

CUSTOMERS = 1_000
SECONDS_PER_THOUSAND = 60
LARGEST_PAGE = 200_000

# Six weeks of books: two kinds of GPU on two clusters a day, a plan grant a cycle, some alerts.
DAYS = """
    select 'customer-' || c as customer_id, c, date '2026-02-15' - cast(d as int) as day,
        cast(500 + hash(c, d) % 1500 as decimal(38, 6)) as credits,
        case when d <= 14 then date '2026-02-01' else date '2026-01-01' end as cycle_start
    from range($customers) as customers (c), range(42) as days (d)
"""
USES = """
    select *, 'cluster-' || (c + kind) % 20 as cluster, 'GPU-' || kind as accelerator,
        cast(credits / 2 as decimal(38, 6)) as part
    from days, range(2) as kinds (kind)
"""
TABLES = {
    "credit_balances": """
        select customer_id, day as balance_date, cycle_start, credits as burned_credits,
            cast(0 as decimal(38, 6)) as overage_credits,
            cast(0 as decimal(38, 6)) as refunded_credits,
            cast(0 as decimal(38, 6)) as expired_credits,
            cast(0 as decimal(38, 6)) as rolled_credits,
            60000 - sum(credits) over (partition by customer_id, cycle_start order by day)
                as closing_credits,
            cast(1 as decimal(38, 6)) as deferred_revenue
        from days
    """,
    "credit_grants": """
        select customer_id || '/plan/' || cycle_start as grant_id, customer_id, 'plan' as source,
            'studio-60k' as sku, cycle_start as granted_on,
            cast(cycle_start + interval 1 month - interval 1 day as date) as expires_on,
            40 as priority, cast(60000 as decimal(38, 6)) as credits, cycle_start
        from days group by customer_id, cycle_start
    """,
    "credit_ledger": """
        select grant_id, customer_id, 'issued:plan' as debit_account,
            'wallet:' || grant_id as credit_account, credits
        from credit_grants
        union all
        select customer_id || '/plan/' || cycle_start, customer_id,
            'wallet:' || customer_id || '/plan/' || cycle_start, 'consumed:' || customer_id, credits
        from days
    """,
    "usage_daily": """
        select customer_id, day as usage_date, day as posting_date, cycle_start, cluster,
            accelerator, false as is_dedicated, part as gpu_minutes, part as credits,
            part as busy_kwh, part as energy_cost
        from uses
    """,
    "invoice_lines": """
        select customer_id, cycle_start, cluster, accelerator, 'credit_usage' as line_type,
            part as gpu_minutes, part as amortized_cost
        from uses
    """,
    "compliance_usage": """
        select day as usage_date, customer_id, 'region' as region, cluster, part as kwh,
            part as carbon_kg, part as mix_kwh, cast(part * 0.5 as decimal(38, 12)) as renewable_kwh
        from uses where c % 5 = 0
    """,
    "credit_alerts": """
        select customer_id, cycle_start, day as raised_on, 'burst_cap' as alert_type,
            cast(0.5 as decimal(18, 6)) as depletion, credits as balance,
            cast(null as decimal(18, 6)) as threshold
        from days where (c + cast(day - date '2026-01-01' as int)) % 9 = 0
    """,
    "margin_daily": """
        select day as posting_date, customer_id, accelerator, part as gpu_minutes, part as revenue,
            part as amortized_cost, part as gross_margin, part as energy_revenue,
            true as cost_complete
        from uses
    """,
    "margin_bridge": """
        select cast(date_trunc('month', posting_date) as date) as month, sum(revenue) as revenue,
            sum(amortized_cost) as amortized_cost, sum(gross_margin) as gross_margin,
            sum(energy_revenue) as unallocated_cost, sum(energy_revenue) as breakage_revenue,
            true as cost_complete
        from margin_daily group by 1
    """,
    "gpu_minute_costs": """
        select day as cost_date, sum(part) as unallocated_cost from uses group by day
    """,
    "deferred_rollforward": """
        select date '2026-02-01' as month, customer_id, 'credits' as kind, d as opening, d as sold,
            d as used, d as expired, d as closing, d as expiring_within_12_months
        from (select distinct customer_id, cast(1 as decimal(38, 6)) as d from days)
    """,
    "waiting_usage": """
        select customer_id, 'no_active_plan' as reason, count(*) as usage_rows,
            sum(credits) as gpu_minutes, min(day) as first_delivery_date
        from days where c % 10 = 0 group by customer_id
    """,
    "wallet_outlook": """
        select distinct customer_id, date '2026-02-15' as as_of,
            date '2026-03-01' as next_grant_on,
            cast(60000 as decimal(38, 6)) as next_grant_credits, 'top-up' as pack_sku,
            'Top-up' as pack_name, cast(10000 as decimal(38, 6)) as pack_credits,
            cast(125 as decimal(38, 6)) as pack_price, 0 as packs_bought, 3 as packs_left
        from days
    """,
    "billing_controls": """
        select 'c' as control, 'error' as severity, true as passed,
            cast(0 as decimal(38, 6)) as actual
    """,
    "rate_recommendations": """
        select 'GPU-0' as accelerator, d as credits_per_gpu_minute, d as recommended_multiplier,
            d as break_even_multiplier, d as gross_margin_rate, d as revenue_per_credit,
            d as amortized_cost_per_gpu_minute, 'keep' as action
        from (select cast(1 as decimal(18, 6)) as d)
    """,
    "fuel_gauges": """
        select customer_id, 'Customer ' || any_value(c) as customer_name,
            any_value(c) % 5 = 0 as is_regulated, 'studio-60k' as plan_sku, 'Studio 60K' as plan_name,
            cast(null as date) as plan_ends_on, cast(8 as decimal(18, 6)) as concurrency_limit,
            'bill' as overage_policy, cast(0.6 as decimal(18, 6)) as pre_alert_depletion,
            cast(0.95 as decimal(18, 6)) as hard_cap_depletion, date '2026-02-15' as as_of,
            date '2026-02-01' as cycle_start, date '2026-03-01' as cycle_end,
            60000 - sum(credits) as balance, cast(60000 as decimal(38, 6)) as granted_in_cycle,
            sum(credits) as burned_in_cycle, cast(0 as decimal(38, 6)) as overage_in_cycle,
            cast(sum(credits) / 60000 as decimal(18, 6)) as depletion,
            cast(sum(credits) filter (day > date '2026-02-08') / 7 as decimal(38, 6))
                as mean_daily_burn,
            cast(null as date) as projected_depletion_date, false as auto_purchase,
            date '2026-02-28' as next_expiry_on, 60000 - sum(credits) as next_expiry_credits,
            'ok' as status
        from days where cycle_start = date '2026-02-01' group by customer_id
    """,
}


def main(folder: Path, customers: int) -> int:
    """Write the publication, build the pages, and say what it took."""
    settings = Settings(data_dir=folder, show_cost_to="*")
    shutil.rmtree(settings.published_dir, ignore_errors=True)
    _publish(settings.published_dir / "current", customers)

    start = time.perf_counter()
    gauges = read_gauges(settings)
    read = time.perf_counter()
    for gauge in gauges:
        gauge_page(gauge)
    drawn = time.perf_counter()
    built = build_pages(settings)
    done = time.perf_counter()
    build_finance_page(settings)
    finance = time.perf_counter()

    sizes = sorted(page.stat().st_size for page in built.path.resolve().rglob(PAGE))
    print(f"{built.pages:,} pages on one processor")
    print(f"  slices and read models   {read - start:8.1f} s")
    print(f"  drawing                  {drawn - read:8.1f} s")
    print(f"  the whole set, on disk   {done - drawn:8.1f} s")
    print(f"  finance's page           {finance - done:8.1f} s")
    print(f"  page, median and largest {sizes[len(sizes) // 2]:,} and {sizes[-1]:,} bytes")
    allowed = SECONDS_PER_THOUSAND * customers / 1_000
    return 0 if done - drawn <= allowed and sizes[-1] <= LARGEST_PAGE else 1


def _publish(published: Path, customers: int) -> None:
    with duckdb.connect(":memory:") as marts:
        marts.execute(f"create table days as {DAYS}", {"customers": customers})
        marts.execute(f"create view uses as {USES}")
        for table, query in TABLES.items():
            (published / table).mkdir(parents=True)
            marts.execute(f"create table {table} as {query}")
            marts.execute(f"copy {table} to '{published / table / 'part-0.parquet'}'")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else CUSTOMERS))
