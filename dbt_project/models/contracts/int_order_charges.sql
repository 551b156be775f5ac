{{ rebuilt_from_ledger('granted_on') }}
{# Packs that were ordered: what they grant, until when, and what they cost by the tiers of the order day. #}
with

ordered as (

    select
        orders.order_id,
        orders.customer_id,
        orders.sku,
        case packs.kind when 'burst' then 'burst_pack' else packs.kind end as source,
        orders.quantity,
        orders.ordered_at,
        cast(orders.ordered_at as date) as granted_on,
        cast(orders.ordered_at + packs.validity_hours * interval 1 hour as date) as expires_on,
        {{ wide(to_micro('packs.included_credits')) }} * orders.quantity as credits_micro,
        {{ cycle_start('cast(orders.ordered_at as date)', 'customers.billing_anchor_day') }} as cycle_start
    from {{ ref('orders') }} as orders
    cross join {{ ref('stg_run_settings') }} as settings
    inner join {{ ref('customers') }} as customers on orders.customer_id = customers.customer_id
    inner join {{ ref('packs') }} as packs
        on
            orders.sku = packs.sku
            and {{ holds_on('packs', 'cast(orders.ordered_at as date)') }}
    where
        cast(orders.ordered_at as date) between settings.ledger_from and settings.last_day
        and {{ is_in_the_books('cast(orders.ordered_at as date)', 'customers.billing_anchor_day') }}

),

priced as (

    select
        ordered.order_id,
        sum({{ tier_price_atto('cast(ordered.quantity as bigint) * 1000000', 'tiers') }}) as price_atto
    from ordered
    inner join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('ordered.sku', 'pack', 'ordered.granted_on') }}
    group by ordered.order_id

)

select
    {{ grant_id('ordered.customer_id', 'ordered.source', 'ordered.granted_on', id_part('ordered.order_id')) }} as grant_id,
    ordered.order_id,
    ordered.customer_id,
    ordered.sku,
    ordered.source,
    cast(ordered.quantity as int) as quantity,
    ordered.ordered_at,
    ordered.granted_on,
    ordered.expires_on,
    ordered.cycle_start,
    cast(ordered.credits_micro as {{ wide_type() }}) as credits_micro,
    {{ wide('coalesce(priced.price_atto, 0)') }} as price_atto,
    {{ divide_rounded(wide('coalesce(priced.price_atto, 0)'), '1000000000000') }} as value_micro
from ordered
left join priced on ordered.order_id = priced.order_id
