{#
    Cost-plus energy: what a cycle's busy energy cost above the plan's baseline, with the plan's
    mark-up. One surcharge per plan of the posting days, at the terms of the first day of the cycle with
    that plan; the adjustment part is the formula over all rows less the formula over the regular ones.
#}
with

energy as (

    select
        energy.customer_id,
        energy.cycle_start,
        plans.sku,
        plans.energy_markup_micro,
        plans.energy_baseline_micro,
        sum(energy.busy_kwh_micro) as kwh_micro,
        sum(case when energy.is_adjustment then 0 else energy.busy_kwh_micro end) as regular_kwh_micro,
        sum(energy.energy_cost_micro) as energy_cost_micro,
        sum(case when energy.is_adjustment then 0 else energy.energy_cost_micro end) as regular_energy_cost_micro
    from {{ ref('int_surcharged_energy') }} as energy
    inner join {{ ref('int_posting_plans') }} as plans
        on energy.customer_id = plans.customer_id and energy.posting_date = plans.posting_date
    group by
        energy.customer_id, energy.cycle_start, plans.sku, plans.energy_markup_micro, plans.energy_baseline_micro

),

{# In 1e-12: what the same kWh cost at the baseline. #}
compared as (

    select
        *,
        kwh_micro * energy_baseline_micro as baseline_pico,
        regular_kwh_micro * energy_baseline_micro as regular_baseline_pico
    from energy

),

surcharges as (

    select
        *,
        greatest(energy_cost_micro * 1000000 - baseline_pico, 0) * (1000000 + energy_markup_micro) as surcharge_atto,
        greatest(regular_energy_cost_micro * 1000000 - regular_baseline_pico, 0) * (1000000 + energy_markup_micro)
            as regular_surcharge_atto
    from compared

)

select
    customer_id,
    cycle_start,
    sku,
    cast(kwh_micro as {{ wide_type() }}) as kwh_micro,
    cast(regular_kwh_micro as {{ wide_type() }}) as regular_kwh_micro,
    cast(energy_cost_micro as {{ wide_type() }}) as energy_cost_micro,
    cast(regular_energy_cost_micro as {{ wide_type() }}) as regular_energy_cost_micro,
    {{ divide_rounded('baseline_pico', '1000000') }} as baseline_micro,
    {{ divide_rounded('regular_baseline_pico', '1000000') }} as regular_baseline_micro,
    {{ divide_rounded('regular_surcharge_atto', wide('1000000000000')) }} as regular_surcharge_micro,
    {{ divide_rounded('surcharge_atto', wide('1000000000000')) }}
    - {{ divide_rounded('regular_surcharge_atto', wide('1000000000000')) }} as adjustment_surcharge_micro,
    {{ rounded_cents('regular_surcharge_atto', wide('10000000000000000')) }} as regular_surcharge_cents,
    {{ rounded_cents('(surcharge_atto - regular_surcharge_atto)', wide('10000000000000000')) }}
        as adjustment_surcharge_cents
from surcharges
