{#
    The billing cycles whose invoices and margins this run works out anew: those that contain a day
    of the ledger's window, those that close on one (an invoice becomes final though nothing new was
    booked in it), and those to which usage of a rebuilt day is booked (its cost moved). A dedicated pool
    that nobody used costs its customer in the cycle of the rebuilt day itself.
#}
with

anchors as (

    select distinct billing_anchor_day from {{ ref('customers') }}

),

days as (

    select day from {{ day_spine(
        '(select ledger_from - days_until_close - 1 from ' ~ ref('stg_run_settings') ~ ')', '(select last_day from ' ~ ref('stg_run_settings') ~ ')'
    ) }} as ledger_days
    union
    select usage_day as day from {{ landed('run_days') }}

)

select {{ cycle_start('days.day', 'anchors.billing_anchor_day') }} as cycle_start
from days
cross join anchors

union

select cycle_start
from {{ ref('int_usage_rated') }}
where usage_date in ({{ touched_days() }})
