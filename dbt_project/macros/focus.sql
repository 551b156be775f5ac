{# What the FOCUS models share: parts of a prepaid whole, and JSON texts. #}

{#- The part of `total` that falls on `units` of `whole`, rounded once; nothing of a whole without units. -#}
{% macro share_of(total, units, whole) -%}
coalesce({{ multiply_divide(total, units, 'nullif(' ~ whole ~ ', 0)') }}, 0)
{%- endmacro %}

{#-
    What a whole gives between two levels of units given: a difference of rounded cumulative parts,
    so that a whole that is used up has given exactly its total.
-#}
{% macro share_between(total, before, after, whole) -%}
({{ share_of(total, after, whole) }} - {{ share_of(total, before, whole) }})
{%- endmacro %}

{#- The columns of a FOCUS charge, for a select; each branch of a union names those that it has. -#}
{% macro focus_charge(
    charge_id, kind, cycle_start, customer_id, posting_date, period_from, period_until, description,
    sku=none, cluster=none, facility_id=none, accelerator=none, model_family=none, grant_id=none,
    credit_delta_micro=none, billed_cents='0', effective_pico='0', effective_credits_micro='cast(0 as bigint)',
    pricing_quantity_pico=none, pricing_unit=none, list_unit_price_femto=none, contracted_unit_price_femto=none,
    list_pico='0', contracted_pico='0', credits_per_unit_micro='cast(null as bigint)', consumed_micro=none,
    corrects_charge_id=none
) -%}
{%- set no_text = 'cast(null as varchar(10))' -%}
{%- set no_number = 'cast(null as ' ~ wide_type() ~ ')' %}
        {{ charge_id }} as charge_id,
        {{ kind }} as kind,
        {{ cycle_start }} as cycle_start,
        {{ customer_id }} as customer_id,
        {{ posting_date }} as posting_date,
        {{ period_from }} as period_from,
        {{ period_until }} as period_until,
        {{ description }} as description,
        {{ sku or no_text }} as sku,
        {{ cluster or no_text }} as cluster,
        {{ facility_id or no_text }} as facility_id,
        {{ accelerator or no_text }} as accelerator,
        {{ model_family or no_text }} as model_family,
        {{ grant_id or no_text }} as grant_id,
        {{ wide(credit_delta_micro or 'null') }} as credit_delta_micro,
        {{ wide(billed_cents) }} as billed_cents,
        {{ effective_pico }} as effective_pico,
        {{ effective_credits_micro }} as effective_credits_micro,
        {{ pricing_quantity_pico or no_number }} as pricing_quantity_pico,
        {{ pricing_unit or no_text }} as pricing_unit,
        {{ list_unit_price_femto or no_number }} as list_unit_price_femto,
        {{ contracted_unit_price_femto or no_number }} as contracted_unit_price_femto,
        {{ list_pico }} as list_pico,
        {{ contracted_pico }} as contracted_pico,
        {{ credits_per_unit_micro }} as credits_per_unit_micro,
        {{ consumed_micro or no_number }} as consumed_micro,
        {{ corrects_charge_id or no_text }} as corrects_charge_id
{%- endmacro %}

{#- Of `whole` a day's drawdown is a part: what one of its units, a GPU-day or GPU minute, costs by it. -#}
{% macro drawn_unit_price_femto(whole) -%}
case
    when drawdowns.fee_sku is not null
        then {{ share_of('drawdowns.' ~ whole, '1000000000', 'drawdowns.whole_micro') }}
    else {{ share_of('drawdowns.' ~ whole, 'drawdowns.credit_rate_micro * 1000', 'drawdowns.whole_micro') }}
end
{%- endmacro %}

{#- Readable id of the charge for part `part` of a row of usage; `usage` is the row's alias, `part` a text. -#}
{% macro usage_charge_id(usage, part) -%}
{{ usage }}.customer_id || '/' || cast({{ usage }}.posting_date as varchar(10)) || '/usage/'
|| cast({{ usage }}.usage_date as varchar(10)) || '/' || {{ usage_id_parts(usage) }} || '/' || {{ part }}
{%- endmacro %}

{#-
    For the tests of the mart: whether a quantity at a unit price is a cost, to a billionth of it; a charge
    without a unit price costs what it bills. In integers, since a product of two such decimals may not fit.
-#}
{% macro is_price_of(quantity, unit_price, cost) -%}
(
    abs(coalesce({{ multiply_divide(scaled(unit_price, 15), scaled(quantity, 12), wide("'1000000000000000'")) }},
        {{ scaled('BilledCost', 12) }}) - {{ scaled(cost, 12) }})
    <= greatest({{ int_div('abs(' ~ scaled(cost, 12) ~ ')', '1000000000') }}, 1000)
)
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

{#-
    For the tests of the mart that look at one row at a time: the charges that this run worked out anew, and the
    cycle of each, whose last day lies in the billing month. A charge is posted within its cycle, so no older
    rows need be read.
-#}
{% macro rebuilt_charges() -%}
{%- set cycle = cycle_start('cast(charges.BillingPeriodStart as date)', 'customers.billing_anchor_day') -%}
(
    select
        charges.*,
        {{ cycle }} as cycle_start
    from {{ ref('focus_cost_and_usage') }} as charges
    inner join {{ ref('customers') }} as customers on charges.BillingAccountId = customers.customer_id
    where
        charges.x_PostedOn >= (select min(cycle_start) from {{ ref('int_focus_cycles') }})
        and {{ cycle }} in (select cycle_start from {{ ref('int_focus_cycles') }})
)
{%- endmacro %}

{#-
    For the tests of the mart: the grants that moved in the cycles that this run worked out anew, as the mart
    or the ledger has it, and the whole of each. A rollover is the rest of its old grant, so the two are one
    whole, and are both named if either moved.
-#}
{% macro moved_grants() -%}
(
    with

    named as (

        select
            grant_id,
            case source when 'rollover' then origin_id else grant_id end as whole_id
        from {{ ref('credit_grants') }}

    ),

    moved as (

        select x_CreditLotId as grant_id
        from {{ rebuilt_charges() }} as rebuilt
        where x_CreditLotId is not null

        union

        select grant_id
        from {{ ref('credit_ledger') }}
        where grant_id is not null and cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

    )

    select
        grant_id,
        whole_id
    from named
    where whole_id in (
        select named.whole_id
        from moved
        inner join named on moved.grant_id = named.grant_id
    )

    union all

    {# Overage buys a grant that no wallet holds. #}
    select
        grant_id,
        grant_id as whole_id
    from moved
    where grant_id not in (select grant_id from named)
)
{%- endmacro %}

{#-
    For the tests of the mart: every charge of what is paid ahead (or, for overage, in arrears) and moved in
    the cycles that this run worked out anew, what that whole is, and how many of its units the charge buys
    or uses. Of a grant that moved all charges, however old.
-#}
{% macro prepaid_charges() -%}
{%- set columns = [
    'x_ChargeId', 'x_CreditLotId', 'BillingAccountId', 'ChargeCategory', 'BilledCost', 'EffectiveCost',
    'PricingCurrencyEffectiveCost', 'ContractedCost', 'ListCost'
] | join(', ') -%}
(
    select
        {{ columns }},
        'grant ' || grants.whole_id as whole_id,
        true as is_of_grant,
        case ChargeCategory when 'Purchase' then 1 else -1 end * x_CreditDelta as units
    from {{ ref('focus_cost_and_usage') }} as charges
    inner join {{ moved_grants() }} as grants on charges.x_CreditLotId = grants.grant_id
    where ChargeCategory in ('Purchase', 'Usage')

    union all

    select
        {{ columns }},
        case
            when PricingUnit = 'GPU-Days' then 'fee ' || InvoiceId || ' ' || ResourceId
            {# The use of what is used up as it is bought is called like its purchase. #}
            when ChargeCategory = 'Purchase' then x_ChargeId || '/use'
            else x_ChargeId
        end as whole_id,
        false as is_of_grant,
        case PricingUnit when 'GPU-Days' then cast(PricingQuantity as decimal(38, 6)) else 1 end as units
    from {{ rebuilt_charges() }} as charges
    where
        x_CreditLotId is null
        and (
            ChargeCategory = 'Purchase'
            or (
                ChargeCategory = 'Usage'
                and (PricingUnit = 'GPU-Days' or (ChargeFrequency = 'One-Time' and PricingCurrency <> 'GPC'))
            )
        )
)
{%- endmacro %}
