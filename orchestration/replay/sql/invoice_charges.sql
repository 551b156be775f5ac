select
    scenarios.scenario,
    lines.customer_id,
    lines.cycle_start,
    lines.line_type,
    scenarios.currency,
    before_sum(lines.side, lines.quantity) as quantity_before,
    after_sum(lines.side, lines.quantity) as quantity_after,
    after_sum(lines.side, lines.quantity) - before_sum(lines.side, lines.quantity) as quantity_difference,
    before_sum(lines.side, lines.amount) as amount_before,
    after_sum(lines.side, lines.amount) as amount_after,
    after_sum(lines.side, lines.amount) - before_sum(lines.side, lines.amount) as amount_difference
from invoice_lines as lines
inner join scenarios on lines.scenario = scenarios.scenario
group by
    scenarios.position, scenarios.scenario, scenarios.currency,
    lines.customer_id, lines.cycle_start, lines.line_type
order by scenarios.position, lines.customer_id, lines.cycle_start, lines.line_type
