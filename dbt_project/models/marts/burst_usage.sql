{{ config(materialized = view_or_files()) }}
select
    customer_id,
    posting_date,
    {{ from_micro('sum(excess_micro)') }} as excess_minutes,
    {{ from_micro('sum(burst_micro)') }} as burst_minutes,
    {{ from_micro('sum(over_limit_micro)') }} as over_limit_minutes,
    {{ from_micro(divide_rounded('sum(' ~ wide('burst_credits_pico') ~ ')', '1000000')) }} as burst_credits
from {{ ref('int_burst_hours') }}
group by customer_id, posting_date
