{#
    The events that wait for a seed edit, line by line: few, so that the text of them alone is read back
    from the landed record (int_payloads). The working set of a run, not a history.
#}
select
    events.usage_date,
    events.delivery_day,
    events.line_number,
    events.customer_id,
    events.cluster,
    events.gpu_type,
    kinds.accelerator,
    kinds.model_family,
    kinds.reason
from {{ ref('stg_usage_events') }} as events
inner join {{ ref('int_kinds_of_use') }} as kinds
    on
        events.customer_id = kinds.customer_id
        and events.usage_date = kinds.usage_date
        and events.delivery_day = kinds.delivery_day
        and events.cluster = kinds.cluster
        and coalesce(events.gpu_type, '') = kinds.gpu_type
        and events.model_family = kinds.model_family
left join {{ ref('int_repeated_events') }} as repeated
    on
        events.usage_date = repeated.usage_date
        and events.delivery_day = repeated.delivery_day
        and events.line_number = repeated.line_number
where kinds.reason is not null and repeated.line_number is null
