{# The customer to whom a whole cluster belongs, and from when to when. #}
select
    subscriptions.subscription_id,
    subscriptions.customer_id,
    subscriptions.sku,
    subscriptions.cluster,
    clusters.facility_id,
    subscriptions.starts_on,
    subscriptions.ends_on,
    customers.billing_anchor_day
from {{ ref('subscriptions') }} as subscriptions
inner join {{ ref('customers') }} as customers on subscriptions.customer_id = customers.customer_id
inner join {{ ref('clusters') }} as clusters on subscriptions.cluster = clusters.cluster
where subscriptions.sku in (select sku from {{ ref('dedicated_clusters') }})
