{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('usage_date'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('usage_date in (' ~ touched_days() ~ ')') }}"
    )
}}
{# The payloads are read back from the landed record, only for the pairs. #}
with

conflicts as (

    select * from {{ ref('int_usage_events') }}
    where status = 'conflict'

),

payloads as (

    select
        event_id,
        cast(delivery_day as date) as delivery_day,
        line_number,
        raw
    from {{ landed('usage_events') }}
    where
        usage_day in ({{ touched_days('run_neighbour_days') }})
        and event_id in (select event_id from conflicts)

)

select
    conflicts.event_id,
    conflicts.usage_day as usage_date,
    conflicts.kept_delivery_day as kept_delivery,
    conflicts.kept_line_number,
    conflicts.delivery_day as other_delivery,
    conflicts.line_number as other_line_number,
    kept.raw as kept_payload,
    other.raw as other_payload
from conflicts
left join payloads as kept
    on
        conflicts.event_id = kept.event_id
        and conflicts.kept_delivery_day = kept.delivery_day
        and conflicts.kept_line_number = kept.line_number
left join payloads as other
    on
        conflicts.event_id = other.event_id
        and conflicts.delivery_day = other.delivery_day
        and conflicts.line_number = other.line_number
