{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = ['cycle_start'],
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('cycle_start in (select cycle_start from ' ~ ref('int_touched_cycles') ~ ')') }}"
    )
}}
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
    {{ rate_from_micro(divide_rounded(
        'sign(lines.gpu_minutes_micro) * ' ~ wide('lines.amortized_cost_micro') ~ ' * 1000000',
        'nullif(abs(lines.gpu_minutes_micro), 0)'
    )) }} as amortized_cost_per_gpu_minute,
    {{ from_micro('lines.amortized_cost_micro') }} as amortized_cost,
    lines.facility_ids,
    {{ rate_from_micro('lines.renewable_share_micro') }} as renewable_share,
    {{ from_micro('lines.carbon_kg_micro') }} as carbon_kg,
    lines.is_adjustment,
    case when lines.is_final then 'final' else 'open' end as status
from {{ ref('int_invoice_lines') }} as lines
cross join {{ ref('stg_run_settings') }} as settings
