{# Hardware cost of every live lot on every day this run rebuilds; one row per lot and day. #}
with

lots as (

    select
        lots.*,
        cast(lots.starts_on + lots.useful_life_months * interval 1 month as date) as life_ends_on
    from {{ ref('procurement_lots') }} as lots

),

live as (

    select
        lots.*,
        days.usage_day as cost_day
    from lots
    cross join {{ landed('run_days') }} as days
    where
        {{ runs_on('lots', 'days.usage_day') }}
        and (lots.basis <> 'owned' or days.usage_day < lots.life_ends_on)

),

converted as (

    select
        live.*,
        rates.rate_pico,
        market.price_per_gpu_hour_pico as market_price_pico
    from live
    left join {{ ref('stg_fx_rates') }} as rates
        on
            live.currency = rates.currency
            {# Bought once at the rate of that day; rented at the rate of the day it is used. #}
            and {{ holds_on('rates', "case when live.basis = 'owned' then live.starts_on else live.cost_day end") }}
    left join {{ ref('int_gpu_market_prices') }} as market
        on
            live.basis = 'market'
            and live.accelerator = market.accelerator
            and live.price_kind = market.price_kind
            and coalesce(live.provider, '*') = market.provider
            and {{ holds_on('market', 'live.cost_day') }}

)

select
    lot_id,
    cost_day,
    cluster,
    accelerator,
    basis,
    currency,
    cast(gpu_count as int) as gpu_count,
    basis = 'market' and market_price_pico is null as is_market_price_missing,
    basis <> 'market' and rate_pico is null as is_exchange_rate_missing,
    {# In 1e-12 of the reporting currency, so wide: lots are summed before a pool's cost is rounded. #}
    case basis
        when 'owned' then {{ multiply_divide(
            'rate_pico',
            wide('gpu_count') ~ ' * ('
            ~ to_micro('capex_per_gpu') ~ ' - ' ~ to_micro('coalesce(salvage_per_gpu, 0)') ~ ')',
            '(1000000 * nullif(' ~ wide(days_between('starts_on', 'life_ends_on')) ~ ', 0))'
        ) }}
        when 'reserved' then {{ multiply_divide(
            'rate_pico', wide('gpu_count') ~ ' * 24 * ' ~ to_micro('price_per_gpu_hour'), '1000000'
        ) }}
        when 'market' then {{ wide('gpu_count') }} * 24 * coalesce(market_price_pico, 0)
    end as hardware_cost_pico
from converted
