{{ config(meta = {'dagster': {'ref': {'name': 'focus_cost_and_usage'}}}) }}

-- Credits move as in the ledger: the same grant, the same day, the same amount. No grant is ever overdrawn,
-- and what a charge draws is what it costs in credits. Grants that this run did not move stay out of it.
with

moved_grants as (

    select grant_id from {{ moved_grants() }} as whole_grants

),

moved as (

    select
        charges.x_CreditLotId as grant_id,
        charges.x_PostedOn as posted_on,
        sum(charges.x_CreditDelta) as credits
    from {{ ref('focus_cost_and_usage') }} as charges
    inner join moved_grants on charges.x_CreditLotId = moved_grants.grant_id
    group by charges.x_CreditLotId, charges.x_PostedOn

),

booked as (

    select
        transfers.grant_id,
        transfers.posted_on,
        sum(case when transfers.kind in ('grant', 'refund') then transfers.credits else -transfers.credits end) as credits
    from {{ ref('credit_ledger') }} as transfers
    inner join moved_grants on transfers.grant_id = moved_grants.grant_id
    group by transfers.grant_id, transfers.posted_on

),

{# Overage has no grant in the ledger; as a grant of its own it is bought and used within its cycle. #}
overage_used as (

    select
        charges.BillingAccountId as customer_id,
        charges.x_PostedOn as posted_on,
        -sum(charges.x_CreditDelta) as credits
    from {{ rebuilt_charges() }} as charges
    left join {{ ref('credit_grants') }} as grants on charges.x_CreditLotId = grants.grant_id
    where charges.ChargeCategory = 'Usage' and charges.x_CreditLotId is not null and grants.grant_id is null
    group by charges.BillingAccountId, charges.x_PostedOn

),

overage_booked as (

    select
        customer_id,
        posted_on,
        sum(credits) as credits
    from {{ ref('credit_ledger') }}
    where kind = 'overage' and cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})
    group by customer_id, posted_on

),

balances as (

    select
        grant_id,
        posted_on,
        sum(credits) over (
            partition by grant_id order by posted_on rows between unbounded preceding and current row
        ) as credits
    from moved

)

select
    'not the ledger''s' as problem,
    coalesce(moved.grant_id, booked.grant_id) as subject,
    coalesce(moved.posted_on, booked.posted_on) as posted_on,
    coalesce(moved.credits, 0) - coalesce(booked.credits, 0) as credits
from moved
full outer join booked on moved.grant_id = booked.grant_id and moved.posted_on = booked.posted_on
where
    coalesce(moved.credits, 0) <> coalesce(booked.credits, 0)
    and (booked.grant_id is not null or moved.grant_id in (select grant_id from {{ ref('credit_grants') }}))

union all

select
    'not the ledger''s overage',
    coalesce(overage_used.customer_id, overage_booked.customer_id),
    coalesce(overage_used.posted_on, overage_booked.posted_on),
    coalesce(overage_used.credits, 0) - coalesce(overage_booked.credits, 0)
from overage_used
full outer join overage_booked
    on overage_used.customer_id = overage_booked.customer_id and overage_used.posted_on = overage_booked.posted_on
where coalesce(overage_used.credits, 0) <> coalesce(overage_booked.credits, 0)

union all

select
    'overage not used up',
    grant_id,
    max(posted_on),
    sum(credits)
from moved
where grant_id not in (select grant_id from {{ ref('credit_grants') }})
group by grant_id
having sum(credits) <> 0

union all

select
    'overdrawn',
    grant_id,
    posted_on,
    credits
from balances
where credits < 0

union all

select
    'costs other credits than it draws',
    x_ChargeId,
    x_PostedOn,
    PricingCurrencyEffectiveCost + x_CreditDelta
from {{ rebuilt_charges() }} as rebuilt
where ChargeCategory = 'Usage' and x_CreditLotId is not null and PricingCurrencyEffectiveCost <> -x_CreditDelta
