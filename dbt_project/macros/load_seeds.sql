{#-
    How a seed is read, said in full. Left to guess, DuckDB takes a single quote at the start of an id
    for the quotes of the file, and swallows what follows, rows and all. The staged seeds are written
    by orchestration/seeds.py, always in this one way. Other engines load what dbt has parsed.
-#}
{% macro duckdb__load_csv_rows(model, agate_table) %}
    {%- set path = adapter.get_seed_file_path(model) | replace("'", "''") -%}
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
