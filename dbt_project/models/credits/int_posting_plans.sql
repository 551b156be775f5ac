{# The plan that a day's bookings fall under: the one active that day, else the latest before it. #}
with

posting_days as (

    select distinct
        customer_id,
        posting_date,
        cycle_start
    from {{ ref('int_usage_rated') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

{# Overage tiers and energy terms: the version of the first day of the cycle with this plan, used that day or not. #}
first_days as (

    select
        cycles.customer_id,
        cycles.cycle_start,
        plan_spans.sku,
        min(greatest(plan_spans.starts_on, cycles.cycle_start)) as first_day,
        max(coalesce(plan_spans.ends_on - 1, date '9999-12-31')) as last_day
    from (select distinct
        customer_id,
        cycle_start
    from posting_days) as cycles
    inner join {{ ref('stg_plan_subscriptions') }} as plan_spans
        on
            cycles.customer_id = plan_spans.customer_id
            and plan_spans.starts_on < {{ next_cycle_start('cycles.cycle_start') }}
            and (plan_spans.next_starts_on is null or plan_spans.next_starts_on > cycles.cycle_start)
    group by cycles.customer_id, cycles.cycle_start, plan_spans.sku

),

{# Booked when the plan is over and has no version any more: the version of its last day. #}
priced as (

    select
        first_days.customer_id,
        first_days.cycle_start,
        first_days.sku,
        case
            when plans.sku is null then least(first_days.first_day, first_days.last_day)
            else first_days.first_day
        end as priced_on
    from first_days
    left join {{ ref('plans') }} as plans
        on
            first_days.sku = plans.sku
            and {{ holds_on('plans', 'first_days.first_day') }}

),

chosen as (

    select
        posting_days.customer_id,
        posting_days.posting_date,
        posting_days.cycle_start,
        subscriptions.subscription_id,
        subscriptions.sku
    from posting_days
    inner join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on
            posting_days.customer_id = subscriptions.customer_id
            and {{ is_latest_on('subscriptions', 'posting_days.posting_date') }}

)

select
    chosen.customer_id,
    chosen.posting_date,
    chosen.cycle_start,
    chosen.subscription_id,
    chosen.sku,
    priced.priced_on,
    {{ to_micro('plans.energy_baseline_per_kwh') }} as energy_baseline_micro,
    {{ to_micro('plans.energy_markup_rate') }} as energy_markup_micro
from chosen
inner join priced
    on
        chosen.customer_id = priced.customer_id
        and chosen.cycle_start = priced.cycle_start
        and chosen.sku = priced.sku
left join {{ ref('plans') }} as plans
    on
        chosen.sku = plans.sku
        and {{ holds_on('plans', 'priced.priced_on') }}
