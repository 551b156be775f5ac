{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('cycle_start'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('cycle_start in (select cycle_start from ' ~ ref('int_touched_cycles') ~ ')') }}"
    )
}}
{#
    Every wallet's depletion day by day in the touched cycles, with the thresholds of the plan of
    that day (the latest before it, if there is none).
#}
with

balances as (

    select * from {{ ref('credit_balances') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

planned as (

    select
        balances.customer_id,
        balances.balance_date,
        balances.cycle_start,
        balances.depletion,
        balances.burned_in_cycle,
        {# The balance that depletion was measured with: before what expires or rolls. #}
        balances.closing_credits + balances.expired_credits + balances.rolled_credits as balance,
        subscriptions.sku
    from balances
    left join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on
            balances.customer_id = subscriptions.customer_id
            and balances.balance_date >= subscriptions.starts_on
    qualify row_number() over (
        partition by balances.customer_id, balances.balance_date order by subscriptions.starts_on desc
    ) = 1

)

select
    planned.customer_id,
    planned.balance_date,
    planned.cycle_start,
    planned.depletion,
    planned.balance,
    plans.pre_alert_depletion,
    plans.hard_cap_depletion,
    {{ reaches('plans.pre_alert_depletion') }} as is_at_pre_alert,
    {{ reaches('plans.hard_cap_depletion') }} as is_at_hard_cap
from planned
left join {{ ref('plans') }} as plans
    on
        planned.sku = plans.sku
        and planned.balance_date >= plans.valid_from
        and (plans.valid_to is null or planned.balance_date < plans.valid_to)
