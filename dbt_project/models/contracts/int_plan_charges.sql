{{ rebuilt_from_ledger('granted_on') }}
{#
    What a plan grants and charges in each cycle: included credits, list price by tiers, term
    discount, then proration by days. One row per subscription and cycle, from the cycle in which
    the customer's books opened.
#}
with

grant_days as (

    select
        days.day as granted_on,
        subscriptions.subscription_id,
        subscriptions.customer_id,
        subscriptions.sku,
        subscriptions.quantity,
        subscriptions.commit_months,
        subscriptions.ends_on,
        {{ cycle_start('days.day', 'subscriptions.billing_anchor_day') }} as cycle_start
    from {{ ref('stg_run_settings') }} as settings
    cross join {{ ledger_days() }} as days
    inner join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on {{ is_charged_on('subscriptions', 'days.day') }}

),

active as (

    select
        grant_days.*,
        {{ next_cycle_start('grant_days.cycle_start') }} as cycle_end,
        {{ days_between('grant_days.cycle_start', next_cycle_start('grant_days.cycle_start')) }} as cycle_days,
        {{ days_between('grant_days.granted_on', active_until('grant_days')) }} as active_days,
        {{ wide(to_micro('plans.included_credits')) }} * grant_days.quantity as full_credits_micro,
        {{ to_micro('plans.rollover_min_utilization') }} as rollover_min_micro,
        {{ to_micro('plans.rollover_rate') }} as rollover_rate_micro
    from grant_days
    inner join {{ ref('plans') }} as plans
        on
            grant_days.sku = plans.sku
            and {{ holds_on('plans', 'grant_days.granted_on') }}

),

discounted as (

    select
        active.*,
        {{ to_micro('coalesce(discounts.discount_rate, 0)') }} as discount_rate_micro
    from active
    left join {{ ref('term_discounts') }} as discounts
        on
            active.sku = discounts.sku
            and active.commit_months >= discounts.min_commit_months
            and {{ holds_on('discounts', 'active.granted_on') }}
    qualify row_number() over (
        partition by active.subscription_id, active.granted_on
        order by discounts.min_commit_months desc nulls last
    ) = 1

),

{# The list price: tiers on the whole cycle's credits, not on the prorated ones. In 1e-18. #}
listed as (

    select
        discounted.subscription_id,
        discounted.granted_on,
        sum({{ tier_price_atto('discounted.full_credits_micro', 'tiers') }}) as list_price_atto
    from discounted
    inner join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('discounted.sku', 'base', 'discounted.granted_on') }}
    group by discounted.subscription_id, discounted.granted_on

),

priced as (

    select
        discounted.*,
        {{ wide('coalesce(listed.list_price_atto, 0)') }} as list_price_atto
    from discounted
    left join listed
        on discounted.subscription_id = listed.subscription_id and discounted.granted_on = listed.granted_on

)

select
    {{ grant_id('customer_id', "'plan'", 'granted_on', id_part('subscription_id')) }} as grant_id,
    customer_id,
    subscription_id,
    sku,
    cast(quantity as int) as quantity,
    granted_on,
    cycle_start,
    cycle_end,
    active_days,
    cycle_days,
    cast(full_credits_micro as {{ wide_type() }}) as full_credits_micro,
    {{ divide_rounded('full_credits_micro * active_days', 'cycle_days') }} as credits_micro,
    discount_rate_micro,
    rollover_min_micro,
    rollover_rate_micro,
    {# List price per credit; 0 for a plan without credits. #}
    coalesce({{ divide_rounded('list_price_atto', 'nullif(full_credits_micro, 0)') }}, 0) as list_unit_price_pico,
    coalesce({{ divide_rounded(
        'list_price_atto * discount_rate_micro', 'nullif(full_credits_micro * 1000000, 0)'
    ) }}, 0) as discount_unit_price_pico,
    {{ rounded_cents('list_price_atto * active_days', 'cycle_days * ' ~ wide('10000000000000000')) }} as base_cents,
    -{{ rounded_cents(
        'list_price_atto * discount_rate_micro * active_days',
        'cycle_days * ' ~ wide('10000000000000000000000')
    ) }} as discount_cents,
    {{ divide_rounded(
        'list_price_atto * (1000000 - discount_rate_micro) * active_days',
        'cycle_days * ' ~ wide('1000000000000000000')
    ) }} as value_micro
from priced
