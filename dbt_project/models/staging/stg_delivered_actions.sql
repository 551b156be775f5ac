{# Actions that the usage API was asked for, as it was asked; one that it did not answer may have been acted on. #}
select
    action_id,
    alert_id,
    customer_id,
    action,
    effective_on,
    payload,
    outcome,
    sent_at
from {{ landed('delivered_actions', area='archive') }}
where outcome in ('delivered', 'unanswered')
qualify row_number() over (
    partition by action_id order by case outcome when 'delivered' then 0 else 1 end, receipt_number desc
) = 1
