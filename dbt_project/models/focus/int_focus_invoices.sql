{{ config(materialized = 'view') }}
{# The charge that stands for a whole invoice where something corrects it: its plan, else whatever it charges first. #}
select
    customer_id,
    cycle_start,
    cycle_end,
    invoice_line_id as charge_id
from {{ ref('int_invoice_lines') }}
where line_type not in ('term_discount', 'credit_usage', 'rollover', 'expiry')
qualify row_number() over (
    partition by customer_id, cycle_start
    order by case line_type when 'base_credits' then 0 when 'dedicated_cluster' then 1 else 2 end, invoice_line_id
) = 1
