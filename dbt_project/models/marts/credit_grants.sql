{{ config(materialized = view_or_files()) }}
select
    grant_days.grant_id,
    grant_days.customer_id,
    grant_days.source,
    grant_days.sku,
    grant_days.granted_on,
    grant_days.expires_on,
    grant_days.priority,
    {{ from_micro('grant_days.credits_micro') }} as credits,
    {{ from_pico(divide_rounded(
        wide('grant_days.value_micro') ~ ' * 1000000000000', 'nullif(grant_days.credits_micro, 0)'
    )) }} as unit_price,
    {{ from_micro('grant_days.value_micro') }} as amount,
    grant_days.cycle_start,
    grant_days.origin_id
from {{ ref('int_grant_days') }} as grant_days
where grant_days.granted_on = grant_days.posting_date
