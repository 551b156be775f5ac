{#
    What the seeds say about each kind of use that was delivered for the days this run rebuilds: what
    it is billed as, at which rate and on which day, or which entry the seeds lack. The catalog is
    looked up once per kind, not once per event.
#}
with

kinds_of_use as (

    select distinct
        customer_id,
        usage_date,
        delivery_day,
        cluster,
        gpu_type,
        model_family
    from {{ ref('int_delivered_hours') }}

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
            and {{ runs_on('plans', 'kinds_of_use.usage_date') }}
    left join {{ ref('stg_dedicated_subscriptions') }} as dedicated
        on
            kinds_of_use.customer_id = dedicated.customer_id
            and kinds_of_use.cluster = dedicated.cluster
            and {{ runs_on('dedicated', 'kinds_of_use.usage_date') }}

),

{# An exact model family beats '*'. #}
rated as (

    select
        mapped.*,
        {{ to_micro('coalesce(family_rates.credits_per_gpu_minute, any_rates.credits_per_gpu_minute)') }}
            as credit_rate_micro,
        {{ cycle_start('mapped.usage_date', 'mapped.billing_anchor_day') }} as usage_cycle_start
    from mapped
    left join {{ ref('credit_rates') }} as family_rates
        on
            mapped.accelerator = family_rates.accelerator
            and mapped.model_family = family_rates.model_family
            and family_rates.model_family <> '*'
            and {{ holds_on('family_rates', 'mapped.usage_date') }}
    left join {{ ref('credit_rates') }} as any_rates
        on
            mapped.accelerator = any_rates.accelerator
            and any_rates.model_family = '*'
            and {{ holds_on('any_rates', 'mapped.usage_date') }}

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
                then usage_date
            else greatest(delivery_day, settings.books_open_on)
        end as posting_date
    from rated
    cross join {{ ref('stg_run_settings') }} as settings

)

select
    customer_id,
    usage_date,
    delivery_day,
    cluster,
    gpu_type,
    model_family,
    reason,
    posting_date,
    {{ cycle_start('posting_date', 'billing_anchor_day') }} as cycle_start,
    posting_date <> usage_date as is_adjustment,
    accelerator,
    is_dedicated,
    credit_rate_micro
from posted
