{# What the FOCUS models share: parts of a prepaid whole, and JSON texts. #}

{#- The part of `total` that falls on `units` of `whole`, rounded once; nothing of a whole without units. -#}
{% macro share_of(total, units, whole) -%}
coalesce({{ divide_rounded(wide(total) ~ ' * (' ~ units ~ ')', 'nullif(' ~ whole ~ ', 0)', wide_type()) }}, 0)
{%- endmacro %}

{#-
    What a whole gives between two levels of units given: a difference of rounded cumulative parts,
    so that a whole that is used up has given exactly its total.
-#}
{% macro share_between(total, before, after, whole) -%}
({{ share_of(total, after, whole) }} - {{ share_of(total, before, whole) }})
{%- endmacro %}

{#- Readable id of the charge for part `part` of a row of usage; `usage` is the row's alias, `part` a text. -#}
{% macro usage_charge_id(usage, part) -%}
{{ usage }}.customer_id || '/' || cast({{ usage }}.posting_date as varchar(10)) || '/usage/'
|| cast({{ usage }}.usage_day as varchar(10)) || '/' || {{ usage }}.cluster || '/' || {{ usage }}.accelerator
|| '/' || {{ usage }}.model_family || '/' || {{ part }}
{%- endmacro %}

{#- {"name": "value"} as text, the value escaped by the engine; NULL for NULL. -#}
{% macro json_property(name, value) %}{{ return(adapter.dispatch('json_property')(name, value)) }}{% endmacro %}
{% macro default__json_property(name, value) -%}
cast(case when {{ value }} is not null then json_object('{{ name }}', {{ value }}) end as varchar)
{%- endmacro %}
{% macro spark__json_property(name, value) -%}
case when {{ value }} is not null then to_json(named_struct('{{ name }}', {{ value }})) end
{%- endmacro %}

{#- Whether a text is a JSON object; NULL for NULL. -#}
{% macro is_json_object(text) %}{{ return(adapter.dispatch('is_json_object')(text)) }}{% endmacro %}
{% macro default__is_json_object(text) %}(json_valid({{ text }}) and {{ text }} like '{{ '{%}' }}'){% endmacro %}
{% macro spark__is_json_object(text) -%}
case when {{ text }} is not null then try_parse_json({{ text }}) is not null and {{ text }} like '{{ '{%}' }}' end
{%- endmacro %}

{#- For the tests of the mart that look at one row at a time: the charges that this run worked out anew. -#}
{% macro rebuilt_charges() -%}
(
    select * from {{ ref('focus_cost_and_usage') }}
    where right(InvoiceId, 10) in (select cast(cycle_start as varchar(10)) from {{ ref('int_focus_cycles') }})
)
{%- endmacro %}

{#-
    For the tests of the mart: every charge that belongs to something paid ahead (or, for overage, in
    arrears), what that whole is, and how many of its units the charge buys or uses. A rollover is the
    rest of its old lot, so the two are one whole.
-#}
{% macro prepaid_charges() -%}
(
    select
        charges.*,
        case
            when charges.x_CreditLotId is not null then 'lot ' || coalesce(rollovers.origin_id, charges.x_CreditLotId)
            when charges.PricingUnit = 'GPU-Days' then 'fee ' || charges.InvoiceId || ' ' || charges.ResourceId
            when charges.ChargeCategory = 'Purchase' then 'use ' || charges.x_ChargeId
            else 'use ' || substring(charges.x_ChargeId, 1, length(charges.x_ChargeId) - length('/use'))
        end as whole_id,
        case
            when charges.x_CreditLotId is not null 
                then case charges.ChargeCategory when 'Purchase' then 1 else -1 end * charges.x_CreditDelta
            when charges.PricingUnit = 'GPU-Days' then cast(charges.PricingQuantity as decimal(38, 6))
            else cast(1 as decimal(38, 6))
        end as units
    from {{ ref('focus_cost_and_usage') }} as charges
    left join {{ ref('credit_grants') }} as rollovers
        on charges.x_CreditLotId = rollovers.grant_id and rollovers.source = 'rollover'
    where
        charges.ChargeCategory in ('Purchase', 'Usage')
        and (
            charges.ChargeCategory = 'Purchase'
            or charges.x_CreditLotId is not null
            or charges.PricingUnit = 'GPU-Days'
            or (charges.ChargeFrequency = 'One-Time' and charges.PricingCurrency <> 'GPC')
        )
)
{%- endmacro %}
