with

compared as (

    select
        scenarios.position,
        scenarios.scenario,
        usage.cluster,
        usage.accelerator,
        usage.model_family,
        before_sum(usage.side, usage.gpu_minutes) as gpu_minutes_before,
        after_sum(usage.side, usage.gpu_minutes) as gpu_minutes_after,
        before_sum(usage.side, usage.credits) as credits_before,
        after_sum(usage.side, usage.credits) as credits_after
    from usage_daily as usage
    inner join scenarios on usage.scenario = scenarios.scenario
    group by scenarios.position, scenarios.scenario, usage.cluster, usage.accelerator, usage.model_family

)

select
    scenario,
    cluster,
    accelerator,
    model_family,
    gpu_minutes_before,
    gpu_minutes_after,
    gpu_minutes_after - gpu_minutes_before as gpu_minutes_difference,
    credits_before,
    credits_after,
    credits_after - credits_before as credits_difference,
    per(credits_before, gpu_minutes_before) as credits_per_gpu_minute_before,
    per(credits_after, gpu_minutes_after) as credits_per_gpu_minute_after
from compared
order by position, credits_after desc, cluster, accelerator, model_family
