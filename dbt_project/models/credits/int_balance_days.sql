{{ rebuilt_from_ledger('balance_date') }}
{# Derived from the wallets, never counted on its own; a customer keeps a row a day from its first transfer on. #}
with

wallets as (

    select
        customer_id,
        posting_date,
        sum(opening_micro) as opening_micro,
        sum(case when source = 'refund' then 0 else granted_micro end) as granted_micro,
        sum(case when source = 'refund' then granted_micro else 0 end) as refunded_micro,
        sum(burned_micro) as burned_micro,
        sum(expired_micro) as expired_micro,
        sum(rolled_micro) as rolled_micro,
        sum(closing_micro) as closing_micro,
        sum(burned_in_cycle_micro) as burned_in_cycle_micro,
        {# What rolled out today is granted again tomorrow: in between its value is still deferred. #}
        sum(closing_value_micro + rolled_value_micro) as deferred_micro
    from {{ ref('int_grant_days') }}
    where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})
    group by customer_id, posting_date

),

overage as (

    select
        customer_id,
        posting_date,
        sum(overage_micro) as overage_micro
    from {{ ref('int_overage_days') }}
    where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})
    group by customer_id, posting_date

),

first_days as (

    select
        customer_id,
        min(first_day) as first_day
    from (
        select
            customer_id,
            min(posting_date) as first_day
        from wallets
        group by customer_id
        union all
        select
            customer_id,
            min(posting_date) as first_day
        from overage
        group by customer_id
        {% if is_incremental() %}
            union all
            select
                customer_id,
                (select ledger_from from {{ ref('stg_run_settings') }}) as first_day
            from {{ this }}
            where balance_date = (select ledger_from - 1 from {{ ref('stg_run_settings') }})
        {% endif %}
    ) as starts
    group by customer_id

),

days as (

    select
        first_days.customer_id,
        spine.day as balance_date,
        {{ cycle_start('spine.day', 'customers.billing_anchor_day') }} as cycle_start
    from first_days
    inner join {{ ref('customers') }} as customers on first_days.customer_id = customers.customer_id
    inner join {{ ledger_days() }} as spine on spine.day >= first_days.first_day

),

balances as (

    select
        days.customer_id,
        days.balance_date,
        days.cycle_start,
        coalesce(wallets.opening_micro, 0) as opening_micro,
        coalesce(wallets.granted_micro, 0) as granted_micro,
        coalesce(wallets.burned_micro, 0) as burned_micro,
        coalesce(overage.overage_micro, 0) as overage_micro,
        coalesce(wallets.expired_micro, 0) as expired_micro,
        coalesce(wallets.rolled_micro, 0) as rolled_micro,
        coalesce(wallets.refunded_micro, 0) as refunded_micro,
        coalesce(wallets.closing_micro, 0) as closing_micro,
        coalesce(wallets.burned_in_cycle_micro, 0) as burned_in_cycle_micro,
        coalesce(wallets.deferred_micro, 0) as deferred_micro
    from days
    left join wallets on days.customer_id = wallets.customer_id and days.balance_date = wallets.posting_date
    left join overage on days.customer_id = overage.customer_id and days.balance_date = overage.posting_date

)

select
    customer_id,
    balance_date,
    cycle_start,
    cast(opening_micro as {{ wide_type() }}) as opening_micro,
    cast(granted_micro as {{ wide_type() }}) as granted_micro,
    cast(burned_micro as {{ wide_type() }}) as burned_micro,
    cast(overage_micro as {{ wide_type() }}) as overage_micro,
    cast(expired_micro as {{ wide_type() }}) as expired_micro,
    cast(rolled_micro as {{ wide_type() }}) as rolled_micro,
    cast(refunded_micro as {{ wide_type() }}) as refunded_micro,
    cast(closing_micro as {{ wide_type() }}) as closing_micro,
    cast(burned_in_cycle_micro as {{ wide_type() }}) as burned_in_cycle_micro,
    {# The balance after the day's burn, before what expires or rolls at its end. #}
    cast(case
        when burned_in_cycle_micro + closing_micro + expired_micro + rolled_micro > 0 then {{ divide_rounded(
            wide('burned_in_cycle_micro') ~ ' * 1000000',
            'nullif(burned_in_cycle_micro + closing_micro + expired_micro + rolled_micro, 0)'
        ) }}
        when overage_micro > 0 then 1000000
        else 0
    end as {{ wide_type() }}) as depletion_micro,
    cast(deferred_micro as {{ wide_type() }}) as deferred_micro
from balances
