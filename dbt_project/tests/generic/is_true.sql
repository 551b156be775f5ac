{#- Passes when `expression` holds on every row; NULL does not hold. -#}
{% test is_true(model, expression) %}

select *
from {{ model }}
where ({{ expression }}) is not true

{% endtest %}
