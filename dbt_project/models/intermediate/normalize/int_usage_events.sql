{#
    What became of every delivered event of the days this run rebuilds: billed, repeated, in
    conflict, or set aside for a reason that a seed edit can cure. Only these days are in the table;
    it is the working set of a run, not a history.
#}
with

events as (

    select * from {{ ref('stg_usage_events') }}

),

{# Ids that were landed under two usage days; landing lists them, so no other id is looked up. #}
collided_ids as (

    select distinct event_id from {{ landed('usage_collisions') }}

),

{# Most ids come once, and nobody else claims them: only the others are put in order. #}
contested_ids as (

    select
        usage_day,
        event_id
    from events
    group by usage_day, event_id
    having count(*) > 1

    union

    select
        usage_day,
        event_id
    from events
    where event_id in (select event_id from collided_ids)

),

{# The first delivery of an id claims it: by delivery day, then by line. #}
ranked as (

    select
        events.usage_day,
        events.event_id,
        events.delivery_day,
        events.line_number,
        events.payload_hash,
        row_number() over same_id as delivery_rank,
        first_value(events.payload_hash) over same_id as kept_payload_hash,
        first_value(events.delivery_day) over same_id as first_delivery_day,
        first_value(events.line_number) over same_id as first_line_number
    from events
    inner join contested_ids
        on events.usage_day = contested_ids.usage_day and events.event_id = contested_ids.event_id
    window same_id as (
        partition by events.usage_day, events.event_id order by events.delivery_day, events.line_number
    )

),

elsewhere as (

    select
        landed_rows.event_id,
        cast(landed_rows.usage_day as date) as usage_day,
        cast(landed_rows.delivery_day as date) as delivery_day,
        landed_rows.line_number
    from {{ landed('usage_events') }} as landed_rows
    where
        landed_rows.usage_day in ({{ touched_days('run_neighbour_days') }})
        and landed_rows.event_id in (select event_id from collided_ids)

),

claimed_elsewhere as (

    select
        ranked.usage_day,
        ranked.event_id,
        elsewhere.delivery_day,
        elsewhere.line_number
    from ranked
    cross join {{ ref('stg_run_settings') }} as settings
    inner join elsewhere
        on
            ranked.event_id = elsewhere.event_id
            and ranked.usage_day <> elsewhere.usage_day
            and abs({{ days_between('ranked.usage_day', 'elsewhere.usage_day') }}) <= settings.conflict_days
            and (
                elsewhere.delivery_day < ranked.delivery_day
                or (elsewhere.delivery_day = ranked.delivery_day and elsewhere.line_number < ranked.line_number)
            )
    where ranked.delivery_rank = 1
    qualify row_number() over (
        partition by ranked.usage_day, ranked.event_id
        order by elsewhere.delivery_day, elsewhere.line_number
    ) = 1

),

claims as (

    select
        ranked.usage_day,
        ranked.delivery_day,
        ranked.line_number,
        case
            when claimed_elsewhere.event_id is not null then 'conflict'
            when ranked.delivery_rank = 1 then 'kept'
            when ranked.payload_hash = ranked.kept_payload_hash then 'duplicate'
            else 'conflict'
        end as claim,
        coalesce(claimed_elsewhere.delivery_day, ranked.first_delivery_day) as kept_delivery_day,
        coalesce(claimed_elsewhere.line_number, ranked.first_line_number) as kept_line_number
    from ranked
    left join claimed_elsewhere
        on ranked.usage_day = claimed_elsewhere.usage_day and ranked.event_id = claimed_elsewhere.event_id

),

deduplicated as (

    select
        events.*,
        coalesce(claims.claim, 'kept') as claim,
        coalesce(claims.kept_delivery_day, events.delivery_day) as kept_delivery_day,
        coalesce(claims.kept_line_number, events.line_number) as kept_line_number
    from events
    left join claims
        on
            events.usage_day = claims.usage_day
            and events.delivery_day = claims.delivery_day
            and events.line_number = claims.line_number

),

{# The catalog is looked up once per kind of use, not once per event. #}
kinds_of_use as (

    select distinct
        customer_id,
        usage_day,
        delivery_day,
        cluster,
        coalesce(gpu_type, '') as gpu_type,
        model_family
    from events

),

mapped as (

    select
        kinds_of_use.*,
        customers.customer_id is not null as has_customer,
        customers.billing_anchor_day,
        clusters.cluster is not null as has_cluster,
        accelerators.accelerator,
        plans.subscription_id is not null as has_plan,
        coalesce(dedicated.subscription_id is not null, false) as is_dedicated
    from kinds_of_use
    left join {{ ref('customers') }} as customers on kinds_of_use.customer_id = customers.customer_id
    left join {{ ref('clusters') }} as clusters on kinds_of_use.cluster = clusters.cluster
    left join {{ ref('accelerator_aliases') }} as aliases on kinds_of_use.gpu_type = aliases.alias
    left join {{ ref('accelerators') }} as named on kinds_of_use.gpu_type = named.accelerator
    left join {{ ref('accelerators') }} as accelerators
        on
            case
                when kinds_of_use.gpu_type = '' then clusters.default_accelerator
                else coalesce(named.accelerator, aliases.accelerator)
            end = accelerators.accelerator
    left join {{ ref('stg_plan_subscriptions') }} as plans
        on
            kinds_of_use.customer_id = plans.customer_id
            and kinds_of_use.usage_day >= plans.starts_on
            and (plans.ends_on is null or kinds_of_use.usage_day < plans.ends_on)
    left join {{ ref('stg_dedicated_subscriptions') }} as dedicated
        on
            kinds_of_use.customer_id = dedicated.customer_id
            and kinds_of_use.cluster = dedicated.cluster
            and kinds_of_use.usage_day >= dedicated.starts_on
            and (dedicated.ends_on is null or kinds_of_use.usage_day < dedicated.ends_on)

),

{# An exact model family beats '*'. #}
rated as (

    select
        mapped.*,
        {{ to_micro('coalesce(family_rates.credits_per_gpu_minute, any_rates.credits_per_gpu_minute)') }}
            as credit_rate_micro,
        {{ cycle_start('mapped.usage_day', 'mapped.billing_anchor_day') }} as usage_cycle_start
    from mapped
    left join {{ ref('credit_rates') }} as family_rates
        on
            mapped.accelerator = family_rates.accelerator
            and mapped.model_family = family_rates.model_family
            and family_rates.model_family <> '*'
            and mapped.usage_day >= family_rates.valid_from
            and (family_rates.valid_to is null or mapped.usage_day < family_rates.valid_to)
    left join {{ ref('credit_rates') }} as any_rates
        on
            mapped.accelerator = any_rates.accelerator
            and any_rates.model_family = '*'
            and mapped.usage_day >= any_rates.valid_from
            and (any_rates.valid_to is null or mapped.usage_day < any_rates.valid_to)

),

{#
    The posting date: a row that was delivered before its cycle closed restates its usage day; a
    later one is an adjustment, booked on the day it was delivered. Cycles before the books opened
    count as closed.
#}
posted as (

    select
        rated.*,
        case
            when not has_customer then 'unknown_customer'
            when not has_cluster then 'unknown_cluster'
            when accelerator is null then 'unmapped_accelerator'
            when not is_dedicated and not has_plan then 'no_active_plan'
            when not is_dedicated and credit_rate_micro is null then 'no_credit_rate'
        end as reason,
        case
            when
                usage_cycle_start >= {{ cycle_start('settings.books_open_on', 'billing_anchor_day') }}
                and delivery_day
                <= {{ next_cycle_start('usage_cycle_start') }} + settings.days_until_close
                then usage_day
            else greatest(delivery_day, settings.books_open_on)
        end as posting_date
    from rated
    cross join {{ ref('stg_run_settings') }} as settings

)

select
    ---------- ids
    events.event_id,
    events.delivery_day,
    events.line_number,
    events.kept_delivery_day,
    events.kept_line_number,
    case
        when events.claim <> 'kept' then events.claim
        when posted.reason is not null then 'rejected'
        else 'accepted'
    end as status,
    posted.reason,

    ---------- what was used, when
    events.customer_id,
    events.usage_day,
    posted.posting_date,
    {{ cycle_start('posted.posting_date', 'posted.billing_anchor_day') }} as cycle_start,
    posted.posting_date <> events.usage_day as is_adjustment,
    events.cluster,
    events.gpu_type,
    posted.accelerator,
    events.model_family,
    posted.is_dedicated,
    posted.credit_rate_micro,

    ---------- how much
    events.start_us,
    events.duration_us,
    events.gpu_minutes_micro,
    events.metered_energy_cost_micro
from deduplicated as events
left join posted
    on
        events.claim = 'kept'
        and events.customer_id = posted.customer_id
        and events.usage_day = posted.usage_day
        and events.delivery_day = posted.delivery_day
        and events.cluster = posted.cluster
        and coalesce(events.gpu_type, '') = posted.gpu_type
        and events.model_family = posted.model_family
