{#-
    How a seed is read, said in full. Left to guess, DuckDB takes a single quote at the start of an id
    for the quotes of the file, and swallows what follows, rows and all. The staged seeds are written
    by orchestration/seeds/staging.py, always in this one way. Spark reads the same file by the same rules:
    dbt-spark would put every value into an INSERT, by its own idea of quotes and numbers.
-#}
{% macro duckdb__load_csv_rows(model, agate_table) %}
    {%- set path = literal_path(adapter.get_seed_file_path(model)) -%}
    {%- set sql -%}
        copy {{ this.render() }} from '{{ path }}' (
            format csv,
            auto_detect false,
            header true,
            delimiter ',',
            quote '"',
            escape '"',
            comment '',
            nullstr '',
            new_line '\n'
        )
    {%- endset -%}
    {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
    {{ return(sql) }}
{% endmacro %}

{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model.config.column_types -%}
    {%- set path = (model.root_path ~ '/' ~ model.original_file_path) | replace("\\", "\\\\") | replace("'", "\\'") -%}
    {%- call statement('view') -%}
        create or replace temporary view {{ model.name }}__rows (
            {%- for column in types %}{{ column }} string{{ ', ' if not loop.last }}{% endfor -%}
        ) using csv options (
            path '{{ path }}',
            header 'true',
            mode 'FAILFAST',
            multiLine 'true',
            delimiter ',',
            quote '"',
            escape '"',
            nullValue ''
        )
    {%- endcall -%}
    {%- set sql -%}
        insert into {{ this.render() }}
        select {% for column, type in types.items() %}cast({{ column }} as {{ type }}){{ ', ' if not loop.last }}{% endfor %}
        from {{ model.name }}__rows
    {%- endset -%}
    {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
    {{ return(sql) }}
{% endmacro %}
