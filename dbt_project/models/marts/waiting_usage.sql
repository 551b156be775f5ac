{# What is delivered and not billed yet: a seed edit and another run of its days bill it. #}
select
    cast(date_trunc('month', usage_date) as date) as usage_month,
    customer_id,
    reason,
    cast(sum(event_count) as bigint) as usage_rows,
    {{ from_micro('sum(gpu_minutes_micro)') }} as gpu_minutes,
    min(usage_date) as first_usage_date,
    max(usage_date) as last_usage_date,
    min(delivery_day) as first_delivery_date
from {{ ref('int_waiting_usage') }}
group by cast(date_trunc('month', usage_date) as date), customer_id, reason
