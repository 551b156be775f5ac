{{ rebuilt_cycles('int_focus_cycles') }}
{#
    Every FOCUS charge of the run's cycles, in integers: what invoices charge, what usage draws from
    what was paid before, what expires, rolls over or is given away. The mart only spells it out.
#}
with

cycles as (

    select cycle_start from {{ ref('int_focus_cycles') }}

),

lots as (

    select * from {{ ref('int_focus_lots') }}
    where cycle_start in (select cycle_start from cycles)

),

charges as (

    select * from {{ ref('int_focus_line_charges') }}

    union all

    select
        {{ usage_charge_id('drawdowns', 'cast(drawdowns.part_number as varchar(10))') }},
        case when drawdowns.fee_sku is null then 'credit_usage' else 'dedicated_usage' end,
        drawdowns.cycle_start,
        drawdowns.customer_id,
        drawdowns.posting_date,
        drawdowns.usage_day,
        drawdowns.usage_day + 1,
        drawdowns.accelerator || ' GPU time on ' || drawdowns.cluster
        || coalesce(', funded by ' || drawdowns.lot_id, case
            when drawdowns.fee_sku is not null then ', a dedicated cluster' else ', no credits drawn'
        end),
        drawdowns.fee_sku,
        drawdowns.cluster,
        drawdowns.facility_id,
        drawdowns.accelerator,
        drawdowns.model_family,
        drawdowns.lot_id,
        case when drawdowns.lot_id is not null then -drawdowns.drawn_micro end,
        0,
        drawdowns.effective_pico,
        drawdowns.drawn_micro,
        case
            when drawdowns.fee_sku is not null then {{ wide('drawdowns.gpu_days_micro') }} * 1000000
            when drawdowns.credit_rate_micro = 0 then {{ wide('drawdowns.consumed_micro') }} * 1000000
            else {{ share_of(wide('drawdowns.drawn_micro') ~ ' * 1000000', '1000000', 'drawdowns.credit_rate_micro') }}
        end,
        case when drawdowns.fee_sku is null then 'GPU-Minutes' else 'GPU-Days' end,
        {% for whole in ['list_whole_pico', 'contracted_whole_pico'] %}
            case
                when drawdowns.fee_sku is not null
                    then {{ share_of('drawdowns.' ~ whole, '1000000000', 'drawdowns.whole_micro') }}
                else {{ share_of('drawdowns.' ~ whole, 'drawdowns.credit_rate_micro * 1000', 'drawdowns.whole_micro') }}
            end,
        {% endfor %}
        {% for whole in ['list_whole_pico', 'contracted_whole_pico'] %}
            {{ share_of('drawdowns.' ~ whole, 'drawdowns.drawn_micro + drawdowns.gpu_days_micro', 'drawdowns.whole_micro') }},
        {% endfor %}
        case when drawdowns.fee_sku is null then drawdowns.credit_rate_micro end,
        drawdowns.consumed_micro,
        corrections.corrects_charge_id
    from {{ ref('int_focus_drawdowns') }} as drawdowns
    left join {{ ref('int_focus_corrections') }} as corrections
        on
            drawdowns.is_adjustment
            and drawdowns.customer_id = corrections.customer_id
            and drawdowns.usage_day = corrections.usage_day
            and drawdowns.posting_date = corrections.posting_date
            and drawdowns.cluster = corrections.cluster
            and drawdowns.accelerator = corrections.accelerator
            and drawdowns.model_family = corrections.model_family

    union all

    {# Breakage: what a lot did not give by its last day is used up then. #}
    select
        wallet_days.customer_id || '/' || cast(wallet_days.posted_on as varchar(10)) || '/expiry/' || wallet_days.grant_id,
        'expiry',
        wallet_days.cycle_start,
        wallet_days.customer_id,
        wallet_days.posted_on,
        wallet_days.posted_on as period_from,
        wallet_days.posted_on + 1 as period_until,
        'Credits expired unused, of ' || wallet_days.grant_id,
        coalesce(wallet_days.sku, wallet_days.source),
        null,
        null,
        null,
        null,
        wallet_days.grant_id,
        -wallet_days.expired_micro,
        0,
        {{ share_between(
            'lots.paid_pico', 'wallet_days.given_micro - wallet_days.expired_micro', 'wallet_days.given_micro',
            'lots.credits_micro'
        ) }},
        wallet_days.expired_micro,
        {{ wide('wallet_days.expired_micro') }} * 1000000,
        'Credits',
        {{ share_of('lots.list_pico', '1000000000', 'lots.credits_micro') }},
        {{ share_of('lots.contracted_pico', '1000000000', 'lots.credits_micro') }},
        {{ share_of('lots.list_pico', 'wallet_days.expired_micro', 'lots.credits_micro') }},
        {{ share_of('lots.contracted_pico', 'wallet_days.expired_micro', 'lots.credits_micro') }},
        1000000,
        0,
        null
    from {{ ref('int_wallet_days') }} as wallet_days
    inner join {{ ref('int_focus_lots') }} as lots on wallet_days.grant_id = lots.lot_id
    where wallet_days.expired_micro > 0 and wallet_days.cycle_start in (select cycle_start from cycles)

    union all

    {# Credits that change lots without a bill: rolled out of one, into another, or given. #}
    select
        moves.customer_id || '/' || cast(moves.posted_on as varchar(10)) || '/' || moves.transfer || '/' || moves.lot_id,
        moves.kind,
        moves.cycle_start,
        moves.customer_id,
        moves.posted_on,
        moves.posted_on as period_from,
        moves.posted_on + 1 as period_until,
        moves.description,
        moves.sku,
        null,
        null,
        null,
        null,
        moves.lot_id,
        moves.credits_micro,
        0,
        0,
        0,
        {{ wide('moves.credits_micro') }} * 1000000,
        'Credits',
        null,
        null,
        0,
        0,
        null,
        null,
        null
    from (
        select
            customer_id,
            posted_on,
            cycle_start,
            'rollover' as kind,
            'rollover' as transfer,
            grant_id as lot_id,
            sku,
            -rolled_micro as credits_micro,
            'Unused credits carried into the next cycle' as description
        from {{ ref('int_wallet_days') }}
        where rolled_micro > 0 and cycle_start in (select cycle_start from cycles)

        union all

        select
            customer_id,
            granted_on as posted_on,
            cycle_start,
            case source when 'rollover' then 'rollover' else 'credit_grant' end as kind,
            'grant' as transfer,
            lot_id,
            sku,
            credits_micro,
            case source
                when 'rollover' then 'Unused credits carried over from ' || origin_id
                when 'adjustment' then 'Credits given by hand: ' || origin_id
                else 'Credits that no invoice charges: ' || lot_id
            end as description
        from lots
        where source in ('rollover', 'adjustment') or (source <> 'refund' and purchase_line_id is null)
    ) as moves

)

select
    charges.*,
    invoices.invoice_id
from charges
left join (select distinct
    customer_id,
    cycle_start,
    invoice_id
from {{ ref('invoice_lines') }}
where cycle_start in (select cycle_start from cycles)) as invoices
    on charges.customer_id = invoices.customer_id and charges.cycle_start = invoices.cycle_start
