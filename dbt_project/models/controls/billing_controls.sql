{{ config(materialized = 'table') }}
{#
    The identities of the billing rules, over everything this run worked out: two independent paths
    to one figure. Only a failed error stops the publication; warnings are for a person to read.
#}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

),

run_deliveries as (

    select
        deliveries.delivery_day,
        deliveries.delivered_rows,
        deliveries.rejected_rows
    from {{ landed('deliveries') }} as deliveries
    inner join {{ landed('run_deliveries') }} as run_days on deliveries.delivery_day = run_days.delivery_day
    where deliveries.feed = 'usage'

),

{# What was delivered, by kind of use, each with what the seeds say about it. #}
delivered_kinds as (

    select
        hours.usage_day,
        hours.delivery_day,
        hours.event_count,
        hours.event_minutes_micro,
        kinds.reason
    from {{ ref('int_delivered_hours') }} as hours
    inner join {{ ref('int_kinds_of_use') }} as kinds
        on
            hours.customer_id = kinds.customer_id
            and hours.usage_day = kinds.usage_day
            and hours.delivery_day = kinds.delivery_day
            and hours.cluster = kinds.cluster
            and hours.gpu_type = kinds.gpu_type
            and hours.model_family = kinds.model_family

),

event_counts as (

    select
        delivery_day,
        sum(curable_rows) as curable_rows,
        sum(event_rows) as event_rows
    from (
        select
            delivery_day,
            case when reason is not null then event_count else 0 end as curable_rows,
            event_count as event_rows
        from delivered_kinds
        union all
        select
            delivery_day,
            0 as curable_rows,
            1 as event_rows
        from {{ ref('int_repeated_events') }}
    ) as events
    group by delivery_day

),

incurable_counts as (

    select
        delivery_date as delivery_day,
        count(*) as incurable_rows
    from {{ landed('rejected_rows') }}
    where feed = 'usage'
    group by delivery_date

),

delivered as (

    select
        cast(run_deliveries.delivery_day as varchar(10)) as scope,
        run_deliveries.delivered_rows,
        coalesce(event_counts.event_rows, 0) + coalesce(incurable_counts.incurable_rows, 0) as accounted_rows,
        coalesce({{ divide_rounded(
            'coalesce(incurable_counts.incurable_rows, 0) * 1000000', 'nullif(run_deliveries.delivered_rows, 0)'
        ) }}, 0) as incurable_share_micro,
        coalesce({{ divide_rounded(
            'coalesce(event_counts.curable_rows, 0) * 1000000', 'nullif(run_deliveries.delivered_rows, 0)'
        ) }}, 0) as curable_share_micro
    from run_deliveries
    left join event_counts on run_deliveries.delivery_day = event_counts.delivery_day
    left join incurable_counts on run_deliveries.delivery_day = incurable_counts.delivery_day

),

delivered_rows as (

    select
        scope,
        delivered_rows as expected,
        accounted_rows as actual
    from delivered

),

incurable_share as (

    select
        delivered.scope,
        {{ from_micro('settings.max_incurable_micro') }} as expected,
        {{ from_micro('delivered.incurable_share_micro') }} as actual
    from delivered
    cross join settings

),

curable_share as (

    select
        delivered.scope,
        {{ from_micro('settings.warn_curable_micro') }} as expected,
        {{ from_micro('delivered.curable_share_micro') }} as actual
    from delivered
    cross join settings

),

{# Event by event, past the pass that everything else is worked out from: all, less what isn't billed. #}
event_minutes as (

    select
        usage_day,
        gpu_minutes_micro as minutes_micro
    from {{ ref('stg_usage_events') }}

    union all

    select
        usage_day,
        -gpu_minutes_micro as minutes_micro
    from {{ ref('int_repeated_events') }}

    union all

    select
        usage_day,
        -event_minutes_micro as minutes_micro
    from delivered_kinds
    where reason is not null

),

accepted_minutes as (

    select
        usage_day,
        sum(minutes_micro) as minutes_micro
    from event_minutes
    where
        usage_day in (
            select usage_day from delivered_kinds
            where reason is null
        )
    group by usage_day

),

rated_usage as (

    select
        usage_day,
        sum(gpu_minutes_micro) as minutes_micro,
        sum(amortized_cost_micro) as amortized_cost_micro
    from {{ ref('int_usage_costed') }}
    where usage_day in ({{ touched_days() }})
    group by usage_day

),

rated_minutes as (

    select
        cast(rated_usage.usage_day as varchar(10)) as scope,
        {{ from_micro('coalesce(accepted_minutes.minutes_micro, 0)') }} as expected,
        {{ from_micro('rated_usage.minutes_micro') }} as actual
    from rated_usage
    left join accepted_minutes on rated_usage.usage_day = accepted_minutes.usage_day
    union all
    select
        cast(accepted_minutes.usage_day as varchar(10)) as scope,
        {{ from_micro('accepted_minutes.minutes_micro') }} as expected,
        cast(null as decimal(38, 6)) as actual
    from accepted_minutes
    where accepted_minutes.usage_day not in (select usage_day from rated_usage)

),

hour_minutes as (

    select
        cast(hours.usage_day as varchar(10)) as scope,
        {{ from_micro('max(accepted_minutes.minutes_micro)') }} as expected,
        {{ from_micro(divide_rounded('sum(hours.gpu_minutes_nano)', '1000')) }} as actual
    from {{ ref('int_usage_hours') }} as hours
    left join accepted_minutes on hours.usage_day = accepted_minutes.usage_day
    where hours.usage_day in ({{ touched_days() }})
    group by hours.usage_day

),

balances as (

    select balances.*
    from {{ ref('credit_balances') }} as balances
    cross join settings
    where balances.balance_date >= settings.ledger_from

),

ledger as (

    select ledger.*
    from {{ ref('credit_ledger') }} as ledger
    cross join settings
    where ledger.posted_on >= settings.ledger_from

),

negative_wallets as (

    select
        'since ' || cast(max(settings.ledger_from) as varchar(10)) as scope,
        0 as expected,
        sum(case when wallets.closing_micro < 0 or wallets.opening_micro < 0 then 1 else 0 end) as actual
    from {{ ref('int_wallet_days') }} as wallets
    cross join settings
    where wallets.posted_on >= settings.ledger_from
    having count(*) > 0

),

wallet_flow as (

    select
        cast(balance_date as varchar(10)) as scope,
        sum(opening_credits + granted_credits + refunded_credits - burned_credits - expired_credits - rolled_credits)
            as expected,
        sum(closing_credits) as actual
    from balances
    group by balance_date

),

carried_balances as (

    select
        cast(today.balance_date as varchar(10)) as scope,
        sum(yesterday.closing_credits) as expected,
        sum(today.opening_credits) as actual
    from balances as today
    inner join {{ ref('credit_balances') }} as yesterday
        on today.customer_id = yesterday.customer_id and today.balance_date = yesterday.balance_date + 1
    group by today.balance_date

),

{# Independent of the wallets: what the transfers say each wallet holds, from the ledger alone. #}
transfer_flow as (

    select
        posted_on,
        sum(case when credit_account like 'wallet:%' then credits else 0 end)
        - sum(case when debit_account like 'wallet:%' then credits else 0 end) as net_credits
    from ledger
    group by posted_on

),

ledger_balances as (

    select
        cast(balances.balance_date as varchar(10)) as scope,
        sum(balances.closing_credits - balances.opening_credits) as expected,
        coalesce(max(transfer_flow.net_credits), 0) as actual
    from balances
    left join transfer_flow on balances.balance_date = transfer_flow.posted_on
    group by balances.balance_date

),

credits_rated as (

    select
        cast(balances.balance_date as varchar(10)) as scope,
        {{ from_micro('coalesce(max(posted.credits_micro), 0)') }} as expected,
        sum(balances.burned_credits + balances.overage_credits - balances.refunded_credits) as actual
    from balances
    left join (
        select
            posting_date,
            sum(credits_micro) as credits_micro
        from {{ ref('int_posted_usage') }}
        group by posting_date
    ) as posted on balances.balance_date = posted.posting_date
    group by balances.balance_date

),

grants_issued as (

    select
        grants.source as scope,
        sum(grants.credits) as expected,
        max(issued.credits) as actual
    from {{ ref('credit_grants') }} as grants
    cross join settings
    left join (
        select
            case when kind = 'refund' then 'refund' else split_part(debit_account, ':', 2) end as source,
            sum(credits) as credits
        from ledger
        where kind in ('grant', 'refund')
        group by case when kind = 'refund' then 'refund' else split_part(debit_account, ':', 2) end
    ) as issued on grants.source = issued.source
    where grants.granted_on >= settings.ledger_from
    group by grants.source

),

deferred_flow as (

    select
        cast(balances.balance_date as varchar(10)) as scope,
        sum(coalesce(yesterday.deferred_revenue, 0)) + coalesce(max(moved.value), 0) as expected,
        sum(balances.deferred_revenue) as actual
    from balances
    left join {{ ref('credit_balances') }} as yesterday
        on balances.customer_id = yesterday.customer_id and balances.balance_date = yesterday.balance_date + 1
    left join (
        {# Billed for credits (and given back), less earned, less breakage; rollovers only move it. #}
        select
            posted_on,
            sum(case
                when kind = 'refund' or (kind = 'grant' and debit_account <> 'issued:rollover') then value
                when kind in ('burn', 'expiry') then -value
                else 0
            end) as value
        from ledger
        group by posted_on
    ) as moved on balances.balance_date = moved.posted_on
    group by balances.balance_date

),

invoice_totals as (

    select
        cast(invoices.cycle_start as varchar(10)) as scope,
        max(line_sums.amount) as expected,
        sum(invoices.total) as actual
    from {{ ref('invoices') }} as invoices
    inner join (
        select
            cycle_start,
            sum(amount) as amount
        from {{ ref('invoice_lines') }}
        where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
        group by cycle_start
    ) as line_sums on invoices.cycle_start = line_sums.cycle_start
    group by invoices.cycle_start

),

{#
    What the books would say today about the invoices that are final. A cure or an edited seed that
    would change one fails here; a person settles it by an adjustment whose reason names the invoice.
#}
final_invoice_changes as (

    select
        coalesce(archived.invoice_id, recomputed.invoice_id) as invoice_id,
        sum(coalesce(archived.amount, 0)) as closed_amount,
        sum({{ cents('coalesce(recomputed.amount_cents, 0)') }}) as recomputed_amount,
        sum(case
            when
                archived.quantity is distinct from {{ from_micro('recomputed.quantity_micro') }}
                or archived.unit_price is distinct from {{ from_pico('recomputed.unit_price_pico') }}
                or archived.amount is distinct from {{ cents('recomputed.amount_cents') }}
                then 1
            else 0
        end) as changed_lines
    from (
        select * from {{ ref('stg_final_invoice_lines') }}
        where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    ) as archived
    full outer join (
        select * from {{ ref('int_invoice_lines') }}
        where invoice_id in (select invoice_id from {{ ref('stg_final_invoice_lines') }})
    ) as recomputed
        on archived.invoice_line_id = recomputed.invoice_line_id
    group by coalesce(archived.invoice_id, recomputed.invoice_id)

),

settled_invoices as (

    select
        changes.invoice_id,
        changes.closed_amount,
        changes.recomputed_amount,
        changes.changed_lines,
        coalesce(sum(adjustments.amount), 0) as settled_amount,
        count(adjustments.adjustment_id) as settlements
    from final_invoice_changes as changes
    left join {{ ref('adjustments') }} as adjustments
        on
            instr(adjustments.reason, changes.invoice_id) > 0
            and adjustments.customer_id || '/' || right(changes.invoice_id, 10) = changes.invoice_id
    group by changes.invoice_id, changes.closed_amount, changes.recomputed_amount, changes.changed_lines

),

final_invoice_amount as (

    select
        invoice_id as scope,
        closed_amount + settled_amount as expected,
        recomputed_amount as actual
    from settled_invoices

),

final_invoice_lines as (

    select
        invoice_id as scope,
        0 as expected,
        case when settlements > 0 then 0 else changed_lines end as actual
    from settled_invoices

),

cost_booked as (

    select
        cast(costs.cost_date as varchar(10)) as scope,
        sum(costs.total_cost) as expected,
        sum(costs.unallocated_cost) + coalesce(max(allocated.cost), 0) as actual
    from {{ ref('gpu_minute_costs') }} as costs
    left join (
        select
            usage_day,
            {{ from_micro('sum(amortized_cost_micro)') }} as cost
        from {{ ref('int_usage_costed') }}
        where has_pool
        group by usage_day
    ) as allocated on costs.cost_date = allocated.usage_day
    where costs.cost_date in ({{ touched_days() }})
    group by costs.cost_date

),

margin_cycles as (

    select
        margins.cycle_start,
        sum(margins.burn_revenue) as burn_revenue,
        sum(margins.overage_revenue) as overage_revenue,
        sum(margins.revenue) as revenue,
        sum(margins.amortized_cost) as amortized_cost,
        sum(margins.gross_margin) as gross_margin
    from {{ ref('margin_daily') }} as margins
    where margins.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by margins.cycle_start

),

ledger_cycles as (

    select
        cycle_start,
        sum(case kind when 'burn' then value when 'refund' then -value else 0 end) as burn_value,
        sum(case when kind = 'overage' then value else 0 end) as overage_value
    from {{ ref('credit_ledger') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by cycle_start

),

costed_cycles as (

    select
        cycle_start,
        {{ from_micro('sum(amortized_cost_micro)') }} as amortized_cost
    from {{ ref('int_usage_costed') }}
    where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by cycle_start

),

margin_burn_revenue as (

    select
        cast(ledger_cycles.cycle_start as varchar(10)) as scope,
        ledger_cycles.burn_value as expected,
        coalesce(margin_cycles.burn_revenue, 0) as actual
    from ledger_cycles
    left join margin_cycles on ledger_cycles.cycle_start = margin_cycles.cycle_start

),

margin_overage_revenue as (

    select
        cast(ledger_cycles.cycle_start as varchar(10)) as scope,
        ledger_cycles.overage_value as expected,
        coalesce(margin_cycles.overage_revenue, 0) as actual
    from ledger_cycles
    left join margin_cycles on ledger_cycles.cycle_start = margin_cycles.cycle_start

),

margin_cost as (

    select
        cast(costed_cycles.cycle_start as varchar(10)) as scope,
        costed_cycles.amortized_cost as expected,
        margin_cycles.amortized_cost as actual
    from costed_cycles
    left join margin_cycles on costed_cycles.cycle_start = margin_cycles.cycle_start

),

margin_identity as (

    select
        cast(cycle_start as varchar(10)) as scope,
        revenue - amortized_cost as expected,
        gross_margin as actual
    from margin_cycles

),

{# Whose GPU prices tonight's days follow: lots on the market, and usage without a pool. By week of use. #}
followed_markets as (

    select distinct
        {{ iso_week_start('days.usage_day') }} as used_week,
        lots.accelerator,
        lots.price_kind,
        lots.provider
    from {{ ref('procurement_lots') }} as lots
    cross join {{ landed('run_days') }} as days
    where
        lots.basis = 'market'
        and days.usage_day >= lots.starts_on
        and (lots.ends_on is null or days.usage_day < lots.ends_on)

    union all

    select distinct
        {{ iso_week_start('usage_day') }} as used_week,
        accelerator,
        'market_median' as price_kind,
        cast(null as varchar(10)) as provider
    from {{ ref('int_usage_costed') }}
    where not has_pool and usage_day in ({{ touched_days() }})

),

{# The last week before it that has observations is the one whose median counts. #}
followed_weeks as (

    select
        markets.used_week,
        markets.accelerator,
        markets.price_kind,
        markets.provider,
        max(observed.observed_week) as observed_week
    from followed_markets as markets
    inner join (
        select distinct
            accelerator,
            price_kind,
            provider,
            observed_week
        from {{ ref('stg_gpu_prices') }}
    ) as observed
        on
            markets.accelerator = observed.accelerator
            and markets.price_kind = observed.price_kind
            and (markets.provider is null or markets.provider = observed.provider)
            and observed.observed_week < markets.used_week
    group by markets.used_week, markets.accelerator, markets.price_kind, markets.provider

),

{# A price in a currency without a rate on or before its day cannot be converted. The day is the one that is missing. #}
missing_exchange_rates as (

    select
        'energy ' || prices.currency || ' ' || cast(prices.price_date as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('stg_energy_prices') }} as prices
    left join {{ ref('stg_fx_rates') }} as rates
        on prices.currency = rates.currency and prices.price_date >= rates.valid_from
    where
        rates.currency is null
        and prices.zone in (select zone from {{ ref('facilities') }})
        {# An hour looks a day back, no further. #}
        and exists (
            select 1 from {{ landed('run_days') }} as days
            where
                prices.price_date <= days.usage_day
                and prices.interval_start + prices.resolution_minutes * interval 1 minute
                > cast(days.usage_day - 1 as timestamp)
        )
    group by prices.currency, prices.price_date

    union all

    select
        'gpu ' || prices.accelerator || ' ' || prices.currency || ' ' || cast(prices.observed_on as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('stg_gpu_prices') }} as prices
    left join {{ ref('stg_fx_rates') }} as rates
        on prices.currency = rates.currency and prices.observed_on >= rates.valid_from
    where
        rates.currency is null
        and exists (
            select 1 from followed_weeks as followed
            where
                prices.accelerator = followed.accelerator
                and prices.price_kind = followed.price_kind
                and (followed.provider is null or prices.provider = followed.provider)
                and prices.observed_week = followed.observed_week
        )
    group by prices.accelerator, prices.currency, prices.observed_on

    union all

    {# An owned lot is converted at the rate of the day it was bought on. #}
    select
        'lot ' || costs.lot_id || ' ' || costs.currency || ' ' || cast(
            min(case when costs.basis = 'owned' then lots.starts_on else costs.cost_day end) as varchar(10)
        ) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_lot_costs') }} as costs
    inner join {{ ref('procurement_lots') }} as lots on costs.lot_id = lots.lot_id
    where costs.is_exchange_rate_missing
    group by costs.lot_id, costs.currency

),

{# Over all that was delivered: who looks at the feed wants to know, however long ago the hour is. #}
energy_price_conflicts as (

    select
        zone as scope,
        0 as expected,
        sum(is_conflict) as actual
    from (
        select
            zone,
            interval_start,
            case when min(price_per_kwh) <> max(price_per_kwh) or min(currency) <> max(currency) then 1 else 0 end
                as is_conflict
        from {{ landed('energy_prices') }}
        group by zone, interval_start
    ) as intervals
    group by zone

),

market_price_missing as (

    select
        'GPU-days' as scope,
        0 as expected,
        coalesce(sum(lots.gpu_count), 0) as actual
    from {{ ref('int_lot_costs') }} as lots
    cross join settings
    where lots.is_market_price_missing and lots.cost_day between settings.books_open_on and settings.last_day

),

no_pool_minutes as (

    select
        'GPU minutes' as scope,
        0 as expected,
        {{ from_micro('coalesce(sum(gpu_minutes_micro), 0)') }} as actual
    from {{ ref('int_usage_costed') }}
    where not has_pool and usage_day in ({{ touched_days() }})

),

busy_above_capacity as (

    select
        'pool days' as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_pool_costs') }} as pool_costs
    cross join settings
    where
        {# As much as rounding may have added to the day's rows is nothing. #}
        pool_costs.busy_minutes_micro > pool_costs.capacity_minutes_micro + pool_costs.row_count
        and pool_costs.cost_day in ({{ touched_days() }})
        and pool_costs.cost_day between settings.books_open_on and settings.last_day

),

dedicated_without_gpus as (

    select
        cluster || ' ' || cast(cycle_start as varchar(10)) as scope,
        1 as expected,
        gpu_count as actual
    from {{ ref('int_dedicated_charges') }}
    where gpu_count = 0 and cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})

),

{# Where GPUs stood in the books, or worked by the price of the hour: there an hour needs a price. #}
sites_at_work as (

    select
        clusters.facility_id,
        days.usage_day
    from {{ ref('pools') }} as pools
    cross join {{ landed('run_days') }} as days
    cross join settings
    inner join {{ ref('clusters') }} as clusters on pools.cluster = clusters.cluster
    where
        days.usage_day >= settings.books_open_on
        and days.usage_day >= pools.valid_from
        and (pools.valid_to is null or days.usage_day < pools.valid_to)

    union

    select
        clusters.facility_id,
        hours.usage_day
    from {{ ref('int_usage_hours') }} as hours
    inner join {{ ref('clusters') }} as clusters on hours.cluster = clusters.cluster
    where hours.modelled_minutes_nano <> 0 and hours.usage_day in ({{ touched_days() }})

),

energy_price_unknown as (

    select
        hours.facility_id || ' ' || facilities.zone || ' ' || min(
            cast(hours.usage_day as varchar(10)) || ' ' || lpad(cast(hours.hour_of_day as varchar(2)), 2, '0') || ':00'
        ) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_energy_hours') }} as hours
    inner join sites_at_work on hours.facility_id = sites_at_work.facility_id and hours.usage_day = sites_at_work.usage_day
    inner join {{ ref('facilities') }} as facilities on hours.facility_id = facilities.facility_id
    where hours.is_price_missing
    group by hours.facility_id, facilities.zone

),

{# Hours of a zone of which no price was ever delivered, or whose file is gone. #}
energy_price_missing as (

    select
        facilities.zone as scope,
        0 as expected,
        sum(case when delivered.zone is null or gone.files > 0 then 1 else 0 end) as actual
    from {{ ref('int_energy_hours') }} as hours
    inner join {{ ref('facilities') }} as facilities on hours.facility_id = facilities.facility_id
    left join (select distinct zone from {{ landed('energy_prices') }}) as delivered on facilities.zone = delivered.zone
    cross join (
        select count(*) as files from {{ landed('deliveries') }}
        where feed = 'energy' and file_name = ''
    ) as gone
    group by facilities.zone

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
        on
            overage.sku = tiers.sku
            and tiers.charge = 'overage'
            and overage.priced_on >= tiers.valid_from
            and (tiers.valid_to is null or overage.priced_on < tiers.valid_to)
    where
        not overage.is_waived
        and tiers.sku is null
        and overage.cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    group by overage.customer_id, overage.sku, overage.priced_on

    union all

    select
        bursts.customer_id || ' ' || contracts.sku || ' base ' || cast(bursts.usage_day as varchar(10)) as scope,
        0 as expected,
        count(*) as actual
    from {{ ref('int_burst_hours') }} as bursts
    inner join {{ ref('stg_plan_subscriptions') }} as contracts
        on
            bursts.customer_id = contracts.customer_id
            and bursts.usage_day >= contracts.starts_on
            and (contracts.ends_on is null or bursts.usage_day < contracts.ends_on)
    inner join {{ ref('plans') }} as plans
        on
            contracts.sku = plans.sku
            and bursts.usage_day >= plans.valid_from
            and (plans.valid_to is null or bursts.usage_day < plans.valid_to)
    left join {{ ref('stg_price_tiers') }} as tiers
        on
            contracts.sku = tiers.sku
            and tiers.charge = 'base'
            and bursts.usage_day >= tiers.valid_from
            and (tiers.valid_to is null or bursts.usage_day < tiers.valid_to)
    where
        bursts.burst_nano > 0
        and plans.included_credits > 0
        and tiers.sku is null
        and bursts.usage_day in ({{ touched_days() }})
    group by bursts.customer_id, contracts.sku, bursts.usage_day

),

lots_cover_pools as (

    select
        cluster || ' ' || accelerator as scope,
        sum(pool_gpus) as expected,
        sum(lot_gpus) as actual
    from (
        select
            pools.cluster,
            pools.accelerator,
            pools.gpu_count as pool_gpus,
            0 as lot_gpus
        from {{ ref('pools') }} as pools
        cross join settings
        where
            settings.last_day >= pools.valid_from
            and (pools.valid_to is null or settings.last_day < pools.valid_to)
        union all
        select
            lots.cluster,
            lots.accelerator,
            0 as pool_gpus,
            lots.gpu_count as lot_gpus
        from {{ ref('procurement_lots') }} as lots
        cross join settings
        where settings.last_day >= lots.starts_on and (lots.ends_on is null or settings.last_day < lots.ends_on)
    ) as counted
    group by cluster, accelerator

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
        and usage_day in ({{ touched_days() }})
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

{% set controls = [
    ('delivered_rows', 'error', 'delivered_rows', 'equal'),
    ('incurable_share', 'error', 'incurable_share', 'at_most'),
    ('rated_minutes', 'error', 'rated_minutes', 'equal'),
    ('hours_cover_minutes', 'error', 'hour_minutes', 'equal'),
    ('wallet_never_negative', 'error', 'negative_wallets', 'equal'),
    ('wallet_flow', 'error', 'wallet_flow', 'equal'),
    ('wallet_carried_forward', 'error', 'carried_balances', 'equal'),
    ('ledger_equals_balances', 'error', 'ledger_balances', 'equal'),
    ('credits_rated', 'error', 'credits_rated', 'equal'),
    ('grants_issued', 'error', 'grants_issued', 'equal'),
    ('deferred_revenue', 'error', 'deferred_flow', 'equal'),
    ('invoice_total', 'error', 'invoice_totals', 'equal'),
    ('final_invoice_amount', 'error', 'final_invoice_amount', 'equal'),
    ('final_invoice_lines', 'error', 'final_invoice_lines', 'equal'),
    ('cost_booked', 'error', 'cost_booked', 'equal'),
    ('margin_burn_revenue', 'error', 'margin_burn_revenue', 'equal'),
    ('margin_overage_revenue', 'error', 'margin_overage_revenue', 'equal'),
    ('margin_cost', 'error', 'margin_cost', 'equal'),
    ('margin_identity', 'error', 'margin_identity', 'equal'),
    ('exchange_rate_missing', 'error', 'missing_exchange_rates', 'equal'),
    ('curable_share', 'warning', 'curable_share', 'at_most'),
    ('energy_price_conflicts', 'warning', 'energy_price_conflicts', 'equal'),
    ('market_price_missing', 'warning', 'market_price_missing', 'equal'),
    ('no_pool_minutes', 'warning', 'no_pool_minutes', 'equal'),
    ('busy_above_capacity', 'warning', 'busy_above_capacity', 'equal'),
    ('dedicated_without_gpus', 'warning', 'dedicated_without_gpus', 'equal'),
    ('energy_price_unknown', 'error', 'energy_price_unknown', 'equal'),
    ('price_missing', 'error', 'price_missing', 'equal'),
    ('energy_price_missing', 'warning', 'energy_price_missing', 'equal'),
    ('lots_cover_pools', 'warning', 'lots_cover_pools', 'equal'),
    ('price_is_zero', 'warning', 'price_is_zero', 'equal'),
    ('seed_edits_waiting', 'warning', 'seed_edits_waiting', 'equal'),
] %}
{% set parts = [] %}
{% for name, severity, relation, rule in controls %}
    {% do parts.append(control(name, severity, relation, rule)) %}
{% endfor %}
{{ parts | join('\nunion all\n') }}
