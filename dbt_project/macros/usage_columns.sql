{# Columns that usage carries through the models, in one order; qualified where a relation is named. #}

{# What a row of usage is of: who used which hardware for what, when it was used and when it is booked. #}
{% macro usage_key(relation='') -%}
    {{ qualified(['customer_id', 'usage_date', 'posting_date', 'cycle_start', 'facility_id', 'cluster', 'accelerator',
        'model_family', 'is_adjustment'], relation) }}
{%- endmacro %}

{# What it used and what that cost, in whole millionths. #}
{% macro usage_figures(relation='') -%}
    {{ qualified(['event_count', 'gpu_minutes_micro', 'credits_micro', 'busy_kwh_micro', 'energy_cost_micro',
        'carbon_kg_micro', 'mix_kwh_pico', 'renewable_kwh_pico', 'direct_cost_micro', 'idle_cost_micro',
        'amortized_cost_micro', 'is_cost_complete'], relation) }}
{%- endmacro %}

{% macro qualified(columns, relation='') -%}
    {% for column in columns %}{{ relation ~ '.' if relation }}{{ column }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
