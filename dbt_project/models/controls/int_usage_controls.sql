{{ config(materialized = 'ephemeral') }}
{# That every delivered row is accounted for, and every accepted minute billed. #}
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
        hours.usage_date,
        hours.delivery_day,
        hours.event_count,
        hours.event_minutes_micro,
        kinds.reason
    from {{ ref('int_delivered_hours') }} as hours
    inner join {{ ref('int_kinds_of_use') }} as kinds
        on
            hours.customer_id = kinds.customer_id
            and hours.usage_date = kinds.usage_date
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
        usage_date,
        gpu_minutes_micro as minutes_micro
    from {{ ref('stg_usage_events') }}

    union all

    select
        usage_date,
        -gpu_minutes_micro as minutes_micro
    from {{ ref('int_repeated_events') }}

    union all

    select
        usage_date,
        -event_minutes_micro as minutes_micro
    from delivered_kinds
    where reason is not null

),

accepted_minutes as (

    select
        usage_date,
        sum(minutes_micro) as minutes_micro
    from event_minutes
    where
        usage_date in (
            select usage_date from delivered_kinds
            where reason is null
        )
    group by usage_date

),

rated_usage as (

    select
        usage_date,
        sum(gpu_minutes_micro) as minutes_micro,
        sum(amortized_cost_micro) as amortized_cost_micro
    from {{ ref('int_usage_costed') }}
    where usage_date in ({{ touched_days() }})
    group by usage_date

),

rated_minutes as (

    select
        cast(rated_usage.usage_date as varchar(10)) as scope,
        {{ from_micro('coalesce(accepted_minutes.minutes_micro, 0)') }} as expected,
        {{ from_micro('rated_usage.minutes_micro') }} as actual
    from rated_usage
    left join accepted_minutes on rated_usage.usage_date = accepted_minutes.usage_date
    union all
    select
        cast(accepted_minutes.usage_date as varchar(10)) as scope,
        {{ from_micro('accepted_minutes.minutes_micro') }} as expected,
        cast(null as decimal(38, 6)) as actual
    from accepted_minutes
    where accepted_minutes.usage_date not in (select usage_date from rated_usage)

),

hours_cover_minutes as (

    select
        cast(hours.usage_date as varchar(10)) as scope,
        {{ from_micro('max(accepted_minutes.minutes_micro)') }} as expected,
        {{ from_micro(divide_rounded('sum(hours.gpu_minutes_nano)', '1000')) }} as actual
    from {{ ref('int_usage_hours') }} as hours
    left join accepted_minutes on hours.usage_date = accepted_minutes.usage_date
    where hours.usage_date in ({{ touched_days() }})
    group by hours.usage_date

)

{{ controls(
    errors=['delivered_rows', 'incurable_share', 'rated_minutes', 'hours_cover_minutes'],
    warnings=['curable_share'],
    at_most=['incurable_share', 'curable_share']
) }}
