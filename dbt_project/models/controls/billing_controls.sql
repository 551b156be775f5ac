{{ config(materialized = 'table') }}
{#
    The identities of the billing rules, over everything this run worked out: two independent paths
    to one figure. Only a failed error stops the publication; warnings are for a person to read.
#}
select * from {{ ref('int_usage_controls') }}

union all

select * from {{ ref('int_credit_controls') }}

union all

select * from {{ ref('int_invoice_controls') }}

union all

select * from {{ ref('int_cost_controls') }}

union all

select * from {{ ref('int_margin_controls') }}

union all

select * from {{ ref('int_price_controls') }}

union all

select * from {{ ref('int_contract_controls') }}
