{{ config(materialized = 'view') }}
{# What the usage API is asked to do about an alert; the outbox from which it is delivered. #}
with

alerts as (

    select * from {{ ref('credit_alerts') }}

),

{# A cap is lifted on the first day on which depletion is below it again, in its cycle or a later one. #}
lifted as (

    select
        alerts.alert_id,
        alerts.customer_id,
        min(days.balance_date) as effective_on
    from alerts
    inner join {{ ref('int_depletion_days') }} as days
        on
            alerts.customer_id = days.customer_id
            and days.balance_date > alerts.raised_on
            and not days.is_at_hard_cap
    where alerts.alert_type = 'hard_cap'
    group by alerts.alert_id, alerts.customer_id

),

actions as (

    select
        alert_id,
        customer_id,
        case alert_type
            when 'pre_alert' then 'notify'
            when 'hard_cap' then 'cap_usage'
            when 'auto_purchase' then 'auto_purchase'
            when 'burst_cap' then 'cap_burst'
        end as action,
        raised_on as effective_on
    from alerts

    union all

    select
        alert_id,
        customer_id,
        'uncap_usage' as action,
        effective_on
    from lifted

)

select
    alert_id || '/' || action as action_id,
    alert_id,
    customer_id,
    action,
    effective_on,
    '{"action":"' || action || '","effective_on":"' || cast(effective_on as varchar(10)) || '"}' as payload,
    false as is_superseded
from actions
