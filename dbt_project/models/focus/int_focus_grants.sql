{{ rebuilt_cycles('int_focus_cycles') }}
{#
    Every grant and what was paid for it; the overage credits that a cycle bought in arrears are one too.
    What counts as paid is what the invoice says, in whole cents; so the grant's price per credit is
    dollars invoiced / credits, and a grant that is used up has given exactly its dollars.
#}
with

lines as (

    select
        customer_id,
        cycle_start,
        invoice_line_id,
        line_type,
        origin_id,
        sku,
        amount_cents * 10000000000 as amount_pico
    from {{ ref('int_invoice_lines') }}
    where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

grants as (

    select
        grant_id,
        customer_id,
        cycle_start,
        source,
        sku,
        origin_id,
        granted_on,
        expires_on,
        credits_micro,
        value_micro
    from {{ ref('int_grant_days') }}
    where granted_on = posting_date and cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

{# A refund comes back at the price at which the ledger booked it; goodwill and grants that no invoice shows cost nothing. #}
invoiced as (

    select
        grants.grant_id,
        grants.customer_id,
        grants.cycle_start,
        grants.source,
        grants.sku,
        grants.origin_id,
        grants.granted_on,
        grants.expires_on,
        grants.credits_micro,
        purchases.invoice_line_id as purchase_line_id,
        case
            when grants.source = 'refund' then {{ wide('grants.value_micro') }} * 1000000
            when purchases.invoice_line_id is null then 0
            else purchases.amount_pico + coalesce(discounts.amount_pico, 0)
        end as paid_pico,
        coalesce(purchases.amount_pico, 0) as list_pico
    from grants
    left join lines as purchases
        on
            grants.customer_id = purchases.customer_id
            and grants.cycle_start = purchases.cycle_start
            and grants.source in ('plan', 'burst_pack', 'top_up', 'auto_purchase')
            and case grants.source when 'plan' then 'base_credits' else grants.source end = purchases.line_type
            and case grants.source when 'auto_purchase' then grants.grant_id else grants.origin_id end = purchases.origin_id
    left join lines as discounts
        on
            grants.customer_id = discounts.customer_id
            and grants.cycle_start = discounts.cycle_start
            and grants.source = 'plan'
            and discounts.line_type = 'term_discount'
            and grants.origin_id = discounts.origin_id

),

{# Credits that nobody paid for are still worth what the cycle's plan charges: that is what they save. #}
unpaid_priced as (

    select
        unpaid.grant_id,
        plans.credits_micro as plan_credits_micro,
        plans.paid_pico as plan_paid_pico,
        plans.list_pico as plan_list_pico
    from invoiced as unpaid
    inner join invoiced as plans
        on
            unpaid.customer_id = plans.customer_id
            and unpaid.cycle_start = plans.cycle_start
            and plans.source = 'plan'
            and plans.granted_on <= unpaid.granted_on
    where unpaid.source in ('refund', 'adjustment')
    qualify row_number() over (
        partition by unpaid.grant_id order by plans.granted_on desc, plans.grant_id desc
    ) = 1

),

granted as (

    select
        invoiced.grant_id,
        invoiced.customer_id,
        invoiced.cycle_start,
        invoiced.source,
        invoiced.sku,
        invoiced.origin_id,
        invoiced.granted_on,
        invoiced.expires_on,
        invoiced.credits_micro,
        invoiced.purchase_line_id,
        invoiced.paid_pico,
        case
            when invoiced.source = 'adjustment' then {{ share_of(
                'unpaid_priced.plan_paid_pico', 'invoiced.credits_micro', 'unpaid_priced.plan_credits_micro'
            ) }}
            else invoiced.paid_pico
        end as contracted_pico,
        case
            when invoiced.source in ('refund', 'adjustment') then {{ share_of(
                'unpaid_priced.plan_list_pico', 'invoiced.credits_micro', 'unpaid_priced.plan_credits_micro'
            ) }}
            else invoiced.list_pico
        end as list_pico
    from invoiced
    left join unpaid_priced on invoiced.grant_id = unpaid_priced.grant_id
    where invoiced.source <> 'rollover'

),

{# What rolls over keeps its price: the new grant takes over what the old one had not given yet, for these credits. #}
rolled_out as (

    select
        grant_id,
        posting_date + 1 as granted_on,
        given_micro - expired_micro - rolled_micro as given_before_micro,
        given_micro - expired_micro as given_after_micro
    from {{ ref('int_grant_days') }}
    where
        rolled_micro > 0
        and posting_date in (
            select granted_on - 1 from invoiced
            where source = 'rollover'
        )

),

rolled_from as (

    select
        grant_id,
        credits_micro,
        paid_pico,
        list_pico
    from granted
    {% if is_incremental() %}
        union all
        select
            grant_id,
            credits_micro,
            paid_pico,
            list_pico
        from {{ this }}
        where grant_id in (
            select origin_id from invoiced
            where source = 'rollover'
        )
    {% endif %}

),

rolled_in as (

    select
        invoiced.grant_id,
        invoiced.customer_id,
        invoiced.cycle_start,
        invoiced.source,
        invoiced.sku,
        invoiced.origin_id,
        invoiced.granted_on,
        invoiced.expires_on,
        invoiced.credits_micro,
        invoiced.purchase_line_id,
        {{ share_between(
            'rolled_from.paid_pico', 'rolled_out.given_before_micro', 'rolled_out.given_after_micro',
            'rolled_from.credits_micro'
        ) }} as paid_pico,
        {{ share_between(
            'rolled_from.paid_pico', 'rolled_out.given_before_micro', 'rolled_out.given_after_micro',
            'rolled_from.credits_micro'
        ) }} as contracted_pico,
        {{ share_of('rolled_from.list_pico', 'invoiced.credits_micro', 'rolled_from.credits_micro') }} as list_pico
    from invoiced
    inner join rolled_out
        on invoiced.origin_id = rolled_out.grant_id and invoiced.granted_on = rolled_out.granted_on
    inner join rolled_from on invoiced.origin_id = rolled_from.grant_id
    where invoiced.source = 'rollover'

),

overage as (

    select
        customer_id,
        cycle_start,
        sku,
        min(posting_date) as granted_on,
        sum(overage_micro) as credits_micro
    from {{ ref('int_overage_days') }}
    where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})
    group by customer_id, cycle_start, sku

),

overage_bought as (

    select
        {{ overage_grant_id('overage', 'overage.sku') }} as grant_id,
        overage.customer_id,
        overage.cycle_start,
        'overage' as source,
        overage.sku,
        overage.sku as origin_id,
        overage.granted_on,
        {{ next_cycle_start('overage.cycle_start') }} - 1 as expires_on,
        overage.credits_micro,
        min(lines.invoice_line_id) as purchase_line_id,
        coalesce(sum(lines.amount_pico), 0) as paid_pico
    from overage
    left join lines
        on
            overage.customer_id = lines.customer_id
            and overage.cycle_start = lines.cycle_start
            and overage.sku = lines.sku
            and lines.line_type = 'overage'
    group by overage.customer_id, overage.cycle_start, overage.sku, overage.granted_on, overage.credits_micro

),

all_grants as (

    select * from granted
    union all
    select * from rolled_in
    union all
    select
        *,
        paid_pico as contracted_pico,
        paid_pico as list_pico
    from overage_bought

)

select
    grant_id,
    customer_id,
    cycle_start,
    source,
    sku,
    origin_id,
    granted_on,
    expires_on,
    cast(credits_micro as {{ wide_type() }}) as credits_micro,
    purchase_line_id,
    {{ wide('paid_pico') }} as paid_pico,
    {{ wide('contracted_pico') }} as contracted_pico,
    {{ wide('list_pico') }} as list_pico
from all_grants
