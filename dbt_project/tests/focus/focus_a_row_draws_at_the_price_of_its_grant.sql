{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- A row costs its credits times what one credit of the grant cost, and its credits are its units times the
-- credit rate: row by row, to a billionth.
with

drawn as (

    select * from {{ prepaid_charges() }} as charges
    where x_CreditLotId is not null

),

prices as (

    select
        whole_id,
        sum(case when ChargeCategory = 'Purchase' then BilledCost else 0 end) as paid,
        sum(case when ChargeCategory = 'Purchase' then units else 0 end) as bought,
        -- A refund was never bought; what it gives back it gives at one price.
        sum(case when ChargeCategory = 'Usage' then abs(EffectiveCost) else 0 end) as refund_cost,
        sum(case when ChargeCategory = 'Usage' then abs(units) else 0 end) as refund_units
    from drawn
    group by whole_id

),

priced as (

    select
        charges.x_ChargeId,
        charges.EffectiveCost,
        charges.PricingCurrencyEffectiveCost,
        case when prices.bought <> 0 then prices.paid when grants.source = 'refund' then prices.refund_cost else 0 end
            as grant_cost,
        case when prices.bought <> 0 then prices.bought when grants.source = 'refund' then prices.refund_units else 1 end
            as grant_units
    from drawn as charges
    inner join prices on charges.whole_id = prices.whole_id
    left join {{ ref('credit_grants') }} as grants on charges.x_CreditLotId = grants.grant_id
    where charges.ChargeCategory = 'Usage'

)

select
    x_ChargeId,
    EffectiveCost as found,
    PricingCurrencyEffectiveCost as credits
from priced
where
    abs({{ scaled('EffectiveCost', 12) }} - {{ multiply_divide(
        scaled('grant_cost', 12), scaled('PricingCurrencyEffectiveCost', 6), 'nullif(' ~ scaled('grant_units', 6) ~ ', 0)'
    ) }}) > 1000

union all

select
    x_ChargeId,
    PricingCurrencyContractedUnitPrice,
    PricingCurrencyEffectiveCost
from {{ rebuilt_charges() }} as rebuilt
where
    ChargeCategory = 'Usage'
    and PricingCurrency = 'GPC'
    and not {{ is_price_of('PricingQuantity', 'PricingCurrencyContractedUnitPrice', 'PricingCurrencyEffectiveCost') }}
