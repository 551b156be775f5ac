{{ config(materialized = view_or_files()) }}
select
    customer_id,
    balance_date,
    cycle_start,
    {{ from_micro('opening_micro') }} as opening_credits,
    {{ from_micro('granted_micro') }} as granted_credits,
    {{ from_micro('burned_micro') }} as burned_credits,
    {{ from_micro('overage_micro') }} as overage_credits,
    {{ from_micro('expired_micro') }} as expired_credits,
    {{ from_micro('rolled_micro') }} as rolled_credits,
    {{ from_micro('refunded_micro') }} as refunded_credits,
    {{ from_micro('closing_micro') }} as closing_credits,
    {{ from_micro('burned_in_cycle_micro') }} as burned_in_cycle,
    {{ rate_from_micro('depletion_micro') }} as depletion,
    {{ from_micro('deferred_micro') }} as deferred_revenue
from {{ ref('int_balance_days') }}
