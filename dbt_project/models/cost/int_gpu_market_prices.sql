{#
    The market price of an accelerator hour, by the week it is used in: the median of the week
    before that has observations. Known when the week starts, never restated. Per price kind and
    provider; '*' stands for any provider.
#}
with

observations as (

    select
        prices.accelerator,
        prices.price_kind,
        prices.provider,
        prices.observed_week,
        {{ multiply_divide('rates.rate_pico', 'prices.price_per_gpu_hour_pico', '1000000000000') }} as price_pico
    from {{ ref('stg_gpu_prices') }} as prices
    inner join {{ ref('stg_fx_rates') }} as rates
        on
            prices.currency = rates.currency
            and {{ holds_on('rates', 'prices.observed_on') }}
    where prices.accelerator is not null

),

{# A market lot names a price kind and may name a provider. #}
offers as (

    select
        accelerator,
        price_kind,
        provider,
        observed_week,
        price_pico
    from observations
    where provider is not null
    union all
    select
        accelerator,
        price_kind,
        '*' as provider,
        observed_week,
        price_pico
    from observations

),

ranked as (

    select
        *,
        row_number() over (
            partition by accelerator, price_kind, provider, observed_week order by price_pico
        ) as price_rank,
        count(*) over (partition by accelerator, price_kind, provider, observed_week) as price_count
    from offers

),

medians as (

    select
        accelerator,
        price_kind,
        provider,
        observed_week,
        {{ divide_rounded('sum(price_pico)', 'count(*)') }} as price_pico
    from ranked
    where 2 * price_rank between price_count and price_count + 2
    group by accelerator, price_kind, provider, observed_week

)

select
    accelerator,
    price_kind,
    provider,
    observed_week + 7 as valid_from,
    lead(observed_week + 7) over (
        partition by accelerator, price_kind, provider order by observed_week
    ) as valid_to,
    price_pico as price_per_gpu_hour_pico
from medians
