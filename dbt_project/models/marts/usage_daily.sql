{{ config(materialized = view_or_files()) }}
select
    {{ usage_key() }},
    is_dedicated,
    event_count,
    {{ from_micro('gpu_minutes_micro') }} as gpu_minutes,
    {{ from_micro('credits_micro') }} as credits,
    {{ from_micro('busy_kwh_micro') }} as busy_kwh,
    {{ from_micro('energy_cost_micro') }} as energy_cost,
    {{ from_micro('carbon_kg_micro') }} as carbon_kg,
    {{ rate_from_micro(renewable_share('renewable_kwh_pico', 'mix_kwh_pico')) }} as renewable_share
from {{ ref('int_usage_costed') }}
where event_count > 0
