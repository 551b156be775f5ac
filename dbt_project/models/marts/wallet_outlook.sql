{# What comes into each wallet next: the plan's next grant, and the top-ups that its plan may still buy by itself. #}
with

customers as (

    select
        customers.customer_id,
        settings.last_day as as_of,
        {{ cycle_start('settings.last_day', 'customers.billing_anchor_day') }} as cycle_start,
        {{ next_cycle_start(cycle_start('settings.last_day', 'customers.billing_anchor_day')) }} as cycle_end
    from {{ ref('customers') }} as customers
    cross join {{ ref('stg_run_settings') }} as settings

),

{# A subscription grants when its next cycle starts, or on its own first day if that is still to come. #}
coming as (

    select
        subscriptions.customer_id,
        subscriptions.sku,
        subscriptions.quantity,
        subscriptions.starts_on,
        subscriptions.ends_on,
        case
            when subscriptions.starts_on > customers.as_of then subscriptions.starts_on
            else customers.cycle_end
        end as granted_on,
        {{ cycle_start(
            'case when subscriptions.starts_on > customers.as_of then subscriptions.starts_on else customers.cycle_end end',
            'subscriptions.billing_anchor_day'
        ) }} as cycle_start
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    inner join customers on subscriptions.customer_id = customers.customer_id

),

coming_grants as (

    select
        coming.customer_id,
        coming.granted_on,
        {{ divide_rounded(
            wide(to_micro('plans.included_credits') ~ ' * coming.quantity') ~ ' * '
            ~ days_between('coming.granted_on', active_until('coming')),
            days_between('coming.cycle_start', next_cycle_start('coming.cycle_start'))
        ) }} as credits_micro
    from coming
    inner join {{ ref('plans') }} as plans
        on
            coming.sku = plans.sku
            and {{ holds_on('plans', 'coming.granted_on') }}
    where {{ runs_on('coming', 'coming.granted_on') }} and plans.included_credits > 0

),

next_grants as (

    select *
    from coming_grants
    qualify row_number() over (partition by customer_id order by granted_on) = 1

),

{# The plan of the last day, if it buys packs by itself. #}
buying_plans as (

    select
        subscriptions.customer_id,
        subscriptions.subscription_id,
        subscriptions.auto_purchase_sku,
        subscriptions.max_auto_purchases_per_cycle,
        customers.as_of,
        customers.cycle_start
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    inner join customers on subscriptions.customer_id = customers.customer_id
    where
        subscriptions.auto_purchase_sku is not null
        and {{ runs_on('subscriptions', 'customers.as_of') }}

),

bought as (

    select
        buying_plans.customer_id,
        sum(wallets.packs) as packs
    from buying_plans
    inner join {{ ref('int_grant_days') }} as wallets
        on
            buying_plans.customer_id = wallets.customer_id
            and buying_plans.subscription_id = wallets.origin_id
            and buying_plans.as_of = wallets.posting_date
            and wallets.granted_on >= buying_plans.cycle_start
    group by buying_plans.customer_id

),

{# The price of one pack by the tiers of the last day; a purchase of several is priced as one order of them. #}
pack_prices as (

    select
        buying_plans.customer_id,
        sum({{ tier_price_atto('1000000', 'tiers') }}) as price_atto
    from buying_plans
    inner join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('buying_plans.auto_purchase_sku', 'pack', 'buying_plans.as_of') }}
    group by buying_plans.customer_id

)

select
    customers.customer_id,
    customers.as_of,
    next_grants.granted_on as next_grant_on,
    {{ from_micro('next_grants.credits_micro') }} as next_grant_credits,
    packs.sku as pack_sku,
    packs.name as pack_name,
    cast(packs.included_credits as decimal(38, 6)) as pack_credits,
    case when packs.sku is not null then {{ from_micro(divide_rounded(
        wide('pack_prices.price_atto'), '1000000000000'
    )) }} end as pack_price,
    case when packs.sku is not null then cast(coalesce(bought.packs, 0) as bigint) end as packs_bought,
    {# Without a limit NULL: greatest() would make it 0. #}
    case when packs.sku is not null and buying_plans.max_auto_purchases_per_cycle is not null then cast(
        greatest(buying_plans.max_auto_purchases_per_cycle - coalesce(bought.packs, 0), 0) as bigint
    ) end as packs_left
from customers
left join next_grants on customers.customer_id = next_grants.customer_id
left join buying_plans on customers.customer_id = buying_plans.customer_id
left join {{ ref('packs') }} as packs
    on
        buying_plans.auto_purchase_sku = packs.sku
        and {{ holds_on('packs', 'buying_plans.as_of') }}
left join bought on customers.customer_id = bought.customer_id
left join pack_prices on customers.customer_id = pack_prices.customer_id
