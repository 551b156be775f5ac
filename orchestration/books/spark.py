"""The tables that Spark built, read as the Parquet files that it wrote; no Java and no pyspark here.

Column types come from the contracts and seeds of the dbt manifest; what has neither and no file
either is asked of the server.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestration.settings import Settings


def add_views(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Give a DuckDB a view per table of the books, with the names and types that dbt built.

    Args:
        connection: an empty database in memory.
        settings: of books that Spark bills.

    Raises:
        FileNotFoundError: nothing was billed yet.
    """
    nodes = _nodes(settings)
    for folder in sorted(settings.spark_tables_dir.iterdir()):
        if node := nodes.get(folder.name):
            connection.execute(f'create view "{folder.name}" as {_query(folder, node, settings)}')


def _nodes(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """The models and seeds of the dbt manifest by the name of their table."""
    target = Path(settings.dbt_environment()["DBT_TARGET_PATH"])
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return {
        node["alias"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed")
    }


def _query(folder: Path, node: Mapping[str, Any], settings: Settings) -> str:
    """Everything that is in a table's folder. Partitions are by days, a folder a day."""
    partitions = node["config"].get("partition_by") or []
    pattern = "/".join([*(f"{column}=*" for column in partitions), "*.parquet"])
    types = _declared(node)
    if any(folder.glob(pattern)):
        columns = ", ".join(_cast(name, name, kind) for name, kind in types.items()) or "*"
        days = ", ".join(f"'{column}': date" for column in partitions)
        hive = f", hive_types = {{{days}}}" if partitions else ""
        path = f"{glob.escape(str(folder))}/{pattern}".replace("'", "''")
        return (
            f"select {columns} from "
            f"read_parquet('{path}', hive_partitioning = {bool(partitions)}{hive})"
        )
    types = types or dict(_described(folder.name, settings))
    columns = ", ".join(_cast("null", name, kind) for name, kind in types.items())
    return f"select {columns} where false"


def _cast(value: str, name: str, kind: str) -> str:
    source = value if value == "null" else f'"{value}"'
    return f'cast({source} as {kind}) as "{name}"'


def _declared(node: Mapping[str, Any]) -> dict[str, str]:
    """Columns in order and their types, of a seed or of a model with a contract; else empty."""
    if node["resource_type"] == "seed":
        return dict(node["config"]["column_types"])
    if not node["contract"]["enforced"]:
        return {}
    return {column["name"]: column["data_type"] for column in node["columns"].values()}


def _described(table: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """Columns of a table as the server knows them; the partition's stand at the end, once."""
    from pyhive import hive

    password = settings.spark_thrift_password
    with (
        hive.connect(
            settings.spark_thrift_host,
            settings.spark_thrift_port,
            username=settings.spark_thrift_user,
            auth=settings.spark_thrift_auth,
            password=password.get_secret_value() if password else None,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"describe table {settings.spark_schema}.{table}")
        for name, kind, _ in cursor.fetchall():
            if not name or name.startswith("#"):
                return
            yield name, "timestamp" if kind == "timestamp_ntz" else kind
