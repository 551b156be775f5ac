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
with

waiting as (

    select
        events.usage_day,
        events.delivery_day,
        events.line_number,
        events.customer_id,
        events.cluster,
        events.gpu_type,
        kinds.accelerator,
        kinds.model_family,
        kinds.reason
    from {{ ref('stg_usage_events') }} as events
    inner join {{ ref('int_kinds_of_use') }} as kinds
        on
            events.customer_id = kinds.customer_id
            and events.usage_day = kinds.usage_day
            and events.delivery_day = kinds.delivery_day
            and events.cluster = kinds.cluster
            and coalesce(events.gpu_type, '') = kinds.gpu_type
            and events.model_family = kinds.model_family
    left join {{ ref('int_repeated_events') }} as repeated
        on
            events.usage_day = repeated.usage_day
            and events.delivery_day = repeated.delivery_day
            and events.line_number = repeated.line_number
    where kinds.reason is not null and repeated.line_number is null

)

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
                || cast(waiting.usage_day as varchar(10))
        when 'no_credit_rate' then
            'no rate in catalog/credit_rates for ' || waiting.accelerator || ' / ' || waiting.model_family
            || ' on ' || cast(waiting.usage_day as varchar(10))
    end as detail,
    landed_rows.raw,
    waiting.usage_day
from waiting
inner join {{ landed('usage_events') }} as landed_rows
    on
        landed_rows.usage_day in ({{ touched_days() }})
        and waiting.usage_day = cast(landed_rows.usage_day as date)
        and waiting.delivery_day = cast(landed_rows.delivery_day as date)
        and waiting.line_number = landed_rows.line_number
