{#-
    One kind of row of billing_controls: `relation` yields scope, expected and actual; the control
    passes when `rule` holds ('equal', or 'at_most': actual <= expected). A NULL on either side fails.
-#}
{% macro control(name, severity, relation, rule='equal') -%}
select
    '{{ name }}' as control,
    '{{ severity }}' as severity,
    scope,
    cast(expected as decimal(38, 6)) as expected,
    cast(actual as decimal(38, 6)) as actual,
    cast(cast(actual as decimal(38, 6)) - cast(expected as decimal(38, 6)) as decimal(38, 6)) as difference,
    coalesce(
        cast(actual as decimal(38, 6)) {{ '=' if rule == 'equal' else '<=' }} cast(expected as decimal(38, 6)), false
    ) as passed
from {{ relation }}
{%- endmacro %}
