{# Energy of the rows of usage of final invoices, as it was when the invoice closed. #}
select
    customer_id,
    cycle_start,
    usage_day as usage_date,
    posting_date,
    cluster,
    accelerator,
    model_family,
    {{ to_micro('gpu_minutes') }} as gpu_minutes_micro,
    {{ to_micro('busy_kwh') }} as busy_kwh_micro,
    {{ to_micro('energy_cost') }} as energy_cost_micro
from {{ landed('final_energy', area='archive') }}
