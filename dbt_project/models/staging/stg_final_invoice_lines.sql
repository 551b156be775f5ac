{#
    Invoices as they closed; the publication that first showed one as final wrote it down. What earlier
    releases spelled otherwise reads as it would be spelled today: names of usage in ids, which were not
    escaped, and the unit price of a person's line, which was left at 0.
#}
with

final_lines as (

    select
        *,
        {# The only id that is ever read: the archive holds nothing else of what a line is from. #}
        substring(invoice_line_id, length(invoice_id || '/' || line_type || '/') + 1) as line_key
    from {{ landed('final_invoice_lines', area='archive') }}

)

select
    customer_id,
    cycle_start,
    cycle_end,
    line_type,
    sku,
    description,
    cluster,
    accelerator,
    model_family,
    unit,
    currency,
    facility_ids,
    is_adjustment,
    {{ scaled('quantity', 6) }} as quantity_micro,
    {{ scaled('amount', 2) }} as amount_cents,
    {{ scaled('gpu_minutes', 6) }} as gpu_minutes_micro,
    {{ scaled('amortized_cost_per_gpu_minute', 6) }} as amortized_cost_per_minute_micro,
    {{ scaled('amortized_cost', 6) }} as amortized_cost_micro,
    {{ scaled('renewable_share', 6) }} as renewable_share_micro,
    {{ scaled('carbon_kg', 6) }} as carbon_kg_micro,
    case
        when line_type = 'adjustment' then {{ scaled('amount', 2) }} * {{ wide('10000000000') }}
        else {{ scaled('unit_price', 12) }}
    end as unit_price_pico,
    case
        when line_type = 'credit_usage'
            then {{ invoice_line_id('final_lines', 'line_type', usage_id_parts('final_lines')) }}
        else invoice_line_id
    end as invoice_line_id,
    case
        when line_type = 'auto_purchase' then line_key
        when line_type in ('base_credits', 'term_discount', 'burst_pack', 'top_up', 'dedicated_cluster', 'adjustment')
            then {{ id_text('line_key') }}
        when line_type in ('rollover', 'expiry') and sku is null then line_key
    end as origin_id
from final_lines
