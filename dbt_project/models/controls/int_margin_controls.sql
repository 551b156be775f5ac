{{ config(materialized = 'ephemeral') }}
{# That margins are the ledger's revenue less the cost of usage. #}
with

margin_cycles as (

    select
        margins.cycle_start,
        sum(margins.burn_revenue) as burn_revenue,
        sum(margins.overage_revenue) as overage_revenue,
        sum(margins.revenue) as revenue,
        sum(margins.amortized_cost) as amortized_cost,
        sum(margins.gross_margin) as gross_margin
    from {{ ref('margin_daily') }} as margins
    where margins.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by margins.cycle_start

),

ledger_cycles as (

    select
        cycle_start,
        sum(case kind when 'burn' then value when 'refund' then -value else 0 end) as burn_value,
        sum(case when kind = 'overage' then value else 0 end) as overage_value
    from {{ ref('credit_ledger') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by cycle_start

),

costed_cycles as (

    select
        cycle_start,
        {{ from_micro('sum(amortized_cost_micro)') }} as amortized_cost
    from {{ ref('int_usage_costed') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by cycle_start

),

margin_burn_revenue as (

    select
        cast(ledger_cycles.cycle_start as varchar(10)) as scope,
        ledger_cycles.burn_value as expected,
        coalesce(margin_cycles.burn_revenue, 0) as actual
    from ledger_cycles
    left join margin_cycles on ledger_cycles.cycle_start = margin_cycles.cycle_start

),

margin_overage_revenue as (

    select
        cast(ledger_cycles.cycle_start as varchar(10)) as scope,
        ledger_cycles.overage_value as expected,
        coalesce(margin_cycles.overage_revenue, 0) as actual
    from ledger_cycles
    left join margin_cycles on ledger_cycles.cycle_start = margin_cycles.cycle_start

),

margin_cost as (

    select
        cast(costed_cycles.cycle_start as varchar(10)) as scope,
        costed_cycles.amortized_cost as expected,
        margin_cycles.amortized_cost as actual
    from costed_cycles
    left join margin_cycles on costed_cycles.cycle_start = margin_cycles.cycle_start

),

margin_identity as (

    select
        cast(cycle_start as varchar(10)) as scope,
        revenue - amortized_cost as expected,
        gross_margin as actual
    from margin_cycles

)

{{ controls(
    errors=['margin_burn_revenue', 'margin_overage_revenue', 'margin_cost', 'margin_identity']
) }}
