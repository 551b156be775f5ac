{#
    What a kWh cost at each facility in each clock hour of the days this run rebuilds, in the
    reporting currency, and how clean it was. An hour without a price takes the latest hour of its
    zone up to 24 hours back, else the facility's default, and says so. Where there is none of these
    either, the price is 0 and marked as missing: the control energy_price_unknown then fails, and
    nothing is published.
#}
with

priced_intervals as (

    select
        prices.zone,
        prices.price_date,
        prices.start_hour,
        prices.start_minute,
        prices.resolution_minutes,
        prices.currency,
        {{ multiply_divide('rates.rate_pico', 'prices.price_per_kwh_pico', '1000000000000') }} as price_pico
    from {{ ref('stg_energy_prices') }} as prices
    left join {{ ref('stg_fx_rates') }} as rates
        on
            prices.currency = rates.currency
            and {{ holds_on('rates', 'prices.price_date') }}

),

{# An interval may be shorter than an hour, lie across two, or last up to a week. #}
interval_hours as (

    select
        priced_intervals.zone,
        {{ days_between("date '1970-01-01'", 'priced_intervals.price_date') }} * 24
        + priced_intervals.start_hour + hours.n as hour_number,
        priced_intervals.price_pico,
        least(60 * (hours.n + 1), priced_intervals.start_minute + priced_intervals.resolution_minutes)
        - greatest(60 * hours.n, priced_intervals.start_minute) as minutes
    from priced_intervals
    inner join {{ numbers(168) }} as hours
        on 60 * hours.n < priced_intervals.start_minute + priced_intervals.resolution_minutes

),

zone_hours as (

    select
        zone,
        hour_number,
        {{ divide_rounded('sum(price_pico * minutes)', 'nullif(sum(minutes), 0)') }} as price_pico
    from interval_hours
    group by zone, hour_number

),

facility_hours as (

    select
        facilities.facility_id,
        facilities.zone,
        days.usage_day as usage_date,
        hours.n as hour_of_day,
        {{ days_between("date '1970-01-01'", 'days.usage_day') }} * 24 + hours.n as hour_number,
        {{ to_pico('facilities.default_price_per_kwh') }} as default_price_pico
    from {{ ref('facilities') }} as facilities
    cross join {{ landed('run_days') }} as days
    cross join {{ numbers(23) }} as hours

),

missing_hours as (

    select
        facility_hours.zone,
        facility_hours.hour_number,
        max(zone_hours.hour_number) as latest_hour_number
    from facility_hours
    left join zone_hours as same_hour
        on facility_hours.zone = same_hour.zone and facility_hours.hour_number = same_hour.hour_number
    inner join zone_hours
        on
            facility_hours.zone = zone_hours.zone
            and zone_hours.hour_number between facility_hours.hour_number - 24 and facility_hours.hour_number - 1
    where same_hour.zone is null
    group by facility_hours.zone, facility_hours.hour_number

)

select
    facility_hours.facility_id,
    facility_hours.usage_date,
    cast(facility_hours.hour_of_day as int) as hour_of_day,
    coalesce(zone_hours.price_pico, latest.price_pico, facility_hours.default_price_pico, 0) as price_per_kwh_pico,
    zone_hours.price_pico is null as is_estimated,
    coalesce(zone_hours.price_pico, latest.price_pico, facility_hours.default_price_pico) is null as is_price_missing,
    mix.carbon_g_per_kwh_micro,
    mix.renewable_pct_micro
from facility_hours
left join zone_hours
    on facility_hours.zone = zone_hours.zone and facility_hours.hour_number = zone_hours.hour_number
left join missing_hours
    on facility_hours.zone = missing_hours.zone and facility_hours.hour_number = missing_hours.hour_number
left join zone_hours as latest
    on missing_hours.zone = latest.zone and missing_hours.latest_hour_number = latest.hour_number
left join {{ ref('stg_energy_mix') }} as mix
    on
        facility_hours.zone = mix.zone
        and facility_hours.usage_date = mix.mix_date
        and facility_hours.hour_of_day = mix.hour_of_day
