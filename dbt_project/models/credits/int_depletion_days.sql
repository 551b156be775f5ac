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

{# The plan in effect or, in between, the latest one: each lasts until the customer's next starts. #}
plans_in_turn as (

    select
        customer_id,
        sku,
        starts_on,
        lead(starts_on) over (partition by customer_id order by starts_on) as next_starts_on
    from {{ ref('stg_plan_subscriptions') }}

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
        plans_in_turn.sku
    from balances
    left join plans_in_turn
        on
            balances.customer_id = plans_in_turn.customer_id
            and balances.balance_date >= plans_in_turn.starts_on
            and (plans_in_turn.next_starts_on is null or balances.balance_date < plans_in_turn.next_starts_on)

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
