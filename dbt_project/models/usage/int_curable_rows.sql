{{ rebuilt_days('usage_date') }}
{# Rows that wait for a seed edit: nothing has to be delivered again to bill them. #}
select
    'usage' as feed,
    waiting.delivery_day as delivery_date,
    waiting.line_number,
    waiting.reason,
    case waiting.reason
        when 'unknown_customer' then 'customer_id ' || waiting.customer_id || ' is not in contracts/customers'
        when 'unknown_cluster' then 'cluster ' || waiting.cluster || ' is not in fleet/clusters'
        when 'unmapped_accelerator'
            then
                'gpu_type ' || coalesce(waiting.gpu_type, '(default of the cluster)')
                || ' is neither in catalog/accelerators nor in catalog/accelerator_aliases'
        when 'no_active_plan'
            then
                'customer ' || waiting.customer_id || ' has no plan subscription on '
                || cast(waiting.usage_date as varchar(10))
        when 'no_credit_rate' then
            'no rate in catalog/credit_rates for ' || waiting.accelerator || ' / ' || waiting.model_family
            || ' on ' || cast(waiting.usage_date as varchar(10))
    end as detail,
    payloads.raw,
    waiting.usage_date
from {{ ref('int_waiting_events') }} as waiting
inner join {{ ref('int_payloads') }} as payloads
    on waiting.delivery_day = payloads.delivery_day and waiting.line_number = payloads.line_number
