{{ config(materialized = view_or_files()) }}
{# A subscription is a plan's when its SKU is in the plan catalog; a customer has at most one on a day. #}
select
    subscriptions.subscription_id,
    subscriptions.customer_id,
    subscriptions.sku,
    subscriptions.quantity,
    subscriptions.starts_on,
    subscriptions.ends_on,
    {# The plan of a day is the one that runs or, in between, the latest one: each until the customer's next starts. #}
    lead(subscriptions.starts_on) over (
        partition by subscriptions.customer_id order by subscriptions.starts_on
    ) as next_starts_on,
    coalesce(subscriptions.commit_months, 0) as commit_months,
    subscriptions.auto_purchase_sku,
    subscriptions.max_auto_purchases_per_cycle,
    customers.billing_anchor_day
from {{ ref('subscriptions') }} as subscriptions
inner join {{ ref('customers') }} as customers on subscriptions.customer_id = customers.customer_id
where subscriptions.sku in (select sku from {{ ref('plans') }})
