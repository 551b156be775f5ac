{{ rebuilt_from_ledger('posting_date') }}
{#
    Usage that the wallets could not cover, and what it earns: the change of the price of the
    cycle's overage so far, by the tiers of its plan. Cumulative, so it is right in every tier mode
    (with volume tiers a day may even give money back).
#}
with

burned as (

    select
        customer_id,
        posting_date,
        sum(burned_micro) as burned_micro
    from {{ ref('int_grant_days') }}
    where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})
    group by customer_id, posting_date

),

uncovered as (

    select
        usage_days.customer_id,
        usage_days.posting_date,
        plans.cycle_start,
        plans.sku,
        plans.priced_on,
        usage_days.credits_micro - coalesce(burned.burned_micro, 0) as overage_micro
    from {{ ref('int_posted_usage') }} as usage_days
    inner join {{ ref('int_posting_plans') }} as plans
        on usage_days.customer_id = plans.customer_id and usage_days.posting_date = plans.posting_date
    left join burned
        on usage_days.customer_id = burned.customer_id and usage_days.posting_date = burned.posting_date
    where usage_days.credits_micro > coalesce(burned.burned_micro, 0)

),

{% if is_incremental() %}
    {# The cycle's overage before this window, from the table itself. #}
    before_window as (

        select
            customer_id,
            cycle_start,
            sku,
            max(cumulative_micro) as cumulative_micro
        from {{ this }}
        where posting_date < (select ledger_from from {{ ref('stg_run_settings') }})
        group by customer_id, cycle_start, sku

    ),
{% endif %}

cumulated as (

    select
        uncovered.*,
        cast(
            sum(uncovered.overage_micro) over (
                partition by uncovered.customer_id, uncovered.cycle_start, uncovered.sku
                order by uncovered.posting_date
            ) {% if is_incremental() %} + coalesce(before_window.cumulative_micro, 0) {% endif %} as {{ wide_type() }}
        ) as cumulative_micro
    from uncovered
    {% if is_incremental() %}
        left join before_window
            on
                uncovered.customer_id = before_window.customer_id
                and uncovered.cycle_start = before_window.cycle_start
                and uncovered.sku = before_window.sku
    {% endif %}

),

priced as (

    select
        cumulated.customer_id,
        cumulated.posting_date,
        cumulated.cycle_start,
        cumulated.sku,
        cumulated.priced_on,
        cumulated.overage_micro,
        cumulated.cumulative_micro,
        coalesce(plans.overage_policy = 'waive', false) as is_waived,
        sum({{ tier_price_atto('cumulated.cumulative_micro', 'tiers') }}) as price_after_atto,
        sum({{ tier_price_atto('(cumulated.cumulative_micro - cumulated.overage_micro)', 'tiers') }}) as price_before_atto
    from cumulated
    left join {{ ref('plans') }} as plans
        on
            cumulated.sku = plans.sku
            and {{ holds_on('plans', 'cumulated.priced_on') }}
    left join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('cumulated.sku', 'overage', 'cumulated.priced_on') }}
    group by
        cumulated.customer_id, cumulated.posting_date, cumulated.cycle_start, cumulated.sku, cumulated.priced_on,
        cumulated.overage_micro, cumulated.cumulative_micro, plans.overage_policy

)

select
    customer_id,
    posting_date,
    cycle_start,
    sku,
    priced_on,
    is_waived,
    cast(overage_micro as {{ wide_type() }}) as overage_micro,
    cumulative_micro,
    cast(case
        when is_waived then 0
        else
            coalesce({{ divide_rounded('price_after_atto', '1000000000000') }}, 0)
            - coalesce({{ divide_rounded('price_before_atto', '1000000000000') }}, 0)
    end as {{ wide_type() }}) as revenue_micro
from priced
