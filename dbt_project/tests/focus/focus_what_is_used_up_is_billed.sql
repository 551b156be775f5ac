{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- All that is billed is the cost of something, and nothing costs that was not billed: per customer, over
-- everything but what is still there to be used. Of what this run worked out anew, with all older charges
-- of the same wholes.
with

prepaid as (

    select
        x_ChargeId,
        BillingAccountId,
        BilledCost,
        EffectiveCost,
        sum(case when ChargeCategory = 'Purchase' then units else -units end) over (partition by whole_id) as units_left
    from {{ prepaid_charges() }} as charges

),

used_up as (

    select
        BillingAccountId,
        BilledCost,
        EffectiveCost
    from prepaid
    where units_left = 0

    union all

    select
        BillingAccountId,
        BilledCost,
        EffectiveCost
    from {{ rebuilt_charges() }} as rebuilt
    where x_ChargeId not in (select x_ChargeId from prepaid)

)

select
    BillingAccountId,
    sum(BilledCost) as billed,
    sum(EffectiveCost) as cost
from used_up
group by BillingAccountId
having sum(BilledCost) <> sum(EffectiveCost)
