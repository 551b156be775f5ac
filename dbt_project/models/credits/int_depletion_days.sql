{{ rebuilt_cycles() }}
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
            and {{ is_latest_on('subscriptions', 'balances.balance_date') }}

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
        and {{ holds_on('plans', 'planned.balance_date') }}
