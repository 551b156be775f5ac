{# What an engine has to be like to bill, and what its tables are to it. #}

{#-
    On-run-start: refuses an engine whose settings would change figures. Asked by the types of
    expressions, not by their values: where digits are lost, a comparison has lost them too.
-#}
{% macro assert_engine_settings() %}{{ return(adapter.dispatch('assert_engine_settings')()) }}{% endmacro %}
{% macro default__assert_engine_settings() %}{% endmacro %}
{% macro spark__assert_engine_settings() %}
    {%- if execute -%}
        {%- set query -%}
            select
                typeof(cast(1 as decimal(38, 9)) + cast(1 as decimal(38, 9))),
                typeof(coalesce(1, '1')),
                typeof(cast('2026-01-01 00:00:00' as timestamp)),
                current_timezone()
        {%- endset -%}
        {%- set found = run_query(query).rows[0] -%}
        {%- set rules = [
            ('spark.sql.decimalOperations.allowPrecisionLoss', 'false', found[0] == 'decimal(38,9)', 'sums lose digits'),
            ('spark.sql.ansi.enabled', 'true', found[1] == 'bigint', 'what overflows or fails to convert becomes NULL'),
            ('spark.sql.timestampType', 'TIMESTAMP_NTZ', found[2] == 'timestamp_ntz', 'instants are shifted by a time zone'),
            ('spark.sql.session.timeZone', 'UTC', found[3] in ('UTC', 'Etc/UTC', 'Z', 'GMT'), 'days do not begin at midnight UTC')
        ] -%}
        {%- set wrong = [] -%}
        {%- for name, value, holds, harm in rules if not holds -%}
            {%- do wrong.append(name ~ ' must be ' ~ value ~ ' (as it is, ' ~ harm ~ ')') -%}
        {%- endfor -%}
        {%- if wrong -%}
            {%- do exceptions.raise_compiler_error(
                'Nothing is billed on this Spark server: ' ~ wrong | join('; ')
                ~ '. Start it with dbt_project/spark-defaults.conf, see docs/spark.md'
            ) -%}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Run by the job to begin the books anew: drops the tables that this project makes, and no others. -#}
{% macro drop_books() %}
    {%- for node in graph.nodes.values() if node.resource_type in ('model', 'seed') -%}
        {%- set relation = adapter.get_relation(database=node.database, schema=node.schema, identifier=node.alias) -%}
        {%- if relation -%}{%- do adapter.drop_relation(relation) -%}{%- endif -%}
    {%- endfor -%}
{% endmacro %}

{#-
    As in dbt, but a table that this very run has made counts: dbt-spark remembers it without a type,
    so the second day of a microbatch would not read the first one.
-#}
{% macro is_incremental() %}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {%- set relation = adapter.get_relation(this.database, this.schema, this.table) -%}
    {{ return(
        relation is not none
        and not relation.is_view
        and model.config.materialized == 'incremental'
        and not should_full_refresh()
    ) }}
{% endmacro %}
