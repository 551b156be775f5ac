with

invoiced as (

    select
        scenario,
        before_sum(side, total) as invoiced_before,
        after_sum(side, total) as invoiced_after
    from invoices
    group by scenario

),

earned as (

    select
        scenario,
        before_sum(side, gpu_minutes) as gpu_minutes_before,
        after_sum(side, gpu_minutes) as gpu_minutes_after,
        before_sum(side, credits) as credits_before,
        after_sum(side, credits) as credits_after,
        before_sum(side, revenue) as revenue_before,
        after_sum(side, revenue) as revenue_after,
        before_sum(side, amortized_cost) as amortized_cost_before,
        after_sum(side, amortized_cost) as amortized_cost_after,
        before_sum(side, gross_margin) as gross_margin_before,
        after_sum(side, gross_margin) as gross_margin_after
    from margin_daily
    group by scenario

),

broken as (

    select
        scenario,
        before_sum(side, breakage_revenue) as breakage_revenue_before,
        after_sum(side, breakage_revenue) as breakage_revenue_after
    from margin_monthly
    group by scenario

),

aside as (

    select
        scenario,
        cast(before_sum(side, rows) as bigint) as waiting_rows_before,
        cast(after_sum(side, rows) as bigint) as waiting_rows_after,
        before_sum(side, gpu_minutes) as waiting_gpu_minutes_before,
        after_sum(side, gpu_minutes) as waiting_gpu_minutes_after
    from waiting
    group by scenario

)

select
    scenarios.scenario,
    scenarios.first_day,
    scenarios.last_day,
    scenarios.currency,
    coalesce(invoiced.invoiced_before, 0) as invoiced_before,
    coalesce(invoiced.invoiced_after, 0) as invoiced_after,
    coalesce(invoiced.invoiced_after - invoiced.invoiced_before, 0) as invoiced_difference,
    coalesce(earned.credits_before, 0) as credits_before,
    coalesce(earned.credits_after, 0) as credits_after,
    coalesce(earned.credits_after - earned.credits_before, 0) as credits_difference,
    coalesce(earned.revenue_before, 0) as revenue_before,
    coalesce(earned.revenue_after, 0) as revenue_after,
    coalesce(earned.revenue_after - earned.revenue_before, 0) as revenue_difference,
    coalesce(earned.amortized_cost_before, 0) as amortized_cost_before,
    coalesce(earned.amortized_cost_after, 0) as amortized_cost_after,
    coalesce(earned.amortized_cost_after - earned.amortized_cost_before, 0) as amortized_cost_difference,
    coalesce(earned.gross_margin_before, 0) as gross_margin_before,
    coalesce(earned.gross_margin_after, 0) as gross_margin_after,
    coalesce(earned.gross_margin_after - earned.gross_margin_before, 0) as gross_margin_difference,
    per(earned.gross_margin_before, earned.revenue_before) as gross_margin_rate_before,
    per(earned.gross_margin_after, earned.revenue_after) as gross_margin_rate_after,
    coalesce(broken.breakage_revenue_before, 0) as breakage_revenue_before,
    coalesce(broken.breakage_revenue_after, 0) as breakage_revenue_after,
    coalesce(broken.breakage_revenue_after - broken.breakage_revenue_before, 0) as breakage_revenue_difference,
    coalesce(earned.gpu_minutes_before, 0) as gpu_minutes_before,
    coalesce(earned.gpu_minutes_after, 0) as gpu_minutes_after,
    coalesce(earned.gpu_minutes_after - earned.gpu_minutes_before, 0) as gpu_minutes_difference,
    coalesce(aside.waiting_gpu_minutes_before, 0) as waiting_gpu_minutes_before,
    coalesce(aside.waiting_gpu_minutes_after, 0) as waiting_gpu_minutes_after,
    coalesce(aside.waiting_gpu_minutes_after - aside.waiting_gpu_minutes_before, 0) as waiting_gpu_minutes_difference,
    coalesce(aside.waiting_rows_before, 0) as waiting_rows_before,
    coalesce(aside.waiting_rows_after, 0) as waiting_rows_after,
    coalesce(aside.waiting_rows_after - aside.waiting_rows_before, 0) as waiting_rows_difference
from scenarios
left join invoiced on scenarios.scenario = invoiced.scenario
left join earned on scenarios.scenario = earned.scenario
left join broken on scenarios.scenario = broken.scenario
left join aside on scenarios.scenario = aside.scenario
order by scenarios.position
