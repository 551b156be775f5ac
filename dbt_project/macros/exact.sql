{#
    Exact arithmetic: the only places where credits and money are divided, rounded or change scale.

    Inside the intermediate models every quantity is an integer of one millionth (`_micro`,
    BIGINT); rates of prices are finer (`_pico`, one millionth of a millionth). Products are taken
    in `wide` (128 bit) and come back through `divide_rounded`.
#}

{#- The widest exact integer of the engine: products of two BIGINTs are taken in it. -#}
{% macro wide(expression) %}{{ return(adapter.dispatch('wide')(expression)) }}{% endmacro %}
{% macro default__wide(expression) %}cast({{ expression }} as hugeint){% endmacro %}
{% macro spark__wide(expression) %}cast({{ expression }} as decimal(38, 0)){% endmacro %}

{#- The type of `wide`, for columns. -#}
{% macro wide_type() %}{{ return(adapter.dispatch('wide_type')()) }}{% endmacro %}
{% macro default__wide_type() %}hugeint{% endmacro %}
{% macro spark__wide_type() %}decimal(38, 0){% endmacro %}

{#- Integer division that drops the remainder; both sides must be integers, the divisor not 0. -#}
{% macro int_div(numerator, denominator) %}{{ return(adapter.dispatch('int_div')(numerator, denominator)) }}{% endmacro %}
{% macro default__int_div(numerator, denominator) %}(({{ numerator }}) // ({{ denominator }})){% endmacro %}
{#- `/` of decimals is exact here: nothing is left over. Of integers it would be a double. -#}
{% macro spark__int_div(numerator, denominator) -%}
    cast(({{ wide(numerator) }} - {{ wide(numerator) }} % {{ wide(denominator) }}) / {{ wide(denominator) }} as decimal(38, 0))
{%- endmacro %}

{#-
    THE rounding of the project: numerator / denominator, rounded half away from zero, as BIGINT
    or, where a result may be larger, as `as_type`. Integers in; a divisor that may be zero must be
    made NULL by the caller.
-#}
{% macro divide_rounded(numerator, denominator, as_type='bigint') -%}
cast(
    {# Not sign(): where that is a double, it takes the digits beyond the sixteenth away. #}
    case when ({{ numerator }} < 0) <> ({{ denominator }} < 0) then -1 else 1 end * {{ int_div(
        '2 * abs(' ~ wide(numerator) ~ ') + abs(' ~ wide(denominator) ~ ')', '2 * abs(' ~ wide(denominator) ~ ')'
    ) }} as {{ as_type }}
)
{%- endmacro %}

{#- A decimal with at most 6 places as an integer of one millionth. -#}
{% macro to_micro(expression) -%}
cast(cast({{ expression }} as decimal(38, 6)) * 1000000 as bigint)
{%- endmacro %}

{#- A decimal with at most 12 places as an integer of 1e-12 (unit prices, price per kWh). -#}
{% macro to_pico(expression) -%}
cast(cast({{ expression }} as decimal(38, 12)) * 1000000000000 as bigint)
{%- endmacro %}

{#- The published form of a `_micro` integer: DECIMAL(38,6). -#}
{% macro from_micro(expression) -%}
cast(cast({{ expression }} as decimal(28, 0)) * 0.000001 as decimal(38, 6))
{%- endmacro %}

{#- The published form of a share or rate in millionths: DECIMAL(18,6). -#}
{% macro rate_from_micro(expression) -%}
cast(cast({{ expression }} as decimal(24, 0)) * 0.000001 as decimal(18, 6))
{%- endmacro %}

{#- A unit price in 1e-12 as DECIMAL(38,12). -#}
{% macro from_pico(expression) -%}
cast(cast({{ expression }} as decimal(24, 0)) * 0.000000000001 as decimal(38, 12))
{%- endmacro %}

{#- A unit price in 1e-15 as DECIMAL(38,15): fine enough that price times quantity is the cost. -#}
{% macro from_femto(expression) -%}
cast(cast({{ expression }} as decimal(22, 0)) * 0.000000000000001 as decimal(38, 15))
{%- endmacro %}

{#- Micro-units of the reporting currency as an invoice amount in whole cents, DECIMAL(18,2). -#}
{% macro cents(expression) -%}
cast(cast({{ expression }} as decimal(18, 0)) * 0.01 as decimal(18, 2))
{%- endmacro %}

{#- GPU minutes, in millionths, of a delivered quantity in millionths of its unit. -#}
{% macro gpu_minutes(meter, quantity_micro) -%}
case {{ meter }}
    when 'gpu_minute' then {{ quantity_micro }}
    when 'gpu_hour' then {{ quantity_micro }} * 60
    when 'gpu_second' then {{ divide_rounded(quantity_micro, '60') }}
    when 'gpu_millisecond' then {{ divide_rounded(quantity_micro, '60000') }}
end
{%- endmacro %}

{#-
    Spread totals over the rows of `relation` in proportion to `weight`, to the last unit.

    Every row gets its rounded share; what rounding leaves over goes to the largest weight (ties:
    lowest `key`), so the shares of a group always sum to its total. A group whose weights sum to
    zero gives everything to that first row. `shares` names each share and the total that it is of.
    Returns a subquery: all columns of `relation` and the shares. Totals, weight: integer
    expressions, a total alike within a group.
-#}
{% macro spread(relation, shares, weight, within, key) -%}
{%- set groups = within | join(', ') -%}
(
    select
        shared.*
        {%- for share, total in shares.items() %},
        cast(rounded_{{ share }} + case
            when weight_rank = 1 then {{ total }} - sum(rounded_{{ share }}) over (partition by {{ groups }})
            else 0
        end as bigint) as {{ share }}
        {%- endfor %}
    from (
        select
            weighted.*,
            row_number() over (partition by {{ groups }} order by abs({{ weight }}) desc, {{ key | join(', ') }}) as weight_rank
            {%- for share, total in shares.items() %},
            coalesce({{ divide_rounded(wide(total) ~ ' * ' ~ weight, 'nullif(weight_total, 0)') }}, 0) as rounded_{{ share }}
            {%- endfor %}
        from (
            select
                spread_rows.*,
                sum({{ wide(weight) }}) over (partition by {{ groups }}) as weight_total
            from {{ relation }} as spread_rows
        ) as weighted
    ) as shared
)
{%- endmacro %}

{#- A decimal as text without trailing zeros, for ids: 0.004200000000 is 0.0042, 2.000000 is 2. -#}
{% macro plain_decimal(expression) -%}
regexp_replace(regexp_replace(cast({{ expression }} as varchar(60)), '0+$', ''), '[.]$', '')
{%- endmacro %}
