{# The plan that a day's bookings fall under: the one active that day, else the latest before it. #}
with

posting_days as (

    select distinct
        customer_id,
        posting_date,
        cycle_start
    from {{ ref('int_usage_costed') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

chosen as (

    select
        posting_days.customer_id,
        posting_days.posting_date,
        posting_days.cycle_start,
        subscriptions.subscription_id,
        subscriptions.sku,
        subscriptions.starts_on,
        subscriptions.ends_on
    from posting_days
    inner join {{ ref('stg_plan_subscriptions') }} as subscriptions
        on
            posting_days.customer_id = subscriptions.customer_id
            and posting_days.posting_date >= subscriptions.starts_on
    qualify row_number() over (
        partition by posting_days.customer_id, posting_days.posting_date
        order by subscriptions.starts_on desc, subscriptions.subscription_id
    ) = 1

)

select
    chosen.customer_id,
    chosen.posting_date,
    chosen.cycle_start,
    chosen.subscription_id,
    chosen.sku,
    {# Overage tiers: the version of the first day of the cycle with this plan. #}
    min(case
        when chosen.ends_on is null or chosen.ends_on > chosen.cycle_start
            then greatest(chosen.cycle_start, chosen.starts_on)
        else chosen.cycle_start
    end) over (partition by chosen.customer_id, chosen.cycle_start, chosen.sku) as priced_on,
    plans.overage_policy,
    {{ to_micro('plans.energy_baseline_per_kwh') }} as energy_baseline_micro,
    {{ to_micro('plans.energy_markup_rate') }} as energy_markup_micro
from chosen
left join {{ ref('plans') }} as plans
    on
        chosen.sku = plans.sku
        and chosen.posting_date >= plans.valid_from
        and (plans.valid_to is null or chosen.posting_date < plans.valid_to)
