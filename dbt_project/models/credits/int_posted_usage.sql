{{ config(event_time = 'posting_date') }}
{# Credits used, by the day they are booked on. Negative when corrections outweigh usage: a refund. #}
select
    customer_id,
    posting_date,
    cast(sum(credits_micro) as {{ wide_type() }}) as credits_micro
from {{ ref('int_usage_rated') }}
where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})
group by customer_id, posting_date
having sum(credits_micro) <> 0
