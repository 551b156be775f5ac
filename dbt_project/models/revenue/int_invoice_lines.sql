{{ rebuilt_cycles() }}
{#
    The lines of the invoices. One that was published as final keeps its lines and charges as they closed; only
    its cost, energy and carbon follow the books. Everything else is as the books stand.
#}
with

final_lines as (

    select * from {{ ref('stg_final_invoice_lines') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

)

select lines.*
from {{ ref('int_recomputed_lines') }} as lines
left join (select distinct
    customer_id,
    cycle_start
from final_lines) as final_invoices
    on lines.customer_id = final_invoices.customer_id and lines.cycle_start = final_invoices.cycle_start
where final_invoices.customer_id is null

union all

select
    final_lines.invoice_line_id,
    final_lines.customer_id,
    final_lines.cycle_start,
    final_lines.cycle_end,
    final_lines.line_type,
    final_lines.origin_id,
    final_lines.sku,
    final_lines.description,
    final_lines.cluster,
    final_lines.accelerator,
    final_lines.model_family,
    final_lines.quantity_micro,
    final_lines.unit,
    final_lines.unit_price_pico,
    final_lines.amount_cents,
    final_lines.currency,
    coalesce(lines.gpu_minutes_micro, final_lines.gpu_minutes_micro) as gpu_minutes_micro,
    coalesce(lines.amortized_cost_per_minute_micro, final_lines.amortized_cost_per_minute_micro)
        as amortized_cost_per_minute_micro,
    coalesce(lines.amortized_cost_micro, final_lines.amortized_cost_micro) as amortized_cost_micro,
    coalesce(lines.facility_ids, final_lines.facility_ids) as facility_ids,
    coalesce(lines.renewable_share_micro, final_lines.renewable_share_micro) as renewable_share_micro,
    coalesce(lines.carbon_kg_micro, final_lines.carbon_kg_micro) as carbon_kg_micro,
    final_lines.is_adjustment,
    true as is_final
from final_lines
left join {{ ref('int_recomputed_lines') }} as lines on final_lines.invoice_line_id = lines.invoice_line_id
