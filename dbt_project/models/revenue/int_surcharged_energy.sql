{#
    The energy that the surcharges of the touched cycles are worked out from, row of usage by row. Of an
    invoice that was shown as final it is the energy as it was then: a price, a mix or a rate revised later
    moves the cost of its rows, never what was charged. A row whose minutes are others than then (a cure, a
    correction) counts as the books have it, so that the controls of final invoices see the difference.
#}
with

closed as (

    select * from {{ ref('stg_final_energy') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

)

select
    costed.customer_id,
    costed.usage_date,
    costed.posting_date,
    costed.cycle_start,
    costed.cluster,
    costed.accelerator,
    costed.model_family,
    costed.is_adjustment,
    coalesce(closed.busy_kwh_micro, costed.busy_kwh_micro) as busy_kwh_micro,
    coalesce(closed.energy_cost_micro, costed.energy_cost_micro) as energy_cost_micro
from {{ ref('int_usage_costed') }} as costed
left join closed
    on
        costed.customer_id = closed.customer_id
        and costed.cycle_start = closed.cycle_start
        and costed.usage_date = closed.usage_date
        and costed.posting_date = closed.posting_date
        and costed.cluster = closed.cluster
        and costed.accelerator = closed.accelerator
        and costed.model_family = closed.model_family
        and costed.gpu_minutes_micro = closed.gpu_minutes_micro
where
    not costed.is_dedicated
    and costed.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
