{#-
    What a generic test looks at, where its `where` names a part of the table. dbt's own macro, and the
    names below, each a list or a day of the run's plan; so that a night tests what it rebuilt and not
    its history, and a rebuild from nothing tests everything. For keys that hold their partition only.

      __rebuilt_days__    usage days to rebuild
      __ledger_from__     first day that the ledger steps through again
      __rebuilt_cycles__  billing cycles that are worked out anew
      __rebuilt_from__    first day of the first of them
-#}
{% macro get_where_subquery(relation) -%}
    {%- set cycles = relation.incorporate(path={'identifier': 'int_touched_cycles'}) if execute else relation -%}
    {%- set where = (config.get('where') or '')
        | replace('__rebuilt_days__', 'select usage_day from ' ~ raw_parquet('landing/run/days.parquet'))
        | replace('__ledger_from__', '(select ledger_from from ' ~ raw_parquet('landing/run/settings.parquet') ~ ')')
        | replace('__rebuilt_cycles__', 'select cycle_start from ' ~ cycles)
        | replace('__rebuilt_from__', '(select min(cycle_start) from ' ~ cycles ~ ')') -%}
    {%- if where -%}
        (select * from {{ relation }} where {{ where }}) as rebuilt
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}
