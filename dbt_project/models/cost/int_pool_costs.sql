{{ rebuilt_days('cost_day') }}
{#
    What each pool of GPUs cost on a day, part by part, and what it is divided by. Days before the
    books opened are worked out too (late usage of theirs carries its direct cost) but never booked.
#}
with

pool_days as (

    select
        days.usage_day as cost_day,
        pools.cluster,
        clusters.facility_id,
        pools.accelerator,
        cast(pools.gpu_count as int) as gpu_count
    from {{ ref('pools') }} as pools
    cross join {{ landed('run_days') }} as days
    inner join {{ ref('clusters') }} as clusters on pools.cluster = clusters.cluster
    where {{ holds_on('pools', 'days.usage_day') }}

),

hardware as (

    select
        cost_day,
        cluster,
        accelerator,
        {{ divide_rounded('sum(hardware_cost_pico)', '1000000') }} as hardware_cost_micro,
        max(case when is_market_price_missing then 1 else 0 end) = 1 as is_market_price_missing
    from {{ ref('int_lot_costs') }}
    group by cost_day, cluster, accelerator

),

busy_hours as (

    select
        usage_date as cost_day,
        cluster,
        accelerator,
        hour_of_day,
        sum(gpu_minutes_nano) as busy_nano
    from {{ ref('int_usage_hours') }}
    where usage_date in ({{ touched_days() }})
    group by usage_date, cluster, accelerator, hour_of_day

),

{# The idle GPUs of each hour, at idle watts and the price of that hour. #}
idle as (

    select
        pool_days.cost_day,
        pool_days.cluster,
        pool_days.accelerator,
        sum(
            greatest({{ wide('pool_days.gpu_count') }} * 60000000000 - coalesce(busy_hours.busy_nano, 0), 0)
            * energy.price_per_kwh_pico
        ) as priced_minutes,
        max(case when energy.is_estimated then 1 else 0 end) = 1 as energy_price_estimated
    from pool_days
    inner join {{ ref('int_energy_hours') }} as energy
        on pool_days.facility_id = energy.facility_id and pool_days.cost_day = energy.usage_date
    left join busy_hours
        on
            pool_days.cost_day = busy_hours.cost_day
            and pool_days.cluster = busy_hours.cluster
            and pool_days.accelerator = busy_hours.accelerator
            and energy.hour_of_day = busy_hours.hour_of_day
    group by pool_days.cost_day, pool_days.cluster, pool_days.accelerator

),

busy as (

    select
        usage_rated.usage_date as cost_day,
        usage_rated.cluster,
        usage_rated.accelerator,
        cast(sum(usage_rated.gpu_minutes_micro) as {{ wide_type() }}) as busy_minutes_micro,
        cast(sum(energy.energy_cost_micro) as {{ wide_type() }}) as busy_energy_cost_micro,
        cast(sum(usage_rated.event_count) as bigint) as row_count
    from {{ ref('int_usage_rated') }} as usage_rated
    inner join {{ ref('int_usage_energy') }} as energy
        on
            usage_rated.customer_id = energy.customer_id
            and usage_rated.usage_date = energy.usage_date
            and usage_rated.posting_date = energy.posting_date
            and usage_rated.cluster = energy.cluster
            and usage_rated.accelerator = energy.accelerator
            and usage_rated.model_family = energy.model_family
    where usage_rated.usage_date in ({{ touched_days() }})
    group by usage_rated.usage_date, usage_rated.cluster, usage_rated.accelerator

),

components as (

    select
        pool_days.cost_day,
        pool_days.cluster,
        pool_days.facility_id,
        pool_days.accelerator,
        pool_days.gpu_count,
        {{ wide('pool_days.gpu_count') }} * 1440000000 as capacity_minutes_micro,
        coalesce(busy.busy_minutes_micro, 0) as busy_minutes_micro,
        coalesce(busy.row_count, 0) as row_count,
        coalesce(hardware.hardware_cost_micro, 0) as hardware_cost_micro,
        coalesce(busy.busy_energy_cost_micro, 0) as busy_energy_cost_micro,
        {{ multiply_divide(
            'idle.priced_minutes',
            microwatts('accelerators.idle_watts', 'facilities.pue'),
            '(60000000000000 * ' ~ wide('1000000000000') ~ ')'
        ) }} as idle_energy_cost_micro,
        {{ wide('pool_days.gpu_count') }} * 24 * {{ to_micro('facilities.overhead_per_gpu_hour') }} as overhead_cost_micro,
        dedicated.customer_id as dedicated_customer_id,
        idle.energy_price_estimated,
        coalesce(hardware.is_market_price_missing, false) as is_market_price_missing,
        settings.normal_utilization_micro
    from pool_days
    cross join {{ ref('stg_run_settings') }} as settings
    inner join {{ ref('facilities') }} as facilities on pool_days.facility_id = facilities.facility_id
    inner join {{ ref('accelerators') }} as accelerators on pool_days.accelerator = accelerators.accelerator
    inner join idle
        on
            pool_days.cost_day = idle.cost_day
            and pool_days.cluster = idle.cluster
            and pool_days.accelerator = idle.accelerator
    left join hardware
        on
            pool_days.cost_day = hardware.cost_day
            and pool_days.cluster = hardware.cluster
            and pool_days.accelerator = hardware.accelerator
    left join busy
        on
            pool_days.cost_day = busy.cost_day
            and pool_days.cluster = busy.cluster
            and pool_days.accelerator = busy.accelerator
    left join {{ ref('stg_dedicated_subscriptions') }} as dedicated
        on
            pool_days.cluster = dedicated.cluster
            and {{ runs_on('dedicated', 'pool_days.cost_day') }}

)

select
    cost_day,
    cluster,
    facility_id,
    accelerator,
    gpu_count,
    capacity_minutes_micro,
    busy_minutes_micro,
    row_count,
    hardware_cost_micro,
    busy_energy_cost_micro,
    idle_energy_cost_micro,
    cast(overhead_cost_micro as {{ wide_type() }}) as overhead_cost_micro,
    cast(
        hardware_cost_micro + busy_energy_cost_micro + idle_energy_cost_micro + overhead_cost_micro
        as {{ wide_type() }}
    ) as total_cost_micro,
    {# Customers carry idle time down to normal utilization; below it, the rest stays unallocated. #}
    greatest(
        busy_minutes_micro,
        {{ divide_rounded('capacity_minutes_micro * normal_utilization_micro', '1000000') }}
    ) as normal_minutes_micro,
    dedicated_customer_id,
    energy_price_estimated,
    is_market_price_missing
from components
