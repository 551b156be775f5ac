{{ config(materialized = view_or_files()) }}
{# What the usage API is asked to do about an alert; the outbox from which it is sent. #}
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

),

due as (

    select
        alert_id || '/' || action as action_id,
        alert_id,
        customer_id,
        action,
        effective_on,
        '{"action":"' || action || '","effective_on":"' || cast(effective_on as varchar(10)) || '"}' as payload
    from actions

),

delivered as (

    select * from {{ ref('stg_delivered_actions') }}

)

{# What was delivered stays as it was delivered: superseded if it would not be asked for today, or otherwise. #}
select
    coalesce(delivered.action_id, due.action_id) as action_id,
    coalesce(delivered.alert_id, due.alert_id) as alert_id,
    coalesce(delivered.customer_id, due.customer_id) as customer_id,
    coalesce(delivered.action, due.action) as action,
    coalesce(delivered.effective_on, due.effective_on) as effective_on,
    coalesce(delivered.payload, due.payload) as payload,
    coalesce(delivered.payload <> coalesce(due.payload, 'nothing'), false) as is_superseded
from due
full outer join delivered on due.action_id = delivered.action_id
