{{
    config(
        materialized = 'incremental',
        incremental_strategy = partition_strategy(),
        partition_by = partitioned_by('usage_day'),
        on_schema_change = 'fail',
        pre_hook = "{{ clear_partitions('usage_day in (' ~ touched_days() ~ ')') }}"
    )
}}
{#
    The one pass over events that everything downstream needs: minutes by clock hour. A slice is
    spread evenly over its seconds; an hour's share is the difference of two rounded cumulative
    shares, so the hours of a slice always sum to the slice.
#}
{%- set first_hour = int_div('start_us', '3600000000') -%}
{%- set last_hour = int_div('start_us + greatest(duration_us - 1, 0)', '3600000000') -%}
{%- set accepted_columns -%}
    customer_id, usage_day, posting_date, cycle_start, cluster, accelerator, model_family, is_adjustment,
        is_dedicated, credit_rate_micro, metered_energy_cost_micro
{%- endset %}
with

within_an_hour as (

    select
        {{ accepted_columns }},
        {{ first_hour }} as first_hour,
        {{ first_hour }} as hour_of_day,
        gpu_minutes_micro as hour_minutes_micro
    from {{ ref('int_usage_events') }}
    where status = 'accepted' and {{ first_hour }} = {{ last_hour }}

),

several_hours as (

    select
        {{ accepted_columns }},
        start_us,
        duration_us,
        gpu_minutes_micro,
        {{ first_hour }} as first_hour,
        {{ last_hour }} as last_hour
    from {{ ref('int_usage_events') }}
    where status = 'accepted' and {{ first_hour }} < {{ last_hour }}

),

over_hours as (

    select
        {{ accepted_columns }},
        first_hour,
        hours.n as hour_of_day,
        {{ divide_rounded(
            wide('gpu_minutes_micro') ~ ' * (least(start_us + duration_us, (hours.n + 1) * 3600000000) - start_us)',
            'duration_us'
        ) }} - {{ divide_rounded(
            wide('gpu_minutes_micro') ~ ' * (greatest(start_us, hours.n * 3600000000) - start_us)', 'duration_us'
        ) }} as hour_minutes_micro
    from several_hours
    inner join {{ numbers(23) }} as hours on hours.n between several_hours.first_hour and several_hours.last_hour

),

slices as (

    select * from within_an_hour
    union all
    select * from over_hours

)

select
    customer_id,
    usage_day,
    posting_date,
    cycle_start,
    cluster,
    accelerator,
    model_family,
    is_adjustment,
    is_dedicated,
    cast(hour_of_day as int) as hour_of_day,
    credit_rate_micro,
    cast(count(case when hour_of_day = first_hour then 1 end) as bigint) as event_count,
    cast(sum(hour_minutes_micro) as bigint) as gpu_minutes_micro,
    {# Minutes whose energy is modelled; a metered cost replaces the model for its slice. #}
    cast(sum(case when metered_energy_cost_micro is null then hour_minutes_micro else 0 end) as bigint)
        as modelled_minutes_micro,
    cast(sum(case when hour_of_day = first_hour then metered_energy_cost_micro end) as bigint)
        as metered_energy_cost_micro
from slices
group by
    customer_id, usage_day, posting_date, cycle_start, cluster, accelerator, model_family, is_adjustment,
    is_dedicated, hour_of_day, credit_rate_micro
