{{ config(materialized = 'table') }}
{# Incurable rows as landing set them aside, and those that a seed edit can cure. #}
select
    feed,
    delivery_date,
    line_number,
    reason,
    detail,
    raw
from {{ landed('rejected_rows') }}

union all

select
    feed,
    delivery_date,
    line_number,
    reason,
    detail,
    raw
from {{ ref('int_curable_rows') }}
