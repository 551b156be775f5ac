{{ rebuilt_cycles() }}
with

earned as (

    select
        posting_date,
        customer_id,
        cluster,
        accelerator,
        model_family,
        cycle_start,
        sum(gpu_minutes_micro) as gpu_minutes_micro,
        sum(credits_micro) as credits_micro,
        sum(burn_revenue_micro) as burn_revenue_micro,
        sum(overage_revenue_micro) as overage_revenue_micro,
        sum(burst_revenue_micro) as burst_revenue_micro,
        sum(energy_revenue_micro) as energy_revenue_micro,
        sum(dedicated_revenue_micro) as dedicated_revenue_micro,
        sum(direct_cost_micro) as direct_cost_micro,
        sum(idle_cost_micro) as idle_cost_micro,
        sum(amortized_cost_micro) as amortized_cost_micro,
        min(case when is_cost_complete then 1 else 0 end) = 1 as cost_complete
    from {{ ref('int_usage_earned') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by posting_date, customer_id, cluster, accelerator, model_family, cycle_start

    union all

    {# A burst pack without credits is earned on the day it is ordered; no accelerator earned it. #}
    select
        granted_on as posting_date,
        customer_id,
        'none' as cluster,
        'none' as accelerator,
        'none' as model_family,
        cycle_start,
        0 as gpu_minutes_micro,
        0 as credits_micro,
        0 as burn_revenue_micro,
        0 as overage_revenue_micro,
        sum(value_micro) as burst_revenue_micro,
        0 as energy_revenue_micro,
        0 as dedicated_revenue_micro,
        0 as direct_cost_micro,
        0 as idle_cost_micro,
        0 as amortized_cost_micro,
        true as cost_complete
    from {{ ref('int_order_charges') }}
    where credits_micro = 0 and cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by granted_on, customer_id, cycle_start

),

summed as (

    select
        *,
        burn_revenue_micro + overage_revenue_micro + burst_revenue_micro + energy_revenue_micro
        + dedicated_revenue_micro as revenue_micro
    from earned

)

select
    posting_date,
    customer_id,
    cluster,
    accelerator,
    model_family,
    cycle_start,
    {{ from_micro('gpu_minutes_micro') }} as gpu_minutes,
    {{ from_micro('credits_micro') }} as credits,
    {{ from_micro('burn_revenue_micro') }} as burn_revenue,
    {{ from_micro('overage_revenue_micro') }} as overage_revenue,
    {{ from_micro('burst_revenue_micro') }} as burst_revenue,
    {{ from_micro('energy_revenue_micro') }} as energy_revenue,
    {{ from_micro('dedicated_revenue_micro') }} as dedicated_revenue,
    {{ from_micro('revenue_micro') }} as revenue,
    {{ from_micro('direct_cost_micro') }} as direct_cost,
    {{ from_micro('idle_cost_micro') }} as idle_cost,
    {{ from_micro('amortized_cost_micro') }} as amortized_cost,
    {{ from_micro('revenue_micro - amortized_cost_micro') }} as gross_margin,
    cost_complete
from summed
