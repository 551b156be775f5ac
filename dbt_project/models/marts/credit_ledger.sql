{{ rebuilt_from_ledger('posted_on') }}
{# One row moves credits from one account to another, so debits equal credits by construction. #}
with

grant_days as (

    select * from {{ ref('int_grant_days') }}
    where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})

),

wallet_transfers as (

    select
        'grant' as kind,
        {{ issuing_account('source') }} as debit_account,
        {{ wallet_account() }} as credit_account,
        granted_micro as moved_micro,
        value_micro as moved_value_micro,
        grant_days.*
    from grant_days
    where granted_micro > 0 and source <> 'refund'

    union all

    select
        'refund' as kind,
        'consumed:' || customer_id as debit_account,
        {{ wallet_account() }} as credit_account,
        granted_micro as moved_micro,
        value_micro as moved_value_micro,
        grant_days.*
    from grant_days
    where granted_micro > 0 and source = 'refund'

    union all

    select
        'burn' as kind,
        {{ wallet_account() }} as debit_account,
        'consumed:' || customer_id as credit_account,
        burned_micro as moved_micro,
        burned_value_micro as moved_value_micro,
        grant_days.*
    from grant_days
    where burned_micro > 0

    union all

    select
        'rollover' as kind,
        {{ wallet_account() }} as debit_account,
        'rolled:' || customer_id as credit_account,
        rolled_micro as moved_micro,
        rolled_value_micro as moved_value_micro,
        grant_days.*
    from grant_days
    where rolled_micro > 0

    union all

    select
        'expiry' as kind,
        {{ wallet_account() }} as debit_account,
        'expired:' || customer_id as credit_account,
        expired_micro as moved_micro,
        expired_value_micro as moved_value_micro,
        grant_days.*
    from grant_days
    where expired_micro > 0

)

select
    {{ transfer_id('customer_id', 'posting_date', 'kind', 'grant_id') }} as transfer_id,
    posting_date as posted_on,
    kind,
    debit_account,
    credit_account,
    customer_id,
    grant_id,
    {{ from_micro('moved_micro') }} as credits,
    {{ from_pico(divide_rounded(wide('value_micro') ~ ' * 1000000000000', 'nullif(credits_micro, 0)')) }} as unit_price,
    {{ from_micro('moved_value_micro') }} as value,
    cycle_start
from wallet_transfers

union all

select
    {{ transfer_id('customer_id', 'posting_date', "'overage'", "'overage'") }} as transfer_id,
    posting_date as posted_on,
    'overage' as kind,
    'overage:' || customer_id as debit_account,
    'consumed:' || customer_id as credit_account,
    customer_id,
    cast(null as varchar(10)) as grant_id,
    {{ from_micro('overage_micro') }} as credits,
    {{ from_pico(divide_rounded(wide('revenue_micro') ~ ' * 1000000000000', 'overage_micro')) }} as unit_price,
    {{ from_micro('revenue_micro') }} as value,
    cycle_start
from {{ ref('int_overage_days') }}
where posting_date >= (select ledger_from from {{ ref('stg_run_settings') }})
