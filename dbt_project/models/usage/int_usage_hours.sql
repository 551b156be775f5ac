{{ rebuilt_days('usage_date') }}
{# Billed minutes by clock hour: what was delivered, as the seeds name, rate and book it. #}
select
    kinds.customer_id,
    kinds.usage_date,
    kinds.posting_date,
    kinds.cycle_start,
    kinds.cluster,
    kinds.accelerator,
    kinds.model_family,
    kinds.is_adjustment,
    kinds.is_dedicated,
    hours.hour_of_day,
    kinds.credit_rate_micro,
    cast(sum(hours.event_count) as bigint) as event_count,
    cast(sum(hours.part_count) as bigint) as part_count,
    cast(sum(hours.gpu_minutes_nano) as {{ wide_type() }}) as gpu_minutes_nano,
    cast(sum(hours.modelled_minutes_nano) as {{ wide_type() }}) as modelled_minutes_nano,
    cast(sum(hours.metered_energy_cost_micro) as {{ wide_type() }}) as metered_energy_cost_micro
from {{ ref('int_delivered_hours') }} as hours
inner join {{ ref('int_kinds_of_use') }} as kinds
    on
        hours.customer_id = kinds.customer_id
        and hours.usage_date = kinds.usage_date
        and hours.delivery_day = kinds.delivery_day
        and hours.cluster = kinds.cluster
        and hours.gpu_type = kinds.gpu_type
        and hours.model_family = kinds.model_family
where kinds.reason is null
group by
    kinds.customer_id, kinds.usage_date, kinds.posting_date, kinds.cycle_start, kinds.cluster, kinds.accelerator,
    kinds.model_family, kinds.is_adjustment, kinds.is_dedicated, hours.hour_of_day, kinds.credit_rate_micro
