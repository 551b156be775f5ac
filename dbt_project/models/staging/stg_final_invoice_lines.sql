{#
    Invoices as they closed; the publication that first showed one as final wrote it down. What earlier
    releases spelled otherwise reads as it would be spelled today: names of usage in ids, which were not
    escaped, and the unit price of a person's line, which was left at 0.
#}
select
    final_lines.invoice_id,
    final_lines.customer_id,
    final_lines.cycle_start,
    final_lines.cycle_end,
    final_lines.line_type,
    final_lines.sku,
    final_lines.description,
    final_lines.cluster,
    final_lines.accelerator,
    final_lines.model_family,
    final_lines.unit,
    final_lines.currency,
    final_lines.facility_ids,
    final_lines.quantity,
    final_lines.amount,
    final_lines.gpu_minutes,
    final_lines.amortized_cost_per_gpu_minute,
    final_lines.amortized_cost,
    final_lines.renewable_share,
    final_lines.carbon_kg,
    final_lines.is_adjustment,
    case
        when final_lines.line_type = 'credit_usage'
            then
                final_lines.invoice_id || '/credit_usage/' || {{ usage_id_parts('final_lines') }}
                || case when final_lines.is_adjustment then '/adjustment' else '' end
        else final_lines.invoice_line_id
    end as invoice_line_id,
    case
        when final_lines.line_type = 'adjustment' then cast(final_lines.amount as decimal(38, 12))
        else final_lines.unit_price
    end as unit_price
from {{ landed('final_invoice_lines', area='archive') }} as final_lines
