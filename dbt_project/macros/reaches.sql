{#-
    Whether the depletion of a row of balances is at or above a threshold: compared as
    burned >= threshold * (burned + balance), never by the rounded depletion. Without credits at all
    depletion is 0 or 1, and exact as it is.
-#}
{% macro reaches(threshold) -%}
coalesce(
    case
        when planned.burned_in_cycle + planned.balance > 0
            then cast(planned.burned_in_cycle as decimal(38, 12))
                >= cast((planned.burned_in_cycle + planned.balance) as decimal(28, 6)) * {{ threshold }}
        else planned.depletion >= {{ threshold }}
    end, false
)
{%- endmacro %}
