{#-
    Whether the depletion of a row of balances is at or above a threshold: compared as
    burned >= threshold * (burned + balance), never by the rounded depletion. Without credits at all
    depletion is 0 or 1, and exact as it is.
-#}
{% macro reaches(threshold) -%}
coalesce(
    case
        when burned_in_cycle_micro + balance_micro > 0
            then {{ wide('burned_in_cycle_micro') }} * 1000000 >= (burned_in_cycle_micro + balance_micro) * {{ threshold }}
        else depletion_micro >= {{ threshold }}
    end, false
)
{%- endmacro %}
