{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- The GPU minutes of a customer's day are those of usage_daily, so EffectiveCost / ConsumedQuantity is the cost of a GPU
-- minute; unused credits never count as minutes.
select
    coalesce(charges.customer_id, usage_days.customer_id) as customer_id,
    coalesce(charges.usage_date, usage_days.usage_date) as usage_date,
    charges.gpu_minutes as found,
    usage_days.gpu_minutes as expected
from (
    select
        BillingAccountId as customer_id,
        cast(ChargePeriodStart as date) as usage_date,
        sum(ConsumedQuantity) as gpu_minutes
    from {{ ref('focus_cost_and_usage') }}
    where ConsumedUnit = 'GPU-Minutes'
    group by BillingAccountId, cast(ChargePeriodStart as date)
) as charges
full outer join (
    select
        customer_id,
        usage_date,
        sum(gpu_minutes) as gpu_minutes
    from {{ ref('usage_daily') }}
    group by customer_id, usage_date
) as usage_days on charges.customer_id = usage_days.customer_id and charges.usage_date = usage_days.usage_date
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
