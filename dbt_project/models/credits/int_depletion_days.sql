{{ rebuilt_cycles() }}
{#
    Every wallet's depletion day by day in the touched cycles, with the thresholds of the plan of
    that day (the latest before it, if there is none).
#}
with

balances as (

    select * from {{ ref('int_balance_days') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

planned as (

    select
        balances.customer_id,
        balances.balance_date,
        balances.cycle_start,
        balances.depletion_micro,
        balances.burned_in_cycle_micro,
        {# The balance that depletion was measured with: before what expires or rolls. #}
        balances.closing_micro + balances.expired_micro + balances.rolled_micro as balance_micro,
        subscriptions.sku
    from balances
    left join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on
            balances.customer_id = subscriptions.customer_id
            and {{ is_latest_on('subscriptions', 'balances.balance_date') }}

),

thresholds as (

    select
        planned.*,
        {{ to_micro('plans.pre_alert_depletion') }} as pre_alert_micro,
        {{ to_micro('plans.hard_cap_depletion') }} as hard_cap_micro
    from planned
    left join {{ ref('plans') }} as plans
        on
            planned.sku = plans.sku
            and {{ holds_on('plans', 'planned.balance_date') }}

)

select
    customer_id,
    balance_date,
    cycle_start,
    depletion_micro,
    balance_micro,
    pre_alert_micro,
    hard_cap_micro,
    {{ reaches('pre_alert_micro') }} as is_at_pre_alert,
    {{ reaches('hard_cap_micro') }} as is_at_hard_cap
from thresholds
