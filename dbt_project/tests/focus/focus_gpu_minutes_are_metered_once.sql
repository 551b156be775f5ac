{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- The GPU minutes of a customer's day are those of usage_daily, so EffectiveCost / ConsumedQuantity is the cost of a GPU
-- minute; unused credits never count as minutes. By billing cycle, so that a run looks at what it worked out anew.
select
    coalesce(charges.customer_id, usage_days.customer_id) as customer_id,
    coalesce(charges.usage_date, usage_days.usage_date) as usage_date,
    charges.gpu_minutes as found,
    usage_days.gpu_minutes as expected
from (
    select
        BillingAccountId as customer_id,
        cycle_start,
        cast(ChargePeriodStart as date) as usage_date,
        sum(ConsumedQuantity) as gpu_minutes
    from {{ rebuilt_charges() }} as rebuilt
    where ConsumedUnit = 'GPU-Minutes'
    group by BillingAccountId, cycle_start, cast(ChargePeriodStart as date)
) as charges
full outer join (
    select
        customer_id,
        cycle_start,
        usage_date,
        sum(gpu_minutes) as gpu_minutes
    from {{ ref('usage_daily') }}
    where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})
    group by customer_id, cycle_start, usage_date
) as usage_days
    on
        charges.customer_id = usage_days.customer_id
        and charges.cycle_start = usage_days.cycle_start
        and charges.usage_date = usage_days.usage_date
where coalesce(charges.gpu_minutes, 0) <> coalesce(usage_days.gpu_minutes, 0)

union all

select
    x_ChargeId,
    cast(ChargePeriodStart as date),
    ConsumedQuantity,
    null
from {{ rebuilt_charges() }} as rebuilt
where
    (ConsumedQuantity is not null) <> (ChargeCategory = 'Usage')
    or (ConsumedUnit is not null) <> (ChargeCategory = 'Usage')
