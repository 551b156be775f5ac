{{ rebuilt_days('usage_date') }}
{# How much use waits for a seed edit, whose and why: what int_curable_rows lists line by line, in minutes. #}
select
    hours.usage_date,
    hours.delivery_day,
    hours.customer_id,
    kinds.reason,
    cast(sum(hours.event_count) as bigint) as event_count,
    cast(sum(hours.event_minutes_micro) as {{ wide_type() }}) as gpu_minutes_micro
from {{ ref('int_delivered_hours') }} as hours
inner join {{ ref('int_kinds_of_use') }} as kinds
    on
        hours.customer_id = kinds.customer_id
        and hours.usage_date = kinds.usage_date
        and hours.delivery_day = kinds.delivery_day
        and hours.cluster = kinds.cluster
        and hours.gpu_type = kinds.gpu_type
        and hours.model_family = kinds.model_family
where kinds.reason is not null
group by hours.usage_date, hours.delivery_day, hours.customer_id, kinds.reason
