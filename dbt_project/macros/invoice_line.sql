{#-
    The columns of an invoice line, for a select; each branch of the union names those that it has. Within its
    invoice and type a line is called by what it is from or, where it sums up more, by its `line_key`.
-#}
{% macro invoice_line(
    line_type, description, quantity_micro, unit,
    customer_id='customer_id', cycle_start='cycle_start', origin_id=none, line_key=none, sku=none,
    unit_price_pico='0', amount_cents='0', cluster=none, accelerator=none, model_family=none,
    gpu_minutes_micro=none, amortized_cost_micro=none, facility_ids=none, renewable_share_micro=none,
    carbon_kg_micro=none, is_adjustment='false'
) -%}
{%- set no_text = 'cast(null as varchar(10))' -%}
{%- set no_number = 'cast(null as ' ~ wide_type() ~ ')' %}
        {{ customer_id }} as customer_id,
        {{ cycle_start }} as cycle_start,
        {{ line_type }} as line_type,
        {{ origin_id or no_text }} as origin_id,
        {{ line_key or id_part(origin_id) }} as line_key,
        {{ sku or no_text }} as sku,
        {{ description }} as description,
        {{ quantity_micro }} as quantity_micro,
        {{ unit }} as unit,
        {{ unit_price_pico }} as unit_price_pico,
        {{ amount_cents }} as amount_cents,
        {{ cluster or no_text }} as cluster,
        {{ accelerator or no_text }} as accelerator,
        {{ model_family or no_text }} as model_family,
        {{ gpu_minutes_micro or no_number }} as gpu_minutes_micro,
        {{ amortized_cost_micro or no_number }} as amortized_cost_micro,
        {{ facility_ids or no_text }} as facility_ids,
        {{ renewable_share_micro or no_number }} as renewable_share_micro,
        {{ carbon_kg_micro or no_number }} as carbon_kg_micro,
        {{ is_adjustment }} as is_adjustment
{%- endmacro %}
