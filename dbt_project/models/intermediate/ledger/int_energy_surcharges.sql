{#
    Cost-plus energy: what a cycle's busy energy cost above the plan's baseline, with the plan's
    mark-up. One surcharge per plan of the posting days; the adjustment part is the formula over all
    rows less the formula over the regular ones.
#}
with

energy as (

    select
        usage_costed.customer_id,
        usage_costed.cycle_start,
        plans.sku,
        max_by(plans.energy_markup_micro, plans.posting_date) as energy_markup_micro,
        cast(sum(usage_costed.busy_kwh_micro) as bigint) as kwh_micro,
        cast(sum(case when usage_costed.is_adjustment then 0 else usage_costed.busy_kwh_micro end) as bigint)
            as regular_kwh_micro,
        cast(sum(usage_costed.energy_cost_micro) as bigint) as energy_cost_micro,
        cast(sum(case when usage_costed.is_adjustment then 0 else usage_costed.energy_cost_micro end) as bigint)
            as regular_energy_cost_micro,
        {# What the same kWh cost at the baseline, in 1e-12. #}
        sum({{ wide('usage_costed.busy_kwh_micro') }} * plans.energy_baseline_micro) as baseline_pico,
        sum(case
            when usage_costed.is_adjustment then 0
            else {{ wide('usage_costed.busy_kwh_micro') }} * plans.energy_baseline_micro
        end) as regular_baseline_pico,
        {# In 1e-12: the cost above the baseline. #}
        sum(
            {{ wide('usage_costed.energy_cost_micro') }} * 1000000
            - {{ wide('usage_costed.busy_kwh_micro') }} * plans.energy_baseline_micro
        ) as excess_pico,
        sum(case
            when usage_costed.is_adjustment then 0 else
                {{ wide('usage_costed.energy_cost_micro') }} * 1000000
                - {{ wide('usage_costed.busy_kwh_micro') }} * plans.energy_baseline_micro
        end) as regular_excess_pico
    from {{ ref('int_usage_costed') }} as usage_costed
    inner join {{ ref('int_posting_plans') }} as plans
        on
            usage_costed.customer_id = plans.customer_id
            and usage_costed.posting_date = plans.posting_date
    where
        not usage_costed.is_dedicated
        and usage_costed.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by usage_costed.customer_id, usage_costed.cycle_start, plans.sku

),

surcharges as (

    select
        *,
        greatest(excess_pico, 0) * (1000000 + energy_markup_micro) as surcharge_atto,
        greatest(regular_excess_pico, 0) * (1000000 + energy_markup_micro) as regular_surcharge_atto
    from energy

)

select
    customer_id,
    cycle_start,
    sku,
    kwh_micro,
    regular_kwh_micro,
    energy_cost_micro,
    regular_energy_cost_micro,
    {{ divide_rounded('baseline_pico', '1000000') }} as baseline_micro,
    {{ divide_rounded('regular_baseline_pico', '1000000') }} as regular_baseline_micro,
    {{ divide_rounded('regular_surcharge_atto', wide('1000000000000')) }} as regular_surcharge_micro,
    {{ divide_rounded('surcharge_atto', wide('1000000000000')) }}
    - {{ divide_rounded('regular_surcharge_atto', wide('1000000000000')) }} as adjustment_surcharge_micro,
    {{ divide_rounded('regular_surcharge_atto', wide('10000000000000000')) }} as regular_surcharge_cents,
    {{ divide_rounded('(surcharge_atto - regular_surcharge_atto)', wide('10000000000000000')) }}
        as adjustment_surcharge_cents
from surcharges
