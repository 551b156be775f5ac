{#
    The delivered rows of the days this run rebuilds whose event id another row had claimed before: the
    same once more (a duplicate), or something else under the same id (a conflict). Neither is billed.
    All other rows are the first of their id. Only these days are in the table; it is the working set
    of a run, not a history.
#}
{# Two deliveries of an id are the same if all of this is. #}
{%- set payload = [
    'kind', 'corrects_event_id', 'customer_id', 'meter', 'quantity_micro', 'used_at', 'cluster', 'gpu_type',
    'delivered_model_family', 'metered_energy_cost_micro', 'payload_rest'
] %}
with

{# Ids that were landed under two usage days; landing lists them, so no other id is looked up. #}
collided_ids as (

    select distinct event_id from {{ landed('usage_collisions') }}

),

{# Most ids come once, and nobody else claims them: only the others are put in order. #}
contested_ids as (

    select
        usage_date,
        event_id
    from {{ ref('stg_usage_events') }}
    group by usage_date, event_id
    having count(*) > 1

    union

    select
        usage_date,
        event_id
    from {{ ref('stg_usage_events') }}
    where event_id in (select event_id from collided_ids)

),

{# The first delivery of an id claims it: by delivery day, then by line. #}
ranked as (

    select
        events.usage_date,
        events.event_id,
        events.delivery_day,
        events.line_number,
        {%- for column in payload %}
            events.{{ column }},
        {%- endfor %}
        row_number() over (
            partition by events.usage_date, events.event_id order by events.delivery_day, events.line_number
        ) as delivery_rank
    from {{ ref('stg_usage_events') }} as events
    inner join contested_ids
        on events.usage_date = contested_ids.usage_date and events.event_id = contested_ids.event_id

),

{# Of each usage day the first delivery of the id, which claims it there: the others claim nothing. #}
elsewhere as (

    select
        landed_rows.event_id,
        cast(landed_rows.usage_day as date) as usage_date,
        cast(landed_rows.delivery_day as date) as delivery_day,
        landed_rows.line_number
    from {{ landed_usage('run_neighbour_days') }} as landed_rows
    where landed_rows.event_id in (select event_id from collided_ids)
    qualify row_number() over (
        partition by landed_rows.event_id, landed_rows.usage_day
        order by landed_rows.delivery_day, landed_rows.line_number
    ) = 1

),

claimed_elsewhere as (

    select
        ranked.usage_date,
        ranked.event_id,
        elsewhere.usage_date as kept_usage_date,
        elsewhere.delivery_day,
        elsewhere.line_number
    from ranked
    cross join {{ ref('stg_run_settings') }} as settings
    inner join elsewhere
        on
            ranked.event_id = elsewhere.event_id
            and ranked.usage_date <> elsewhere.usage_date
            and abs({{ days_between('ranked.usage_date', 'elsewhere.usage_date') }}) <= settings.conflict_days
            and (
                elsewhere.delivery_day < ranked.delivery_day
                or (elsewhere.delivery_day = ranked.delivery_day and elsewhere.line_number < ranked.line_number)
            )
    where ranked.delivery_rank = 1
    qualify row_number() over (
        partition by ranked.usage_date, ranked.event_id
        order by elsewhere.delivery_day, elsewhere.line_number
    ) = 1

)

select
    ranked.event_id,
    ranked.usage_date,
    ranked.delivery_day,
    ranked.line_number,
    {{ gpu_minutes('ranked.meter', 'ranked.quantity_micro') }} as gpu_minutes_micro,
    case
        when
            claimed_elsewhere.event_id is null
            {%- for column in payload %}
                and (
                    ranked.{{ column }} = firsts.{{ column }}
                    or (ranked.{{ column }} is null and firsts.{{ column }} is null)
                )
            {%- endfor %}
            then 'duplicate'
        else 'conflict'
    end as status,
    coalesce(claimed_elsewhere.kept_usage_date, firsts.usage_date) as kept_usage_date,
    coalesce(claimed_elsewhere.delivery_day, firsts.delivery_day) as kept_delivery_day,
    coalesce(claimed_elsewhere.line_number, firsts.line_number) as kept_line_number
from ranked
inner join ranked as firsts
    on ranked.usage_date = firsts.usage_date and ranked.event_id = firsts.event_id and firsts.delivery_rank = 1
left join claimed_elsewhere
    on ranked.usage_date = claimed_elsewhere.usage_date and ranked.event_id = claimed_elsewhere.event_id
where ranked.delivery_rank > 1 or claimed_elsewhere.event_id is not null
