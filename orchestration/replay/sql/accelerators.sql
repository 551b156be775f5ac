with

compared as (

    select
        scenarios.position,
        scenarios.scenario,
        margins.accelerator,
        scenarios.currency,
        before_sum(margins.side, margins.gpu_minutes) as gpu_minutes_before,
        after_sum(margins.side, margins.gpu_minutes) as gpu_minutes_after,
        before_sum(margins.side, margins.credits) as credits_before,
        after_sum(margins.side, margins.credits) as credits_after,
        before_sum(margins.side, margins.revenue) as revenue_before,
        after_sum(margins.side, margins.revenue) as revenue_after,
        before_sum(margins.side, margins.amortized_cost) as amortized_cost_before,
        after_sum(margins.side, margins.amortized_cost) as amortized_cost_after,
        before_sum(margins.side, margins.gross_margin) as gross_margin_before,
        after_sum(margins.side, margins.gross_margin) as gross_margin_after
    from margin_daily as margins
    inner join scenarios on margins.scenario = scenarios.scenario
    group by scenarios.position, scenarios.scenario, scenarios.currency, margins.accelerator

)

select
    scenario,
    accelerator,
    currency,
    gpu_minutes_before,
    gpu_minutes_after,
    gpu_minutes_after - gpu_minutes_before as gpu_minutes_difference,
    credits_before,
    credits_after,
    credits_after - credits_before as credits_difference,
    revenue_before,
    revenue_after,
    revenue_after - revenue_before as revenue_difference,
    amortized_cost_before,
    amortized_cost_after,
    amortized_cost_after - amortized_cost_before as amortized_cost_difference,
    gross_margin_before,
    gross_margin_after,
    gross_margin_after - gross_margin_before as gross_margin_difference,
    per(gross_margin_before, revenue_before) as gross_margin_rate_before,
    per(gross_margin_after, revenue_after) as gross_margin_rate_after
from compared
order by position, accelerator
