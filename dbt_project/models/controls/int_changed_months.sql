{#
    The calendar months in which this run may have changed a row of a published table, by whichever
    date the table goes: usage, delivery or posting day, start or last day of a billing cycle. The
    publication takes over all others as they were published last.
#}
with

days as (

    select usage_day as day from {{ landed('run_days') }}

    union all

    {# Rows of these deliveries, and of all that brought usage of a rebuilt day, may be cured or set aside. #}
    select delivery_day as day from {{ landed('run_deliveries') }}

    union all

    select delivery_day as day from {{ ref('int_delivered_hours') }}

    union all

    select delivery_day as day from {{ ref('int_repeated_events') }}

    union all

    {# Late usage of a rebuilt day is booked on other days. #}
    select posting_date as day from {{ ref('int_usage_rated') }}
    where usage_date in ({{ touched_days() }})

    union all

    select day from {{ ledger_days() }} as ledger_days

    union all

    select cycle_start as day from {{ ref('int_focus_cycles') }}

    union all

    select {{ next_cycle_start('cycle_start') }} - 1 as day from {{ ref('int_focus_cycles') }}

)

select distinct cast(date_trunc('month', day) as date) as month
from days
