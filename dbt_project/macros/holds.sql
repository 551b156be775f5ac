{# Whether a row holds on a day: from its first day on, up to the day before its end, if it has one. #}

{#- ... a row of the catalog or the fleet, by valid_from and valid_to. -#}
{% macro holds_on(row, day) -%}
({{ day }} >= {{ row }}.valid_from and ({{ row }}.valid_to is null or {{ day }} < {{ row }}.valid_to))
{%- endmacro %}

{#- ... a contract or a lot, by starts_on and ends_on. -#}
{% macro runs_on(row, day) -%}
({{ day }} >= {{ row }}.starts_on and ({{ row }}.ends_on is null or {{ day }} < {{ row }}.ends_on))
{%- endmacro %}

{#- ... a plan of stg_plan_subscriptions, also over days without any until the customer's next one starts. -#}
{% macro is_latest_on(row, day) -%}
({{ day }} >= {{ row }}.starts_on and ({{ row }}.next_starts_on is null or {{ day }} < {{ row }}.next_starts_on))
{%- endmacro %}

{#-
    ... a day on which a subscription is charged: its first, and the first of every cycle of the books that it
    runs in. `settings`, joined, says when the books open.
-#}
{% macro is_charged_on(subscription, day) -%}
{%- set anchor_day = subscription ~ '.billing_anchor_day' -%}
{{ runs_on(subscription, day) }}
and ({{ day }} = {{ subscription }}.starts_on or {{ day }} = {{ cycle_start(day, anchor_day) }})
and {{ is_in_the_books(day, anchor_day) }}
{%- endmacro %}

{#- ... the books, by the cycle of the day: they open with a whole one. `settings`, joined, says when. -#}
{% macro is_in_the_books(day, anchor_day) -%}
{{ cycle_start(day, anchor_day) }} >= {{ cycle_start('settings.books_open_on', anchor_day) }}
{%- endmacro %}

{#- ... a tier, called `tiers`, of the price of a charge of an article. -#}
{% macro tiers_on(sku, charge, day) -%}
{{ sku }} = tiers.sku and tiers.charge = '{{ charge }}' and {{ holds_on('tiers', day) }}
{%- endmacro %}
