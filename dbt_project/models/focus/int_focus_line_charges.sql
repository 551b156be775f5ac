{#
    The invoice lines of the run's cycles that charge money, as FOCUS charges: purchases, what is
    charged after it was used, and a person's credit notes.
#}
with

lines as (

    select * from {{ ref('int_invoice_lines') }}
    where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

grants as (

    select * from {{ ref('int_focus_grants') }}
    where cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

),

{# Lines of late usage sum up a cycle of it: they correct the latest invoice among those of its days. #}
late_cycles as (

    select
        customer_id,
        cycle_start,
        min(usage_date) as first_usage_date,
        max(usage_date) as last_usage_date,
        max_by(invoice_charge_id, case when invoice_charge_id is not null then original_cycle end) as corrects_charge_id
    from {{ ref('int_focus_corrections') }}
    group by customer_id, cycle_start

),

late_overage as (

    select
        customer_id,
        cycle_start,
        plan_sku,
        sum(overage_micro) as overage_micro
    from {{ ref('int_focus_corrections') }}
    group by customer_id, cycle_start, plan_sku

),

{# A person's settlement corrects the invoice that its reason names, if that was final when it was made. #}
settlements as (

    select
        lines.invoice_line_id,
        corrected.charge_id as corrects_charge_id,
        corrected.cycle_start as period_from,
        corrected.cycle_end as period_until
    from lines
    cross join {{ ref('stg_run_settings') }} as settings
    inner join {{ ref('adjustments') }} as adjustments
        on lines.origin_id = adjustments.adjustment_id
    inner join {{ ref('int_focus_invoices') }} as corrected
        on
            lines.customer_id = corrected.customer_id
            and corrected.cycle_end + settings.days_until_close <= adjustments.posted_on
            and instr(lines.description, {{ invoice_id('corrected') }}) > 0
    where lines.line_type = 'adjustment'
    qualify row_number() over (
        partition by lines.invoice_line_id order by corrected.cycle_start desc
    ) = 1

),

discounts as (

    select
        customer_id,
        cycle_start,
        origin_id,
        amount_cents
    from lines
    where line_type = 'term_discount'

),

{#
    What is bought before it is used. units: credits of the grant, or GPU-days of a dedicated cluster;
    NULL where nothing is drawn from it later, like a burst window without credits.
#}
purchases as (

    select
        lines.*,
        case lines.line_type when 'base_credits' then 'plan_purchase' else 'pack_purchase' end as kind,
        coalesce(grants.granted_on, orders.granted_on, lines.cycle_start) as posting_date,
        coalesce(grants.granted_on, orders.granted_on, lines.cycle_start) as period_from,
        coalesce(grants.expires_on + 1, orders.expires_on + 1, lines.cycle_end) as period_until,
        grants.grant_id,
        grants.credits_micro as units_micro,
        'Credits' as drawn_unit,
        case lines.line_type when 'base_credits' then 'Credits' else 'Packs' end as undrawn_unit,
        lines.amount_cents + coalesce(discounts.amount_cents, 0) as billed_cents,
        cast(null as varchar(10)) as corrects_charge_id
    from lines
    left join grants on lines.invoice_line_id = grants.purchase_line_id
    left join discounts
        on
            lines.line_type = 'base_credits'
            and lines.customer_id = discounts.customer_id
            and lines.cycle_start = discounts.cycle_start
            and lines.origin_id = discounts.origin_id
    left join {{ ref('int_order_charges') }} as orders
        on
            lines.customer_id = orders.customer_id
            and lines.cycle_start = orders.cycle_start
            and lines.line_type = orders.source
            and lines.origin_id = orders.order_id
    where lines.line_type in ('base_credits', 'burst_pack', 'top_up', 'auto_purchase')

    union all

    {# Overage is bought in arrears; the credits of late usage stand on the line that late usage has. #}
    select
        lines.*,
        'overage_purchase' as kind,
        coalesce(grants.granted_on, lines.cycle_start) as posting_date,
        case when lines.is_adjustment then late_cycles.first_usage_date else lines.cycle_start end as period_from,
        case when lines.is_adjustment then late_cycles.last_usage_date + 1 else lines.cycle_end end as period_until,
        grants.grant_id,
        cast(case
            when lines.is_adjustment and count(*) over (partition by grants.grant_id) = 2 then late_overage.overage_micro
            when count(*) over (partition by grants.grant_id) = 2 then grants.credits_micro - late_overage.overage_micro
            else grants.credits_micro
        end as {{ wide_type() }}) as units_micro,
        'Credits' as drawn_unit,
        'Credits' as undrawn_unit,
        lines.amount_cents as billed_cents,
        case when lines.is_adjustment then late_cycles.corrects_charge_id end as corrects_charge_id
    from lines
    left join grants
        on
            grants.source = 'overage'
            and lines.customer_id = grants.customer_id
            and lines.cycle_start = grants.cycle_start
            and lines.sku = grants.sku
    left join late_overage
        on
            lines.customer_id = late_overage.customer_id
            and lines.cycle_start = late_overage.cycle_start
            and lines.sku = late_overage.plan_sku
    left join late_cycles
        on lines.customer_id = late_cycles.customer_id and lines.cycle_start = late_cycles.cycle_start
    where lines.line_type = 'overage'

    union all

    select
        lines.*,
        'dedicated_purchase' as kind,
        coalesce(charges.granted_on, lines.cycle_start) as posting_date,
        coalesce(charges.granted_on, lines.cycle_start) as period_from,
        coalesce(charges.active_until, lines.cycle_end) as period_until,
        cast(null as varchar(10)) as grant_id,
        {{ wide('charges.gpu_count') }} * charges.active_days * 1000000 as units_micro,
        'GPU-Days' as drawn_unit,
        'GPUs' as undrawn_unit,
        lines.amount_cents as billed_cents,
        cast(null as varchar(10)) as corrects_charge_id
    from lines
    left join {{ ref('int_dedicated_charges') }} as charges
        on
            lines.customer_id = charges.customer_id
            and lines.cycle_start = charges.cycle_start
            and lines.origin_id = charges.subscription_id
    where lines.line_type = 'dedicated_cluster'

),

{# What is charged after it was used, once per cycle. #}
postpaid as (

    select
        lines.*,
        lines.line_type as kind,
        case when lines.is_adjustment then late_cycles.first_usage_date end as first_usage_date,
        case when lines.is_adjustment then late_cycles.last_usage_date end as last_usage_date,
        case when lines.is_adjustment then late_cycles.corrects_charge_id end as corrects_charge_id
    from lines
    left join late_cycles
        on lines.customer_id = late_cycles.customer_id and lines.cycle_start = late_cycles.cycle_start
    where lines.line_type in ('burst_surcharge', 'energy_surcharge')

),

{# An invoice line as a charge: so many units at a price. #}
line_charges as (

    select
        invoice_line_id as charge_id,
        kind,
        cycle_start,
        customer_id,
        posting_date,
        period_from,
        period_until,
        description,
        sku,
        cluster,
        facility_ids as facility_id,
        grant_id,
        case when grant_id is not null then units_micro end as credit_delta_micro,
        billed_cents,
        {{ wide('0') }} as effective_cents,
        coalesce(nullif(units_micro, 0), quantity_micro) as units_micro,
        case when coalesce(units_micro, 0) <> 0 then drawn_unit else undrawn_unit end as pricing_unit,
        amount_cents as list_cents,
        billed_cents as contracted_cents,
        cast(null as {{ wide_type() }}) as unit_price_pico,
        corrects_charge_id
    from purchases

    union all

    {# What nothing is drawn from is used up as it is bought: its cost has no other row to go to. #}
    select
        invoice_line_id || '/use' as charge_id,
        'prepaid_use' as kind,
        cycle_start,
        customer_id,
        posting_date,
        period_from,
        period_until,
        description,
        sku,
        cluster,
        facility_ids as facility_id,
        null as grant_id,
        null as credit_delta_micro,
        0 as billed_cents,
        billed_cents as effective_cents,
        quantity_micro as units_micro,
        undrawn_unit as pricing_unit,
        amount_cents as list_cents,
        billed_cents as contracted_cents,
        null as unit_price_pico,
        corrects_charge_id
    from purchases
    where coalesce(units_micro, 0) = 0 and billed_cents <> 0

    union all

    select
        invoice_line_id as charge_id,
        kind,
        cycle_start,
        customer_id,
        least(cycle_end - 1, settings.last_day) as posting_date,
        coalesce(first_usage_date, cycle_start) as period_from,
        coalesce(last_usage_date + 1, cycle_end) as period_until,
        description,
        sku,
        null as cluster,
        null as facility_id,
        null as grant_id,
        null as credit_delta_micro,
        amount_cents as billed_cents,
        amount_cents as effective_cents,
        quantity_micro as units_micro,
        case kind when 'energy_surcharge' then 'kWh' else 'Credits' end as pricing_unit,
        amount_cents as list_cents,
        amount_cents as contracted_cents,
        unit_price_pico,
        corrects_charge_id
    from postpaid
    cross join {{ ref('stg_run_settings') }} as settings

),

{#
    A price is never negative. Where an amount and its units disagree (late usage may make a volume
    price lower, or cost energy and give kWh back) the charge is one unit of itself.
#}
priced_lines as (

    select
        *,
        case
            when contracted_cents <> 0 and sign(contracted_cents) * sign(units_micro) <= 0
                then cast(sign(contracted_cents) as bigint) * 1000000
            else units_micro
        end as priced_units_micro,
        case
            when contracted_cents <> 0 and sign(contracted_cents) * sign(units_micro) <= 0 then 'Charges'
            else pricing_unit
        end as priced_unit
    from line_charges

)

select {{ focus_charge(
    charge_id='charge_id', kind='kind', cycle_start='cycle_start', customer_id='customer_id',
    posting_date='posting_date', period_from='period_from', period_until='period_until', description='description',
    sku='sku', cluster='cluster', facility_id='facility_id', grant_id='grant_id',
    credit_delta_micro='credit_delta_micro', billed_cents='billed_cents',
    effective_pico=wide('effective_cents') ~ ' * 10000000000',
    pricing_quantity_pico=wide('priced_units_micro') ~ ' * 1000000', pricing_unit='priced_unit',
    list_unit_price_femto='coalesce(' ~ wide('unit_price_pico') ~ ' * 1000, ' ~ share_of(
        wide('list_cents') ~ ' * 10000000000000', '1000000', 'priced_units_micro'
    ) ~ ')',
    contracted_unit_price_femto='coalesce(' ~ wide('unit_price_pico') ~ ' * 1000, ' ~ share_of(
        wide('contracted_cents') ~ ' * 10000000000000', '1000000', 'priced_units_micro'
    ) ~ ')',
    list_pico='coalesce(' ~ divide_rounded(
        wide('priced_units_micro') ~ ' * unit_price_pico', '1000000'
    ) ~ ', ' ~ wide('list_cents') ~ ' * 10000000000)',
    contracted_pico='coalesce(' ~ divide_rounded(
        wide('priced_units_micro') ~ ' * unit_price_pico', '1000000'
    ) ~ ', ' ~ wide('contracted_cents') ~ ' * 10000000000)',
    consumed_micro="case when kind in ('prepaid_use', 'burst_surcharge', 'energy_surcharge') then units_micro end",
    corrects_charge_id='corrects_charge_id'
) }}
from priced_lines

union all

{# A person's credit note or settlement in money. #}
select {{ focus_charge(
    charge_id='lines.invoice_line_id',
    kind="case when lines.amount_cents < 0 then 'money_credit' else 'money_adjustment' end",
    cycle_start='lines.cycle_start', customer_id='lines.customer_id',
    posting_date='coalesce(adjustments.posted_on, lines.cycle_start)',
    period_from='coalesce(settlements.period_from, adjustments.posted_on, lines.cycle_start)',
    period_until='coalesce(settlements.period_until, adjustments.posted_on + 1, lines.cycle_end)',
    description='lines.description', billed_cents='lines.amount_cents',
    effective_pico=wide('lines.amount_cents') ~ ' * 10000000000',
    list_pico=wide('lines.amount_cents') ~ ' * 10000000000',
    contracted_pico=wide('lines.amount_cents') ~ ' * 10000000000',
    corrects_charge_id='settlements.corrects_charge_id'
) }}
from lines
left join {{ ref('adjustments') }} as adjustments
    on lines.origin_id = adjustments.adjustment_id
left join settlements on lines.invoice_line_id = settlements.invoice_line_id
where lines.line_type = 'adjustment'
