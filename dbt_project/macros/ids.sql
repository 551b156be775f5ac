{#-
    A text that people or feeds chose, as a part of an id of ours: the separator is escaped, so that no text
    can look like two parts, nor like a suffix. A customer stands first and as it is: contracts may not name
    one that holds a date behind a slash, so the first date ends it.
-#}
{% macro id_part(text) -%}
replace(replace({{ text }}, '%', '%25'), '/', '%2F')
{%- endmacro %}

{#- The text of such a part: for ids of the archive, which holds nothing else of what a line is from. -#}
{% macro id_text(part) -%}
replace(replace({{ part }}, '%2F', '/'), '%25', '%')
{%- endmacro %}

{#- The invoice of a row's customer and cycle; the row says which by its alias. -#}
{% macro invoice_id(row) -%}
{{ row }}.customer_id || '/' || cast({{ row }}.cycle_start as varchar(10))
{%- endmacro %}

{#- The line of that invoice; late usage has one of its own. -#}
{% macro invoice_line_id(row, line_type, line_key) -%}
{{ invoice_id(row) }} || '/' || {{ line_type }} || '/' || {{ line_key }}
|| case when {{ row }}.is_adjustment then '/adjustment' else '' end
{%- endmacro %}

{#- A grant of credits; `origin` is what it is from, as a part of an id. -#}
{% macro grant_id(customer_id, source, granted_on, origin) -%}
{{ customer_id }} || '/' || {{ source }} || '/' || cast({{ granted_on }} as varchar(10)) || '/' || {{ origin }}
{%- endmacro %}

{#- What overage buys in arrears: a grant that no wallet holds, for FOCUS alone. -#}
{% macro overage_grant_id(row, sku) -%}
{{ row }}.customer_id || '/overage/' || cast({{ row }}.cycle_start as varchar(10)) || '/' || {{ id_part(sku) }}
{%- endmacro %}

{#- A transfer of the ledger, or the FOCUS charge that it is. -#}
{% macro transfer_id(customer_id, posting_date, kind, grant_id) -%}
{{ customer_id }} || '/' || cast({{ posting_date }} as varchar(10)) || '/' || {{ kind }} || '/' || {{ grant_id }}
{%- endmacro %}

{#- Accounts of the ledger: what a grant holds, and what issues grants. -#}
{% macro wallet_account() -%}
'wallet:' || customer_id || ':' || grant_id
{%- endmacro %}
{% macro issuing_account(source) -%}
'issued:' || {{ source }}
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
