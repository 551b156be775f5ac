{{ config(meta = {'dagster': {'ref': {'name': 'billing_controls'}}}) }}

-- A control that fails means that two ways to one figure disagree: nothing may be published.
select
    control,
    scope,
    expected,
    actual,
    difference
from {{ ref('billing_controls') }}
where severity = 'error' and passed is not true
