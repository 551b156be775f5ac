{{ config(materialized = 'ephemeral') }}
{# That energy, GPU prices and exchange rates are there for the days that need them. #}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

),

{# Whose GPU prices tonight's days follow: lots on the market, and usage without a pool. By week of use. #}
followed_markets as (

    select distinct
        {{ iso_week_start('days.usage_day') }} as used_week,
        lots.accelerator,
        lots.price_kind,
        lots.provider
    from {{ ref('procurement_lots') }} as lots
    cross join {{ landed('run_days') }} as days
    where
        lots.basis = 'market'
        and {{ runs_on('lots', 'days.usage_day') }}

    union all

    select distinct
        {{ iso_week_start('usage_date') }} as used_week,
        accelerator,
        'market_median' as price_kind,
        cast(null as varchar(10)) as provider
    from {{ ref('int_usage_costed') }}
    where not has_pool and usage_date in ({{ touched_days() }})

),

{# The last week before it that has observations is the one whose median counts. #}
followed_weeks as (

    select
        markets.used_week,
        markets.accelerator,
        markets.price_kind,
        markets.provider,
        max(observed.observed_week) as observed_week
    from followed_markets as markets
    inner join (
        select distinct
            accelerator,
            price_kind,
            provider,
            observed_week
        from {{ ref('stg_gpu_prices') }}
    ) as observed
        on
            markets.accelerator = observed.accelerator
            and markets.price_kind = observed.price_kind
            and (markets.provider is null or markets.provider = observed.provider)
            and observed.observed_week < markets.used_week
    group by markets.used_week, markets.accelerator, markets.price_kind, markets.provider

),

{# A price in a currency without a rate on or before its day cannot be converted. The day is the one that is missing. #}
exchange_rate_missing as (

    select
        'energy ' || prices.currency || ' ' || cast(prices.price_date as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('stg_energy_prices') }} as prices
    left join {{ ref('stg_fx_rates') }} as rates
        on prices.currency = rates.currency and prices.price_date >= rates.valid_from
    where
        rates.currency is null
        and prices.zone in (select zone from {{ ref('facilities') }})
        {# An hour looks a day back, no further. #}
        and exists (
            select 1 from {{ landed('run_days') }} as days
            where
                prices.price_date <= days.usage_day
                and prices.interval_start + prices.resolution_minutes * interval 1 minute
                > cast(days.usage_day - 1 as timestamp)
        )
    group by prices.currency, prices.price_date

    union all

    select
        'gpu ' || prices.accelerator || ' ' || prices.currency || ' ' || cast(prices.observed_on as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('stg_gpu_prices') }} as prices
    left join {{ ref('stg_fx_rates') }} as rates
        on prices.currency = rates.currency and prices.observed_on >= rates.valid_from
    where
        rates.currency is null
        and exists (
            select 1 from followed_weeks as followed
            where
                prices.accelerator = followed.accelerator
                and prices.price_kind = followed.price_kind
                and (followed.provider is null or prices.provider = followed.provider)
                and prices.observed_week = followed.observed_week
        )
    group by prices.accelerator, prices.currency, prices.observed_on

    union all

    {# An owned lot is converted at the rate of the day it was bought on. #}
    select
        'lot ' || costs.lot_id || ' ' || costs.currency || ' ' || cast(
            min(case when costs.basis = 'owned' then lots.starts_on else costs.cost_day end) as varchar(10)
        ) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_lot_costs') }} as costs
    inner join {{ ref('procurement_lots') }} as lots on costs.lot_id = lots.lot_id
    where costs.is_exchange_rate_missing
    group by costs.lot_id, costs.currency

),

{# Over all that was delivered: who looks at the feed wants to know, however long ago the hour is. #}
energy_price_conflicts as (

    select
        zone as scope,
        0 as expected,
        sum(is_conflict) as actual
    from (
        select
            zone,
            interval_start,
            case when min(price_per_kwh) <> max(price_per_kwh) or min(currency) <> max(currency) then 1 else 0 end
                as is_conflict
        from {{ landed('energy_prices') }}
        group by zone, interval_start
    ) as intervals
    group by zone

),

market_price_missing as (

    select
        'GPU-days' as scope,
        0 as expected,
        coalesce(sum(lots.gpu_count), 0) as actual
    from {{ ref('int_lot_costs') }} as lots
    cross join settings
    where lots.is_market_price_missing and lots.cost_day between settings.books_open_on and settings.last_day

),

{# Where GPUs stood in the books, or worked by the price of the hour: there an hour needs a price. #}
sites_at_work as (

    select
        clusters.facility_id,
        days.usage_day as usage_date
    from {{ ref('pools') }} as pools
    cross join {{ landed('run_days') }} as days
    cross join settings
    inner join {{ ref('clusters') }} as clusters on pools.cluster = clusters.cluster
    where
        days.usage_day >= settings.books_open_on
        and {{ holds_on('pools', 'days.usage_day') }}

    union

    select
        clusters.facility_id,
        hours.usage_date
    from {{ ref('int_usage_hours') }} as hours
    inner join {{ ref('clusters') }} as clusters on hours.cluster = clusters.cluster
    where hours.modelled_minutes_nano <> 0 and hours.usage_date in ({{ touched_days() }})

),

energy_price_unknown as (

    select
        hours.facility_id || ' ' || facilities.zone || ' ' || min(
            cast(hours.usage_date as varchar(10)) || ' ' || lpad(cast(hours.hour_of_day as varchar(2)), 2, '0') || ':00'
        ) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_energy_hours') }} as hours
    inner join sites_at_work on hours.facility_id = sites_at_work.facility_id and hours.usage_date = sites_at_work.usage_date
    inner join {{ ref('facilities') }} as facilities on hours.facility_id = facilities.facility_id
    where hours.is_price_missing
    group by hours.facility_id, facilities.zone

),

{# Hours of a zone of which no price was ever delivered, or whose file is gone. #}
energy_price_missing as (

    select
        facilities.zone as scope,
        0 as expected,
        sum(case when delivered.zone is null or gone.files > 0 then 1 else 0 end) as actual
    from {{ ref('int_energy_hours') }} as hours
    inner join {{ ref('facilities') }} as facilities on hours.facility_id = facilities.facility_id
    left join (select distinct zone from {{ landed('energy_prices') }}) as delivered on facilities.zone = delivered.zone
    cross join (
        select count(*) as files from {{ landed('deliveries') }}
        where feed = 'energy' and file_name = ''
    ) as gone
    group by facilities.zone

)

{{ controls(
    errors=['exchange_rate_missing', 'energy_price_unknown'],
    warnings=['energy_price_conflicts', 'energy_price_missing', 'market_price_missing']
) }}
