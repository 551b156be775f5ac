{{ rebuilt_days('usage_date') }}
{# Watts times PUE, hour by hour at the hour's price; rounded once per row and used rounded from here on. #}
with

hours as (

    select
        usage_hours.*,
        clusters.facility_id,
        energy.price_per_kwh_pico,
        energy.is_estimated,
        energy.carbon_g_per_kwh_micro,
        energy.renewable_pct_micro,
        {# Drawn at the meter of the site, in millionths of a watt per busy GPU. #}
        {{ microwatts('accelerators.busy_watts', 'facilities.pue') }} as busy_microwatts
    from {{ ref('int_usage_hours') }} as usage_hours
    inner join {{ ref('clusters') }} as clusters on usage_hours.cluster = clusters.cluster
    inner join {{ ref('facilities') }} as facilities on clusters.facility_id = facilities.facility_id
    inner join {{ ref('accelerators') }} as accelerators on usage_hours.accelerator = accelerators.accelerator
    inner join {{ ref('int_energy_hours') }} as energy
        on
            clusters.facility_id = energy.facility_id
            and usage_hours.usage_date = energy.usage_date
            and usage_hours.hour_of_day = energy.hour_of_day
    where usage_hours.usage_date in ({{ touched_days() }})

),

daily as (

    select
        customer_id,
        usage_date,
        posting_date,
        cluster,
        accelerator,
        model_family,
        busy_microwatts,
        sum(gpu_minutes_nano) as minutes_nano,
        sum(modelled_minutes_nano * price_per_kwh_pico) as priced_minutes,
        sum(coalesce(metered_energy_cost_micro, 0)) as metered_energy_cost_micro,
        sum(case when carbon_g_per_kwh_micro is not null then gpu_minutes_nano * carbon_g_per_kwh_micro end)
            as carbon_minutes,
        sum(case when renewable_pct_micro is not null then gpu_minutes_nano * renewable_pct_micro end)
            as renewable_minutes,
        sum(case when renewable_pct_micro is not null then gpu_minutes_nano end) as minutes_with_mix,
        max(case when is_estimated then 1 else 0 end) = 1 as energy_price_estimated
    from hours
    group by customer_id, usage_date, posting_date, cluster, accelerator, model_family, busy_microwatts

)

{#
    The divisors: 1e9 for minutes, 1e6 per other factor in millionths (1e12 for a price), 60 minutes and
    1,000 watts (grams). What the
    renewable share is made of stays finer, so that shares of larger wholes are worked out from it.
#}
select
    customer_id,
    usage_date,
    posting_date,
    cluster,
    accelerator,
    model_family,
    {{ multiply_divide('minutes_nano', 'busy_microwatts', '60000000000000') }} as busy_kwh_micro,
    cast(
        {{ multiply_divide('priced_minutes', 'busy_microwatts', '(60000000000000 * ' ~ wide('1000000000000') ~ ')') }}
        + metered_energy_cost_micro as {{ wide_type() }}
    ) as energy_cost_micro,
    {{ multiply_divide('carbon_minutes', 'busy_microwatts', '(60000000000000 * ' ~ wide('1000000000') ~ ')') }}
        as carbon_kg_micro,
    {{ multiply_divide('minutes_with_mix', 'busy_microwatts', '60000000') }} as mix_kwh_pico,
    {# Percent to a share: 100. #}
    {{ multiply_divide('renewable_minutes', 'busy_microwatts', '(60000000 * ' ~ wide('100000000') ~ ')') }}
        as renewable_kwh_pico,
    energy_price_estimated
from daily
