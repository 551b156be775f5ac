{# Energy of the rows of usage of final invoices of the touched cycles, as it was when the invoice closed. #}
select
    customer_id,
    cycle_start,
    usage_day,
    posting_date,
    cluster,
    accelerator,
    model_family,
    {{ to_micro('gpu_minutes') }} as gpu_minutes_micro,
    {{ to_micro('busy_kwh') }} as busy_kwh_micro,
    {{ to_micro('energy_cost') }} as energy_cost_micro
from {{ landed('final_energy', area='archive') }}
where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
