{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- What FOCUS allows in a column and what has to be there, row by row: the official validator judges most of it by the
-- whole table, so that one wrong row passes.
with

wrong as (

    select
        x_ChargeId,
        case
            when ChargeCategory not in ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment') then 'ChargeCategory'
            -- A list of one: over this view, DuckDB 2.0.0 cannot plan <>.
            when ChargeClass not in ('Correction') then 'ChargeClass'
            when ChargeFrequency not in ('One-Time', 'Recurring', 'Usage-Based') then 'ChargeFrequency'
            when ChargeCategory = 'Purchase' and ChargeFrequency = 'Usage-Based' then 'ChargeFrequency of a purchase'
            when PricingCategory not in ('Standard', 'Dynamic') then 'PricingCategory'
            -- Which subcategories FOCUS puts under which category, as far as we use them.
            when
                ServiceCategory || '/' || ServiceSubcategory
                not in ('Compute/Virtual Machines', 'Compute/Other (Compute)', 'Other/Other (Other)')
                then 'ServiceCategory or ServiceSubcategory'
            when BillingCurrency = 'GPC' or length(BillingCurrency) <> 3 or upper(BillingCurrency) <> BillingCurrency
                then 'BillingCurrency'
            when PricingCurrency not in ('GPC', BillingCurrency) then 'PricingCurrency'
            when
                ChargeCategory in ('Usage', 'Purchase')
                and (
                    SkuId is null or SkuPriceId is null or SkuMeter is null or PricingCategory is null
                    or PricingQuantity is null or ListUnitPrice is null or ContractedUnitPrice is null
                    or PricingCurrencyListUnitPrice is null or PricingCurrencyContractedUnitPrice is null
                )
                then 'a price or SKU is missing'
            when ChargeCategory = 'Tax' and (SkuId is not null or PricingQuantity is not null) then 'a tax has no SKU'
            when
                ListUnitPrice < 0 or ContractedUnitPrice < 0 or PricingCurrencyListUnitPrice < 0
                or PricingCurrencyContractedUnitPrice < 0
                then 'a price is negative'
            when (PricingUnit is null) <> (PricingQuantity is null) then 'PricingUnit'
            when PricingUnit not in ('GPU-Minutes', 'GPU-Days', 'GPUs', 'Credits', 'Packs', 'kWh', 'Charges') then 'PricingUnit'
            when
                ConsumedUnit not in ('GPU-Minutes', 'GPU-Days', 'GPUs', 'Credits', 'Packs', 'kWh', 'Charges')
                then 'ConsumedUnit'
            when (ResourceId is null) <> (ResourceType is null) then 'ResourceType'
            when (RegionId is null) <> (RegionName is null) then 'RegionName'
            when SubAccountId is not null or CommitmentDiscountId is not null then 'a column that is not used'
            when not {{ is_json_object('Tags') }} or not {{ is_json_object('SkuPriceDetails') }} then 'JSON'
        end as problem
    from {{ rebuilt_charges() }} as rebuilt

)

select
    x_ChargeId as subject,
    problem
from wrong
where problem is not null

union all

select
    SkuPriceId,
    'SkuPriceId of several SKUs'
from {{ ref('focus_cost_and_usage') }}
group by SkuPriceId
having min(SkuId) <> max(SkuId)

union all

select
    ServiceName,
    'ServiceName of several categories'
from {{ ref('focus_cost_and_usage') }}
group by ServiceName
having min(ServiceCategory) <> max(ServiceCategory) or min(ServiceSubcategory) <> max(ServiceSubcategory)
