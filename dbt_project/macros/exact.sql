{#
    Exact arithmetic: the only places where credits and money are divided, rounded or change scale.

    Inside the intermediate models every quantity is an integer of one millionth (`_micro`);
    rates of prices are finer (`_pico`, one millionth of a millionth). What one delivered row or one
    seed may say fits BIGINT; what is summed or multiplied is `wide` (128 bit), so that no number of
    rows that landing accepts overflows (1-inputs 2.2).
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
    THE rounding of the project: numerator / denominator, rounded half away from zero, as `wide` or,
    for what one row bounds, as `as_type`. Integers in; a divisor that may be zero must be made NULL
    by the caller.
-#}
{% macro divide_rounded(numerator, denominator, as_type=none) -%}
cast(
    {# Not sign(): where that is a double, it takes the digits beyond the sixteenth away. #}
    case when ({{ numerator }} < 0) <> ({{ denominator }} < 0) then -1 else 1 end * {{ int_div(
        '2 * abs(' ~ wide(numerator) ~ ') + abs(' ~ wide(denominator) ~ ')', '2 * abs(' ~ wide(denominator) ~ ')'
    ) }} as {{ as_type or wide_type() }}
)
{%- endmacro %}

{#-
    a * b / d, rounded once like `divide_rounded`, for a product that 128 bits may not hold: whole times d
    are taken out of a first. Integers; d as in divide_rounded.
-#}
{% macro multiply_divide(a, b, d) -%}
({{ int_div(wide(a), d) }} * {{ wide(b) }} + {{ divide_rounded('(' ~ wide(a) ~ ' % (' ~ d ~ ')) * ' ~ wide(b), d) }})
{%- endmacro %}

{#- A decimal with at most 6 places as an integer of one millionth. -#}
{% macro to_micro(expression) -%}
cast(cast({{ expression }} as decimal(38, 6)) * 1000000 as bigint)
{%- endmacro %}

{#- A decimal with at most 12 places as an integer of 1e-12 (unit prices, price per kWh). -#}
{% macro to_pico(expression, as_type='bigint') -%}
cast(cast({{ expression }} as decimal(38, 12)) * 1000000000000 as {{ as_type }})
{%- endmacro %}

{#- A decimal of up to that many places as an integer, whatever stands before the point. -#}
{% macro scaled(expression, places) -%}
({{ wide('floor(' ~ expression ~ ')') }} * 1{{ '0' * places }} + {{ wide('(' ~ expression ~ ' - floor(' ~ expression ~ ')) * 1' ~ '0' * places) }})
{%- endmacro %}

{#- The published form of a `_micro` integer: DECIMAL(38,6). -#}
{% macro from_micro(expression) -%}
cast(cast({{ expression }} as decimal(32, 0)) * 0.000001 as decimal(38, 6))
{%- endmacro %}

{#- The published form of a share or rate in millionths: DECIMAL(18,6); NULL for what doesn't fit. -#}
{% macro rate_from_micro(expression) -%}
cast(cast({{ within_digits(expression, 18) }} as decimal(18, 0)) * 0.000001 as decimal(18, 6))
{%- endmacro %}

{#- A unit price in 1e-12 as DECIMAL(38,12); NULL for one of more than 18 digits before the point. -#}
{% macro from_pico(expression) -%}
cast(cast({{ within_digits(expression, 30) }} as decimal(30, 0)) * 0.000000000001 as decimal(38, 12))
{%- endmacro %}

{#- An integer of at most that many digits; NULL for a longer one, which a display could not hold. -#}
{% macro within_digits(expression, digits) -%}
case when abs({{ expression }}) < {{ wide("'1" ~ '0' * digits ~ "'") }} then {{ expression }} end
{%- endmacro %}

{#- A unit price in 1e-15 as DECIMAL(38,15): fine enough that price times quantity is the cost; NULL if it doesn't fit. -#}
{% macro from_femto(expression) -%}
cast(cast({{ within_digits(expression, 36) }} as decimal(36, 0)) * 0.000000000000001 as decimal(38, 15))
{%- endmacro %}

{#-
    numerator / denominator in hundredths of the reporting currency, rounded once to its minor unit
    (ISO 4217): to whole cents or, for a currency without a minor unit, to whole units.
-#}
{% macro rounded_cents(numerator, denominator) -%}
{%- set step = env_var('MINOR_UNIT_CENTS', '1') | int -%}
{%- if step == 1 -%}
{{ divide_rounded(numerator, denominator) }}
{%- else -%}
{{ divide_rounded(numerator, denominator ~ ' * ' ~ step) }} * {{ step }}
{%- endif -%}
{%- endmacro %}

{#- Whole cents of the reporting currency as an invoice amount, DECIMAL(18,2). -#}
{% macro cents(expression) -%}
cast(cast({{ expression }} as decimal(18, 0)) * 0.01 as decimal(18, 2))
{%- endmacro %}

{#- GPU minutes, in millionths, of a delivered quantity in millionths of its unit. -#}
{% macro gpu_minutes(meter, quantity_micro) -%}
case {{ meter }}
    when 'gpu_minute' then {{ quantity_micro }}
    when 'gpu_hour' then {{ quantity_micro }} * 60
    when 'gpu_second' then {{ divide_rounded(quantity_micro, '60', 'bigint') }}
    when 'gpu_millisecond' then {{ divide_rounded(quantity_micro, '60000', 'bigint') }}
end
{%- endmacro %}

{#- Power drawn at the meter of the site, in millionths of a watt: watts times PUE, 3 decimals each. -#}
{% macro microwatts(watts, pue) -%}
({{ wide('cast(' ~ watts ~ ' as decimal(28, 3)) * 1000') }} * {{ wide('cast(' ~ pue ~ ' as decimal(28, 3)) * 1000') }})
{%- endmacro %}

{#-
    The renewable share of energy, from sums over the hours that have a mix: NULL where there is no such
    energy, or where what was taken back leaves a quotient that is no share.
-#}
{% macro renewable_share(renewable_kwh, mix_kwh) -%}
case
    when {{ mix_kwh }} > 0 and {{ renewable_kwh }} between 0 and {{ mix_kwh }} or {{ mix_kwh }} < 0 and {{ renewable_kwh }} between {{ mix_kwh }} and 0
        then {{ divide_rounded(renewable_kwh ~ ' * 1000000', 'nullif(' ~ mix_kwh ~ ', 0)') }}
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
        end as {{ wide_type() }}) as {{ share }}
        {%- endfor %}
    from (
        select
            scaled.*,
            row_number() over (partition by {{ groups }} order by abs({{ weight }}) desc, {{ key | join(', ') }}) as weight_rank
            {%- for share, total in shares.items() %},
            coalesce({{ multiply_divide(
                total, int_div(wide(weight), 'weight_scale'), 'nullif(weight_total, 0)'
            ) }}, 0) as rounded_{{ share }}
            {%- endfor %}
        from (
            select
                weighted.*,
                sum({{ int_div(wide(weight), 'weight_scale') }}) over (partition by {{ groups }}) as weight_total
            from (
                select
                    spread_rows.*,
                    {# Weights whose squares leave 128 bits count without their last digits; what that costs the
                       largest row gets back. #}
                    case
                        when max(abs({{ wide(weight) }})) over (partition by {{ groups }}) < {{ wide("'1000000000000000000'") }} then {{ wide('1') }}
                        else {{ wide("'10000000000000000'") }}
                    end as weight_scale
                from {{ relation }} as spread_rows
            ) as weighted
        ) as scaled
    ) as shared
)
{%- endmacro %}

{#- A decimal as text without trailing zeros, for ids: 0.004200000000 is 0.0042, 2.000000 is 2. -#}
{% macro plain_decimal(expression) -%}
regexp_replace(regexp_replace(cast({{ expression }} as varchar(60)), '0+$', ''), '[.]$', '')
{%- endmacro %}
