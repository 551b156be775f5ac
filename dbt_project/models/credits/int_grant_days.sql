{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'microbatch',
        event_time = 'posting_date',
        batch_size = 'day',
        begin = '2000-01-01',
        partition_by = partitioned_by('posting_date'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('posting_date >= (select ledger_from from ' ~ ref('stg_run_settings') ~ ')') }}"
    )
}}
{%- set day = batch_day() %}
{#
    The credit engine: every wallet, one day further. A day is yesterday's grants as they were left,
    what starts today, and today's posted usage burned in order; all customers at once.

    One row per grant and day while the grant has credits or its cycle lasts. Everything that meets
    on one day happens in this order: rollover grants, plan grants, orders, adjustments, refund,
    auto-purchase, burn; at the end of the day rollover out, then expiry.
#}
with

customers_today as (

    select
        customer_id,
        {{ cycle_start(day, 'billing_anchor_day') }} as cycle_start,
        {{ next_cycle_start(cycle_start(day, 'billing_anchor_day')) }} as cycle_end
    from {{ ref('customers') }}

),

{# Of the plans of the day those that buy packs by themselves. #}
buying_plans as (

    select
        subscriptions.customer_id,
        subscriptions.subscription_id,
        subscriptions.auto_purchase_sku,
        subscriptions.max_auto_purchases_per_cycle,
        {{ to_micro('plans.hard_cap_depletion') }} as hard_cap_micro
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    inner join {{ ref('plans') }} as plans
        on
            subscriptions.sku = plans.sku
            and {{ holds_on('plans', day) }}
    where
        subscriptions.auto_purchase_sku is not null
        and {{ runs_on('subscriptions', day) }}

),

plans_tomorrow as (

    select distinct customer_id
    from {{ ref('stg_plan_subscriptions') }} as subscriptions
    where {{ runs_on('subscriptions', day ~ ' + 1') }}

),

usage_today as (

    select
        customer_id,
        credits_micro
    from {{ ref('int_posted_usage') }}
    where posting_date = {{ day }}

),

granted as (

    select
        grant_id,
        customer_id,
        source,
        sku,
        origin_id,
        cast(priority as int) as priority,
        granted_on,
        expires_on,
        credits_micro,
        value_micro,
        cast(0 as bigint) as packs,
        cast(null as {{ wide_type() }}) as price_atto,
        rollover_min_micro,
        rollover_rate_micro
    from {{ ref('int_grants_due') }}
    where granted_on = {{ day }}

    {% if is_incremental() %}
        union all

        {# What rolled out of the last cycle yesterday, with the value it carries; it lives for this cycle. #}
        select
            {{ grant_id('yesterday.customer_id', "'rollover'", day, 'yesterday.grant_id') }} as grant_id,
            yesterday.customer_id,
            'rollover' as source,
            yesterday.sku,
            yesterday.grant_id as origin_id,
            20 as priority,
            {{ day }} as granted_on,
            customers_today.cycle_end - 1 as expires_on,
            yesterday.rolled_micro as credits_micro,
            yesterday.rolled_value_micro as value_micro,
            cast(0 as bigint) as packs,
            cast(null as {{ wide_type() }}) as price_atto,
            cast(null as bigint) as rollover_min_micro,
            cast(null as bigint) as rollover_rate_micro
        from {{ this }} as yesterday
        inner join customers_today on yesterday.customer_id = customers_today.customer_id
        where yesterday.posting_date = {{ day }} - 1 and yesterday.rolled_micro > 0
    {% endif %}

),

opened as (

    select
        granted.*,
        {{ wide('0') }} as opening_micro,
        granted.credits_micro as granted_micro,
        {{ wide('0') }} as burned_before_micro,
        {{ wide('0') }} as given_before_micro
    from granted

    {% if is_incremental() %}
        union all

        {# A grant without credits stays to the end of its cycle: depletion and the bonus look back at it. #}
        select
            yesterday.grant_id,
            yesterday.customer_id,
            yesterday.source,
            yesterday.sku,
            yesterday.origin_id,
            yesterday.priority,
            yesterday.granted_on,
            yesterday.expires_on,
            yesterday.credits_micro,
            yesterday.value_micro,
            yesterday.packs,
            yesterday.price_atto,
            yesterday.rollover_min_micro,
            yesterday.rollover_rate_micro,
            yesterday.closing_micro as opening_micro,
            {{ wide('0') }} as granted_micro,
            case
                when yesterday.cycle_start = customers_today.cycle_start then yesterday.burned_in_cycle_micro
                else {{ wide('0') }}
            end as burned_before_micro,
            yesterday.given_micro as given_before_micro
        from {{ this }} as yesterday
        inner join customers_today on yesterday.customer_id = customers_today.customer_id
        where
            yesterday.posting_date = {{ day }} - 1
            and (yesterday.closing_micro > 0 or yesterday.cycle_start = customers_today.cycle_start)
    {% endif %}

),

{# A day's negative usage comes back as credits, at the unit price of the cycle's latest plan grant. #}
latest_plan_grants as (

    select
        opened.customer_id,
        opened.credits_micro,
        opened.value_micro
    from opened
    inner join customers_today on opened.customer_id = customers_today.customer_id
    inner join usage_today on opened.customer_id = usage_today.customer_id
    where
        opened.source = 'plan'
        and opened.granted_on >= customers_today.cycle_start
        and usage_today.credits_micro < 0
    qualify row_number() over (
        partition by opened.customer_id order by opened.granted_on desc, opened.grant_id desc
    ) = 1

),

refunds as (

    select
        {{ grant_id(
            'usage_today.customer_id', "'refund'", day, 'cast(customers_today.cycle_start as varchar(10))'
        ) }} as grant_id,
        usage_today.customer_id,
        'refund' as source,
        cast(null as varchar(10)) as sku,
        cast(customers_today.cycle_start as varchar(10)) as origin_id,
        30 as priority,
        {{ day }} as granted_on,
        customers_today.cycle_end - 1 as expires_on,
        -usage_today.credits_micro as credits_micro,
        coalesce({{ multiply_divide(
            'latest_plan_grants.value_micro', '-usage_today.credits_micro', 'latest_plan_grants.credits_micro'
        ) }}, 0) as value_micro,
        cast(0 as bigint) as packs,
        cast(null as {{ wide_type() }}) as price_atto,
        cast(null as bigint) as rollover_min_micro,
        cast(null as bigint) as rollover_rate_micro,
        {{ wide('0') }} as opening_micro,
        -usage_today.credits_micro as granted_micro,
        {{ wide('0') }} as burned_before_micro,
        {{ wide('0') }} as given_before_micro
    from usage_today
    inner join customers_today on usage_today.customer_id = customers_today.customer_id
    left join latest_plan_grants on usage_today.customer_id = latest_plan_grants.customer_id
    where usage_today.credits_micro < 0

),

before_purchase as (

    select * from opened
    union all
    select * from refunds

),

{# What the wallet of each plan holds and has burned; packs already bought in this cycle count against the cap. #}
plan_wallets as (

    select
        buying_plans.customer_id,
        buying_plans.subscription_id,
        sum({{ wide('before_purchase.opening_micro') }} + before_purchase.granted_micro) as balance_micro,
        sum({{ wide('before_purchase.burned_before_micro') }}) as burned_in_cycle_micro,
        sum(case
            when
                before_purchase.origin_id = buying_plans.subscription_id
                and before_purchase.granted_on >= customers_today.cycle_start
                then before_purchase.packs
        end) as packs_bought
    from buying_plans
    inner join customers_today on buying_plans.customer_id = customers_today.customer_id
    inner join before_purchase on buying_plans.customer_id = before_purchase.customer_id
    group by buying_plans.customer_id, buying_plans.subscription_id

),

{#
    The smallest number of packs that brings depletion below the cap, in closed form (2-rules 2.5):
    with x burned after today and b granted, h the cap: floor((x/h - b) / pack) + 1.
#}
purchase_sizes as (

    select
        buying_plans.customer_id,
        buying_plans.subscription_id,
        packs.sku,
        packs.validity_hours,
        {{ to_micro('packs.included_credits') }} as pack_credits_micro,
        buying_plans.max_auto_purchases_per_cycle - coalesce(wallets.packs_bought, 0) as packs_allowed,
        buying_plans.hard_cap_micro,
        coalesce(wallets.burned_in_cycle_micro, 0) + greatest(coalesce(usage_today.credits_micro, 0), 0) as burned_after,
        coalesce(wallets.burned_in_cycle_micro, 0) + coalesce(wallets.balance_micro, 0) as granted_before
    from buying_plans
    inner join {{ ref('packs') }} as packs
        on
            buying_plans.auto_purchase_sku = packs.sku
            and {{ holds_on('packs', day) }}
    left join plan_wallets as wallets
        on
            buying_plans.customer_id = wallets.customer_id
            and buying_plans.subscription_id = wallets.subscription_id
    left join usage_today on buying_plans.customer_id = usage_today.customer_id
    {# A seed that names a pack without credits is refused before the run; this only keeps the division safe. #}
    where packs.kind = 'top_up' and packs.included_credits > 0

),

purchased as (

    select
        *,
        cast(greatest(least(
            {{ int_div(
                'burned_after * 1000000 - hard_cap_micro * granted_before',
                wide('hard_cap_micro') ~ ' * pack_credits_micro'
            ) }} + 1,
            coalesce(packs_allowed, 1000000000)
        ), 0) as bigint) as packs
    from purchase_sizes
    where burned_after > 0 and burned_after * 1000000 >= hard_cap_micro * granted_before

),

{# A purchase is priced like one order of that many packs, by the tiers of the day. #}
priced as (

    select
        purchased.customer_id,
        purchased.subscription_id,
        purchased.sku,
        purchased.validity_hours,
        purchased.pack_credits_micro,
        purchased.packs,
        coalesce(sum({{ tier_price_atto(wide('purchased.packs') ~ ' * 1000000', 'tiers') }}), 0) as price_atto
    from purchased
    left join {{ ref('stg_price_tiers') }} as tiers
        on {{ tiers_on('purchased.sku', 'pack', day) }}
    where purchased.packs > 0
    group by
        purchased.customer_id,
        purchased.subscription_id,
        purchased.sku,
        purchased.validity_hours,
        purchased.pack_credits_micro,
        purchased.packs

),

available as (

    select * from before_purchase

    union all

    select
        {{ grant_id('priced.customer_id', "'auto_purchase'", day, id_part('priced.subscription_id')) }} as grant_id,
        priced.customer_id,
        'auto_purchase' as source,
        priced.sku,
        priced.subscription_id as origin_id,
        60 as priority,
        {{ day }} as granted_on,
        cast(cast({{ day }} as timestamp) + priced.validity_hours * interval 1 hour as date) as expires_on,
        {{ wide('priced.packs') }} * priced.pack_credits_micro as credits_micro,
        {{ divide_rounded(wide('priced.price_atto'), '1000000000000') }} as value_micro,
        priced.packs,
        {{ wide('priced.price_atto') }} as price_atto,
        cast(null as bigint) as rollover_min_micro,
        cast(null as bigint) as rollover_rate_micro,
        {{ wide('0') }} as opening_micro,
        {{ wide('priced.packs') }} * priced.pack_credits_micro as granted_micro,
        {{ wide('0') }} as burned_before_micro,
        {{ wide('0') }} as given_before_micro
    from priced

),

{# Burn order: priority, soonest expiry, earliest grant, id. Each grant gives what is left to burn. #}
burned as (

    select
        available.*,
        cast(least(
            available.opening_micro + available.granted_micro,
            greatest(
                coalesce(usage_today.credits_micro, 0) - coalesce(sum(available.opening_micro + available.granted_micro) over (
                    partition by available.customer_id
                    order by available.priority, available.expires_on nulls last, available.granted_on, available.grant_id
                    rows between unbounded preceding and 1 preceding
                ), 0),
                0
            )
        ) as {{ wide_type() }}) as burned_micro
    from available
    left join usage_today on available.customer_id = usage_today.customer_id

),

cycle_ends as (

    select
        burned.*,
        customers_today.cycle_start,
        burned.source = 'plan'
        and burned.granted_on >= customers_today.cycle_start
        and customers_today.cycle_end = {{ day }} + 1 as is_closing_plan_grant,
        plans_tomorrow.customer_id is not null as has_plan_tomorrow
    from burned
    inner join customers_today on burned.customer_id = customers_today.customer_id
    left join plans_tomorrow on burned.customer_id = plans_tomorrow.customer_id

),

utilized as (

    select
        *,
        sum(case when is_closing_plan_grant then {{ wide('burned_before_micro') }} + burned_micro else 0 end)
            over (partition by customer_id) as plan_burned_micro,
        sum(case when is_closing_plan_grant then {{ wide('credits_micro') }} else 0 end)
            over (partition by customer_id) as plan_granted_micro
    from cycle_ends

),

{# Efficiency bonus: strictly above the plan's utilization, and only into a cycle that has a plan. #}
rolled as (

    select
        *,
        cast(case
            when
                is_closing_plan_grant
                and has_plan_tomorrow
                and plan_burned_micro * 1000000 > plan_granted_micro * rollover_min_micro
                then {{ int_div(
                    wide('opening_micro + granted_micro - burned_micro') ~ ' * rollover_rate_micro', '1000000'
                ) }}
            else 0
        end as {{ wide_type() }}) as rolled_micro
    from utilized

),

expired as (

    select
        *,
        cast(case
            when expires_on <= {{ day }} then opening_micro + granted_micro - burned_micro - rolled_micro
            else 0
        end as {{ wide_type() }}) as expired_micro
    from rolled

)

{# Whatever leaves a grant carries the difference of its cumulative value: a used-up grant has given exactly it. #}
select
    {{ day }} as posting_date,
    customer_id,
    grant_id,
    cycle_start,
    source,
    sku,
    origin_id,
    priority,
    granted_on,
    expires_on,
    credits_micro,
    value_micro,
    packs,
    price_atto,
    rollover_min_micro,
    rollover_rate_micro,
    opening_micro,
    granted_micro,
    burned_micro,
    rolled_micro,
    expired_micro,
    cast(opening_micro + granted_micro - burned_micro - rolled_micro - expired_micro as {{ wide_type() }}) as closing_micro,
    cast(burned_before_micro + burned_micro as {{ wide_type() }}) as burned_in_cycle_micro,
    cast(given_before_micro + burned_micro + rolled_micro + expired_micro as {{ wide_type() }}) as given_micro,
    {{ value_between('given_before_micro', 'given_before_micro + burned_micro') }} as burned_value_micro,
    {{ value_between('given_before_micro + burned_micro', 'given_before_micro + burned_micro + rolled_micro') }}
        as rolled_value_micro,
    {{ value_between(
        'given_before_micro + burned_micro + rolled_micro',
        'given_before_micro + burned_micro + rolled_micro + expired_micro'
    ) }} as expired_value_micro,
    value_micro - {{ value_between('0', 'given_before_micro + burned_micro + rolled_micro + expired_micro') }}
        as closing_value_micro
from expired
