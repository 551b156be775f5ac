{# Observations of accelerators that the catalog doesn't know are kept, with accelerator NULL. #}
select
    prices.observed_at,
    cast(prices.observed_at as date) as observed_on,
    {{ iso_week_start('prices.observed_at') }} as observed_week,
    prices.provider,
    prices.region,
    prices.gpu_type,
    coalesce(accelerators.accelerator, aliases.accelerator) as accelerator,
    prices.price_kind,
    prices.currency,
    {{ to_pico('prices.price_per_gpu_hour') }} as price_per_gpu_hour_pico,
    prices.sequence
from {{ landed('gpu_prices') }} as prices
left join {{ ref('accelerators') }} as accelerators on prices.gpu_type = accelerators.accelerator
left join {{ ref('accelerator_aliases') }} as aliases on prices.gpu_type = aliases.alias
