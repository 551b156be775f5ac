{{ rebuilt_cycles() }}
select
    customer_id,
    cycle_start,
    sku as plan_sku,
    {{ from_micro('kwh_micro') }} as kwh,
    {{ from_micro('energy_cost_micro') }} as energy_cost,
    {{ from_micro('baseline_micro') }} as baseline_cost,
    {{ from_micro('regular_surcharge_micro + adjustment_surcharge_micro') }} as surcharge
from {{ ref('int_energy_surcharges') }}
