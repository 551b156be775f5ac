{#
    Every line of the invoices of the touched cycles, as the books stand at the end of the last
    delivery day. Amounts in whole cents, rounded once, from the unrounded price.
#}
with

cycles as (

    select cycle_start from {{ ref('int_touched_cycles') }}

),

plan_charges as (

    select * from {{ ref('int_plan_charges') }}
    where cycle_start in (select cycle_start from cycles)

),

order_charges as (

    select * from {{ ref('int_order_charges') }}
    where cycle_start in (select cycle_start from cycles)

),

grant_days as (

    select * from {{ ref('int_grant_days') }}
    where cycle_start in (select cycle_start from cycles)

),

earned as (

    select * from {{ ref('int_usage_earned') }}
    where cycle_start in (select cycle_start from cycles)

),

{# A cluster may move in the middle of a cycle: every site where its fee was earned. #}
dedicated_sites as (

    select
        customer_id,
        cycle_start,
        cluster,
        {{ sorted_list('facility_id') }} as facility_ids
    from earned
    where is_dedicated
    group by customer_id, cycle_start, cluster

),

dedicated_lines as (

    select
        charges.customer_id,
        charges.cycle_start,
        charges.subscription_id,
        charges.sku,
        charges.gpu_count,
        charges.unit_price_pico,
        charges.amount_cents,
        charges.cluster,
        coalesce(sites.facility_ids, charges.facility_id) as facility_ids,
        {# Days on which the customer did not use a pool of its cluster: that cost stands here. #}
        coalesce(sum(earned.amortized_cost_micro), 0) as amortized_cost_micro
    from {{ ref('int_dedicated_charges') }} as charges
    left join earned
        on
            charges.customer_id = earned.customer_id
            and charges.cluster = earned.cluster
            and charges.cycle_start = earned.cycle_start
            and earned.event_count = 0
            and earned.posting_date >= charges.granted_on
            and earned.posting_date < charges.active_until
    left join dedicated_sites as sites
        on
            charges.customer_id = sites.customer_id
            and charges.cluster = sites.cluster
            and charges.cycle_start = sites.cycle_start
    where charges.cycle_start in (select cycle_start from cycles)
    group by
        charges.customer_id, charges.cycle_start, charges.subscription_id, charges.sku, charges.gpu_count,
        charges.unit_price_pico, charges.amount_cents, charges.cluster, sites.facility_ids, charges.facility_id

),

usage_lines as (

    select
        customer_id,
        cycle_start,
        cluster,
        accelerator,
        model_family,
        is_adjustment,
        sum(burned_micro) as quantity_micro,
        sum(gpu_minutes_micro) as gpu_minutes_micro,
        sum(amortized_cost_micro) as amortized_cost_micro,
        {{ sorted_list('facility_id') }} as facility_ids,
        sum(carbon_kg_micro) as carbon_kg_micro,
        sum(mix_kwh_pico) as mix_kwh_pico,
        sum(renewable_kwh_pico) as renewable_kwh_pico
    from earned
    where event_count > 0
    group by customer_id, cycle_start, cluster, accelerator, model_family, is_adjustment

),

{# A cycle's overage at the price of its tiers; the part that adjustments add stands on a line of its own. #}
overage_cycles as (

    select
        overage_days.customer_id,
        overage_days.cycle_start,
        overage_days.sku,
        overage_days.priced_on,
        overage_days.is_waived,
        sum(overage_days.overage_micro) as overage_micro
    from {{ ref('int_overage_days') }} as overage_days
    where overage_days.cycle_start in (select cycle_start from cycles)
    group by
        overage_days.customer_id, overage_days.cycle_start, overage_days.sku, overage_days.priced_on,
        overage_days.is_waived

),

regular_overage as (

    select
        customer_id,
        cycle_start,
        plan_sku as sku,
        sum(case when is_adjustment then 0 else overage_micro end) as regular_micro
    from earned
    group by customer_id, cycle_start, plan_sku

),

overage_priced as (

    select
        overage_cycles.customer_id,
        overage_cycles.cycle_start,
        overage_cycles.sku,
        overage_cycles.is_waived,
        overage_cycles.overage_micro,
        coalesce(regular_overage.regular_micro, 0) as regular_micro,
        coalesce(sum({{ tier_price_atto('overage_cycles.overage_micro', 'tiers') }}), 0) as price_atto,
        coalesce(sum({{ tier_price_atto('coalesce(regular_overage.regular_micro, 0)', 'tiers') }}), 0)
            as regular_price_atto
    from overage_cycles
    left join regular_overage
        on
            overage_cycles.customer_id = regular_overage.customer_id
            and overage_cycles.cycle_start = regular_overage.cycle_start
            and overage_cycles.sku = regular_overage.sku
    left join {{ ref('stg_price_tiers') }} as tiers
        on not overage_cycles.is_waived and {{ tiers_on('overage_cycles.sku', 'overage', 'overage_cycles.priced_on') }}
    group by
        overage_cycles.customer_id, overage_cycles.cycle_start, overage_cycles.sku, overage_cycles.is_waived,
        overage_cycles.overage_micro, regular_overage.regular_micro

),

overage_parts as (

    select
        customer_id,
        cycle_start,
        sku,
        false as is_adjustment,
        regular_micro as quantity_micro,
        regular_price_atto as price_atto
    from overage_priced
    where regular_micro > 0

    union all

    select
        customer_id,
        cycle_start,
        sku,
        true as is_adjustment,
        overage_micro - regular_micro as quantity_micro,
        price_atto - regular_price_atto as price_atto
    from overage_priced
    {# Late usage may also take overage back: then the line is negative. #}
    where overage_micro <> regular_micro

),

burst_lines as (

    select
        customer_id,
        cycle_start,
        is_adjustment,
        pack_sku,
        surcharge_unit_price_pico,
        sum(burst_credits_micro) as quantity_micro
    from (
        select
            customer_id,
            cycle_start,
            posting_date,
            is_adjustment,
            pack_sku,
            surcharge_unit_price_pico,
            {{ divide_rounded('sum(burst_credits_femto)', '1000000000') }} as burst_credits_micro
        from {{ ref('int_burst_hours') }}
        where burst_nano > 0 and cycle_start in (select cycle_start from cycles)
        group by customer_id, cycle_start, posting_date, is_adjustment, pack_sku, surcharge_unit_price_pico
    ) as burst_days
    group by customer_id, cycle_start, is_adjustment, pack_sku, surcharge_unit_price_pico

),

energy_parts as (

    select
        customer_id,
        cycle_start,
        sku,
        false as is_adjustment,
        regular_kwh_micro as quantity_micro,
        {{ energy_description('regular_kwh_micro', 'regular_energy_cost_micro', 'regular_baseline_micro') }} as description,
        regular_surcharge_micro as amount_micro,
        regular_surcharge_cents as amount_cents
    from {{ ref('int_energy_surcharges') }}

    union all

    select
        customer_id,
        cycle_start,
        sku,
        true as is_adjustment,
        kwh_micro - regular_kwh_micro as quantity_micro,
        {{ energy_description(
            'kwh_micro - regular_kwh_micro', 'energy_cost_micro - regular_energy_cost_micro',
            'baseline_micro - regular_baseline_micro'
        ) }} as description,
        adjustment_surcharge_micro as amount_micro,
        adjustment_surcharge_cents as amount_cents
    from {{ ref('int_energy_surcharges') }}

),

moved_lines as (

    select
        customer_id,
        cycle_start,
        'rollover' as line_type,
        sku,
        source,
        sum(rolled_micro) as quantity_micro
    from grant_days
    where rolled_micro > 0
    group by customer_id, cycle_start, sku, source

    union all

    select
        customer_id,
        cycle_start,
        'expiry' as line_type,
        sku,
        case when sku is null then source end as source,
        sum(expired_micro) as quantity_micro
    from grant_days
    where expired_micro > 0
    group by customer_id, cycle_start, sku, case when sku is null then source end

),

lines as (

    select {{ invoice_line(
        line_type="'base_credits'", origin_id='subscription_id', sku='sku',
        description="'Included credits of the plan'", quantity_micro='credits_micro', unit="'credit'",
        unit_price_pico='list_unit_price_pico', amount_cents='base_cents'
    ) }}
    from plan_charges

    union all

    select {{ invoice_line(
        line_type="'term_discount'", origin_id='subscription_id', sku='sku',
        description="'Discount for the committed term'", quantity_micro='credits_micro', unit="'credit'",
        unit_price_pico='-discount_unit_price_pico', amount_cents='discount_cents'
    ) }}
    from plan_charges
    where discount_rate_micro > 0

    union all

    select {{ invoice_line(
        line_type='source', origin_id='order_id', sku='sku',
        description="case when source = 'burst_pack' then 'Burst pack' else 'Top-up of credits' end",
        quantity_micro=wide('quantity') ~ ' * 1000000', unit="'pack'",
        unit_price_pico=divide_rounded('price_atto', wide('quantity') ~ ' * 1000000'),
        amount_cents=rounded_cents('price_atto', wide('10000000000000000'))
    ) }}
    from order_charges

    union all

    select {{ invoice_line(
        line_type="'auto_purchase'", origin_id='grant_id', line_key='grant_id', sku='sku', description="'Automatic top-up'",
        quantity_micro=wide('packs') ~ ' * 1000000', unit="'pack'",
        unit_price_pico=divide_rounded('price_atto', wide('packs') ~ ' * 1000000'),
        amount_cents=rounded_cents('price_atto', wide('10000000000000000'))
    ) }}
    from grant_days
    where source = 'auto_purchase' and granted_on = posting_date

    union all

    select {{ invoice_line(
        line_type="'dedicated_cluster'", origin_id='subscription_id', sku='sku',
        description="'Dedicated cluster'", quantity_micro=wide('gpu_count') ~ ' * 1000000', unit="'gpu'",
        unit_price_pico='unit_price_pico', amount_cents='amount_cents',
        cluster='cluster', amortized_cost_micro='amortized_cost_micro', facility_ids='facility_ids'
    ) }}
    from dedicated_lines

    union all

    select {{ invoice_line(
        line_type="'credit_usage'", line_key=usage_id_parts('usage_lines'),
        description="'GPU minutes paid with credits'", quantity_micro='quantity_micro', unit="'credit'",
        cluster='cluster', accelerator='accelerator', model_family='model_family',
        gpu_minutes_micro='gpu_minutes_micro', amortized_cost_micro='amortized_cost_micro',
        facility_ids='facility_ids', renewable_share_micro=renewable_share('renewable_kwh_pico', 'mix_kwh_pico'),
        carbon_kg_micro='carbon_kg_micro', is_adjustment='is_adjustment'
    ) }}
    from usage_lines

    union all

    select {{ invoice_line(
        line_type="'overage'", line_key=id_part('sku'), sku='sku', description="'Credits beyond the wallet'",
        quantity_micro='quantity_micro', unit="'credit'",
        unit_price_pico=divide_rounded('price_atto', 'quantity_micro'),
        amount_cents=rounded_cents('price_atto', wide('10000000000000000')), is_adjustment='is_adjustment'
    ) }}
    from overage_parts

    union all

    select {{ invoice_line(
        line_type="'burst_surcharge'",
        line_key=id_part('pack_sku') ~ " || '/' || " ~ plain_decimal(from_pico('surcharge_unit_price_pico')),
        sku='pack_sku', description="'Surcharge on credits burned in a burst window'",
        quantity_micro='quantity_micro', unit="'credit'", unit_price_pico='surcharge_unit_price_pico',
        amount_cents=rounded_cents('quantity_micro * surcharge_unit_price_pico', wide('10000000000000000')),
        is_adjustment='is_adjustment'
    ) }}
    from burst_lines
    where {{ divide_rounded('quantity_micro * surcharge_unit_price_pico', wide('1000000000000')) }} <> 0

    union all

    select {{ invoice_line(
        line_type="'energy_surcharge'", line_key=id_part('sku'), sku='sku', description='description',
        quantity_micro='quantity_micro', unit="'kWh'", unit_price_pico='null', amount_cents='amount_cents',
        is_adjustment='is_adjustment'
    ) }}
    from energy_parts
    where amount_micro <> 0

    union all

    select {{ invoice_line(
        line_type='line_type', origin_id='case when sku is null then source end',
        line_key='coalesce(' ~ sku_id_part('sku') ~ ', source)', sku='sku',
        description="case when line_type = 'rollover' then 'Unused credits carried into the next cycle' "
        ~ "else 'Credits expired unused' end",
        quantity_micro='quantity_micro', unit="'credit'"
    ) }}
    from moved_lines

    union all

    {# A person's credit note or settlement: money only, in the total only. #}
    select {{ invoice_line(
        customer_id='adjustments.customer_id',
        cycle_start=cycle_start('adjustments.posted_on', 'customers.billing_anchor_day'),
        line_type="'adjustment'", origin_id='adjustments.adjustment_id', description='adjustments.reason',
        quantity_micro='1000000', unit="'adjustment'",
        unit_price_pico=rounded_cents(to_micro('adjustments.amount'), '10000') ~ ' * ' ~ wide('10000000000'),
        amount_cents=rounded_cents(to_micro('adjustments.amount'), '10000')
    ) }}
    from {{ ref('adjustments') }} as adjustments
    cross join {{ ref('stg_run_settings') }} as settings
    inner join {{ ref('customers') }} as customers on adjustments.customer_id = customers.customer_id
    where
        coalesce(adjustments.amount, 0) <> 0
        and adjustments.posted_on <= settings.last_day
        and {{ is_in_the_books('adjustments.posted_on', 'customers.billing_anchor_day') }}
        and {{ cycle_start('adjustments.posted_on', 'customers.billing_anchor_day') }}
        in (select cycle_start from cycles)

)

select
    {{ invoice_line_id('lines', 'lines.line_type', 'lines.line_key') }} as invoice_line_id,
    lines.customer_id,
    lines.cycle_start,
    {{ next_cycle_start('lines.cycle_start') }} as cycle_end,
    lines.line_type,
    lines.origin_id,
    lines.sku,
    lines.description,
    lines.cluster,
    lines.accelerator,
    lines.model_family,
    cast(lines.quantity_micro as {{ wide_type() }}) as quantity_micro,
    lines.unit,
    cast({{ within_digits('lines.unit_price_pico', 30) }} as {{ wide_type() }}) as unit_price_pico,
    cast(lines.amount_cents as {{ wide_type() }}) as amount_cents,
    settings.reporting_currency as currency,
    cast(lines.gpu_minutes_micro as {{ wide_type() }}) as gpu_minutes_micro,
    {{ divide_rounded(wide('lines.amortized_cost_micro') ~ ' * 1000000', 'nullif(lines.gpu_minutes_micro, 0)') }}
        as amortized_cost_per_minute_micro,
    cast(lines.amortized_cost_micro as {{ wide_type() }}) as amortized_cost_micro,
    lines.facility_ids,
    cast(lines.renewable_share_micro as {{ wide_type() }}) as renewable_share_micro,
    cast(lines.carbon_kg_micro as {{ wide_type() }}) as carbon_kg_micro,
    lines.is_adjustment,
    {{ next_cycle_start('lines.cycle_start') }} + settings.days_until_close <= settings.last_day as is_final
from lines
cross join {{ ref('stg_run_settings') }} as settings
