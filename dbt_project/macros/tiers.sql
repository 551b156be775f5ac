{#-
    What one tier contributes to the price of `units_micro` units, in 1e-18 of the currency; a
    charge's price is the sum over its tiers. `tiers` is the alias of a stg_price_tiers relation.

    graduated: each unit at the price of the tier it falls in, and the flat fee of each tier
    entered. volume: all units at the price of the tier that the total reaches. package: whole
    packages at the price of the tier that the total reaches. Zero units cost nothing, flat fees
    included. A tier covers (from, up_to].
-#}
{% macro tier_price_atto(units_micro, tiers) -%}
case
    when {{ units_micro }} <= {{ tiers }}.from_units_micro then {{ wide('0') }}
    when {{ tiers }}.mode = 'graduated' then
        {{ wide('least(' ~ units_micro ~ ', coalesce(' ~ tiers ~ '.up_to_units_micro, ' ~ units_micro ~ '))') }}
        * {{ tiers }}.unit_price_pico
        - {{ wide(tiers ~ '.from_units_micro') }} * {{ tiers }}.unit_price_pico
        + {{ wide(tiers ~ '.flat_fee_micro') }} * 1000000000000
    when {{ units_micro }} > coalesce({{ tiers }}.up_to_units_micro, {{ units_micro }}) then {{ wide('0') }}
    when {{ tiers }}.mode = 'volume' then
        {{ wide(units_micro) }} * {{ tiers }}.unit_price_pico + {{ wide(tiers ~ '.flat_fee_micro') }} * 1000000000000
    when {{ tiers }}.mode = 'package' then
        {{ int_div(
            wide(units_micro) ~ ' + ' ~ tiers ~ '.package_size_micro - 1', tiers ~ '.package_size_micro'
        ) }} * 1000000 * {{ tiers }}.unit_price_pico
        + {{ wide(tiers ~ '.flat_fee_micro') }} * 1000000000000
end
{%- endmacro %}
