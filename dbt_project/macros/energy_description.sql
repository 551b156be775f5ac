{#- What an energy surcharge is made of, in words: kWh, what they cost, what the plan's baseline includes. -#}
{% macro energy_description(kwh_micro, cost_micro, baseline_micro) -%}
'Energy above the plan baseline: ' || {{ plain_decimal(from_micro(kwh_micro)) }} || ' kWh cost '
|| {{ plain_decimal(from_micro(cost_micro)) }} || ', the baseline is ' || {{ plain_decimal(from_micro(baseline_micro)) }}
{%- endmacro %}
