{#
    What an accelerator's credits per GPU minute would have to be: to break even, and to reach the
    plans' target margin, at what a credit earned in the last 30 days. Dedicated use is left out.
#}
with

earned as (

    select
        earned.accelerator,
        sum(earned.gpu_minutes_micro) as minutes_micro,
        sum(earned.credits_micro) as credits_micro,
        sum(earned.burn_revenue_micro + earned.overage_revenue_micro) as revenue_micro,
        sum(earned.amortized_cost_micro) as cost_micro,
        sum({{ wide('earned.gpu_minutes_micro') }} * {{ to_micro('plans.target_gross_margin') }}) as target_minutes,
        sum(case when plans.sku is not null then {{ wide('earned.gpu_minutes_micro') }} end) as minutes_with_target
    from {{ ref('int_usage_earned') }} as earned
    cross join {{ ref('stg_run_settings') }} as settings
    left join {{ ref('plans') }} as plans
        on
            earned.plan_sku = plans.sku
            and {{ holds_on('plans', 'earned.posting_date') }}
    where
        not earned.is_dedicated
        and earned.event_count > 0
        and earned.posting_date > settings.last_day - 30
    group by earned.accelerator

),

rates as (

    select
        credit_rates.accelerator,
        {{ to_micro('credit_rates.credits_per_gpu_minute') }} as rate_micro
    from {{ ref('credit_rates') }} as credit_rates
    cross join {{ ref('stg_run_settings') }} as settings
    where
        credit_rates.model_family = '*'
        and {{ holds_on('credit_rates', 'settings.last_day') }}

),

{# Ratios of sums, to 1e-12, so that rounding them again at the end moves nothing. #}
ratios as (

    select
        earned.accelerator,
        rates.rate_micro,
        earned.revenue_micro,
        earned.cost_micro,
        {{ divide_rounded(wide('earned.revenue_micro') ~ ' * 1000000000000', 'nullif(earned.credits_micro, 0)') }}
            as revenue_per_credit_pico,
        {{ divide_rounded(wide('earned.cost_micro') ~ ' * 1000000000000', 'nullif(earned.minutes_micro, 0)') }}
            as cost_per_minute_pico,
        {{ divide_rounded('earned.target_minutes * 1000000', 'nullif(earned.minutes_with_target, 0)') }}
            as target_margin_pico
    from earned
    left join rates on earned.accelerator = rates.accelerator

),

multipliers as (

    select
        *,
        {{ divide_rounded(wide('cost_per_minute_pico') ~ ' * 1000000000000', 'nullif(revenue_per_credit_pico, 0)') }}
            as break_even_pico
    from ratios

),

recommended as (

    select
        accelerator,
        rate_micro,
        {{ divide_rounded('revenue_per_credit_pico', '1000000') }} as revenue_per_credit_micro,
        {{ divide_rounded('cost_per_minute_pico', '1000000') }} as cost_per_minute_micro,
        {{ divide_rounded(
            '(revenue_micro - cost_micro) * ' ~ wide('1000000'), 'nullif(revenue_micro, 0)'
        ) }} as margin_rate_micro,
        {{ divide_rounded('break_even_pico', '1000000') }} as break_even_micro,
        {{ divide_rounded(
            wide('break_even_pico') ~ ' * 1000000', 'nullif(1000000000000 - target_margin_pico, 0)'
        ) }} as recommended_micro
    from multipliers

)

select
    accelerator,
    {{ rate_from_micro('rate_micro') }} as credits_per_gpu_minute,
    {{ rate_from_micro('revenue_per_credit_micro') }} as revenue_per_credit,
    {{ rate_from_micro('cost_per_minute_micro') }} as amortized_cost_per_gpu_minute,
    {{ rate_from_micro('margin_rate_micro') }} as gross_margin_rate,
    {{ rate_from_micro('break_even_micro') }} as break_even_multiplier,
    {{ rate_from_micro('recommended_micro') }} as recommended_multiplier,
    case
        when recommended_micro * 100 > rate_micro * 105 then 'raise'
        when recommended_micro * 100 < rate_micro * 95 then 'lower'
        else 'keep'
    end as action
from recommended
