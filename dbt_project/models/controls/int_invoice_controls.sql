{{ config(materialized = 'ephemeral') }}
{# That invoices are the sum of their lines, and final ones stay as they closed. #}
with

invoice_total as (

    select
        cast(invoices.cycle_start as varchar(10)) as scope,
        max(line_sums.amount) as expected,
        sum(invoices.total) as actual
    from {{ ref('invoices') }} as invoices
    inner join (
        select
            cycle_start,
            sum(amount) as amount
        from {{ ref('invoice_lines') }}
        where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
        group by cycle_start
    ) as line_sums on invoices.cycle_start = line_sums.cycle_start
    group by invoices.cycle_start

),

{#
    What the books would say today about the invoices that are final. A cure or an edited seed that
    would change one fails here; a person settles it by an adjustment whose reason names the invoice.
#}
final_invoice_changes as (

    select
        coalesce(archived.customer_id, recomputed.customer_id) as customer_id,
        coalesce(archived.cycle_start, recomputed.cycle_start) as cycle_start,
        sum({{ cents('coalesce(archived.amount_cents, 0)') }}) as closed_amount,
        sum({{ cents('coalesce(recomputed.amount_cents, 0)') }}) as recomputed_amount,
        sum(case
            when
                archived.quantity_micro is distinct from recomputed.quantity_micro
                or archived.unit_price_pico is distinct from recomputed.unit_price_pico
                or archived.amount_cents is distinct from recomputed.amount_cents
                then 1
            else 0
        end) as changed_lines
    from (
        select * from {{ ref('stg_final_invoice_lines') }}
        where cycle_start in (select cycle_start from {{ ref('int_touched_cycles') }})
    ) as archived
    full outer join (
        select lines.*
        from {{ ref('int_recomputed_lines') }} as lines
        inner join (select distinct
            customer_id,
            cycle_start
        from {{ ref('stg_final_invoice_lines') }}) as final_invoices
            on lines.customer_id = final_invoices.customer_id and lines.cycle_start = final_invoices.cycle_start
    ) as recomputed
        on archived.invoice_line_id = recomputed.invoice_line_id
    group by
        coalesce(archived.customer_id, recomputed.customer_id),
        coalesce(archived.cycle_start, recomputed.cycle_start)

),

settled_invoices as (

    select
        {{ invoice_id('changes') }} as invoice_id,
        changes.closed_amount,
        changes.recomputed_amount,
        changes.changed_lines,
        coalesce(sum(adjustments.amount), 0) as settled_amount,
        count(adjustments.adjustment_id) as settlements
    from final_invoice_changes as changes
    left join {{ ref('adjustments') }} as adjustments
        on
            adjustments.customer_id = changes.customer_id
            and instr(adjustments.reason, {{ invoice_id('changes') }}) > 0
    group by
        changes.customer_id, changes.cycle_start, changes.closed_amount, changes.recomputed_amount, changes.changed_lines

),

final_invoice_amount as (

    select
        invoice_id as scope,
        closed_amount + settled_amount as expected,
        recomputed_amount as actual
    from settled_invoices

),

final_invoice_lines as (

    select
        invoice_id as scope,
        0 as expected,
        case when settlements > 0 then 0 else changed_lines end as actual
    from settled_invoices

)

{{ controls(
    errors=['invoice_total', 'final_invoice_amount', 'final_invoice_lines']
) }}
