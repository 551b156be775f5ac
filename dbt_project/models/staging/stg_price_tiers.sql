{{ config(materialized = view_or_files()) }}
{# A tier covers (previous up_to, up_to]; the last one has no upper end. Units in millionths. #}
select
    sku,
    charge,
    mode,
    tier,
    coalesce(
        lag({{ to_micro('up_to') }}) over (partition by sku, charge, valid_from order by tier), 0
    ) as from_units_micro,
    {{ to_micro('up_to') }} as up_to_units_micro,
    {{ to_pico('unit_price') }} as unit_price_pico,
    {{ to_micro('coalesce(flat_fee, 0)') }} as flat_fee_micro,
    {{ to_micro('package_size') }} as package_size_micro,
    valid_from,
    valid_to
from {{ ref('price_tiers') }}
