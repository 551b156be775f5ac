"""The warehouse: who may write it, and how its tables are read once dbt has let go of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import duckdb

from orchestration.books.dbt import run_dbt
from orchestration.books.spark import add_views
from orchestration.errors import NotDone
from orchestration.settings import Settings
from orchestration.store.locks import LockBusy, owners_lock

PATIENCE_SECONDS = 600
"""Another run is let finish for this long before a run gives up."""


class WriterBusy(NotDone, RuntimeError):
    """Another run is writing the warehouse."""


class WarehouseStays(NotDone, RuntimeError):
    """The warehouse could not be removed; the message says why."""


@contextmanager
def writer_lock(settings: Settings, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """One writer at a time, across processes; the operating system frees it if the holder dies.

    Whoever lands, bills or publishes holds it, and whoever opens the warehouse to read.

    Args:
        settings: says where the warehouse is.
        patience: seconds to wait for another holder.

    Raises:
        WriterBusy: another process still holds it, or its file is not this user's alone.
    """
    settings.data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(owners_lock(settings.data_dir / "writer.lock", patience))
        except LockBusy as busy:
            raise WriterBusy(
                f"{settings.data_dir} cannot be written: {busy}. If it is another run, wait for it "
                "to end, or stop it, and run again"
            ) from None
        yield


def start_anew(settings: Settings) -> None:
    """Remove the warehouse and what is known of it; the landing and what is published stay.

    Raises:
        WarehouseStays: Spark does not let go of its tables.
    """
    if settings.dbt_target == "spark":
        _drop_spark_tables(settings)
    for leftover in settings.warehouse_dir.glob("warehouse.duckdb*"):
        leftover.unlink()
    shutil.rmtree(settings.warehouse_dir / "billed", ignore_errors=True)


def _drop_spark_tables(settings: Settings) -> None:
    """By dbt, the only writer of the warehouse: Spark's tables are more than their files."""
    done = run_dbt(settings, ["--quiet", "run-operation", "drop_books"])
    if done.returncode:
        raise WarehouseStays(
            "The tables of the books could not be dropped, so they cannot begin anew; dbt said: "
            + done.stdout.strip()
        )


def bounded(settings: Settings) -> dict[str, str | bool | int | float | list[str]]:
    """Options of a DuckDB that keeps to DUCKDB_MEMORY_LIMIT, and off the network."""
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": settings.duckdb_memory_limit,
        "temp_directory": str(settings.warehouse_dir / "spill"),
    }


@contextmanager
def read_warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, opened read-only; what does not fit into memory is spilled beside it.

    What Spark built is read from its files, by views in a database that is gone afterwards.
    """
    on_spark = settings.dbt_target == "spark"
    connection = duckdb.connect(
        ":memory:" if on_spark else str(settings.warehouse_file),
        read_only=not on_spark,
        config=bounded(settings),
    )
    try:
        connection.execute("set TimeZone = 'UTC'")
        if on_spark:
            add_views(connection, settings)
        yield connection
    finally:
        connection.close()


def failed_controls(settings: Settings, limit: int = 10) -> list[str]:
    """The error-level controls that fail in the warehouse as it is, each as a sentence."""
    if not settings.built_warehouse.exists():
        return []
    with read_warehouse(settings) as warehouse:
        [(built,)] = warehouse.execute(
            "select count(*) from information_schema.tables where table_name = 'billing_controls'"
        ).fetchall()
        if not built:
            return []
        rows = warehouse.execute(
            "select control, count(*), min_by((scope, expected, actual), (scope, expected, actual)) "
            "from billing_controls where severity = 'error' and passed is not true "
            "group by control order by control limit $1",
            [limit],
        ).fetchall()
    return [_failed(control, count, *first) for control, count, first in rows]


def _failed(control: str, count: int, scope: str, expected: Decimal, actual: Decimal) -> str:
    more = f" (and {count - 1:,} more of it)" if count > 1 else ""
    return f"control {control} of {scope}: expected {expected}, found {actual}{more}"
