{{ config(materialized = 'ephemeral') }}
{# That what contracts use has a price, and edits of the seeds took effect. #}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

),

dedicated_without_gpus as (

    select
        cluster || ' ' || cast(cycle_start as varchar(10)) as scope,
        1 as expected,
        gpu_count as actual
    from {{ ref('int_dedicated_charges') }}
    where gpu_count = 0 and cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

{#
    Usage without a price on the day that decides it. The seeds are checked for every day of a contract;
    this is usage that is posted when its contract, and with it the price, is over.
#}
price_missing as (

    select
        overage.customer_id || ' ' || overage.sku || ' overage ' || cast(overage.priced_on as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_overage_days') }} as overage
    left join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('overage.sku', 'overage', 'overage.priced_on') }}
    where
        not overage.is_waived
        and tiers.sku is null
        and overage.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by overage.customer_id, overage.sku, overage.priced_on

    union all

    select
        bursts.customer_id || ' ' || contracts.sku || ' base ' || cast(bursts.usage_date as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_burst_hours') }} as bursts
    inner join {{ ref('stg_plan_subscriptions') }} as contracts
        on
            bursts.customer_id = contracts.customer_id
            and {{ runs_on('contracts', 'bursts.usage_date') }}
    inner join {{ ref('plans') }} as plans
        on
            contracts.sku = plans.sku
            and {{ holds_on('plans', 'bursts.usage_date') }}
    left join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('contracts.sku', 'base', 'bursts.usage_date') }}
    where
        bursts.burst_nano > 0
        and plans.included_credits > 0
        and tiers.sku is null
        and bursts.usage_date in ({{ touched_days() }})
    group by bursts.customer_id, contracts.sku, bursts.usage_date

),

{# What contracts are charged for, and from when to when. #}
contract_charges as (

    select
        sku,
        'base' as charge,
        starts_on,
        ends_on
    from {{ ref('stg_plan_subscriptions') }}
    union all
    select
        sku,
        'overage' as charge,
        starts_on,
        ends_on
    from {{ ref('stg_plan_subscriptions') }}
    where
        sku in (
            select sku from {{ ref('plans') }}
            where overage_policy = 'bill'
        )
    union all
    select
        auto_purchase_sku as sku,
        'pack' as charge,
        starts_on,
        ends_on
    from {{ ref('stg_plan_subscriptions') }}
    where auto_purchase_sku is not null
    union all
    select
        sku,
        'dedicated' as charge,
        starts_on,
        ends_on
    from {{ ref('stg_dedicated_subscriptions') }}
    union all
    select
        sku,
        'pack' as charge,
        cast(ordered_at as date) as starts_on,
        cast(ordered_at as date) + 1 as ends_on
    from {{ ref('orders') }}

),

free_charges as (

    select
        tiers.sku || ' ' || tiers.charge || ' tier ' || cast(tiers.tier as varchar(10)) as scope,
        contracts.starts_on,
        contracts.ends_on,
        tiers.valid_from,
        tiers.valid_to
    from contract_charges as contracts
    inner join {{ ref('stg_price_tiers') }} as tiers on contracts.sku = tiers.sku and contracts.charge = tiers.charge
    where tiers.unit_price_pico = 0 and tiers.flat_fee_micro = 0
    union all
    select
        discounts.sku || ' base less 100 % from ' || cast(discounts.min_commit_months as varchar(10)) || ' months' as scope,
        contracts.starts_on,
        contracts.ends_on,
        discounts.valid_from,
        discounts.valid_to
    from {{ ref('stg_plan_subscriptions') }} as contracts
    inner join {{ ref('term_discounts') }} as discounts
        on contracts.sku = discounts.sku and contracts.commit_months >= discounts.min_commit_months
    where discounts.discount_rate = 1
    union all
    select
        packs.sku || ' burst surcharge' as scope,
        contracts.starts_on,
        contracts.ends_on,
        packs.valid_from,
        packs.valid_to
    from contract_charges as contracts
    inner join {{ ref('packs') }} as packs on contracts.sku = packs.sku
    where contracts.charge = 'pack' and packs.kind = 'burst' and packs.surcharge_rate = 0

),

{# A charge at 0 that is meant: prices of contracts in this window, and usage that costs no credits. #}
price_is_zero as (

    select
        free_charges.scope,
        0 as expected,
        count(*) as actual
    from free_charges
    cross join settings
    where
        greatest(free_charges.starts_on, free_charges.valid_from, settings.ledger_from)
        < least(
            coalesce(free_charges.ends_on, settings.last_day + 1),
            coalesce(free_charges.valid_to, settings.last_day + 1),
            settings.last_day + 1
        )
    group by free_charges.scope

    union all

    select
        accelerator || ' ' || model_family || ' credit rate' as scope,
        0 as expected,
        count(distinct customer_id) as actual
    from {{ ref('int_usage_hours') }}
    where
        credit_rate_micro = 0
        and gpu_minutes_nano <> 0
        and not is_dedicated
        and usage_date in ({{ touched_days() }})
    group by accelerator, model_family

),

{# Days of open cycles that were billed before the catalog or the fleet was edited; the command applies it. #}
seed_edits_waiting as (

    select
        edits.file || ' ' || edits.key || ' from ' || cast(edits.first_day as varchar(10)) || ': make bill FROM='
        || cast(greatest(edits.first_day, settings.books_open_on) as varchar(10))
        || ' TO=' || cast(greatest(edits.last_day, settings.books_open_on) as varchar(10)) as scope,
        0 as expected,
        {{ days_between('edits.first_day', 'edits.last_day') }} + 1 as actual
    from {{ landed('run_seed_edits') }} as edits
    cross join settings

)

{{ controls(
    errors=['price_missing'],
    warnings=['dedicated_without_gpus', 'price_is_zero', 'seed_edits_waiting']
) }}
