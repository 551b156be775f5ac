{#
    What this run has to do. The job writes a run plan beside the landed feeds before it starts dbt
    (orchestration/books/plan.py): one row of settings and the usage days to rebuild. Models read it from
    there, never from variables that change with the day (they would void dbt's partial parsing)
    and never from the clock.
#}

{#- Files of the landing area (or the archive), by their source name; the source() call keeps the lineage. -#}
{% macro landed(name, area='landing') -%}
    {%- set table = source(area, name) -%}
    {{- raw_parquet(area ~ '/' ~ table.identifier) -}}
{%- endmacro %}

{#- Files by their path below DATA_DIR, which may hold * for any name; what DATA_DIR is called is never a pattern. -#}
{% macro raw_parquet(path) %}{{ return(adapter.dispatch('raw_parquet')(path)) }}{% endmacro %}
{% macro default__raw_parquet(path) %}read_parquet('{{ literal_path(env_var('DATA_DIR', '../data')) ~ '/' ~ path }}', hive_partitioning = false, union_by_name = false){% endmacro %}
{% macro spark__raw_parquet(path) %}parquet.`{{ (env_var('DATA_DIR', '../data') ~ '/' ~ path) | replace("`", "``") }}`{% endmacro %}

{#- A path in a SQL text of DuckDB, where it would read a pattern: itself and nothing else. -#}
{% macro literal_path(path) %}{{ return(path | replace("[", "[[]") | replace("*", "[*]") | replace("?", "[?]") | replace("'", "''")) }}{% endmacro %}

{#-
    Landed usage of the days in a list of the plan (run_days, run_neighbour_days). Only their folders are
    looked into: what there is of other days costs a night nothing.
-#}
{% macro landed_usage(days='run_days') -%}
    {{- return(adapter.dispatch('landed_usage')(source('landing', 'usage_events'), days)) -}}
{%- endmacro %}
{% macro default__landed_usage(table, days) -%}
    {%- set place = literal_path(env_var('DATA_DIR', '../data')) ~ '/landing/' -%}
    {#-
        The last day first: most rows are of it, and DuckDB takes the first file's rows for a measure of
        all when it chooses which side of a join to keep in memory.
    -#}
    {%- set listed = [] -%}
    {%- set query -%}
        select distinct cast(usage_day as varchar(10)) from {{ landed(days) }} where has_usage order by 1 desc
    {%- endset -%}
    {%- if execute -%}
        {%- for row in run_query(query).rows -%}{%- do listed.append(row[0]) -%}{%- endfor -%}
    {%- endif -%}
    {#- This day is always there, without rows; a file named twice would be read twice. -#}
    {%- if '1970-01-01' not in listed -%}{%- do listed.append('1970-01-01') -%}{%- endif -%}
    read_parquet([
    {%- for day in listed -%}
        '{{ place ~ table.identifier | replace('usage/*/', 'usage/usage_day=' ~ day ~ '/') }}'
        {{- ', ' if not loop.last -}}
    {%- endfor -%}
    ], hive_partitioning = false, union_by_name = false)
{%- endmacro %}
{% macro spark__landed_usage(table, days) -%}
    (select * from {{ landed('usage_events') }} where usage_day in ({{ touched_days(days) }}))
{%- endmacro %}

{#-
    The usage days to rebuild, as a list of date literals known when the SQL is written, so that only
    their files are opened. `days` may name another list of the plan: run_neighbour_days, the days
    within the conflict search of a rebuilt day; `days_before` adds that many days before each.
-#}
{% macro touched_days(days='run_days', days_before=0) -%}
    {%- set listed = [] -%}
    {%- set relation = landed(days) -%}
    {%- if execute -%}
        {%- set query -%}
            select distinct cast(usage_day - n as varchar(10)) as day
            from {{ relation }}
            cross join {{ numbers(days_before) }} as offsets
            order by 1
        {%- endset -%}
        {%- for row in run_query(query).rows -%}
            {%- do listed.append("date '" ~ row[0] ~ "'") -%}
        {%- endfor -%}
    {%- endif -%}
    {{- listed | join(', ') if listed else "date '1970-01-01'" -}}
{%- endmacro %}

{#- One row per day that the ledger steps through again, as column `day`. -#}
{% macro ledger_days() -%}
{{ day_spine(
    '(select ledger_from from ' ~ ref('stg_run_settings') ~ ')', '(select last_day from ' ~ ref('stg_run_settings') ~ ')'
) }}
{%- endmacro %}

{#- The partition column of a model, for engines that keep partitions as folders. -#}
{% macro partitioned_by(column) %}{{ return([column] if target.type == 'spark' else none) }}{% endmacro %}

{#-
    The first line of an incremental model: which of its partitions a run makes anew. Whole days are
    replaced: by partition overwrite on Spark; on DuckDB the pre-hook clears them. `condition` is Jinja,
    worked out when the hook runs: what has to hold of `column` in SQL.
-#}
{% macro rebuilt_where(column, condition) -%}
    {{- config(
        materialized='incremental',
        incremental_strategy='insert_overwrite' if target.type == 'spark' else 'append',
        partition_by=partitioned_by(column),
        on_schema_change='fail',
        pre_hook="{{ clear_partitions('" ~ column ~ " ' ~ " ~ condition ~ ") }}"
    ) -}}
{%- endmacro %}

{#- ... the usage days of the run's plan. -#}
{% macro rebuilt_days(column) %}{{ rebuilt_where(column, "'in (' ~ touched_days() ~ ')'") }}{% endmacro %}

{#- ... every day from the first that the ledger steps through again. -#}
{% macro rebuilt_from_ledger(column) %}{{ rebuilt_where(column, "'>= (select ledger_from from ' ~ ref('stg_run_settings') ~ ')'") }}{% endmacro %}

{#- ... billing cycles, of which a model holds the list. -#}
{% macro rebuilt_cycles(cycles='int_touched_cycles') %}{{ rebuilt_where('cycle_start', "'in (select cycle_start from ' ~ ref('" ~ cycles ~ "') ~ ')'") }}{% endmacro %}

{#-
    Pre-hook of every incremental model: remove the partitions this run rebuilds, including those
    that end up with no rows. `condition` is SQL over the model's own columns.
-#}
{% macro clear_partitions(condition) %}{% if execute and is_incremental() %}{{ return(adapter.dispatch('clear_partitions')(condition)) }}{% endif %}{% endmacro %}
{% macro default__clear_partitions(condition) %}delete from {{ this }} where {{ condition }}{% endmacro %}
{% macro spark__clear_partitions(condition) -%}
    {%- set key = config.get('partition_by')[0] -%}
    {%- set rows = run_query('select distinct cast(' ~ key ~ ' as string) from ' ~ this ~ ' where ' ~ condition).rows -%}
    {%- if rows -%}
        alter table {{ this }} drop if exists
        {%- for row in rows %} partition ({{ key }} = '{{ row[0] }}'){{ ',' if not loop.last }}{% endfor %}
    {%- endif -%}
{%- endmacro %}

{#- Materialization of what the job reads as well: a view, but a table on Spark, of which it reads only the files. -#}
{% macro view_or_files() %}{{ return('table' if target.type == 'spark' else 'view') }}{% endmacro %}
