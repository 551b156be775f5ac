{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- ListCost and ContractedCost of a whole that is used up are the same where it is bought and where it is used: either
-- side is all of it, and a sum over both counts it twice.
select
    whole_id,
    sum(case when ChargeCategory = 'Purchase' then ContractedCost end) as contracted_where_bought,
    sum(case when ChargeCategory = 'Usage' then ContractedCost end) as contracted_where_used,
    sum(case when ChargeCategory = 'Purchase' then ListCost end) as list_where_bought,
    sum(case when ChargeCategory = 'Usage' then ListCost end) as list_where_used
from {{ prepaid_charges() }} as charges
group by whole_id
having
    sum(case when ChargeCategory = 'Purchase' then units else 0 end) > 0
    and sum(case when ChargeCategory = 'Purchase' then units else -units end) = 0
    and (
        abs(sum(case when ChargeCategory = 'Purchase' then ContractedCost else -ContractedCost end)) > 0.000001
        or abs(sum(case when ChargeCategory = 'Purchase' then ListCost else -ListCost end)) > 0.000001
        or sum(case when ChargeCategory = 'Purchase' then ContractedCost - BilledCost else 0 end) <> 0
    )
