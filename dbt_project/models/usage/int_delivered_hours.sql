{#
    The one pass over events that everything downstream needs: what was delivered for the days this run
    rebuilds, less what was repeated, by kind of use and clock hour. The working set of a run, not a
    history.

    A slice is spread evenly over its seconds: at the end of an hour, what is left of it, rounded once to a
    thousandth of what a slice is counted in, moves on to the next one. So the hours of a slice always sum
    to the slice; and because moving is
    adding and taking away, slices are summed first and moved as sums.
#}
{%- set first_hour = int_div('events.start_us', '3600000000') -%}
{%- set last_hour = int_div('events.start_us + greatest(events.duration_us - 1, 0)', '3600000000') -%}
{%- set kind_of_use -%}
    customer_id, usage_date, delivery_day, cluster, gpu_type, model_family
{%- endset %}
with

events as (

    select
        events.customer_id,
        events.usage_date,
        events.delivery_day,
        events.cluster,
        {# None delivered is the default accelerator of the cluster. #}
        coalesce(events.gpu_type, '') as gpu_type,
        events.model_family,
        events.start_us,
        events.duration_us,
        cast({{ first_hour }} as int) as first_hour,
        cast({{ last_hour }} as int) as last_hour,
        events.gpu_minutes_micro,
        events.metered_energy_cost_micro,
        case when {{ first_hour }} < {{ last_hour }} then events.gpu_minutes_micro * 1000 - {{ divide_rounded(
            wide('events.gpu_minutes_micro') ~ ' * 1000 * ((' ~ first_hour ~ ' + 1) * 3600000000 - events.start_us)',
            'events.duration_us', 'bigint'
        ) }} end as left_nano
    from {{ ref('stg_usage_events') }} as events
    left join {{ ref('int_repeated_events') }} as repeated
        on
            events.usage_date = repeated.usage_date
            and events.delivery_day = repeated.delivery_day
            and events.line_number = repeated.line_number
    where repeated.line_number is null

),

started as (

    select
        {{ kind_of_use }},
        first_hour as hour_of_day,
        count(*) as event_count,
        sum({{ wide('gpu_minutes_micro') }}) as minutes_micro,
        {# Minutes whose energy is modelled; a metered cost replaces the model for its slice. #}
        sum(case when metered_energy_cost_micro is null then {{ wide('gpu_minutes_micro') }} else 0 end) as modelled_micro,
        sum({{ wide('metered_energy_cost_micro') }}) as metered_energy_cost_micro,
        {# Rows that last beyond the hour: they have a part in the next one, too. #}
        count(left_nano) as lasting_count,
        {# Of the minutes, those left at the end of the hour; NULL if no slice lasts beyond it. #}
        sum({{ wide('left_nano') }}) as left_nano,
        sum(case when metered_energy_cost_micro is null then {{ wide('left_nano') }} end) as left_modelled_nano
    from events
    group by {{ kind_of_use }}, first_hour

),

{# Few slices last into a third hour. #}
into_later_hours as (

    select
        {{ kind_of_use }},
        hours.n as into_hour,
        metered_energy_cost_micro,
        gpu_minutes_micro * 1000 - {{ divide_rounded(
            wide('gpu_minutes_micro') ~ ' * 1000 * (hours.n * 3600000000 - start_us)', 'duration_us', 'bigint'
        ) }} as left_nano
    from events
    inner join {{ numbers(23) }} as hours on hours.n > events.first_hour + 1 and hours.n <= events.last_hour
    where events.first_hour + 1 < events.last_hour

),

later_hours as (

    select
        {{ kind_of_use }},
        into_hour,
        count(*) as lasting_count,
        sum({{ wide('left_nano') }}) as minutes_nano,
        sum(case when metered_energy_cost_micro is null then {{ wide('left_nano') }} else 0 end) as modelled_nano
    from into_later_hours
    group by {{ kind_of_use }}, into_hour

),

hours as (

    select
        {{ kind_of_use }},
        hour_of_day,
        event_count,
        event_count as part_count,
        minutes_micro as event_minutes_micro,
        minutes_micro * 1000 - coalesce(left_nano, 0) as minutes_nano,
        modelled_micro * 1000 - coalesce(left_modelled_nano, 0) as modelled_nano,
        metered_energy_cost_micro
    from started

    union all

    select
        {{ kind_of_use }},
        hour_of_day + 1 as hour_of_day,
        0 as event_count,
        lasting_count as part_count,
        0 as event_minutes_micro,
        left_nano as minutes_nano,
        coalesce(left_modelled_nano, 0) as modelled_nano,
        null as metered_energy_cost_micro
    from started
    where left_nano is not null

    union all

    select
        {{ kind_of_use }},
        into_hour - 1 as hour_of_day,
        0 as event_count,
        0 as part_count,
        0 as event_minutes_micro,
        -minutes_nano as minutes_nano,
        -modelled_nano as modelled_nano,
        null as metered_energy_cost_micro
    from later_hours

    union all

    select
        {{ kind_of_use }},
        into_hour as hour_of_day,
        0 as event_count,
        lasting_count as part_count,
        0 as event_minutes_micro,
        minutes_nano,
        modelled_nano,
        null as metered_energy_cost_micro
    from later_hours

)

select
    {{ kind_of_use }},
    cast(hour_of_day as int) as hour_of_day,
    cast(sum(event_count) as bigint) as event_count,
    {# Rows that have a part in the hour. #}
    cast(sum(part_count) as bigint) as part_count,
    cast(sum(event_minutes_micro) as {{ wide_type() }}) as event_minutes_micro,
    cast(sum(minutes_nano) as {{ wide_type() }}) as gpu_minutes_nano,
    cast(sum(modelled_nano) as {{ wide_type() }}) as modelled_minutes_nano,
    cast(sum(metered_energy_cost_micro) as {{ wide_type() }}) as metered_energy_cost_micro
from hours
group by {{ kind_of_use }}, hour_of_day
