{#-
    Passes when `columns` are a key: no two rows agree in all of them, and none is ever NULL; nor is any of
    `required`. One test for a whole model: each test costs a night some milliseconds.
-#}
{% test key(model, columns, required=[]) %}

select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}

{%- if required %}

union all

select
    {{ columns | join(', ') }},
    1 as row_count
from {{ model }}
where
    {%- for column in required %}
    {{ 'or ' if not loop.first }}{{ column }} is null
    {%- endfor %}
{%- endif %}

{% endtest %}
