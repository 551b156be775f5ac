{{ rebuilt_days('usage_date') }}
{# Credits are rounded here, once, at the grain of the row: never per event. #}
with

daily as (

    select
        customer_id,
        usage_date,
        posting_date,
        cycle_start,
        cluster,
        accelerator,
        model_family,
        is_adjustment,
        is_dedicated,
        credit_rate_micro,
        cast(sum(event_count) as bigint) as event_count,
        {# The hours of a slice sum to it, and a slice has whole millionths. #}
        {{ divide_rounded('sum(gpu_minutes_nano)', '1000') }} as gpu_minutes_micro
    from {{ ref('int_usage_hours') }}
    where usage_date in ({{ touched_days() }})
    group by
        customer_id, usage_date, posting_date, cycle_start, cluster, accelerator, model_family, is_adjustment,
        is_dedicated, credit_rate_micro

)

select
    daily.customer_id,
    daily.usage_date,
    daily.posting_date,
    daily.cycle_start,
    clusters.facility_id,
    daily.cluster,
    daily.accelerator,
    daily.model_family,
    daily.is_adjustment,
    daily.is_dedicated,
    daily.event_count,
    daily.gpu_minutes_micro,
    case
        when daily.is_dedicated then {{ wide('0') }}
        else {{ divide_rounded('daily.gpu_minutes_micro * daily.credit_rate_micro', '1000000') }}
    end as credits_micro
from daily
inner join {{ ref('clusters') }} as clusters on daily.cluster = clusters.cluster
