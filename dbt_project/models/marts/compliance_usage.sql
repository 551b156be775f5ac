{{ config(materialized = view_or_files()) }}
{# The record that regulated customers get: where their work ran, with what energy. #}
with

usage_rows as (

    select
        usage_costed.usage_date,
        usage_costed.customer_id,
        usage_costed.facility_id,
        usage_costed.cluster,
        facilities.region,
        sum(usage_costed.gpu_minutes_micro) as gpu_minutes_micro,
        sum(usage_costed.busy_kwh_micro) as kwh_micro,
        sum(usage_costed.carbon_kg_micro) as carbon_kg_micro,
        sum(usage_costed.energy_cost_micro) as energy_cost_micro,
        sum(usage_costed.mix_kwh_pico) as mix_kwh_pico,
        sum(usage_costed.renewable_kwh_pico) as renewable_kwh_pico
    from {{ ref('int_usage_costed') }} as usage_costed
    inner join {{ ref('customers') }} as customers on usage_costed.customer_id = customers.customer_id
    inner join {{ ref('facilities') }} as facilities on usage_costed.facility_id = facilities.facility_id
    where customers.regulated and usage_costed.event_count > 0
    group by
        usage_costed.usage_date, usage_costed.customer_id, usage_costed.facility_id, usage_costed.cluster,
        facilities.region

)

select
    usage_date,
    customer_id,
    facility_id,
    cluster,
    region,
    {{ from_micro('gpu_minutes_micro') }} as gpu_minutes,
    {{ from_micro('kwh_micro') }} as kwh,
    {{ from_micro('carbon_kg_micro') }} as carbon_kg,
    {{ rate_from_micro(renewable_share('renewable_kwh_pico', 'mix_kwh_pico')) }} as renewable_share,
    {{ from_pico('mix_kwh_pico') }} as mix_kwh,
    {{ from_pico('renewable_kwh_pico') }} as renewable_kwh,
    {{ from_micro('energy_cost_micro') }} as energy_cost
from usage_rows
