with

invoiced as (

    select
        scenario,
        customer_id,
        before_sum(side, total) as invoiced_before,
        after_sum(side, total) as invoiced_after
    from invoices
    group by scenario, customer_id

),

earned as (

    select
        scenario,
        customer_id,
        before_sum(side, credits) as credits_before,
        after_sum(side, credits) as credits_after,
        before_sum(side, gross_margin) as gross_margin_before,
        after_sum(side, gross_margin) as gross_margin_after
    from margin_daily
    group by scenario, customer_id

),

named as (

    select
        scenario,
        customer_id
    from invoiced
    union
    select
        scenario,
        customer_id
    from earned

),

compared as (

    select
        scenarios.position,
        scenarios.scenario,
        named.customer_id,
        scenarios.currency,
        coalesce(invoiced.invoiced_before, 0) as invoiced_before,
        coalesce(invoiced.invoiced_after, 0) as invoiced_after,
        coalesce(invoiced.invoiced_after, 0) - coalesce(invoiced.invoiced_before, 0) as invoiced_difference,
        coalesce(earned.credits_before, 0) as credits_before,
        coalesce(earned.credits_after, 0) as credits_after,
        coalesce(earned.credits_after, 0) - coalesce(earned.credits_before, 0) as credits_difference,
        coalesce(earned.gross_margin_before, 0) as gross_margin_before,
        coalesce(earned.gross_margin_after, 0) as gross_margin_after,
        coalesce(earned.gross_margin_after, 0) - coalesce(earned.gross_margin_before, 0) as gross_margin_difference
    from named
    inner join scenarios on named.scenario = scenarios.scenario
    left join invoiced on named.scenario = invoiced.scenario and named.customer_id = invoiced.customer_id
    left join earned on named.scenario = earned.scenario and named.customer_id = earned.customer_id

)

select
    scenario,
    customer_id,
    currency,
    invoiced_before,
    invoiced_after,
    invoiced_difference,
    per(invoiced_difference, invoiced_before) as invoiced_difference_rate,
    case sign(invoiced_difference) when 1 then 'more' when -1 then 'less' else 'the same' end as pays,
    credits_before,
    credits_after,
    credits_difference,
    gross_margin_before,
    gross_margin_after,
    gross_margin_difference
from compared
order by position, invoiced_difference desc, customer_id
