{{ rebuilt_cycles() }}
{#
    An invoice that was published as final keeps its lines and charges as they closed; only its
    cost, energy and carbon columns follow the books. Everything else is as the books stand.
#}
with

lines as (

    select
        invoice_lines.*,
        {{ rate_from_micro(divide_rounded(
            wide('invoice_lines.amortized_cost_micro') ~ ' * 1000000', 'nullif(invoice_lines.gpu_minutes_micro, 0)'
        )) }} as amortized_cost_per_gpu_minute
    from {{ ref('int_invoice_lines') }} as invoice_lines

),

final_lines as (

    select * from {{ ref('stg_final_invoice_lines') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

)

select
    lines.invoice_line_id,
    lines.invoice_id,
    lines.customer_id,
    lines.cycle_start,
    lines.cycle_end,
    lines.line_type,
    lines.sku,
    lines.description,
    lines.cluster,
    lines.accelerator,
    lines.model_family,
    {{ from_micro('lines.quantity_micro') }} as quantity,
    lines.unit,
    {{ from_pico('lines.unit_price_pico') }} as unit_price,
    {{ cents('lines.amount_cents') }} as amount,
    settings.reporting_currency as currency,
    {{ from_micro('lines.gpu_minutes_micro') }} as gpu_minutes,
    lines.amortized_cost_per_gpu_minute,
    {{ from_micro('lines.amortized_cost_micro') }} as amortized_cost,
    lines.facility_ids,
    {{ rate_from_micro('lines.renewable_share_micro') }} as renewable_share,
    {{ from_micro('lines.carbon_kg_micro') }} as carbon_kg,
    lines.is_adjustment,
    case when lines.is_final then 'final' else 'open' end as status
from lines
cross join {{ ref('stg_run_settings') }} as settings
where lines.invoice_id not in (select invoice_id from final_lines)

union all

select
    final_lines.invoice_line_id,
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
    final_lines.quantity,
    final_lines.unit,
    final_lines.unit_price,
    final_lines.amount,
    final_lines.currency,
    coalesce({{ from_micro('lines.gpu_minutes_micro') }}, final_lines.gpu_minutes) as gpu_minutes,
    coalesce(lines.amortized_cost_per_gpu_minute, final_lines.amortized_cost_per_gpu_minute)
        as amortized_cost_per_gpu_minute,
    coalesce({{ from_micro('lines.amortized_cost_micro') }}, final_lines.amortized_cost) as amortized_cost,
    coalesce(lines.facility_ids, final_lines.facility_ids) as facility_ids,
    coalesce({{ rate_from_micro('lines.renewable_share_micro') }}, final_lines.renewable_share) as renewable_share,
    coalesce({{ from_micro('lines.carbon_kg_micro') }}, final_lines.carbon_kg) as carbon_kg,
    final_lines.is_adjustment,
    'final' as status
from final_lines
left join lines on final_lines.invoice_line_id = lines.invoice_line_id
