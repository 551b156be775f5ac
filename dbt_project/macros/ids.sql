{#-
    A text that people or feeds chose, as a part of an id of ours: the separator is escaped, so that no text
    can look like two parts, nor like a suffix. A customer stands first and as it is: contracts may not name
    one that holds a date behind a slash, so the first date ends it.
-#}
{% macro id_part(text) -%}
replace(replace({{ text }}, '%', '%25'), '/', '%2F')
{%- endmacro %}

{#- Where a row of usage ran and what for, as the last parts of an id. -#}
{% macro usage_id_parts(usage) -%}
{{ id_part(usage ~ '.cluster') }} || '/' || {{ id_part(usage ~ '.accelerator') }} || '/' || {{ id_part(usage ~ '.model_family') }}
{%- endmacro %}

{#-
    What an article is called in an id. Grants without one (refunds, a person's) are called by their source
    there; an article of that name is marked by a sign that no text can bring along, since it is escaped.
-#}
{% macro sku_id_part(sku) -%}
case when {{ sku }} in ('refund', 'adjustment') then '%' || {{ sku }} else {{ id_part(sku) }} end
{%- endmacro %}
