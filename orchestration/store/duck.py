"""The DuckDB that landing computes with: in memory, offline, and small."""

from pathlib import Path

import duckdb


def connect(spill: Path) -> duckdb.DuckDBPyConnection:
    """Open a database that keeps to one core and 2 GB and spills into the folder ``spill``."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": "2GB",
            "temp_directory": str(spill),
            "threads": 1,
        }
    )
    connection.execute("set TimeZone = 'UTC'")
    return connection
