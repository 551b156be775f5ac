{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- All that is billed is the cost of something, and nothing costs that was not billed: per customer, over
-- everything but what is still there to be used.
with

wholes as (

    select
        whole_id,
        sum(case when ChargeCategory = 'Purchase' then units else -units end) as units_left
    from {{ prepaid_charges() }} as charges
    group by whole_id

),

still_open as (

    select charges.x_ChargeId
    from {{ prepaid_charges() }} as charges
    inner join wholes on charges.whole_id = wholes.whole_id
    where wholes.units_left <> 0

)

select
    BillingAccountId,
    sum(BilledCost) as billed,
    sum(EffectiveCost) as cost
from {{ ref('focus_cost_and_usage') }}
where x_ChargeId not in (select x_ChargeId from still_open)
group by BillingAccountId
having sum(BilledCost) <> sum(EffectiveCost)
