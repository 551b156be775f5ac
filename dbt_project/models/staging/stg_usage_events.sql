{# Only the days this run rebuilds: the landed Parquet is the record, the warehouse keeps no copy. #}
with

typed as (

    select
        ---------- ids
        event_id,
        kind,
        corrects_event_id,
        customer_id,
        cluster,
        gpu_type,
        coalesce(model_family, 'unspecified') as model_family,

        ---------- what else was delivered
        model_family as delivered_model_family,
        payload_rest,

        ---------- where it was delivered
        cast(delivery_day as date) as delivery_day,
        line_number,

        ---------- when it was used
        ts as used_at,
        cast(usage_day as date) as usage_date,
        start_us,
        duration_us,

        ---------- how much
        meter,
        quantity_micro,
        energy_cost_micro as metered_energy_cost_micro
    from {{ landed_usage() }}

)

select
    *,
    {{ gpu_minutes('meter', 'quantity_micro') }} as gpu_minutes_micro
from typed
