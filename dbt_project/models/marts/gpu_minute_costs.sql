{{ config(materialized = view_or_files()) }}
with

allocated as (

    select
        usage_date as cost_day,
        cluster,
        accelerator,
        sum(amortized_cost_micro) as allocated_cost_micro
    from {{ ref('int_usage_costed') }}
    where has_pool
    group by usage_date, cluster, accelerator

)

select
    pool_costs.cost_day as cost_date,
    pool_costs.cluster,
    pool_costs.facility_id,
    pool_costs.accelerator,
    pool_costs.gpu_count,
    {{ from_micro('pool_costs.capacity_minutes_micro') }} as capacity_minutes,
    {{ from_micro('pool_costs.busy_minutes_micro') }} as busy_minutes,
    {{ rate_from_micro(divide_rounded(
        wide('pool_costs.busy_minutes_micro') ~ ' * 1000000', 'nullif(pool_costs.capacity_minutes_micro, 0)'
    )) }} as utilization,
    {{ from_micro('pool_costs.hardware_cost_micro') }} as hardware_cost,
    {{ from_micro('pool_costs.busy_energy_cost_micro') }} as busy_energy_cost,
    {{ from_micro('pool_costs.idle_energy_cost_micro') }} as idle_energy_cost,
    {{ from_micro('pool_costs.overhead_cost_micro') }} as overhead_cost,
    {{ from_micro('pool_costs.total_cost_micro') }} as total_cost,
    case when pool_costs.busy_minutes_micro > 0 then {{ rate_from_micro(divide_rounded(
        wide('pool_costs.total_cost_micro') ~ ' * 1000000',
        'nullif(case when pool_costs.dedicated_customer_id is null then pool_costs.normal_minutes_micro'
        ~ ' else pool_costs.busy_minutes_micro end, 0)'
    )) }} end as amortized_cost_per_gpu_minute,
    {{ rate_from_micro(divide_rounded(
        wide('pool_costs.total_cost_micro') ~ ' * 1000000',
        'nullif(greatest(pool_costs.capacity_minutes_micro, pool_costs.busy_minutes_micro), 0)'
    )) }} as direct_cost_per_gpu_minute,
    {{ from_micro('pool_costs.total_cost_micro - coalesce(allocated.allocated_cost_micro, 0)') }} as unallocated_cost,
    pool_costs.energy_price_estimated
from {{ ref('int_pool_costs') }} as pool_costs
cross join {{ ref('stg_run_settings') }} as settings
left join allocated
    on
        pool_costs.cost_day = allocated.cost_day
        and pool_costs.cluster = allocated.cluster
        and pool_costs.accelerator = allocated.accelerator
where pool_costs.cost_day between settings.books_open_on and settings.last_day
