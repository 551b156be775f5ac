{{ rebuilt_cycles() }}
{#
    What every row of usage earned: its part of the burn, overage and burst revenue of its
    customer's day (by credits), of the cycle's energy surcharge (by energy cost) and of its
    cluster's dedicated fee (by minutes). Each is spread to the last micro-unit.
#}
with

bearers as (

    select * from {{ ref('int_revenue_bearers') }}

),

{%- set row_key = ['usage_date', 'posting_date', 'cluster', 'accelerator', 'model_family', 'event_count'] -%}
{%- set day_group = ['customer_id', 'posting_date'] -%}
{%- set spreads = [
    ('by_credits', {
        'burned_micro': 'day_burned_micro',
        'overage_micro': 'day_overage_micro',
        'burn_revenue_micro': 'day_burn_revenue_micro',
        'overage_revenue_micro': 'day_overage_revenue_micro',
    }, 'credits_micro', day_group),
    ('by_burst', {'burst_revenue_micro': 'day_burst_revenue_micro'}, 'credits_micro', day_group + ['adjustment_group']),
    ('by_energy', {'energy_revenue_micro': 'cycle_energy_revenue_micro'}, 'energy_weight_micro',
        ['customer_id', 'cycle_start', 'plan_sku', 'dedicated_group']),
    ('by_minutes', {'dedicated_revenue_micro': 'day_dedicated_revenue_micro'}, 'dedicated_weight_micro',
        ['customer_id', 'posting_date', 'cluster', 'dedicated_group']),
] %}
{%- set stage = namespace(name='bearers', shares=[]) %}
{%- for name, shares, weight, within in spreads %}

    {{ name }} as (

        select
            {{ usage_key() }},
            is_dedicated,
            {{ usage_figures() }},
            plan_sku,
            day_burst_revenue_micro,
            cycle_energy_revenue_micro,
            day_dedicated_revenue_micro,
            energy_weight_micro,
            dedicated_weight_micro,
            dedicated_group,
            adjustment_group,
            {%- for earlier in stage.shares %}
                {{ earlier }},
            {%- endfor %}
            {{ shares | join(', ') }}
        from {{ spread(relation=stage.name, shares=shares, weight=weight, within=within, key=row_key) }} as spread_rows

    ),
    {%- set stage.name = name %}
    {%- set stage.shares = stage.shares + (shares | list) %}
{%- endfor %}

{# Which columns go out; the totals stay inside. #}
earned as (

    select
        {{ usage_key() }},
        is_dedicated,
        plan_sku,
        {{ usage_figures() }},
        burned_micro,
        overage_micro,
        burn_revenue_micro,
        overage_revenue_micro,
        burst_revenue_micro,
        energy_revenue_micro,
        dedicated_revenue_micro
    from {{ stage.name }}

)

select * from earned
