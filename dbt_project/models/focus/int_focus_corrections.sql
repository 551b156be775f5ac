{#
    What the late usage of the run's cycles corrects: the charge of the same day, cluster, accelerator
    and model family; where there is none, the invoice it is missing on. Usage of a cycle that these
    books never invoiced corrects nothing.
#}
with

late_rows as (

    select
        earned.customer_id,
        earned.cycle_start,
        earned.usage_date,
        earned.posting_date,
        earned.cluster,
        earned.accelerator,
        earned.model_family,
        earned.plan_sku,
        earned.overage_micro,
        {{ cycle_start('earned.usage_date', 'customers.billing_anchor_day') }} as original_cycle
    from {{ ref('int_usage_earned') }} as earned
    inner join {{ ref('customers') }} as customers on earned.customer_id = customers.customer_id
    where earned.is_adjustment and earned.cycle_start in (select cycle_start from {{ ref('int_focus_cycles') }})

)

select
    late_rows.customer_id,
    late_rows.cycle_start,
    late_rows.usage_date,
    late_rows.posting_date,
    late_rows.cluster,
    late_rows.accelerator,
    late_rows.model_family,
    late_rows.plan_sku,
    late_rows.overage_micro,
    late_rows.original_cycle,
    invoices.charge_id as invoice_charge_id,
    case
        when invoices.charge_id is not null and originals.customer_id is not null
            then {{ usage_charge_id('originals', "'1'") }}
        else invoices.charge_id
    end as corrects_charge_id
from late_rows
left join {{ ref('int_focus_invoices') }} as invoices
    on late_rows.customer_id = invoices.customer_id and late_rows.original_cycle = invoices.cycle_start
left join {{ ref('int_usage_earned') }} as originals
    on
        late_rows.customer_id = originals.customer_id
        and late_rows.original_cycle = originals.cycle_start
        and late_rows.usage_date = originals.usage_date
        and late_rows.cluster = originals.cluster
        and late_rows.accelerator = originals.accelerator
        and late_rows.model_family = originals.model_family
        and not originals.is_adjustment
        and originals.event_count > 0
