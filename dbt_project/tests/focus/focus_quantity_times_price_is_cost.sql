{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- PricingQuantity times a unit price is its cost, to a billionth; a charge without a unit price costs what it bills.
-- Corrections are held to it too, though the specification would let them off.
select
    x_ChargeId,
    PricingQuantity,
    ListUnitPrice,
    ListCost,
    ContractedUnitPrice,
    ContractedCost
from {{ rebuilt_charges() }} as rebuilt
where
    abs(coalesce(PricingQuantity * ListUnitPrice, BilledCost) - ListCost) > 0.000000001 * greatest(abs(ListCost), 1)
    or abs(coalesce(PricingQuantity * ContractedUnitPrice, BilledCost) - ContractedCost)
    > 0.000000001 * greatest(abs(ContractedCost), 1)
