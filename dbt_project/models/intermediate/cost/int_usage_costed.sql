{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('usage_day'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('usage_day in (' ~ touched_days() ~ ')') }}"
    )
}}
{#
    The cost of every row of usage: its share of its pool's day. One row per row of usage_daily, and
    one with 0 minutes for a dedicated pool that its customer did not use that day: its cost is the
    customer's all the same.
#}
with

usage_rows as (

    select
        usage_rated.customer_id,
        usage_rated.usage_day,
        usage_rated.posting_date,
        usage_rated.cycle_start,
        usage_rated.facility_id,
        usage_rated.cluster,
        usage_rated.accelerator,
        usage_rated.model_family,
        usage_rated.is_adjustment,
        usage_rated.is_dedicated,
        usage_rated.event_count,
        usage_rated.gpu_minutes_micro,
        usage_rated.credits_micro,
        energy.busy_kwh_micro,
        energy.energy_cost_micro,
        energy.carbon_kg_micro,
        energy.renewable_share_micro
    from {{ ref('int_usage_rated') }} as usage_rated
    inner join {{ ref('int_usage_energy') }} as energy
        on
            usage_rated.customer_id = energy.customer_id
            and usage_rated.usage_day = energy.usage_day
            and usage_rated.posting_date = energy.posting_date
            and usage_rated.cluster = energy.cluster
            and usage_rated.accelerator = energy.accelerator
            and usage_rated.model_family = energy.model_family
    where usage_rated.usage_day in ({{ touched_days() }})

),

pools as (

    select
        pool_costs.*,
        settings.books_open_on,
        customers.billing_anchor_day
    from {{ ref('int_pool_costs') }} as pool_costs
    cross join {{ ref('stg_run_settings') }} as settings
    left join {{ ref('customers') }} as customers on pool_costs.dedicated_customer_id = customers.customer_id
    where pool_costs.cost_day in ({{ touched_days() }})

),

{# A dedicated pool without minutes of its customer: the cost still needs a row to stand on. #}
unused_dedicated as (

    select
        pools.dedicated_customer_id as customer_id,
        pools.cost_day as usage_day,
        pools.cost_day as posting_date,
        {{ cycle_start('pools.cost_day', 'pools.billing_anchor_day') }} as cycle_start,
        pools.facility_id,
        pools.cluster,
        pools.accelerator,
        'unspecified' as model_family,
        false as is_adjustment,
        true as is_dedicated,
        cast(0 as bigint) as event_count,
        cast(0 as bigint) as gpu_minutes_micro,
        cast(0 as bigint) as credits_micro,
        cast(0 as bigint) as busy_kwh_micro,
        cast(0 as bigint) as energy_cost_micro,
        cast(null as bigint) as carbon_kg_micro,
        cast(null as bigint) as renewable_share_micro
    from pools
    left join usage_rows
        on
            pools.cost_day = usage_rows.usage_day
            and pools.cluster = usage_rows.cluster
            and pools.accelerator = usage_rows.accelerator
            and pools.dedicated_customer_id = usage_rows.customer_id
    where
        pools.dedicated_customer_id is not null
        and pools.cost_day >= pools.books_open_on
        and usage_rows.customer_id is null

),

bearers as (

    select * from usage_rows
    union all
    select * from unused_dedicated

),

shared as (

    select
        bearers.*,
        pools.cost_day is not null as has_pool,
        pools.total_cost_micro,
        pools.busy_minutes_micro,
        pools.capacity_minutes_micro,
        coalesce(pools.is_market_price_missing, false) as is_market_price_missing,
        {# Who carries the pool's day: its customer if it is dedicated, else everyone who used it. #}
        case
            when pools.dedicated_customer_id is null then pools.cost_day is not null
            else pools.dedicated_customer_id = bearers.customer_id
        end as carries_pool,
        bearers.usage_day < settings.books_open_on as is_before_books,
        case
            when pools.dedicated_customer_id is not null then pools.total_cost_micro
            when pools.busy_minutes_micro <= 0 then 0
            else {{ divide_rounded(
                wide('pools.total_cost_micro') ~ ' * pools.busy_minutes_micro', 'nullif(pools.normal_minutes_micro, 0)'
            ) }}
        end as allocated_cost_micro,
        {# The rate is not rounded before it is multiplied. #}
        {{ divide_rounded(
            wide('pools.total_cost_micro') ~ ' * bearers.gpu_minutes_micro',
            'nullif(greatest(pools.capacity_minutes_micro, pools.busy_minutes_micro), 0)'
        ) }} as pool_direct_cost_micro,
        market.price_per_gpu_hour_pico
    from bearers
    cross join {{ ref('stg_run_settings') }} as settings
    left join pools
        on
            bearers.usage_day = pools.cost_day
            and bearers.cluster = pools.cluster
            and bearers.accelerator = pools.accelerator
    left join {{ ref('int_gpu_market_prices') }} as market
        on
            pools.cost_day is null
            and bearers.accelerator = market.accelerator
            and market.price_kind = 'market_median'
            and market.provider = '*'
            and bearers.usage_day >= market.valid_from
            and (market.valid_to is null or bearers.usage_day < market.valid_to)

),

carried as (

    select
        *,
        case when carries_pool then gpu_minutes_micro else 0 end as carried_minutes_micro,
        case when carries_pool then 1 else 0 end as carrier_group
    from shared

),

allocated as (

    select * from {{ spread(
        relation='carried',
        shares={'share_micro': 'allocated_cost_micro'},
        weight='carried_minutes_micro',
        within=['usage_day', 'cluster', 'accelerator', 'carrier_group'],
        key=['customer_id', 'model_family', 'posting_date']
    ) }} as spread_rows

),

priced as (

    select
        *,
        {# No pool that day: bought in at the market, plus the energy it used. #}
        {{ divide_rounded(
            wide('gpu_minutes_micro') ~ ' * coalesce(price_per_gpu_hour_pico, 0)', '60 * ' ~ wide('1000000000000')
        ) }} + energy_cost_micro as unpooled_cost_micro
    from allocated

),

directly_costed as (

    select
        *,
        case
            when not has_pool then unpooled_cost_micro
            when not carries_pool then 0
            when busy_minutes_micro <= 0 and not is_dedicated then 0
            else pool_direct_cost_micro
        end as direct_cost_micro
    from priced

),

{# Usage of a day before the books opened carries its direct cost only; idle time was never booked. #}
costed as (

    select
        *,
        case
            when not has_pool or not carries_pool or is_before_books then direct_cost_micro
            else share_micro
        end as amortized_cost_micro
    from directly_costed

)

select
    customer_id,
    usage_day,
    posting_date,
    cycle_start,
    facility_id,
    cluster,
    accelerator,
    model_family,
    is_adjustment,
    is_dedicated,
    has_pool,
    event_count,
    gpu_minutes_micro,
    credits_micro,
    busy_kwh_micro,
    energy_cost_micro,
    carbon_kg_micro,
    renewable_share_micro,
    cast(direct_cost_micro as bigint) as direct_cost_micro,
    cast(amortized_cost_micro - direct_cost_micro as bigint) as idle_cost_micro,
    cast(amortized_cost_micro as bigint) as amortized_cost_micro,
    not (is_market_price_missing or (not has_pool and price_per_gpu_hour_pico is null)) as is_cost_complete
from costed
