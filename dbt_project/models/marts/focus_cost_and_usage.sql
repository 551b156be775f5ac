{{ config(materialized = view_or_files()) }}
{#
    FOCUS 1.2 Cost and Usage: int_focus_charges in the words of the specification. Credits are a
    virtual currency, GPC: bought in dollars, drawn in credits. docs/focus.md has the mapping.
#}
{%- set provider = "'" ~ env_var('PROVIDER_NAME', 'GPU Cloud') | replace("'", "''") ~ "'" -%}
{%- set kinds = [
    ('plan_purchase', 'Purchase', 'Recurring', 'GPU Credits'),
    ('pack_purchase', 'Purchase', 'One-Time', 'GPU Credits'),
    ('overage_purchase', 'Purchase', 'One-Time', 'GPU Credits'),
    ('dedicated_purchase', 'Purchase', 'Recurring', 'GPU Compute'),
    ('prepaid_use', 'Usage', 'One-Time', 'GPU Credits'),
    ('credit_usage', 'Usage', 'Usage-Based', 'GPU Compute'),
    ('dedicated_usage', 'Usage', 'Recurring', 'GPU Compute'),
    ('expiry', 'Usage', 'One-Time', 'GPU Credits'),
    ('burst_surcharge', 'Usage', 'Usage-Based', 'GPU Credits'),
    ('energy_surcharge', 'Usage', 'Usage-Based', 'GPU Energy'),
    ('rollover', 'Adjustment', 'One-Time', 'GPU Credits'),
    ('credit_grant', 'Credit', 'One-Time', 'GPU Credits'),
    ('money_credit', 'Credit', 'One-Time', 'GPU Billing'),
    ('money_adjustment', 'Adjustment', 'One-Time', 'GPU Billing'),
] -%}
{%- set services = [
    ('GPU Compute', 'Compute', 'Virtual Machines'),
    ('GPU Credits', 'Compute', 'Other (Compute)'),
    ('GPU Energy', 'Compute', 'Other (Compute)'),
    ('GPU Billing', 'Other', 'Other (Other)'),
] -%}
with

kinds as (

    {% for kind, category, frequency, service in kinds %}
        select
            '{{ kind }}' as kind,
            '{{ category }}' as charge_category,
            '{{ frequency }}' as charge_frequency,
            '{{ service }}' as service_name
        {{ 'union all' if not loop.last }}
    {% endfor %}

),

services as (

    {% for service, category, subcategory in services %}
        select
            '{{ service }}' as service_name,
            '{{ category }}' as service_category,
            '{{ subcategory }}' as service_subcategory
        {{ 'union all' if not loop.last }}
    {% endfor %}

),

charges as (

    select
        charges.*,
        kinds.charge_category,
        kinds.charge_frequency,
        services.*,
        settings.reporting_currency,
        {# Of a closed period the name that the invoice was made out to. #}
        coalesce(closed.customer_name, customers.customer_name, charges.customer_id) as customer_name,
        facilities.region,
        {# The month in which the cycle's last day lies: the one that is invoiced at its end. #}
        cast(date_trunc('month', {{ next_cycle_start('charges.cycle_start') }} - 1) as date) as billing_month,
        charges.kind in ('credit_usage', 'expiry', 'rollover', 'credit_grant') as is_priced_in_credits,
        case
            when charges.kind = 'credit_usage' then 'GPU-' || charges.accelerator
            when charges.kind = 'energy_surcharge' then charges.sku || '/energy'
            else charges.sku
        end as sku_id,
        case charges.kind
            when 'plan_purchase' then '/base'
            when 'overage_purchase' then '/overage'
            when 'credit_usage' then '/' || charges.model_family
            when 'dedicated_purchase' then '/dedicated'
            when 'dedicated_usage' then '/dedicated/' || charges.accelerator
            when 'expiry' then '/expiry'
            when 'burst_surcharge' then '/surcharge'
            when 'energy_surcharge' then '/above-baseline'
            else '/pack'
        end as price_suffix,
        case charges.kind
            when 'plan_purchase' then 'Credits included in the plan'
            when 'pack_purchase' then 'Credits of a pack'
            when 'overage_purchase' then 'Credits beyond the wallet'
            when 'dedicated_purchase' then 'Dedicated cluster'
            when 'prepaid_use' then 'Prepaid, without credits'
            when 'credit_usage' then charges.accelerator || ' GPU time'
            when 'dedicated_usage' then 'GPU time on a dedicated cluster'
            when 'expiry' then 'Credits expired'
            when 'burst_surcharge' then 'Credits burned in a burst window'
            when 'energy_surcharge' then 'Energy above the plan baseline'
        end as sku_meter
    from {{ ref('int_focus_charges') }} as charges
    inner join kinds on charges.kind = kinds.kind
    inner join services on kinds.service_name = services.service_name
    cross join {{ ref('stg_run_settings') }} as settings
    left join {{ ref('customers') }} as customers on charges.customer_id = customers.customer_id
    left join {{ ref('stg_final_invoices') }} as closed on {{ invoice_id('charges') }} = closed.invoice_id
    left join {{ ref('facilities') }} as facilities on charges.facility_id = facilities.facility_id

)

{# The columns have FOCUS's names, which are capitalized. #}
-- noqa: disable=CP02
select
    facility_id as AvailabilityZone,
    cast({{ cents('billed_cents') }} as decimal(38, 12)) as BilledCost,
    customer_id as BillingAccountId,
    customer_name as BillingAccountName,
    'Customer Contract' as BillingAccountType,
    reporting_currency as BillingCurrency,
    cast(billing_month + interval 1 month as timestamp) as BillingPeriodEnd,
    cast(billing_month as timestamp) as BillingPeriodStart,
    charge_category as ChargeCategory,
    case when corrects_charge_id is not null then 'Correction' end as ChargeClass,
    description as ChargeDescription,
    charge_frequency as ChargeFrequency,
    cast(period_until as timestamp) as ChargePeriodEnd,
    cast(period_from as timestamp) as ChargePeriodStart,
    {# Credits are a virtual currency, not a commitment discount; the validator wants the columns all the same. #}
    cast(null as varchar(10)) as CommitmentDiscountCategory,
    cast(null as varchar(10)) as CommitmentDiscountId,
    cast(null as varchar(10)) as CommitmentDiscountName,
    cast(null as decimal(38, 12)) as CommitmentDiscountQuantity,
    cast(null as varchar(10)) as CommitmentDiscountStatus,
    cast(null as varchar(10)) as CommitmentDiscountType,
    cast(null as varchar(10)) as CommitmentDiscountUnit,
    cast({{ from_micro('consumed_micro') }} as decimal(38, 12)) as ConsumedQuantity,
    case
        when charge_category <> 'Usage' then null
        when kind in ('credit_usage', 'dedicated_usage') then 'GPU-Minutes'
        else pricing_unit
    end as ConsumedUnit,
    {{ from_pico('contracted_pico') }} as ContractedCost,
    {{ from_femto('contracted_unit_price_femto') }} as ContractedUnitPrice,
    {{ from_pico('effective_pico') }} as EffectiveCost,
    case when is_invoiced then {{ invoice_id('charges') }} end as InvoiceId,
    {{ provider }} as InvoiceIssuerName,
    {{ from_pico('list_pico') }} as ListCost,
    {{ from_femto('list_unit_price_femto') }} as ListUnitPrice,
    case
        when charge_category not in ('Usage', 'Purchase') then null
        when kind = 'energy_surcharge' then 'Dynamic'
        else 'Standard'
    end as PricingCategory,
    case when is_priced_in_credits then 'GPC' else reporting_currency end as PricingCurrency,
    case
        when is_priced_in_credits then cast({{ from_micro('credits_per_unit_micro') }} as decimal(38, 15))
        else {{ from_femto('contracted_unit_price_femto') }}
    end as PricingCurrencyContractedUnitPrice,
    case
        when is_priced_in_credits then cast({{ from_micro('effective_credits_micro') }} as decimal(38, 12))
        else {{ from_pico('effective_pico') }}
    end as PricingCurrencyEffectiveCost,
    case
        when is_priced_in_credits then cast({{ from_micro('credits_per_unit_micro') }} as decimal(38, 15))
        else {{ from_femto('list_unit_price_femto') }}
    end as PricingCurrencyListUnitPrice,
    {{ from_pico('pricing_quantity_pico') }} as PricingQuantity,
    pricing_unit as PricingUnit,
    {{ provider }} as ProviderName,
    {{ provider }} as PublisherName,
    region as RegionId,
    region as RegionName,
    coalesce(cluster, grant_id) as ResourceId,
    {# Neither clusters nor grants have a name besides their id. #}
    cast(null as varchar(10)) as ResourceName,
    case when cluster is not null then 'GPU Cluster' when grant_id is not null then 'Credit Lot' end as ResourceType,
    service_category as ServiceCategory,
    service_name as ServiceName,
    service_subcategory as ServiceSubcategory,
    case when charge_category in ('Usage', 'Purchase') then sku_id end as SkuId,
    case when charge_category in ('Usage', 'Purchase') then sku_meter end as SkuMeter,
    case
        when kind in ('credit_usage', 'dedicated_usage')
            then '{"GpuCount":1,' || substring({{ json_property('x_Accelerator', 'accelerator') }}, 2)
    end as SkuPriceDetails,
    case when charge_category in ('Usage', 'Purchase') then sku_id || price_suffix end as SkuPriceId,
    cast(null as varchar(10)) as SubAccountId,
    cast(null as varchar(10)) as SubAccountName,
    cast(null as varchar(10)) as SubAccountType,
    {{ json_property('model_family', "nullif(model_family, 'unspecified')") }} as Tags,
    charge_id as x_ChargeId,
    grant_id as x_CreditLotId,
    {{ from_micro('credit_delta_micro') }} as x_CreditDelta,
    corrects_charge_id as x_CorrectsChargeId,
    posting_date as x_PostedOn
from charges
