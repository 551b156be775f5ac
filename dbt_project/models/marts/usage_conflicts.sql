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

    select * from {{ ref('int_repeated_events') }}
    where status = 'conflict'

),

{# By day and line, not by event id: so that no id of the landed rows is read. #}
lines_of_pairs as (

    select
        usage_day,
        delivery_day,
        line_number
    from conflicts

    union

    select
        kept_usage_day as usage_day,
        kept_delivery_day as delivery_day,
        kept_line_number as line_number
    from conflicts

),

payloads as (

    select
        lines_of_pairs.delivery_day,
        lines_of_pairs.line_number,
        landed_rows.raw
    from lines_of_pairs
    inner join {{ landed('usage_events') }} as landed_rows
        on
            landed_rows.usage_day in ({{ touched_days('run_neighbour_days') }})
            and lines_of_pairs.usage_day = cast(landed_rows.usage_day as date)
            and lines_of_pairs.delivery_day = cast(landed_rows.delivery_day as date)
            and lines_of_pairs.line_number = landed_rows.line_number

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
        conflicts.kept_delivery_day = kept.delivery_day
        and conflicts.kept_line_number = kept.line_number
left join payloads as other
    on
        conflicts.delivery_day = other.delivery_day
        and conflicts.line_number = other.line_number
