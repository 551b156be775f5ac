{#- The day of the microbatch under way, as a date literal. -#}
{% macro batch_day() -%}
    {%- if execute and model.batch -%}
        date '{{ model.batch.event_time_start.strftime('%Y-%m-%d') }}'
    {%- else -%}
        date '1970-01-01'
    {%- endif -%}
{%- endmacro %}
