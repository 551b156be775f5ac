{#
    The delivered text of the rows that a person may have to look at: conflicts, with the row that each
    lost to, and rows that wait for a seed edit. Read back from the landed record once for all of them,
    by day and line. The working set of a run, not a history.
#}
with

lines as (

    select
        usage_date,
        delivery_day,
        line_number
    from {{ ref('int_repeated_events') }}
    where status = 'conflict'

    union

    select
        kept_usage_date,
        kept_delivery_day as delivery_day,
        kept_line_number as line_number
    from {{ ref('int_repeated_events') }}
    where status = 'conflict'

    union

    select
        usage_date,
        delivery_day,
        line_number
    from {{ ref('int_waiting_events') }}

)

select
    lines.delivery_day,
    lines.line_number,
    landed_rows.raw
from lines
inner join {{ landed_usage('run_neighbour_days') }} as landed_rows
    on
        lines.usage_date = cast(landed_rows.usage_day as date)
        and lines.delivery_day = cast(landed_rows.delivery_day as date)
        and lines.line_number = landed_rows.line_number
