{#- The value that a grant gives between two levels of credits given: a difference of rounded cumulative values. -#}
{% macro value_between(given_before, given_after) -%}
(
    {{ multiply_divide('value_micro', given_after, 'nullif(credits_micro, 0)') }}
    - {{ multiply_divide('value_micro', given_before, 'nullif(credits_micro, 0)') }}
)
{%- endmacro %}
