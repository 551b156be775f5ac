{#-
    Rows of billing_controls. A control is called like the relation that yields its scope, expected and
    actual; it passes when these are equal or, for those in `at_most`, when actual is no more than
    expected. A NULL on either side fails.
-#}
{% macro controls(errors=[], warnings=[], at_most=[]) -%}
{%- for name in errors + warnings %}
select
    '{{ name }}' as control,
    '{{ 'error' if name in errors else 'warning' }}' as severity,
    scope,
    cast(expected as decimal(38, 6)) as expected,
    cast(actual as decimal(38, 6)) as actual,
    cast(cast(actual as decimal(38, 6)) - cast(expected as decimal(38, 6)) as decimal(38, 6)) as difference,
    coalesce(
        cast(actual as decimal(38, 6)) {{ '<=' if name in at_most else '=' }} cast(expected as decimal(38, 6)), false
    ) as passed
from {{ name }}
{{ 'union all' if not loop.last }}
{%- endfor %}
{%- endmacro %}
