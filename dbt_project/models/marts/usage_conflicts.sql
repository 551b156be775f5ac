{{ rebuilt_days('usage_date') }}
select
    conflicts.event_id,
    conflicts.usage_date,
    conflicts.kept_delivery_day as kept_delivery,
    conflicts.kept_line_number,
    conflicts.delivery_day as other_delivery,
    conflicts.line_number as other_line_number,
    kept.raw as kept_payload,
    other.raw as other_payload
from {{ ref('int_repeated_events') }} as conflicts
left join {{ ref('int_payloads') }} as kept
    on
        conflicts.kept_delivery_day = kept.delivery_day
        and conflicts.kept_line_number = kept.line_number
left join {{ ref('int_payloads') }} as other
    on
        conflicts.delivery_day = other.delivery_day
        and conflicts.line_number = other.line_number
where conflicts.status = 'conflict'
