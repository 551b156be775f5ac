{{ rebuilt_days('usage_date') }}
{#
    The clock hours in which a customer ran more GPUs than its plan allows: what a burst window
    covered, what it cost in burst credits, and what was over the limit. Rows booked on one date only
    count among themselves, so a late row never changes an hour that was billed before.
#}
with

customer_hours as (

    select
        customer_id,
        usage_date,
        posting_date,
        cycle_start,
        is_adjustment,
        hour_of_day,
        sum(part_count) as part_count,
        sum(gpu_minutes_nano) as minutes_nano,
        {# Unrounded: billionths of a minute times millionths of a credit. #}
        sum(gpu_minutes_nano * credit_rate_micro) as credits_femto
    from {{ ref('int_usage_hours') }}
    where not is_dedicated and usage_date in ({{ touched_days() }})
    group by customer_id, usage_date, posting_date, cycle_start, is_adjustment, hour_of_day

),

{#
    An hour without net minutes has no excess; an unlimited plan neither. Nor is it one when rounding
    alone may have made it: every row that has a part in the hour was rounded by up to a millionth.
#}
excess_hours as (

    select
        customer_hours.*,
        subscriptions.sku as plan_sku,
        {{ wide(to_micro('plans.base_concurrency')) }} * subscriptions.quantity * 60000 as limit_nano,
        {{ wide(to_micro('plans.included_credits')) }} * subscriptions.quantity as plan_credits_micro,
        cast(customer_hours.usage_date as timestamp) + customer_hours.hour_of_day * interval 1 hour as hour_start
    from customer_hours
    inner join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on
            customer_hours.customer_id = subscriptions.customer_id
            and {{ runs_on('subscriptions', 'customer_hours.usage_date') }}
    inner join {{ ref('plans') }} as plans
        on
            subscriptions.sku = plans.sku
            and {{ holds_on('plans', 'customer_hours.usage_date') }}
    where
        customer_hours.minutes_nano > 0
        and customer_hours.minutes_nano
        > {{ wide(to_micro('plans.base_concurrency')) }} * subscriptions.quantity * 60000
        + customer_hours.part_count * 1000

),

{# Windows don't stack: the largest multiplier counts, then the earliest order. #}
in_window as (

    select
        excess_hours.*,
        packs.sku as pack_sku,
        {{ to_micro('packs.concurrency_multiplier') }} as multiplier_micro,
        {{ to_micro('packs.surcharge_rate') }} as surcharge_rate_micro
    from excess_hours
    left join {{ ref('orders') }} as orders
        on
            excess_hours.customer_id = orders.customer_id
            and orders.sku in (
                select sku from {{ ref('packs') }}
                where kind = 'burst'
            )
            and excess_hours.hour_start >= date_trunc('hour', orders.ordered_at)
            and cast(orders.ordered_at as date) >= excess_hours.usage_date - 400
    left join {{ ref('packs') }} as packs
        on
            orders.sku = packs.sku
            and packs.kind = 'burst'
            and {{ holds_on('packs', 'cast(orders.ordered_at as date)') }}
            and excess_hours.hour_start
            < date_trunc('hour', orders.ordered_at) + packs.validity_hours * interval 1 hour
    qualify row_number() over (
        partition by
            excess_hours.customer_id, excess_hours.usage_date, excess_hours.posting_date, excess_hours.hour_of_day
        order by packs.concurrency_multiplier desc nulls last, orders.ordered_at, orders.order_id
    ) = 1

),

split as (

    select
        *,
        minutes_nano - limit_nano as excess_nano,
        case
            when pack_sku is null then 0
            else least(
                minutes_nano - limit_nano,
                {{ divide_rounded('limit_nano * (multiplier_micro - 1000000)', '1000000') }}
            )
        end as burst_nano
    from in_window

),

{# The undiscounted list price of a credit of the plan of the usage day. #}
list_prices as (

    select
        split.plan_sku,
        split.plan_credits_micro,
        split.usage_date,
        {{ divide_rounded(
            'sum(' ~ tier_price_atto('split.plan_credits_micro', 'tiers') ~ ')', 'nullif(split.plan_credits_micro, 0)'
        ) }} as list_unit_price_pico
    from (select distinct
        plan_sku,
        plan_credits_micro,
        usage_date
    from split
    where pack_sku is not null) as split
    inner join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('split.plan_sku', 'base', 'split.usage_date') }}
    group by split.plan_sku, split.plan_credits_micro, split.usage_date

)

select
    split.customer_id,
    split.usage_date,
    split.posting_date,
    split.cycle_start,
    split.is_adjustment,
    cast(split.hour_of_day as int) as hour_of_day,
    split.pack_sku,
    cast(split.excess_nano as {{ wide_type() }}) as excess_nano,
    cast(split.burst_nano as {{ wide_type() }}) as burst_nano,
    cast(split.excess_nano - split.burst_nano as {{ wide_type() }}) as over_limit_nano,
    {{ multiply_divide('split.credits_femto', 'split.burst_nano', 'split.minutes_nano') }} as burst_credits_femto,
    coalesce({{ divide_rounded(
        'list_prices.list_unit_price_pico * split.surcharge_rate_micro', '1000000'
    ) }}, 0) as surcharge_unit_price_pico
from split
left join list_prices
    on
        split.plan_sku = list_prices.plan_sku
        and split.plan_credits_micro = list_prices.plan_credits_micro
        and split.usage_date = list_prices.usage_date
