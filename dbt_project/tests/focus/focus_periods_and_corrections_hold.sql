{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- Periods run forwards, a billing period is a whole month, and a correction names a charge of an invoice that was
-- closed in an earlier one.
select
    charges.x_ChargeId,
    charges.ChargePeriodStart,
    charges.ChargePeriodEnd,
    charges.BillingPeriodStart,
    charges.BillingPeriodEnd,
    charges.x_CorrectsChargeId
from {{ rebuilt_charges() }} as charges
left join {{ ref('focus_cost_and_usage') }} as corrected on charges.x_CorrectsChargeId = corrected.x_ChargeId
left join {{ ref('invoices') }} as invoices on corrected.InvoiceId = invoices.invoice_id
where
    not charges.ChargePeriodStart < charges.ChargePeriodEnd
    or charges.BillingPeriodStart <> cast(date_trunc('month', charges.BillingPeriodStart) as timestamp)
    or charges.BillingPeriodEnd <> cast(charges.BillingPeriodStart + interval 1 month as timestamp)
    or (charges.ChargeClass is null) <> (charges.x_CorrectsChargeId is null)
    or (
        charges.x_CorrectsChargeId is not null
        and not coalesce(corrected.BillingPeriodEnd <= charges.BillingPeriodStart and invoices.status = 'final', false)
    )
