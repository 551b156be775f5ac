{{ rebuilt_cycles('int_focus_cycles') }}
{#
    Every FOCUS charge of the run's cycles, in integers: what invoices charge, what usage draws from
    what was paid before, what expires, rolls over or is given away. The mart only spells it out.
#}
with

cycles as (

    select cycle_start from {{ ref('int_focus_cycles') }}

),

grants as (

    select * from {{ ref('int_focus_grants') }}
    where cycle_start in (select cycle_start from cycles)

),

charges as (

    select * from {{ ref('int_focus_line_charges') }}

    union all

    select {{ focus_charge(
        charge_id=usage_charge_id('drawdowns', 'cast(drawdowns.part_number as varchar(10))'),
        kind="case when drawdowns.fee_sku is null then 'credit_usage' else 'dedicated_usage' end",
        cycle_start='drawdowns.cycle_start', customer_id='drawdowns.customer_id',
        posting_date='drawdowns.posting_date', period_from='drawdowns.usage_date', period_until='drawdowns.usage_date + 1',
        description="drawdowns.accelerator || ' GPU time on ' || drawdowns.cluster "
        ~ "|| coalesce(', funded by ' || drawdowns.grant_id, case "
        ~ "when drawdowns.fee_sku is not null then ', a dedicated cluster' else ', no credits drawn' end)",
        sku='drawdowns.fee_sku', cluster='drawdowns.cluster', facility_id='drawdowns.facility_id',
        accelerator='drawdowns.accelerator', model_family='drawdowns.model_family', grant_id='drawdowns.grant_id',
        credit_delta_micro='case when drawdowns.grant_id is not null then -drawdowns.drawn_micro end',
        effective_pico='drawdowns.effective_pico', effective_credits_micro='drawdowns.drawn_micro',
        pricing_quantity_pico='case when drawdowns.fee_sku is not null then ' ~ wide('drawdowns.gpu_days_micro')
        ~ ' * 1000000 when drawdowns.credit_rate_micro = 0 then ' ~ wide('drawdowns.consumed_micro') ~ ' * 1000000 else '
        ~ share_of(wide('drawdowns.drawn_micro') ~ ' * 1000000', '1000000', 'drawdowns.credit_rate_micro') ~ ' end',
        pricing_unit="case when drawdowns.fee_sku is null then 'GPU-Minutes' else 'GPU-Days' end",
        list_unit_price_femto=drawn_unit_price_femto('list_whole_pico'),
        contracted_unit_price_femto=drawn_unit_price_femto('contracted_whole_pico'),
        list_pico=share_of(
            'drawdowns.list_whole_pico', 'drawdowns.drawn_micro + drawdowns.gpu_days_micro', 'drawdowns.whole_micro'
        ),
        contracted_pico=share_of(
            'drawdowns.contracted_whole_pico', 'drawdowns.drawn_micro + drawdowns.gpu_days_micro', 'drawdowns.whole_micro'
        ),
        credits_per_unit_micro='case when drawdowns.fee_sku is null then drawdowns.credit_rate_micro end',
        consumed_micro='drawdowns.consumed_micro', corrects_charge_id='corrections.corrects_charge_id'
    ) }}
    from {{ ref('int_focus_drawdowns') }} as drawdowns
    left join {{ ref('int_focus_corrections') }} as corrections
        on
            drawdowns.is_adjustment
            and drawdowns.customer_id = corrections.customer_id
            and drawdowns.usage_date = corrections.usage_date
            and drawdowns.posting_date = corrections.posting_date
            and drawdowns.cluster = corrections.cluster
            and drawdowns.accelerator = corrections.accelerator
            and drawdowns.model_family = corrections.model_family

    union all

    {# Breakage: what a grant did not give by its last day is used up then. #}
    select {{ focus_charge(
        charge_id=transfer_id('grant_days.customer_id', 'grant_days.posting_date', "'expiry'", 'grant_days.grant_id'),
        kind="'expiry'", cycle_start='grant_days.cycle_start', customer_id='grant_days.customer_id',
        posting_date='grant_days.posting_date', period_from='grant_days.posting_date',
        period_until='grant_days.posting_date + 1',
        description="'Credits expired unused, of ' || grant_days.grant_id",
        sku='coalesce(grant_days.sku, grant_days.source)', grant_id='grant_days.grant_id',
        credit_delta_micro='-grant_days.expired_micro',
        effective_pico=share_between(
            'grants.paid_pico', 'grant_days.given_micro - grant_days.expired_micro', 'grant_days.given_micro',
            'grants.credits_micro'
        ),
        effective_credits_micro='grant_days.expired_micro',
        pricing_quantity_pico=wide('grant_days.expired_micro') ~ ' * 1000000', pricing_unit="'Credits'",
        list_unit_price_femto=share_of('grants.list_pico', '1000000000', 'grants.credits_micro'),
        contracted_unit_price_femto=share_of('grants.contracted_pico', '1000000000', 'grants.credits_micro'),
        list_pico=share_of('grants.list_pico', 'grant_days.expired_micro', 'grants.credits_micro'),
        contracted_pico=share_of('grants.contracted_pico', 'grant_days.expired_micro', 'grants.credits_micro'),
        credits_per_unit_micro='1000000', consumed_micro='0'
    ) }}
    from {{ ref('int_grant_days') }} as grant_days
    inner join {{ ref('int_focus_grants') }} as grants on grant_days.grant_id = grants.grant_id
    where grant_days.expired_micro > 0 and grant_days.cycle_start in (select cycle_start from cycles)

    union all

    {# Credits that change grants without a bill: rolled out of one, into another, or given. #}
    select {{ focus_charge(
        charge_id=transfer_id('moves.customer_id', 'moves.posting_date', 'moves.transfer', 'moves.grant_id'),
        kind='moves.kind', cycle_start='moves.cycle_start', customer_id='moves.customer_id',
        posting_date='moves.posting_date', period_from='moves.posting_date', period_until='moves.posting_date + 1',
        description='moves.description', sku='moves.sku', grant_id='moves.grant_id', credit_delta_micro='moves.credits_micro',
        pricing_quantity_pico=wide('moves.credits_micro') ~ ' * 1000000', pricing_unit="'Credits'"
    ) }}
    from (
        select
            customer_id,
            posting_date,
            cycle_start,
            'rollover' as kind,
            'rollover' as transfer,
            grant_id,
            sku,
            -rolled_micro as credits_micro,
            'Unused credits carried into the next cycle' as description
        from {{ ref('int_grant_days') }}
        where rolled_micro > 0 and cycle_start in (select cycle_start from cycles)

        union all

        select
            customer_id,
            granted_on as posting_date,
            cycle_start,
            case source when 'rollover' then 'rollover' else 'credit_grant' end as kind,
            'grant' as transfer,
            grant_id,
            sku,
            credits_micro,
            case source
                when 'rollover' then 'Unused credits carried over from ' || origin_id
                when 'adjustment' then 'Credits given by hand: ' || origin_id
                else 'Credits that no invoice charges: ' || grant_id
            end as description
        from grants
        where source in ('rollover', 'adjustment') or (source <> 'refund' and purchase_line_id is null)
    ) as moves

)

select
    charges.*,
    invoices.customer_id is not null as is_invoiced
from charges
left join (select distinct
    customer_id,
    cycle_start
from {{ ref('int_invoice_lines') }}
where cycle_start in (select cycle_start from cycles)) as invoices
    on charges.customer_id = invoices.customer_id and charges.cycle_start = invoices.cycle_start
