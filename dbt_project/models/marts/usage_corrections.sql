{{ rebuilt_days('usage_date') }}
{# Corrections are few, events many: only they are looked at, billed as the seeds say of their kind of use. #}
select
    events.event_id,
    events.kind,
    events.corrects_event_id,
    events.customer_id,
    events.usage_date,
    events.delivery_day as delivery_date,
    events.line_number,
    kinds.posting_date,
    kinds.is_adjustment,
    events.cluster,
    kinds.accelerator,
    events.model_family,
    {{ from_micro('events.gpu_minutes_micro') }} as gpu_minutes,
    {{ invoice_id('kinds') }} as invoice_id,
    {{ invoice_line_id('kinds', "'credit_usage'", usage_id_parts('kinds')) }} as invoice_line_id
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
where events.kind <> 'usage' and kinds.reason is null and repeated.line_number is null
