{{ config(materialized = 'ephemeral') }}
{# That cost is booked once, and pools and lots are what the fleet says. #}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

),

cost_booked as (

    select
        cast(costs.cost_date as varchar(10)) as scope,
        sum(costs.total_cost) as expected,
        sum(costs.unallocated_cost) + coalesce(max(allocated.cost), 0) as actual
    from {{ ref('gpu_minute_costs') }} as costs
    left join (
        select
            usage_date,
            {{ from_micro('sum(amortized_cost_micro)') }} as cost
        from {{ ref('int_usage_costed') }}
        where has_pool
        group by usage_date
    ) as allocated on costs.cost_date = allocated.usage_date
    where costs.cost_date in ({{ touched_days() }})
    group by costs.cost_date

),

no_pool_minutes as (

    select
        'GPU minutes' as scope,
        0 as expected,
        {{ from_micro('coalesce(sum(gpu_minutes_micro), 0)') }} as actual
    from {{ ref('int_usage_costed') }}
    where not has_pool and usage_date in ({{ touched_days() }})

),

busy_above_capacity as (

    select
        'pool days' as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_pool_costs') }} as pool_costs
    cross join settings
    where
        {# As much as rounding may have added to the day's rows is nothing. #}
        pool_costs.busy_minutes_micro > pool_costs.capacity_minutes_micro + pool_costs.row_count
        and pool_costs.cost_day in ({{ touched_days() }})
        and pool_costs.cost_day between settings.books_open_on and settings.last_day

),

lots_cover_pools as (

    select
        cluster || ' ' || accelerator as scope,
        sum(pool_gpus) as expected,
        sum(lot_gpus) as actual
    from (
        select
            pools.cluster,
            pools.accelerator,
            pools.gpu_count as pool_gpus,
            0 as lot_gpus
        from {{ ref('pools') }} as pools
        cross join settings
        where
            {{ holds_on('pools', 'settings.last_day') }}
        union all
        select
            lots.cluster,
            lots.accelerator,
            0 as pool_gpus,
            lots.gpu_count as lot_gpus
        from {{ ref('procurement_lots') }} as lots
        cross join settings
        where {{ runs_on('lots', 'settings.last_day') }}
    ) as counted
    group by cluster, accelerator

)

{{ controls(
    errors=['cost_booked'],
    warnings=['no_pool_minutes', 'busy_above_capacity', 'lots_cover_pools']
) }}
