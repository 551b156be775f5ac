{# The last row delivered for a date and currency wins; a rate holds until the next one. #}
with

landed as (

    select * from {{ landed('fx_rates') }}
    where currency <> (select reporting_currency from {{ ref('stg_run_settings') }})
    qualify row_number() over (partition by rate_date, currency order by sequence desc) = 1

)

select
    currency,
    rate_date as valid_from,
    lead(rate_date) over (partition by currency order by rate_date) as valid_to,
    {{ to_pico('usd_per_unit', wide_type()) }} as rate_pico
from landed

union all

{# One unit of the reporting currency is worth one, whether or not the feed says so. #}
select
    reporting_currency as currency,
    date '1900-01-01' as valid_from,
    cast(null as date) as valid_to,
    {{ to_pico('1', wide_type()) }} as rate_pico
from {{ ref('stg_run_settings') }}
