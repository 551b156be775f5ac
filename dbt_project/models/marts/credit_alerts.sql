{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('cycle_start'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('cycle_start in (select cycle_start from ' ~ ref('int_touched_cycles') ~ ')') }}"
    )
}}
{# Raised on the edge: the day a threshold is reached, and again only after falling below it. #}
with

days as (

    select
        *,
        lag(depletion) over (partition by customer_id, cycle_start order by balance_date) as depletion_before
    from {{ ref('int_depletion_days') }}

),

raised as (

    select
        customer_id, cycle_start, balance_date as raised_on, 'pre_alert' as alert_type, depletion, balance,
        pre_alert_depletion as threshold
    from days
    where depletion >= pre_alert_depletion and coalesce(depletion_before < pre_alert_depletion, true)

    union all

    select
        customer_id, cycle_start, balance_date as raised_on, 'hard_cap' as alert_type, depletion, balance,
        hard_cap_depletion as threshold
    from days
    where depletion >= hard_cap_depletion and coalesce(depletion_before < hard_cap_depletion, true)

    union all

    select
        days.customer_id, days.cycle_start, days.balance_date as raised_on, 'auto_purchase' as alert_type,
        days.depletion, days.balance, days.hard_cap_depletion as threshold
    from days
    inner join (
        select distinct customer_id, granted_on from {{ ref('credit_grants') }} where source = 'auto_purchase'
    ) as purchases on days.customer_id = purchases.customer_id and days.balance_date = purchases.granted_on

    union all

    {# Over the concurrency limit, by usage that came in time. #}
    select
        days.customer_id, days.cycle_start, days.balance_date as raised_on, 'burst_cap' as alert_type,
        days.depletion, days.balance, cast(null as decimal(18, 6)) as threshold
    from days
    inner join (
        select distinct customer_id, posting_date
        from {{ ref('int_burst_hours') }}
        where over_limit_micro > 0 and not is_adjustment
    ) as over_limit on days.customer_id = over_limit.customer_id and days.balance_date = over_limit.posting_date

)

select
    customer_id || '/' || cast(cycle_start as varchar(10)) || '/' || alert_type || '/' || cast(raised_on as varchar(10))
        as alert_id,
    customer_id,
    cycle_start,
    raised_on,
    alert_type,
    cast(depletion as decimal(18, 6)) as depletion,
    cast(balance as decimal(38, 6)) as balance,
    cast(threshold as decimal(18, 6)) as threshold
from raised
