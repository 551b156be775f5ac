-- Rows that wait for a seed edit, by what they are and what the seeds lack for them.
select
    scenarios.scenario,
    waiting.reason,
    waiting.cluster,
    waiting.gpu_type,
    case waiting.reason
        when 'unknown_customer' then waiting.customer_id
        when 'no_active_plan' then waiting.customer_id
        when 'unknown_cluster' then waiting.cluster
        when 'no_credit_rate' then waiting.accelerator || ' / ' || waiting.model_family
        else waiting.gpu_type
    end as lacks,
    cast(before_sum(waiting.side, waiting.rows) as bigint) as rows_before,
    cast(after_sum(waiting.side, waiting.rows) as bigint) as rows_after,
    cast(after_sum(waiting.side, waiting.rows) - before_sum(waiting.side, waiting.rows) as bigint) as rows_difference,
    before_sum(waiting.side, waiting.gpu_minutes) as gpu_minutes_before,
    after_sum(waiting.side, waiting.gpu_minutes) as gpu_minutes_after,
    after_sum(waiting.side, waiting.gpu_minutes) - before_sum(waiting.side, waiting.gpu_minutes)
        as gpu_minutes_difference
from waiting
inner join scenarios on waiting.scenario = scenarios.scenario
group by scenarios.position, scenarios.scenario, waiting.reason, waiting.cluster, waiting.gpu_type, lacks
order by scenarios.position, gpu_minutes_after desc, gpu_minutes_before desc, waiting.reason, waiting.cluster,
    waiting.gpu_type, lacks
