{{ rebuilt_days('usage_date') }}
{#
    The cost of every row of usage: its share of its pool's day. One row per row of usage_daily, and
    one with 0 minutes for a dedicated pool that its customer did not use that day (what was taken back
    outweighs what was used, or nothing was): its cost is the customer's all the same.
#}
with

usage_rows as (

    select
        {{ usage_key('usage_rated') }},
        usage_rated.is_dedicated,
        usage_rated.event_count,
        usage_rated.gpu_minutes_micro,
        usage_rated.credits_micro,
        energy.busy_kwh_micro,
        energy.energy_cost_micro,
        energy.carbon_kg_micro,
        energy.mix_kwh_pico,
        energy.renewable_kwh_pico
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

{# What a dedicated pool's own customer used of it on a day, whenever it was booked. #}
own_use as (

    select
        pools.cost_day,
        pools.cluster,
        pools.accelerator,
        sum(usage_rows.gpu_minutes_micro) as minutes_micro
    from pools
    inner join usage_rows
        on
            pools.cost_day = usage_rows.usage_date
            and pools.cluster = usage_rows.cluster
            and pools.accelerator = usage_rows.accelerator
            and pools.dedicated_customer_id = usage_rows.customer_id
    group by pools.cost_day, pools.cluster, pools.accelerator

),

{# A dedicated pool without minutes of its customer: the cost still needs a row to stand on. #}
unused_dedicated as (

    select
        pools.dedicated_customer_id as customer_id,
        pools.cost_day as usage_date,
        pools.cost_day as posting_date,
        {{ cycle_start('pools.cost_day', 'pools.billing_anchor_day') }} as cycle_start,
        pools.facility_id,
        pools.cluster,
        pools.accelerator,
        'unspecified' as model_family,
        false as is_adjustment,
        true as is_dedicated,
        cast(0 as bigint) as event_count,
        {{ wide('0') }} as gpu_minutes_micro,
        {{ wide('0') }} as credits_micro,
        {{ wide('0') }} as busy_kwh_micro,
        {{ wide('0') }} as energy_cost_micro,
        cast(null as {{ wide_type() }}) as carbon_kg_micro,
        cast(null as {{ wide_type() }}) as mix_kwh_pico,
        cast(null as {{ wide_type() }}) as renewable_kwh_pico
    from pools
    left join own_use
        on
            pools.cost_day = own_use.cost_day
            and pools.cluster = own_use.cluster
            and pools.accelerator = own_use.accelerator
    where
        pools.dedicated_customer_id is not null
        and pools.cost_day >= pools.books_open_on
        and coalesce(own_use.minutes_micro, 0) <= 0

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
        {#
            Who carries the pool's day: its customer if it is dedicated (on rows of use, or on the one row of a
            day without), else everyone who used it.
        #}
        case
            when pools.dedicated_customer_id is null then pools.cost_day is not null
            else
                pools.dedicated_customer_id = bearers.customer_id
                and (
                    coalesce(own_use.minutes_micro, 0) > 0
                    or bearers.event_count = 0
                    or bearers.usage_date < settings.books_open_on
                )
        end as carries_pool,
        bearers.usage_date < settings.books_open_on as is_before_books,
        case
            when pools.dedicated_customer_id is not null then pools.total_cost_micro
            when pools.busy_minutes_micro <= 0 then 0
            else {{ multiply_divide(
                'pools.total_cost_micro', 'pools.busy_minutes_micro', 'nullif(pools.normal_minutes_micro, 0)'
            ) }}
        end as allocated_cost_micro,
        {# The rate is not rounded before it is multiplied. #}
        {{ multiply_divide(
            'pools.total_cost_micro', 'bearers.gpu_minutes_micro',
            'nullif(greatest(pools.capacity_minutes_micro, pools.busy_minutes_micro), 0)'
        ) }} as pool_direct_cost_micro,
        market.price_per_gpu_hour_pico
    from bearers
    cross join {{ ref('stg_run_settings') }} as settings
    left join pools
        on
            bearers.usage_date = pools.cost_day
            and bearers.cluster = pools.cluster
            and bearers.accelerator = pools.accelerator
    left join own_use
        on
            bearers.usage_date = own_use.cost_day
            and bearers.cluster = own_use.cluster
            and bearers.accelerator = own_use.accelerator
    left join {{ ref('int_gpu_market_prices') }} as market
        on
            pools.cost_day is null
            and bearers.accelerator = market.accelerator
            and market.price_kind = 'market_median'
            and market.provider = '*'
            and {{ holds_on('market', 'bearers.usage_date') }}

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
        within=['usage_date', 'cluster', 'accelerator', 'carrier_group'],
        key=['customer_id', 'posting_date', 'model_family', 'event_count']
    ) }} as spread_rows

),

priced as (

    select
        *,
        {# No pool that day: bought in at the market, plus the energy it used. #}
        {{ multiply_divide(
            'coalesce(price_per_gpu_hour_pico, 0)', 'gpu_minutes_micro', '(60 * ' ~ wide('1000000000000') ~ ')'
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
    {{ usage_key() }},
    is_dedicated,
    has_pool,
    event_count,
    gpu_minutes_micro,
    credits_micro,
    busy_kwh_micro,
    energy_cost_micro,
    carbon_kg_micro,
    mix_kwh_pico,
    renewable_kwh_pico,
    cast(direct_cost_micro as {{ wide_type() }}) as direct_cost_micro,
    cast(amortized_cost_micro - direct_cost_micro as {{ wide_type() }}) as idle_cost_micro,
    cast(amortized_cost_micro as {{ wide_type() }}) as amortized_cost_micro,
    not (is_market_price_missing or (not has_pool and price_per_gpu_hour_pico is null)) as is_cost_complete
from costed
