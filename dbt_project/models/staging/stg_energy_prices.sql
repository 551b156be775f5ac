{# Eight days before too: an hour without a price looks a day back, and an interval may last a week. #}
with

landed as (

    select
        zone,
        interval_start,
        cast(interval_start as date) as price_date,
        cast(extract(hour from interval_start) as int) as start_hour,
        cast(extract(minute from interval_start) as int) as start_minute,
        resolution_minutes,
        currency,
        price_per_kwh,
        sequence
    from {{ landed('energy_prices') }}
    where cast(interval_start as date) in ({{ touched_days(days_before=8) }})

)

{# Delivered again with another price: the last one wins; the control energy_price_conflicts counts the pair. #}
select
    zone,
    interval_start,
    price_date,
    start_hour,
    start_minute,
    resolution_minutes,
    currency,
    {{ to_pico('price_per_kwh') }} as price_per_kwh_pico
from landed
qualify row_number() over (partition by zone, interval_start order by sequence desc) = 1
