{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- BilledCost sums to the invoice, is in whole cents, and stands on no charge without an invoice.
select
    coalesce(charges.InvoiceId, invoices.invoice_id) as invoice_id,
    charges.billed,
    invoices.total
from (
    select
        InvoiceId,
        sum(BilledCost) as billed,
        sum(case when BilledCost <> round(BilledCost, 2) then 1 else 0 end) as broken_cents
    from {{ ref('focus_cost_and_usage') }}
    group by InvoiceId
) as charges
full outer join {{ ref('invoices') }} as invoices on charges.InvoiceId = invoices.invoice_id
where coalesce(charges.billed, 0) <> coalesce(invoices.total, 0) or charges.broken_cents > 0
