select
    zone,
    cast(ts_utc as date) as mix_date,
    cast(extract(hour from ts_utc) as int) as hour_of_day,
    {{ to_micro('carbon_gco2_kwh_lca') }} as carbon_g_per_kwh_micro,
    {{ to_micro('renewable_pct') }} as renewable_pct_micro
from {{ landed('energy_mix') }}
where cast(ts_utc as date) in ({{ touched_days() }})
qualify row_number() over (
    partition by zone, cast(ts_utc as date), extract(hour from ts_utc) order by sequence desc
) = 1
