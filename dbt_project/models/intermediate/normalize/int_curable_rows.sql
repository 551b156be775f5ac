{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('usage_day'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('usage_day in (' ~ touched_days() ~ ')') }}"
    )
}}
{# Rows that wait for a seed edit: nothing has to be delivered again to bill them. #}
select
    'usage' as feed,
    events.delivery_day as delivery_date,
    events.line_number,
    events.reason,
    case events.reason
        when 'unknown_customer' then 'customer_id ' || events.customer_id || ' is not in contracts/customers'
        when 'unknown_cluster' then 'cluster ' || events.cluster || ' is not in fleet/clusters'
        when 'unmapped_accelerator'
            then
                'gpu_type ' || coalesce(events.gpu_type, '(default of the cluster)')
                || ' is neither in catalog/accelerators nor in catalog/accelerator_aliases'
        when 'no_active_plan'
            then
                'customer ' || events.customer_id || ' has no plan subscription on ' || cast(events.usage_day as varchar(10))
        when 'no_credit_rate' then
            'no rate in catalog/credit_rates for ' || events.accelerator || ' / ' || events.model_family
            || ' on ' || cast(events.usage_day as varchar(10))
    end as detail,
    landed_rows.raw,
    events.usage_day
from {{ ref('int_usage_events') }} as events
inner join {{ landed('usage_events') }} as landed_rows
    on
        landed_rows.usage_day in ({{ touched_days() }})
        and events.usage_day = cast(landed_rows.usage_day as date)
        and events.delivery_day = cast(landed_rows.delivery_day as date)
        and events.line_number = landed_rows.line_number
where events.status = 'rejected'
