{{ config(materialized = view_or_files()) }}
{%- set sums = [] -%}
{%- for column in [
    'gpu_minutes', 'credits', 'burn_revenue', 'overage_revenue', 'burst_revenue', 'energy_revenue', 'dedicated_revenue',
    'revenue', 'direct_cost', 'idle_cost', 'amortized_cost', 'gross_margin', 'breakage_revenue'
] -%}
    {%- do sums.append('cast(sum(' ~ column ~ ') as decimal(38, 6)) as ' ~ column) -%}
{%- endfor -%}
with

daily as (

    select
        cast(date_trunc('month', posting_date) as date) as month,
        customer_id,
        accelerator,
        gpu_minutes,
        credits,
        burn_revenue,
        overage_revenue,
        burst_revenue,
        energy_revenue,
        dedicated_revenue,
        revenue,
        direct_cost,
        idle_cost,
        amortized_cost,
        gross_margin,
        cast(0 as decimal(38, 6)) as breakage_revenue
    from {{ ref('margin_daily') }}

    union all

    {# Expired value is breakage: no accelerator earned it, and it stays outside revenue and margin. #}
    select
        cast(date_trunc('month', posted_on) as date) as month,
        customer_id,
        'none' as accelerator,
        0 as gpu_minutes,
        0 as credits,
        0 as burn_revenue,
        0 as overage_revenue,
        0 as burst_revenue,
        0 as energy_revenue,
        0 as dedicated_revenue,
        0 as revenue,
        0 as direct_cost,
        0 as idle_cost,
        0 as amortized_cost,
        0 as gross_margin,
        value as breakage_revenue
    from {{ ref('credit_ledger') }}
    where kind = 'expiry'

),

monthly as (

    select
        month,
        customer_id,
        accelerator,
        {{ sums | join(',\n        ') }}
    from daily
    group by month, customer_id, accelerator

)

select
    *,
    {{ rate_from_micro(divide_rounded(
        wide('gross_margin * 1000000') ~ ' * 1000000', 'nullif(' ~ wide('revenue * 1000000') ~ ', 0)'
    )) }} as gross_margin_rate
from monthly
