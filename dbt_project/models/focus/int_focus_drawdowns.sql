{#
    What every row of usage of the run's cycles took out of what was paid before: one row per row
    of usage and grant, or its part of a dedicated cluster's fee.

    The day's burn is known per row (spread by credits) and per grant (the ledger). Both are laid out
    on one line, rows and grants each end to end; a row takes from a grant where the two overlap. So
    the parts of a row sum to its burn, the parts of a grant to its transfer, to the last micro-credit.
#}
with

usage_rows as (

    select
        {{ usage_key('earned') }},
        earned.is_dedicated,
        earned.event_count,
        earned.plan_sku,
        coalesce(rates.credit_rate_micro, 0) as credit_rate_micro,
        earned.gpu_minutes_micro,
        earned.overage_micro,
        refunds.grant_id as refund_grant_id,
        {# On a day whose usage is negative the ledger burns nothing and gives the credits back as a grant. #}
        case when refunds.grant_id is not null then earned.credits_micro else earned.burned_micro end as drawn_micro
    from {{ ref('int_usage_earned') }} as earned
    left join (
        select
            customer_id,
            usage_date,
            posting_date,
            cluster,
            accelerator,
            model_family,
            max(credit_rate_micro) as credit_rate_micro
        from {{ ref('int_usage_hours') }}
        where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})
        group by customer_id, usage_date, posting_date, cluster, accelerator, model_family
    ) as rates
        on
            earned.customer_id = rates.customer_id
            and earned.usage_date = rates.usage_date
            and earned.posting_date = rates.posting_date
            and earned.cluster = rates.cluster
            and earned.accelerator = rates.accelerator
            and earned.model_family = rates.model_family
    left join (
        select
            grant_id,
            customer_id,
            granted_on
        from {{ ref('int_focus_grants') }}
        where source = 'refund'
    ) as refunds
        on earned.customer_id = refunds.customer_id and earned.posting_date = refunds.granted_on
    where earned.cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

{# Rows that give credits back come last: they return what the day took last. #}
row_spans as (

    select
        usage_rows.*,
        sum(drawn_micro) over (
            partition by customer_id, posting_date
            order by case when drawn_micro < 0 then 1 else 0 end, usage_date, cluster, accelerator, model_family
            rows between unbounded preceding and current row
        ) as row_end_micro
    from usage_rows
    where drawn_micro <> 0

),

burned as (

    select
        customer_id,
        posting_date,
        grant_id,
        burned_micro,
        given_micro - burned_micro - rolled_micro - expired_micro as given_before_micro,
        row_number() over (
            partition by customer_id, posting_date
            order by priority, expires_on nulls last, granted_on, grant_id
        ) as burn_order,
        sum(burned_micro) over (
            partition by customer_id, posting_date
            order by priority, expires_on nulls last, granted_on, grant_id
            rows between unbounded preceding and current row
        ) as burned_until_micro,
        count(*) over (partition by customer_id, posting_date) as grant_count
    from {{ ref('int_grant_days') }}
    where burned_micro > 0 and cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

{# The last grant of a day has no end: it also lends what rows further down return. #}
grant_spans as (

    select
        *,
        burned_until_micro - burned_micro as start_micro,
        case when burn_order < grant_count then burned_until_micro end as end_micro
    from burned

),

{# How much a grant has given before and after the row. A NULL end is no end: least() passes it over. #}
wallet_overlaps as (

    select
        row_spans.*,
        grant_spans.grant_id,
        grant_spans.burn_order,
        grant_spans.given_before_micro + greatest(
            least(row_spans.row_end_micro - row_spans.drawn_micro, grant_spans.end_micro) - grant_spans.start_micro, 0
        ) as given_from_micro,
        grant_spans.given_before_micro + greatest(
            least(row_spans.row_end_micro, grant_spans.end_micro) - grant_spans.start_micro, 0
        ) as given_to_micro
    from row_spans
    inner join grant_spans
        on row_spans.customer_id = grant_spans.customer_id and row_spans.posting_date = grant_spans.posting_date
    where row_spans.refund_grant_id is null

    union all

    select
        row_spans.*,
        row_spans.refund_grant_id as grant_id,
        1 as burn_order,
        row_spans.row_end_micro - row_spans.drawn_micro as given_from_micro,
        row_spans.row_end_micro as given_to_micro
    from row_spans
    where row_spans.refund_grant_id is not null

),

{# A cycle's overage is one grant per plan, at the average price of the cycle; its rows take from it day by day. #}
overage_overlaps as (

    select
        *,
        {{ overage_grant_id('usage_rows', 'plan_sku') }} as grant_id,
        sum(overage_micro) over (
            partition by customer_id, cycle_start, plan_sku
            order by posting_date, usage_date, cluster, accelerator, model_family
            rows between unbounded preceding and current row
        ) as given_to_micro
    from usage_rows
    where overage_micro <> 0

),

credit_parts as (

    select
        customer_id,
        usage_date,
        posting_date,
        cluster,
        accelerator,
        model_family,
        grant_id,
        burn_order as part_order,
        given_from_micro,
        given_to_micro
    from wallet_overlaps
    where given_to_micro <> given_from_micro

    union all

    select
        customer_id,
        usage_date,
        posting_date,
        cluster,
        accelerator,
        model_family,
        grant_id,
        1000000 as part_order,
        given_to_micro - overage_micro as given_from_micro,
        given_to_micro
    from overage_overlaps

),

{# A dedicated cluster's GPU-days, spread over the rows that stand on them like the fee itself: by minutes. #}
dedicated_rows as (

    select
        usage_rows.*,
        charges.subscription_id,
        charges.sku as fee_sku,
        charges.granted_on as fee_from,
        {{ wide('charges.gpu_count') }} * charges.active_days * 1000000 as fee_units_micro,
        {{ wide('charges.gpu_count') }} * 1000000 as day_units_micro,
        {{ wide('coalesce(lines.amount_cents, 0)') }} * 10000000000 as fee_pico
    from usage_rows
    inner join {{ ref('int_dedicated_charges') }} as charges
        on
            usage_rows.customer_id = charges.customer_id
            and usage_rows.cluster = charges.cluster
            and usage_rows.cycle_start = charges.cycle_start
            and usage_rows.posting_date >= charges.granted_on
            and usage_rows.posting_date < charges.active_until
    left join {{ ref('int_invoice_lines') }} as lines
        on
            charges.customer_id = lines.customer_id
            and charges.cycle_start = lines.cycle_start
            and lines.line_type = 'dedicated_cluster'
            and charges.subscription_id = lines.origin_id
    where usage_rows.is_dedicated and (usage_rows.event_count > 0 or lines.amount_cents <> 0)

),

dedicated_shares as (

    select * from {{ spread(
        relation='dedicated_rows', shares={'units_micro': 'day_units_micro'}, weight='gpu_minutes_micro',
        within=['subscription_id', 'posting_date'], key=['usage_date', 'accelerator', 'model_family', 'event_count']
    ) }} as spread_rows

),

dedicated_parts as (

    select
        *,
        sum(units_micro) over (
            partition by subscription_id, fee_from
            order by posting_date, usage_date, accelerator, model_family, event_count
            rows between unbounded preceding and current row
        ) as units_until_micro
    from dedicated_shares

),

{# Usage that took nothing (no minutes, a rate of 0, or a day whose rows outweigh each other) is still a charge, of 0. #}
parts as (

    select
        {{ usage_key('usage_rows') }},
        usage_rows.credit_rate_micro,
        usage_rows.gpu_minutes_micro,
        usage_rows.event_count,
        credit_parts.grant_id,
        dedicated_parts.fee_sku,
        coalesce(credit_parts.given_to_micro - credit_parts.given_from_micro, 0) as drawn_micro,
        coalesce(dedicated_parts.units_micro, 0) as gpu_days_micro,
        case
            when credit_parts.grant_id is not null then {{ share_between(
                'grants.paid_pico', 'credit_parts.given_from_micro', 'credit_parts.given_to_micro', 'grants.credits_micro'
            ) }}
            else {{ share_between(
                'dedicated_parts.fee_pico', 'dedicated_parts.units_until_micro - dedicated_parts.units_micro',
                'dedicated_parts.units_until_micro', 'dedicated_parts.fee_units_micro'
            ) }}
        end as effective_pico,
        case
            when credit_parts.grant_id is not null then grants.contracted_pico
            else dedicated_parts.fee_pico
        end as contracted_whole_pico,
        case when credit_parts.grant_id is not null then grants.list_pico else dedicated_parts.fee_pico end as list_whole_pico,
        case
            when credit_parts.grant_id is not null then {{ wide('grants.credits_micro') }}
            else dedicated_parts.fee_units_micro
        end as whole_micro,
        cast(row_number() over (
            partition by
                usage_rows.customer_id, usage_rows.posting_date, usage_rows.usage_date, usage_rows.cluster,
                usage_rows.accelerator, usage_rows.model_family
            order by credit_parts.part_order nulls last, credit_parts.grant_id, usage_rows.event_count desc
        ) as int) as part_number
    from usage_rows
    left join credit_parts
        on
            usage_rows.customer_id = credit_parts.customer_id
            and usage_rows.usage_date = credit_parts.usage_date
            and usage_rows.posting_date = credit_parts.posting_date
            and usage_rows.cluster = credit_parts.cluster
            and usage_rows.accelerator = credit_parts.accelerator
            and usage_rows.model_family = credit_parts.model_family
    left join {{ ref('int_focus_grants') }} as grants on credit_parts.grant_id = grants.grant_id
    left join dedicated_parts
        on
            usage_rows.customer_id = dedicated_parts.customer_id
            and usage_rows.usage_date = dedicated_parts.usage_date
            and usage_rows.posting_date = dedicated_parts.posting_date
            and usage_rows.cluster = dedicated_parts.cluster
            and usage_rows.accelerator = dedicated_parts.accelerator
            and usage_rows.model_family = dedicated_parts.model_family
            and usage_rows.event_count = dedicated_parts.event_count
    where usage_rows.event_count > 0 or credit_parts.grant_id is not null or dedicated_parts.units_micro <> 0

)

select
    {{ usage_key() }},
    part_number,
    grant_id,
    fee_sku,
    credit_rate_micro,
    cast(drawn_micro as {{ wide_type() }}) as drawn_micro,
    gpu_days_micro,
    consumed_micro,
    {{ wide('effective_pico') }} as effective_pico,
    contracted_whole_pico,
    list_whole_pico,
    whole_micro
from {{ spread(
    relation='parts', shares={'consumed_micro': 'gpu_minutes_micro'}, weight='drawn_micro',
    within=['customer_id', 'posting_date', 'usage_date', 'cluster', 'accelerator', 'model_family', 'event_count'],
    key=['part_number']
) }} as spread_rows
