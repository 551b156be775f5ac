{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- What is bought ahead costs nothing yet; what is drawn from it is not billed again; everything else is billed as it
-- is used.
select
    x_ChargeId,
    ChargeCategory,
    BilledCost,
    EffectiveCost
from {{ rebuilt_charges() }} as rebuilt
where
    case
        when ChargeCategory = 'Purchase' then EffectiveCost <> 0 or PricingCurrencyEffectiveCost <> 0
        when ChargeCategory <> 'Usage' or PricingCategory = 'Dynamic' then EffectiveCost <> BilledCost
        when PricingCurrency = 'GPC' or PricingUnit = 'GPU-Days' or ChargeFrequency = 'One-Time' then BilledCost <> 0
        else EffectiveCost <> BilledCost
    end
