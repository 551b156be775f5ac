select
    scenarios.scenario,
    invoices.customer_id,
    invoices.cycle_start,
    invoices.cycle_end,
    scenarios.currency,
    before_sum(invoices.side, invoices.total) as total_before,
    after_sum(invoices.side, invoices.total) as total_after,
    after_sum(invoices.side, invoices.total) - before_sum(invoices.side, invoices.total) as total_difference
from invoices
inner join scenarios on invoices.scenario = scenarios.scenario
group by
    scenarios.position, scenarios.scenario, scenarios.currency,
    invoices.customer_id, invoices.cycle_start, invoices.cycle_end
order by scenarios.position, invoices.customer_id, invoices.cycle_start
