{{ rebuilt_cycles() }}
{# Raised on the edge: the day a threshold is reached, and again only after falling below it. #}
with

days as (

    select
        *,
        {# Every cycle starts below both; the thresholds of the day before are those of its own plan. #}
        coalesce(lag(is_at_pre_alert) over in_cycle, false) as was_at_pre_alert,
        coalesce(lag(is_at_hard_cap) over in_cycle, false) as was_at_hard_cap
    from {{ ref('int_depletion_days') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    window in_cycle as (partition by customer_id, cycle_start order by balance_date)

),

raised as (

    select
        customer_id,
        cycle_start,
        balance_date as raised_on,
        'pre_alert' as alert_type,
        depletion_micro,
        balance_micro,
        pre_alert_micro as threshold_micro
    from days
    where is_at_pre_alert and not was_at_pre_alert

    union all

    select
        customer_id,
        cycle_start,
        balance_date as raised_on,
        'hard_cap' as alert_type,
        depletion_micro,
        balance_micro,
        hard_cap_micro as threshold_micro
    from days
    where is_at_hard_cap and not was_at_hard_cap

    union all

    select
        days.customer_id,
        days.cycle_start,
        days.balance_date as raised_on,
        'auto_purchase' as alert_type,
        days.depletion_micro,
        days.balance_micro,
        days.hard_cap_micro as threshold_micro
    from days
    inner join (
        select distinct
            customer_id,
            granted_on
        from {{ ref('credit_grants') }}
        where source = 'auto_purchase'
    ) as purchases on days.customer_id = purchases.customer_id and days.balance_date = purchases.granted_on

    union all

    {# Over the concurrency limit, by usage that came in time. #}
    select
        days.customer_id,
        days.cycle_start,
        days.balance_date as raised_on,
        'burst_cap' as alert_type,
        days.depletion_micro,
        days.balance_micro,
        cast(null as bigint) as threshold_micro
    from days
    inner join (
        select
            customer_id,
            posting_date
        from {{ ref('int_burst_hours') }}
        where not is_adjustment
        group by customer_id, posting_date
        {# In whole millionths of a minute: what spreading a slice over its hours rounds is no use. #}
        having {{ divide_rounded('sum(over_limit_nano)', '1000') }} > 0
    ) as over_limit on days.customer_id = over_limit.customer_id and days.balance_date = over_limit.posting_date

)

select
    customer_id || '/' || cast(cycle_start as varchar(10)) || '/' || alert_type || '/' || cast(raised_on as varchar(10))
        as alert_id,
    customer_id,
    cycle_start,
    raised_on,
    alert_type,
    {{ rate_from_micro('depletion_micro') }} as depletion,
    {{ from_micro('balance_micro') }} as balance,
    {{ rate_from_micro('threshold_micro') }} as threshold
from raised
