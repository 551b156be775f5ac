{# How full every wallet is at the end of the last delivery day, and how long it will last. #}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

),

customers as (

    select
        customers.customer_id,
        customers.customer_name,
        customers.regulated as is_regulated,
        settings.last_day as as_of,
        {{ cycle_start('settings.last_day', 'customers.billing_anchor_day') }} as cycle_start
    from {{ ref('customers') }} as customers
    cross join settings

),

today as (

    select balances.*
    from {{ ref('int_balance_days') }} as balances
    inner join settings on balances.balance_date = settings.last_day

),

in_cycle as (

    select
        customers.customer_id,
        sum(balances.granted_micro) as granted_in_cycle_micro,
        sum(balances.overage_micro) as overage_in_cycle_micro
    from customers
    inner join {{ ref('int_balance_days') }} as balances
        on customers.customer_id = balances.customer_id and customers.cycle_start = balances.cycle_start
    group by customers.customer_id

),

{# The last seven days, days without burn included. #}
last_week as (

    select
        balances.customer_id,
        sum(balances.burned_micro) as burned_micro
    from {{ ref('int_balance_days') }} as balances
    cross join settings
    where balances.balance_date > settings.last_day - 7
    group by balances.customer_id

),

posted as (

    select
        usage_rows.customer_id,
        {{ sorted_list('usage_rows.cluster') }} as clusters,
        {{ sorted_list('usage_rows.accelerator') }} as accelerators
    from {{ ref('int_usage_rated') }} as usage_rows
    inner join customers
        on usage_rows.customer_id = customers.customer_id and usage_rows.cycle_start = customers.cycle_start
    group by usage_rows.customer_id

),

live_grants as (

    select
        wallets.customer_id,
        wallets.expires_on,
        sum(wallets.closing_micro) as closing_micro
    from {{ ref('int_grant_days') }} as wallets
    inner join settings on wallets.posting_date = settings.last_day
    where wallets.closing_micro > 0
    group by wallets.customer_id, wallets.expires_on

),

expiries as (

    select
        customer_id,
        max(coalesce(expires_on, date '9999-12-31')) as last_expiry_on,
        min(expires_on) as next_expiry_on
    from live_grants
    group by customer_id

),

next_expiries as (

    select
        expiries.customer_id,
        expiries.last_expiry_on,
        expiries.next_expiry_on,
        live_grants.closing_micro as next_expiry_micro
    from expiries
    left join live_grants
        on expiries.customer_id = live_grants.customer_id and expiries.next_expiry_on = live_grants.expires_on

),

thresholds as (

    select days.*
    from {{ ref('int_depletion_days') }} as days
    inner join settings on days.balance_date = settings.last_day

),

{# The plan of the last day, or the latest before it: the one whose thresholds hold. #}
latest_plans as (

    select
        subscriptions.customer_id,
        subscriptions.sku,
        subscriptions.quantity,
        subscriptions.ends_on,
        settings.last_day
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    inner join settings on {{ is_latest_on('subscriptions', 'settings.last_day') }}

),

plan_terms as (

    select
        latest_plans.customer_id,
        latest_plans.sku as plan_sku,
        plans.name as plan_name,
        latest_plans.ends_on as plan_ends_on,
        plans.base_concurrency * latest_plans.quantity as concurrency_limit,
        plans.overage_policy,
        plans.pre_alert_depletion,
        plans.hard_cap_depletion
    from latest_plans
    left join {{ ref('plans') }} as plans
        on
            latest_plans.sku = plans.sku
            and {{ holds_on('plans', 'latest_plans.last_day') }}

),

auto_purchases as (

    select distinct subscriptions.customer_id
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    cross join settings
    where
        subscriptions.auto_purchase_sku is not null
        and {{ runs_on('subscriptions', 'settings.last_day') }}

),

gauges as (

    select
        customers.customer_id,
        customers.customer_name,
        customers.is_regulated,
        plan_terms.plan_sku,
        plan_terms.plan_name,
        plan_terms.plan_ends_on,
        plan_terms.concurrency_limit,
        plan_terms.overage_policy,
        plan_terms.pre_alert_depletion,
        plan_terms.hard_cap_depletion,
        customers.as_of,
        customers.cycle_start,
        {{ next_cycle_start('customers.cycle_start') }} as cycle_end,
        coalesce(today.closing_micro, 0) as balance_micro,
        coalesce(in_cycle.granted_in_cycle_micro, 0) as granted_in_cycle_micro,
        coalesce(in_cycle.overage_in_cycle_micro, 0) as overage_in_cycle_micro,
        coalesce(today.burned_in_cycle_micro, 0) as burned_in_cycle_micro,
        coalesce(today.depletion_micro, 0) as depletion_micro,
        coalesce(last_week.burned_micro, 0) as week_burned_micro,
        posted.clusters,
        posted.accelerators,
        auto_purchases.customer_id is not null as auto_purchase,
        next_expiries.last_expiry_on,
        next_expiries.next_expiry_on,
        next_expiries.next_expiry_micro,
        coalesce(thresholds.is_at_pre_alert, false) as is_at_pre_alert,
        coalesce(thresholds.is_at_hard_cap, false) as is_at_hard_cap
    from customers
    left join today on customers.customer_id = today.customer_id
    left join in_cycle on customers.customer_id = in_cycle.customer_id
    left join last_week on customers.customer_id = last_week.customer_id
    left join posted on customers.customer_id = posted.customer_id
    left join plan_terms on customers.customer_id = plan_terms.customer_id
    left join auto_purchases on customers.customer_id = auto_purchases.customer_id
    left join next_expiries on customers.customer_id = next_expiries.customer_id
    left join thresholds on customers.customer_id = thresholds.customer_id

),

projected as (

    select
        *,
        case
            when last_expiry_on is null then as_of + 1
            {# A wallet that lasts for centuries has no date worth naming. #}
            when week_burned_micro > 0 then as_of + 1 + cast(least({{ int_div(
                'balance_micro * 7', 'nullif(week_burned_micro, 0)'
            ) }}, 1000000) as int)
        end as depletes_on
    from gauges

)

select
    customer_id,
    customer_name,
    is_regulated,
    plan_sku,
    plan_name,
    plan_ends_on,
    cast(concurrency_limit as decimal(18, 6)) as concurrency_limit,
    overage_policy,
    pre_alert_depletion,
    hard_cap_depletion,
    as_of,
    cycle_start,
    cycle_end,
    {{ from_micro('balance_micro') }} as balance,
    {{ from_micro('granted_in_cycle_micro') }} as granted_in_cycle,
    {{ from_micro('burned_in_cycle_micro') }} as burned_in_cycle,
    {{ from_micro('overage_in_cycle_micro') }} as overage_in_cycle,
    {{ rate_from_micro('depletion_micro') }} as depletion,
    {{ from_micro(divide_rounded('week_burned_micro', '7')) }} as mean_daily_burn,
    case when week_burned_micro > 0 and coalesce(depletes_on <= last_expiry_on, true) then depletes_on end
        as projected_depletion_date,
    clusters,
    accelerators,
    auto_purchase,
    next_expiry_on,
    {{ from_micro('next_expiry_micro') }} as next_expiry_credits,
    case
        when is_at_hard_cap then 'capped'
        when is_at_pre_alert then 'warning'
        else 'ok'
    end as status
from projected
