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
    not {{ is_price_of('PricingQuantity', 'ListUnitPrice', 'ListCost') }}
    or not {{ is_price_of('PricingQuantity', 'ContractedUnitPrice', 'ContractedCost') }}
