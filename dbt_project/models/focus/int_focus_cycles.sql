{{ config(materialized = 'view') }}
{%- set built = adapter.get_relation(this.database, this.schema, 'int_focus_charges') if execute else none %}
{#
    The billing cycles whose FOCUS charges this run works out anew: the touched ones, and all of them
    when there are none yet, so that a warehouse from before the export needs no rebuilding.
#}
select cycle_start from {{ ref('int_touched_cycles') }}
union
select cycle_start from {{ ref('int_invoice_lines') }}
where {{ 'true' if built is none else 'false' }}
