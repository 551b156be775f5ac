{{ config(materialized = view_or_files()) }}
{# Usage may be booked before the books open, in the cycle that they open with: up to a month before. #}
select
    spine.day as date_day,
    {{ iso_week_start('spine.day') }} as week_start,
    cast(date_trunc('month', spine.day) as date) as month_start
from {{ day_spine(
    '(select cast(books_open_on - interval 1 month as date) from ' ~ ref('stg_run_settings') ~ ')',
    '(select last_day from ' ~ ref('stg_run_settings') ~ ')'
) }} as spine
