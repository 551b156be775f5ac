{#
    Every row of usage of the touched cycles, and every day of a dedicated fee that has none, beside the
    totals of which int_usage_earned gives it a part. A table of its own: over the joins below, DuckDB
    expects a thousand times the rows, and would sort for as many.
#}
with

usage_rows as (

    select * from {{ ref('int_usage_costed') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

burned as (

    select
        customer_id,
        posting_date,
        sum(burned_micro) as burned_micro,
        sum(burned_value_micro)
        - sum(case when source = 'refund' and granted_on = posting_date then value_micro else 0 end) as burn_revenue_micro
    from {{ ref('int_grant_days') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by customer_id, posting_date
    having sum(burned_micro) > 0 or max(case when source = 'refund' and granted_on = posting_date then 1 else 0 end) = 1

),

overage as (

    select
        customer_id,
        posting_date,
        sum(overage_micro) as overage_micro,
        sum(revenue_micro) as overage_revenue_micro
    from {{ ref('int_overage_days') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by customer_id, posting_date

),

burst_days as (

    select
        customer_id,
        posting_date,
        is_adjustment,
        pack_sku,
        surcharge_unit_price_pico,
        {{ divide_rounded('sum(burst_credits_femto)', '1000000000') }} as burst_credits_micro
    from {{ ref('int_burst_hours') }}
    where burst_nano > 0 and cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by customer_id, posting_date, is_adjustment, pack_sku, surcharge_unit_price_pico

),

burst as (

    select
        customer_id,
        posting_date,
        is_adjustment,
        {{ divide_rounded(
            'sum(burst_credits_micro * surcharge_unit_price_pico)', '1000000000000'
        ) }} as burst_revenue_micro
    from burst_days
    group by customer_id, posting_date, is_adjustment

),

energy as (

    select
        customer_id,
        cycle_start,
        sku,
        regular_surcharge_micro + adjustment_surcharge_micro as surcharge_micro
    from {{ ref('int_energy_surcharges') }}

),

{# A dedicated fee is earned evenly over its active days: differences of a rounded cumulative share. #}
dedicated as (

    select
        charges.customer_id,
        charges.cluster,
        days.day as posting_date,
        sum(
            {{ divide_rounded(
                'charges.value_micro * (' ~ days_between('charges.granted_on', 'days.day') ~ ' + 1)',
                'charges.active_days'
            ) }} - {{ divide_rounded(
                'charges.value_micro * ' ~ days_between('charges.granted_on', 'days.day'), 'charges.active_days'
            ) }}
        ) as dedicated_revenue_micro
    from {{ ref('int_dedicated_charges') }} as charges
    inner join {{ day_spine(
        "(select coalesce(min(cycle_start), date '1970-01-01') from " ~ ref('int_touched_cycles') ~ ')',
        '(select last_day from ' ~ ref('stg_run_settings') ~ ')'
    ) }} as days
        on days.day >= charges.granted_on and days.day < charges.active_until
    where charges.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by charges.customer_id, charges.cluster, days.day

),

{# A dedicated day without a row to stand on (no pool, no use, or before the books opened) still earns its fee. #}
unused_dedicated as (

    select
        dedicated.customer_id,
        dedicated.posting_date as usage_date,
        dedicated.posting_date,
        {{ cycle_start('dedicated.posting_date', 'customers.billing_anchor_day') }} as cycle_start,
        clusters.facility_id,
        dedicated.cluster,
        clusters.default_accelerator as accelerator
    from dedicated
    inner join {{ ref('customers') }} as customers on dedicated.customer_id = customers.customer_id
    inner join {{ ref('clusters') }} as clusters on dedicated.cluster = clusters.cluster
    left join (
        select distinct
            customer_id,
            posting_date,
            cluster
        from usage_rows
        where is_dedicated
    ) as used
        on
            dedicated.customer_id = used.customer_id
            and dedicated.posting_date = used.posting_date
            and dedicated.cluster = used.cluster
    where used.customer_id is null and dedicated.dedicated_revenue_micro <> 0

),

bearers as (

    select
        {{ usage_key() }},
        is_dedicated,
        {{ usage_figures() }}
    from usage_rows

    union all

    select
        customer_id,
        usage_date,
        posting_date,
        cycle_start,
        facility_id,
        cluster,
        accelerator,
        'unspecified' as model_family,
        false as is_adjustment,
        true as is_dedicated,
        0 as event_count,
        0 as gpu_minutes_micro,
        0 as credits_micro,
        0 as busy_kwh_micro,
        0 as energy_cost_micro,
        cast(null as {{ wide_type() }}) as carbon_kg_micro,
        cast(null as {{ wide_type() }}) as mix_kwh_pico,
        cast(null as {{ wide_type() }}) as renewable_kwh_pico,
        0 as direct_cost_micro,
        0 as idle_cost_micro,
        0 as amortized_cost_micro,
        true as is_cost_complete
    from unused_dedicated

)

select
    bearers.*,
    plans.sku as plan_sku,
    coalesce(burned.burned_micro, 0) as day_burned_micro,
    coalesce(burned.burn_revenue_micro, 0) as day_burn_revenue_micro,
    coalesce(overage.overage_micro, 0) as day_overage_micro,
    coalesce(overage.overage_revenue_micro, 0) as day_overage_revenue_micro,
    coalesce(burst.burst_revenue_micro, 0) as day_burst_revenue_micro,
    case when bearers.is_dedicated then 0 else coalesce(energy.surcharge_micro, 0) end
        as cycle_energy_revenue_micro,
    case when bearers.is_dedicated then coalesce(dedicated.dedicated_revenue_micro, 0) else 0 end
        as day_dedicated_revenue_micro,
    coalesce(surcharged.energy_cost_micro, 0) as energy_weight_micro,
    case when bearers.is_dedicated then bearers.gpu_minutes_micro else 0 end as dedicated_weight_micro,
    case when bearers.is_dedicated then 1 else 0 end as dedicated_group,
    case when bearers.is_adjustment then 1 else 0 end as adjustment_group
from bearers
left join {{ ref('int_posting_plans') }} as plans
    on bearers.customer_id = plans.customer_id and bearers.posting_date = plans.posting_date
left join {{ ref('int_surcharged_energy') }} as surcharged
    on
        bearers.customer_id = surcharged.customer_id
        and bearers.cycle_start = surcharged.cycle_start
        and bearers.usage_date = surcharged.usage_date
        and bearers.posting_date = surcharged.posting_date
        and bearers.cluster = surcharged.cluster
        and bearers.accelerator = surcharged.accelerator
        and bearers.model_family = surcharged.model_family
        and not bearers.is_dedicated
left join burned
    on bearers.customer_id = burned.customer_id and bearers.posting_date = burned.posting_date
left join overage
    on bearers.customer_id = overage.customer_id and bearers.posting_date = overage.posting_date
left join burst
    on
        bearers.customer_id = burst.customer_id
        and bearers.posting_date = burst.posting_date
        and bearers.is_adjustment = burst.is_adjustment
left join energy
    on
        bearers.customer_id = energy.customer_id
        and bearers.cycle_start = energy.cycle_start
        and plans.sku = energy.sku
left join dedicated
    on
        bearers.customer_id = dedicated.customer_id
        and bearers.posting_date = dedicated.posting_date
        and bearers.cluster = dedicated.cluster
