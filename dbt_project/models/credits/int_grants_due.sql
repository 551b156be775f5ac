{# Every grant that is known before its day is billed: plans, orders and a person's adjustments. #}
select
    grant_id,
    customer_id,
    'plan' as source,
    sku,
    subscription_id as origin_id,
    40 as priority,
    granted_on,
    cycle_end - 1 as expires_on,
    credits_micro,
    value_micro,
    rollover_min_micro,
    rollover_rate_micro
from {{ ref('int_plan_charges') }}
where
    credits_micro > 0
    and granted_on >= (select ledger_from from {{ ref('stg_run_settings') }})

union all

select
    grant_id,
    customer_id,
    source,
    sku,
    order_id as origin_id,
    case source when 'burst_pack' then 10 else 50 end as priority,
    granted_on,
    expires_on,
    credits_micro,
    value_micro,
    cast(null as bigint) as rollover_min_micro,
    cast(null as bigint) as rollover_rate_micro
from {{ ref('int_order_charges') }}
where
    credits_micro > 0
    and granted_on >= (select ledger_from from {{ ref('stg_run_settings') }})

union all

{# Goodwill is worth nothing when it is burned and lives to the end of its cycle. #}
select
    {{ grant_id(
        'adjustments.customer_id', "'adjustment'", 'adjustments.posted_on', id_part('adjustments.adjustment_id')
    ) }} as grant_id,
    adjustments.customer_id,
    'adjustment' as source,
    cast(null as varchar(10)) as sku,
    adjustments.adjustment_id as origin_id,
    30 as priority,
    adjustments.posted_on as granted_on,
    {{ next_cycle_start(cycle_start('adjustments.posted_on', 'customers.billing_anchor_day')) }} - 1 as expires_on,
    {{ to_micro('adjustments.credits') }} as credits_micro,
    {{ wide('0') }} as value_micro,
    cast(null as bigint) as rollover_min_micro,
    cast(null as bigint) as rollover_rate_micro
from {{ ref('adjustments') }} as adjustments
cross join {{ ref('stg_run_settings') }} as settings
inner join {{ ref('customers') }} as customers on adjustments.customer_id = customers.customer_id
where
    adjustments.credits > 0
    and adjustments.posted_on between settings.ledger_from and settings.last_day
