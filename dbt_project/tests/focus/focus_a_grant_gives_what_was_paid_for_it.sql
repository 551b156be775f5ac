{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- What is used of a grant of credits, or of a dedicated cluster's fee, costs its part of what was paid;
-- all of it costs exactly what was paid. What was given for nothing costs nothing.
with

wholes as (

    select
        whole_id,
        is_of_grant,
        sum(case when ChargeCategory = 'Purchase' then 1 else 0 end) as purchases,
        sum(case when ChargeCategory = 'Purchase' then units else 0 end) as bought,
        sum(case when ChargeCategory = 'Usage' then units else 0 end) as used,
        sum(case when ChargeCategory = 'Purchase' then BilledCost else 0 end) as paid,
        sum(case when ChargeCategory = 'Usage' then EffectiveCost else 0 end) as cost
    from {{ prepaid_charges() }} as charges
    group by whole_id, is_of_grant

)

select *
from wholes
where
    (bought = used and paid <> cost)
    -- A cluster rented twice in a cycle has two prices; only the two together are known to add up.
    or (
        (purchases = 1 or is_of_grant) and bought > 0
        and abs({{ scaled('cost', 12) }} - {{ multiply_divide(
            scaled('paid', 12), scaled('used', 6), 'nullif(' ~ scaled('bought', 6) ~ ', 0)'
        ) }}) > 1000000
    )
    -- Nobody paid: a refund gives back and takes again, a gift costs nothing.
    or (purchases = 0 and used > 0 and cost <> 0)
