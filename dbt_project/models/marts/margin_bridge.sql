{# From the margin that customers leave to the margin of the fleet: what nobody carries is said beside it. #}
with

earned as (

    select
        month,
        revenue,
        breakage_revenue,
        amortized_cost,
        gross_margin,
        0 as cost_of_the_month,
        0 as unallocated_cost,
        true as cost_complete
    from {{ ref('margin_monthly') }}

    union all

    select
        cast(date_trunc('month', posting_date) as date) as month,
        0 as revenue,
        0 as breakage_revenue,
        0 as amortized_cost,
        0 as gross_margin,
        0 as cost_of_the_month,
        0 as unallocated_cost,
        cost_complete
    from {{ ref('margin_daily') }}
    where not cost_complete

    union all

    {# The same cost by the day it arose: late usage is booked in another month than its use. #}
    select
        cast(date_trunc('month', usage_date) as date) as month,
        0 as revenue,
        0 as breakage_revenue,
        0 as amortized_cost,
        0 as gross_margin,
        {{ from_micro('amortized_cost_micro') }} as cost_of_the_month,
        0 as unallocated_cost,
        true as cost_complete
    from {{ ref('int_usage_costed') }}

    union all

    select
        cast(date_trunc('month', cost_date) as date) as month,
        0 as revenue,
        0 as breakage_revenue,
        0 as amortized_cost,
        0 as gross_margin,
        0 as cost_of_the_month,
        unallocated_cost,
        true as cost_complete
    from {{ ref('gpu_minute_costs') }}

    union all

    select
        cast(date_trunc('month', pool_costs.cost_day) as date) as month,
        0 as revenue,
        0 as breakage_revenue,
        0 as amortized_cost,
        0 as gross_margin,
        0 as cost_of_the_month,
        0 as unallocated_cost,
        false as cost_complete
    from {{ ref('int_pool_costs') }} as pool_costs
    cross join {{ ref('stg_run_settings') }} as settings
    where
        pool_costs.is_market_price_missing
        and pool_costs.cost_day between settings.books_open_on and settings.last_day

),

monthly as (

    select
        month,
        cast(sum(revenue) as decimal(38, 6)) as revenue,
        cast(sum(breakage_revenue) as decimal(38, 6)) as breakage_revenue,
        cast(sum(amortized_cost) as decimal(38, 6)) as amortized_cost,
        cast(sum(gross_margin) as decimal(38, 6)) as gross_margin,
        cast(sum(unallocated_cost) as decimal(38, 6)) as unallocated_cost,
        cast(sum(gross_margin - unallocated_cost) as decimal(38, 6)) as margin_after_idle,
        cast(sum(amortized_cost - cost_of_the_month) as decimal(38, 6)) as cost_of_other_months,
        cast(sum(cost_of_the_month + unallocated_cost) as decimal(38, 6)) as fleet_cost,
        min(case when cost_complete then 1 else 0 end) = 1 as cost_complete
    from earned
    group by month

)

select
    month,
    revenue,
    breakage_revenue,
    amortized_cost,
    gross_margin,
    unallocated_cost,
    margin_after_idle,
    {{ rate_from_micro(divide_rounded(
        wide('margin_after_idle * 1000000') ~ ' * 1000000', 'nullif(' ~ wide('revenue * 1000000') ~ ', 0)'
    )) }} as margin_after_idle_rate,
    cost_of_other_months,
    fleet_cost,
    cost_complete
from monthly
