{# Days, weeks and billing cycles. Every day here is a UTC date. #}

{#- First day of the billing cycle that contains `day`: the anchor day (1-28) of this month or the last. -#}
{% macro cycle_start(day, anchor_day) -%}
cast(
    cast(date_trunc('month', {{ day }} - ({{ anchor_day }} - 1)) as date) + ({{ anchor_day }} - 1)
    as date
)
{%- endmacro %}

{#- First day of the next cycle (exclusive end of the cycle that starts on `cycle_start`). -#}
{% macro next_cycle_start(cycle_start) -%}
cast({{ cycle_start }} + interval 1 month as date)
{%- endmacro %}

{#- First day of a cycle on which a contract, which may end in it, runs no more. -#}
{% macro active_until(contract) -%}
least({{ contract }}.ends_on, {{ next_cycle_start(contract ~ '.cycle_start') }})
{%- endmacro %}

{#- Whole days from `earlier` to `later`, as an integer. -#}
{% macro days_between(earlier, later) %}{{ return(adapter.dispatch('days_between')(earlier, later)) }}{% endmacro %}
{% macro default__days_between(earlier, later) %}cast(datediff('day', {{ earlier }}, {{ later }}) as integer){% endmacro %}
{% macro spark__days_between(earlier, later) %}datediff({{ later }}, {{ earlier }}){% endmacro %}

{#- The Monday of the ISO week of `day`. -#}
{% macro iso_week_start(day) -%}
cast(date_trunc('week', {{ day }}) as date)
{%- endmacro %}

{#- One row per day of [first, last], as column `day`. Both are date expressions. -#}
{% macro day_spine(first, last) %}{{ return(adapter.dispatch('day_spine')(first, last)) }}{% endmacro %}
{% macro default__day_spine(first, last) -%}
(select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as day)
{%- endmacro %}
{% macro spark__day_spine(first, last) -%}
(select explode(sequence({{ first }}, {{ last }}, interval 1 day)) as day)
{%- endmacro %}
{#- One row per integer of [0, last], as column `n`. -#}
{% macro numbers(last) -%}
(
    {%- for n in range(last + 1) %}
    select {{ n }} as n{{ ' union all' if not loop.last }}
    {%- endfor %}
)
{%- endmacro %}

{#- The distinct values of a column as one text, sorted and comma-separated; NULL if there are none. -#}
{% macro sorted_list(column) %}{{ return(adapter.dispatch('sorted_list')(column)) }}{% endmacro %}
{% macro default__sorted_list(column) %}array_to_string(list_sort(list(distinct {{ column }})), ','){% endmacro %}
{% macro spark__sorted_list(column) %}array_join(array_sort(collect_set({{ column }})), ','){% endmacro %}
