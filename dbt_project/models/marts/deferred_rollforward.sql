{#
    What was billed and not earned yet, month by month: of credits and of dedicated fees. Closing is
    counted by itself, from the wallets and from the days that a fee still covers; that it is opening
    + sold - used - expired is tested.
#}
with

{# The last day of each month, of the month under way the last delivery day. #}
month_ends as (

    select
        month_start as month,
        max(date_day) as month_end,
        cast(max(date_day) + interval 12 month as date) as expiring_until
    from {{ ref('calendar') }}
    group by month_start

),

{# A fee is earned evenly over its days; it covers a cycle at most, so all that is left is due within the year. #}
unearned_fees as (

    select
        month_ends.month,
        charges.customer_id,
        charges.value_micro - {{ divide_rounded(
            wide('charges.value_micro') ~ ' * (' ~ days_between('charges.granted_on', 'month_ends.month_end') ~ ' + 1)',
            'charges.active_days'
        ) }} as left_micro
    from {{ ref('int_dedicated_charges') }} as charges
    inner join month_ends
        on month_ends.month_end >= charges.granted_on and month_ends.month_end < charges.active_until

),

{# What moves and what stands at a month's end, each in its column; the rest of the row is 0. #}
moved as (

    select
        cast(date_trunc('month', posted_on) as date) as month,
        customer_id,
        'credits' as kind,
        case when kind = 'grant' and debit_account <> {{ issuing_account("'rollover'") }} then value else 0 end as sold,
        case kind when 'burn' then value when 'refund' then -value else 0 end as used,
        case when kind = 'expiry' then value else 0 end as expired,
        0 as closing,
        0 as expiring
    from {{ ref('credit_ledger') }}
    where kind in ('grant', 'burn', 'refund', 'expiry')

    union all

    select
        month_ends.month,
        balances.customer_id,
        'credits' as kind,
        0 as sold,
        0 as used,
        0 as expired,
        balances.deferred_revenue as closing,
        0 as expiring
    from {{ ref('credit_balances') }} as balances
    inner join month_ends on balances.balance_date = month_ends.month_end

    union all

    {# Credits in transit to the next cycle expire at its end. #}
    select
        month_ends.month,
        wallets.customer_id,
        'credits' as kind,
        0 as sold,
        0 as used,
        0 as expired,
        0 as closing,
        {{ from_micro(
            'case when wallets.expires_on <= month_ends.expiring_until then wallets.closing_value_micro else 0 end'
            ~ ' + wallets.rolled_value_micro'
        ) }} as expiring
    from {{ ref('int_grant_days') }} as wallets
    inner join month_ends on wallets.posting_date = month_ends.month_end

    union all

    select
        cast(date_trunc('month', granted_on) as date) as month,
        customer_id,
        'dedicated' as kind,
        {{ from_micro('value_micro') }} as sold,
        0 as used,
        0 as expired,
        0 as closing,
        0 as expiring
    from {{ ref('int_dedicated_charges') }}

    union all

    select
        cast(date_trunc('month', posting_date) as date) as month,
        customer_id,
        'dedicated' as kind,
        0 as sold,
        dedicated_revenue as used,
        0 as expired,
        0 as closing,
        0 as expiring
    from {{ ref('margin_daily') }}
    where dedicated_revenue <> 0

    union all

    select
        month,
        customer_id,
        'dedicated' as kind,
        0 as sold,
        0 as used,
        0 as expired,
        {{ from_micro('left_micro') }} as closing,
        {{ from_micro('left_micro') }} as expiring
    from unearned_fees

),

monthly as (

    select
        month,
        customer_id,
        kind,
        cast(sum(sold) as decimal(38, 6)) as sold,
        cast(sum(used) as decimal(38, 6)) as used,
        cast(sum(expired) as decimal(38, 6)) as expired,
        cast(sum(closing) as decimal(38, 6)) as closing,
        cast(sum(expiring) as decimal(38, 6)) as expiring
    from moved
    group by month, customer_id, kind

),

carried as (

    select
        *,
        coalesce(
            lag(closing) over (partition by customer_id, kind order by month), cast(0 as decimal(38, 6))
        ) as opening
    from monthly

)

select
    month,
    customer_id,
    kind,
    opening,
    sold,
    used,
    expired,
    closing,
    expiring as expiring_within_12_months
from carried
where opening <> 0 or sold <> 0 or used <> 0 or expired <> 0 or closing <> 0
