select
    first_delivery_day,
    last_day,
    books_open_on,
    ledger_from,
    reporting_currency,
    cast(days_until_close as int) as days_until_close,
    cast(conflict_days as int) as conflict_days,
    cast(normal_utilization_micro as bigint) as normal_utilization_micro,
    cast(max_incurable_micro as bigint) as max_incurable_micro,
    cast(warn_curable_micro as bigint) as warn_curable_micro
from {{ landed('run_settings') }}
