"""Publication: a copy of the marts for readers, switched in one step after the checks passed.

``published/current`` is a link to the newest of ``published/publications/<id>``; each holds
``marts.duckdb``, one folder of Parquet per table, a CSV file of the tables that say so, and
``manifest.json``, written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.delivery.receipts import action_receipts
from orchestration.landing.files import put_table
from orchestration.plan import BilledState
from orchestration.settings import Settings
from orchestration.versions import new_version
from orchestration.warehouse import bounded, failed_controls, read_warehouse

# Older clients read this storage version too.
STORAGE_VERSION = "v1.4.0"

_AMOUNT = pa.decimal128(38, 6)
_RATE = pa.decimal128(18, 6)
FINAL_INVOICE_LINES = pa.schema(
    [
        *((name, pa.string()) for name in ("invoice_line_id", "invoice_id", "customer_id")),
        *((name, pa.date32()) for name in ("cycle_start", "cycle_end")),
        *(
            (name, pa.string())
            for name in (
                "line_type",
                "sku",
                "description",
                "cluster",
                "accelerator",
                "model_family",
                "unit",
                "currency",
                "facility_ids",
            )
        ),
        ("quantity", _AMOUNT),
        ("unit_price", pa.decimal128(38, 12)),
        ("amount", pa.decimal128(18, 2)),
        ("gpu_minutes", _AMOUNT),
        ("amortized_cost_per_gpu_minute", _RATE),
        ("amortized_cost", _AMOUNT),
        ("renewable_share", _RATE),
        ("carbon_kg", _AMOUNT),
        ("is_adjustment", pa.bool_()),
    ]
)


class NotPublishable(RuntimeError):
    """The warehouse must not be published; the message says why and what to do."""


@dataclass(frozen=True)
class Column:
    """A published column and what it means."""

    name: str
    description: str


@dataclass(frozen=True)
class Mart:
    """A published table: its name, what one row is, and its columns."""

    name: str
    description: str
    columns: tuple[Column, ...]
    as_csv: bool = False
    """Whether it is published as CSV too (``csv: true`` in the model's meta)."""


@dataclass(frozen=True)
class Publication:
    """What was published."""

    path: Path
    run_id: str
    row_counts: Mapping[str, int]


def marts_of(manifest: Mapping[str, Any]) -> list[Mart]:
    """The public models of a dbt manifest, by name."""
    return sorted(
        (
            Mart(
                name=node["name"],
                description=node["description"],
                columns=tuple(
                    Column(column["name"], column["description"])
                    for column in node["columns"].values()
                ),
                as_csv=bool(node["config"].get("meta", {}).get("csv")),
            )
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model" and node["access"] == "public"
        ),
        key=lambda mart: mart.name,
    )


def publish(settings: Settings, marts: list[Mart], run_id: str) -> Publication:
    """Copy the marts beside the current publication and switch to the copy.

    Raises:
        NotPublishable: the last billing did not finish, or a control of level error failed. What
            was published before stays.
    """
    state = BilledState(settings)
    billed = state.read()
    if not state.is_complete():
        raise NotPublishable(
            "The last billing did not finish, so the warehouse may hold half a night; bill again"
        )
    failed = failed_controls(settings)
    if failed:
        raise NotPublishable(
            "Controls failed, so nothing is published and what was published stays: "
            + "; ".join(failed)
        )
    name = f"{billed['last_day']}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with (
        read_warehouse(settings) as warehouse,
        new_version(settings.published_dir, name, kept=settings.publications_kept) as staged,
    ):
        row_counts = _copy(warehouse, marts, staged, bounded(settings))
        _archive_final_invoices(warehouse, settings, name)
        checks = dict(
            warehouse.execute(
                "select severity || case when passed then ' passed' else ' failed' end, count(*) "
                "from billing_controls group by 1 order by 1"
            ).fetchall()
        )
        manifest = {
            "run_id": run_id,
            "billing_id": billed["billing_id"],
            "first_delivery_day": billed["first_delivery_day"],
            "last_delivery_day": billed["last_day"],
            "settings": billed["basis"],
            "row_counts": row_counts,
            "checks": checks,
            "sha256": {
                str(path.relative_to(staged)): _sha256(path)
                for path in sorted(staged.rglob("*"))
                if path.is_file()
            },
        }
        (staged / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return Publication(
        path=settings.published_dir / "current", run_id=run_id, row_counts=row_counts
    )


def prepare_archive(settings: Settings) -> None:
    """Make sure that each part of the archive has a file for the models to read."""
    empty = settings.archive_dir / "final_invoice_lines" / "none.parquet"
    if not empty.exists():
        put_table(FINAL_INVOICE_LINES.empty_table(), empty)
    action_receipts(settings).prepare()


def _archive_final_invoices(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, name: str
) -> None:
    """Write down the invoices that this publication is the first to show as final.

    Before the switch: an invoice that was ever seen as final is in the archive. After a crash in
    between, the next publication finds it there, and its controls have compared it.
    """
    folder = settings.archive_dir / "final_invoice_lines"
    lines = warehouse.sql(
        "select * from invoice_lines where status = 'final' and invoice_id not in "
        "(select invoice_id from read_parquet($1)) order by invoice_line_id",
        params=[str(folder / "*.parquet")],
    ).to_arrow_table()
    if lines.num_rows:
        put_table(
            lines.select(FINAL_INVOICE_LINES.names).cast(FINAL_INVOICE_LINES),
            folder / f"{name}.parquet",
        )


def _copy(
    warehouse: duckdb.DuckDBPyConnection,
    marts: list[Mart],
    staged: Path,
    options: dict[str, str | bool | int | float | list[str]],
) -> dict[str, int]:
    """Write every mart as Parquet and into one DuckDB file with its descriptions."""
    row_counts = {}
    for mart in marts:
        folder = staged / mart.name
        folder.mkdir()
        [(rows,)] = warehouse.execute(
            f'copy (select * from "{mart.name}" order by all) '
            f"to '{_quoted(folder / 'part-0.parquet')}' (format parquet, compression zstd)"
        ).fetchall()
        row_counts[mart.name] = rows
        if mart.as_csv:
            _write_csv(warehouse, folder / "part-0.parquet", staged / f"{mart.name}.csv")
    with duckdb.connect(":memory:", config=options) as copy:
        copy.execute(
            f"attach '{_quoted(staged / 'marts.duckdb')}' as published "
            f"(storage_version '{STORAGE_VERSION}')"
        )
        for mart in marts:
            copy.execute(
                f'create table published."{mart.name}" as '
                f"from read_parquet('{_quoted(staged / mart.name / 'part-0.parquet')}')"
            )
            copy.execute(
                f"comment on table published.\"{mart.name}\" is '{_escaped(mart.description)}'"
            )
            for column in mart.columns:
                copy.execute(
                    f'comment on column published."{mart.name}"."{column.name}" '
                    f"is '{_escaped(column.description)}'"
                )
        copy.execute("detach published")
    return row_counts


def _write_csv(warehouse: duckdb.DuckDBPyConnection, parquet: Path, csv: Path) -> None:
    """Write a published table once more, as RFC 4180: CRLF, UTC instants with Z, NULL empty.

    A decimal is written with all its places, so it always has a point: readers that guess types
    would otherwise take a column of whole numbers for integers.
    """
    warehouse.execute(
        f"copy (from read_parquet('{_quoted(parquet)}')) to '{_quoted(csv)}' "
        "(format csv, header, new_line '\\r\\n', timestampformat '%Y-%m-%dT%H:%M:%SZ')"
    )


def _quoted(path: Path) -> str:
    return _escaped(str(path))


def _escaped(text: str) -> str:
    return text.replace("'", "''")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
