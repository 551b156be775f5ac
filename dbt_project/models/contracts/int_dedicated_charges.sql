{{ rebuilt_from_ledger('granted_on') }}
{# The monthly fee of a dedicated cluster: tiers on its GPU count, prorated by days, billed when the cycle starts. #}
with

charge_days as (

    select
        days.day as granted_on,
        subscriptions.*,
        {{ cycle_start('days.day', 'subscriptions.billing_anchor_day') }} as cycle_start
    from {{ ref('stg_run_settings') }} as settings
    cross join {{ ledger_days() }} as days
    inner join {{ ref('stg_dedicated_subscriptions') }} as subscriptions
        on {{ is_charged_on('subscriptions', 'days.day') }}

),

counted as (

    select
        charge_days.subscription_id,
        charge_days.customer_id,
        charge_days.sku,
        charge_days.cluster,
        charge_days.facility_id,
        charge_days.granted_on,
        charge_days.cycle_start,
        charge_days.ends_on,
        {{ next_cycle_start('charge_days.cycle_start') }} as cycle_end,
        cast(coalesce(sum(pools.gpu_count), 0) as int) as gpu_count
    from charge_days
    left join {{ ref('pools') }} as pools
        on
            charge_days.cluster = pools.cluster
            and {{ holds_on('pools', 'charge_days.granted_on') }}
    group by
        charge_days.subscription_id, charge_days.customer_id, charge_days.sku, charge_days.cluster,
        charge_days.facility_id, charge_days.granted_on, charge_days.cycle_start, charge_days.ends_on

),

priced as (

    select
        counted.subscription_id,
        counted.granted_on,
        sum({{ tier_price_atto(wide('counted.gpu_count') ~ ' * 1000000', 'tiers') }}) as price_atto
    from counted
    inner join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('counted.sku', 'dedicated', 'counted.granted_on') }}
    group by counted.subscription_id, counted.granted_on

),

dated as (

    select
        counted.*,
        {{ wide('coalesce(priced.price_atto, 0)') }} as price_atto,
        {{ days_between('counted.cycle_start', 'counted.cycle_end') }} as cycle_days,
        {{ active_until('counted') }} as active_until
    from counted
    left join priced
        on counted.subscription_id = priced.subscription_id and counted.granted_on = priced.granted_on

)

select
    subscription_id,
    customer_id,
    sku,
    cluster,
    facility_id,
    granted_on,
    active_until,
    cycle_start,
    cycle_end,
    gpu_count,
    {{ days_between('granted_on', 'active_until') }} as active_days,
    coalesce({{ divide_rounded('price_atto', 'nullif(' ~ wide('gpu_count') ~ ' * 1000000, 0)') }}, 0) as unit_price_pico,
    {{ rounded_cents(
        'price_atto * ' ~ days_between('granted_on', 'active_until'), 'cycle_days * ' ~ wide('10000000000000000')
    ) }} as amount_cents,
    {{ divide_rounded(
        'price_atto * ' ~ days_between('granted_on', 'active_until'), 'cycle_days * ' ~ wide('1000000000000')
    ) }} as value_micro
from dated
