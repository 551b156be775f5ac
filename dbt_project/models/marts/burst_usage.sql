{{ config(materialized = view_or_files()) }}
select
    customer_id,
    posting_date,
    {{ from_micro(divide_rounded('sum(excess_nano)', '1000')) }} as excess_minutes,
    {{ from_micro(divide_rounded('sum(burst_nano)', '1000')) }} as burst_minutes,
    {{ from_micro(divide_rounded('sum(over_limit_nano)', '1000')) }} as over_limit_minutes,
    {{ from_micro(divide_rounded('sum(burst_credits_femto)', '1000000000')) }} as burst_credits
from {{ ref('int_burst_hours') }}
group by customer_id, posting_date
