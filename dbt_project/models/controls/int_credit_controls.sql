{{ config(materialized = 'ephemeral') }}
{# That wallets, ledger and balances say the same, each by its own way. #}
with

settings as (

    select * from {{ ref('stg_run_settings') }}

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

wallet_never_negative as (

    select
        'since ' || cast(max(settings.ledger_from) as varchar(10)) as scope,
        0 as expected,
        sum(case when wallets.closing_micro < 0 or wallets.opening_micro < 0 then 1 else 0 end) as actual
    from {{ ref('int_grant_days') }} as wallets
    cross join settings
    where wallets.posting_date >= settings.ledger_from
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

wallet_carried_forward as (

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
        sum(case when credit_account = {{ wallet_account() }} then credits else 0 end)
        - sum(case when debit_account = {{ wallet_account() }} then credits else 0 end) as net_credits
    from ledger
    group by posted_on

),

ledger_equals_balances as (

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
            case kind when 'grant' then debit_account else kind end as issuer,
            sum(credits) as credits
        from ledger
        where kind in ('grant', 'refund')
        group by case kind when 'grant' then debit_account else kind end
    ) as issued
        on case grants.source when 'refund' then 'refund' else {{ issuing_account('grants.source') }} end = issued.issuer
    where grants.granted_on >= settings.ledger_from
    group by grants.source

),

deferred_revenue as (

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
                when kind = 'refund' or (kind = 'grant' and debit_account <> {{ issuing_account("'rollover'") }}) then value
                when kind in ('burn', 'expiry') then -value
                else 0
            end) as value
        from ledger
        group by posted_on
    ) as moved on balances.balance_date = moved.posted_on
    group by balances.balance_date

)

{{ controls(
    errors=[
        'wallet_never_negative',
        'wallet_flow',
        'wallet_carried_forward',
        'ledger_equals_balances',
        'credits_rated',
        'grants_issued',
        'deferred_revenue',
    ]
) }}
