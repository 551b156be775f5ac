{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('usage_date'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('usage_date in (' ~ touched_days() ~ ')') }}"
    )
}}
{# What an event corrects is read back from the landed record: corrections are few, events many. #}
with

corrections as (

    select
        cast(usage_day as date) as usage_day,
        cast(delivery_day as date) as delivery_day,
        line_number,
        kind,
        corrects_event_id
    from {{ landed('usage_events') }}
    where
        usage_day in ({{ touched_days() }})
        and kind <> 'usage'

)

select
    events.event_id,
    corrections.kind,
    corrections.corrects_event_id,
    events.customer_id,
    events.usage_day as usage_date,
    events.delivery_day as delivery_date,
    events.line_number,
    events.posting_date,
    events.is_adjustment,
    events.cluster,
    events.accelerator,
    events.model_family,
    {{ from_micro('events.gpu_minutes_micro') }} as gpu_minutes,
    events.customer_id || '/' || cast(events.cycle_start as varchar(10)) as invoice_id,
    events.customer_id || '/' || cast(events.cycle_start as varchar(10)) || '/credit_usage/' || events.cluster || '/'
    || events.accelerator || '/' || events.model_family
    || case when events.is_adjustment then '/adjustment' else '' end as invoice_line_id
from {{ ref('int_usage_events') }} as events
inner join corrections
    on
        events.usage_day = corrections.usage_day
        and events.delivery_day = corrections.delivery_day
        and events.line_number = corrections.line_number
where events.status = 'accepted'
