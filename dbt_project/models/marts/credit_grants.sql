{{ config(materialized = view_or_files()) }}
select
    wallet_days.grant_id,
    wallet_days.customer_id,
    wallet_days.source,
    wallet_days.sku,
    wallet_days.granted_on,
    wallet_days.expires_on,
    wallet_days.priority,
    {{ from_micro('wallet_days.credits_micro') }} as credits,
    {{ from_pico(divide_rounded(
        wide('wallet_days.value_micro') ~ ' * 1000000000000', 'nullif(wallet_days.credits_micro, 0)'
    )) }} as unit_price,
    {{ from_micro('wallet_days.value_micro') }} as amount,
    wallet_days.cycle_start,
    wallet_days.origin_id
from {{ ref('int_wallet_days') }} as wallet_days
where wallet_days.granted_on = wallet_days.posted_on
