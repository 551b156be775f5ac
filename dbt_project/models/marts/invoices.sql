{{ config(materialized = view_or_files()) }}
select
    lines.invoice_id,
    lines.customer_id,
    lines.cycle_start,
    lines.cycle_end,
    lines.cycle_end + max(settings.days_until_close) as closes_on,
    lines.status,
    lines.currency,
    cast(sum(lines.amount) as decimal(18, 2)) as total,
    cast(sum(case when lines.is_adjustment then lines.amount else 0 end) as decimal(18, 2)) as adjustments_total,
    cast(count(*) as bigint) as line_count
from {{ ref('invoice_lines') }} as lines
cross join {{ ref('stg_run_settings') }} as settings
group by lines.invoice_id, lines.customer_id, lines.cycle_start, lines.cycle_end, lines.status, lines.currency
