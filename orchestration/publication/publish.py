"""Publication: a copy of the marts for readers, switched in one step after the checks passed.

``published/current`` is a link to the newest of ``published/publications/<name>``; each holds
``marts.duckdb``, one folder of Parquet per table, a CSV file of the tables that say so, and
``manifest.json``, written last. How a table is written, and what of it is taken over from the
publication before: ``orchestration/publication/parts.py``.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.books.plan import BilledState
from orchestration.books.warehouse import bounded, failed_controls, read_warehouse
from orchestration.errors import NotDone
from orchestration.publication.parts import (
    STORAGE_VERSION,
    UNDATED,
    Column,
    EarlierPublication,
    Mart,
    Part,
    Written,
    checksums,
    write_database,
    write_parts,
)
from orchestration.settings import DBT_PROJECT_DIR, Settings
from orchestration.store.receipts import action_receipts
from orchestration.store.tables import put_table
from orchestration.store.versions import new_version

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
FINAL_INVOICES = pa.schema(
    [(name, pa.string()) for name in ("invoice_id", "customer_id", "customer_name")]
)
FINAL_ENERGY = pa.schema(
    [
        ("customer_id", pa.string()),
        *((name, pa.date32()) for name in ("cycle_start", "usage_day", "posting_date")),
        *((name, pa.string()) for name in ("cluster", "accelerator", "model_family")),
        *((name, _AMOUNT) for name in ("gpu_minutes", "busy_kwh", "energy_cost")),
    ]
)
# What is written down of a final invoice, in this order: what its lines rest on is there before they are.
_ARCHIVED = "read_parquet($archived, hive_partitioning = false)"
_FINAL = {
    "final_energy": (
        FINAL_ENERGY,
        "select customer_id, cycle_start, usage_date as usage_day, posting_date, cluster, "
        "accelerator, model_family, "
        + ", ".join(
            f"cast({name}_micro as decimal(32, 0)) * 0.000001 as {name}"
            for name in ("gpu_minutes", "busy_kwh", "energy_cost")
        )
        + " from int_usage_costed where not is_dedicated and (customer_id, cycle_start) in "
        "(select (customer_id, cycle_start) from newly_final) and (customer_id, cycle_start) "
        f"not in (select (customer_id, cycle_start) from {_ARCHIVED}) order by all",
    ),
    "final_invoices": (
        FINAL_INVOICES,
        "select distinct invoice_id, customer_id, "
        "coalesce(customers.customer_name, customer_id) as customer_name "
        "from newly_final left join customers using (customer_id) "
        f"where invoice_id not in (select invoice_id from {_ARCHIVED}) order by all",
    ),
    "final_invoice_lines": (
        FINAL_INVOICE_LINES,
        "select * from newly_final "
        f"where invoice_id not in (select invoice_id from {_ARCHIVED}) order by invoice_line_id",
    ),
}


# Seeds that marts read over their whole history.
_SEEDS_OF_MARTS = ("contracts/customers.csv", "fleet/facilities.csv")


class NotPublishable(NotDone, RuntimeError):
    """The warehouse must not be published; the message says why and what to do."""


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
                published_by=node["config"].get("meta", {}).get("published_by"),
            )
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model" and node["access"] == "public"
        ),
        key=lambda mart: mart.name,
    )


def publish(settings: Settings, marts: list[Mart], run_id: str) -> Publication:
    """Copy the marts beside the current publication and switch to the copy.

    Raises:
        NotPublishable: the last billing did not finish, or a control of level error failed.
            Nothing was written.
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
            "Controls failed, so nothing was published by this run: " + "; ".join(failed)
        )
    name = f"{billed['last_day']}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with (
        read_warehouse(settings) as warehouse,
        new_version(settings.published_dir, name, kept=settings.publications_kept) as staged,
    ):
        basis = _basis(settings, marts)
        previous = _previous(settings, basis)
        changed = _changed_parts(warehouse, previous, billed)
        if changed is None:
            previous = None
        tables = [write_parts(warehouse, mart, staged, previous, changed or ()) for mart in marts]
        write_database(tables, staged, previous, bounded(settings))
        _archive_final_invoices(warehouse, settings, staged.name.removeprefix("."))
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
            "row_counts": {table.mart.name: table.rows for table in tables},
            "checks": checks,
            "basis": basis,
            "parts": _listed(tables),
            "sha256": checksums(staged, tables, previous),
        }
        (staged / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return Publication(
        path=settings.published_dir / "current",
        run_id=run_id,
        row_counts={table.mart.name: table.rows for table in tables},
    )


def _basis(settings: Settings, marts: Sequence[Mart]) -> str:
    """A checksum of what all rows of a publication rest on, besides the rows of the warehouse.

    Nothing is taken over from a publication with another one: what the project's SQL says, what is
    published and how it is written, settings and seeds that the marts read.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([asdict(mart) for mart in marts]).encode())
    digest.update(f"{STORAGE_VERSION} {duckdb.__version__} {settings.provider_name}".encode())
    seeds = [settings.staged_seeds_dir / name for name in _SEEDS_OF_MARTS]
    sql = [path for part in ("models", "macros") for path in (DBT_PROJECT_DIR / part).rglob("*.*")]
    for path in [*seeds, *sorted(sql)]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _previous(settings: Settings, basis: str) -> EarlierPublication | None:
    """The current publication, if parts of it may be taken over."""
    folder = settings.published_dir / "current"
    if not (folder / "manifest.json").exists():
        return None
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest.get("basis") != basis:
        return None
    published = EarlierPublication(
        folder=folder.resolve(),
        billing_id=manifest["billing_id"],
        parts={
            mart: {
                part["name"]: Part(
                    name=part["name"],
                    rows=part["rows"],
                    sums=tuple(part["sums"]),
                    csv=tuple(part["csv"]) if part["csv"] else None,
                )
                for part in parts
            }
            for mart, parts in manifest["parts"].items()
        },
        sha256=manifest["sha256"],
    )
    return published if published.is_whole() else None


def _listed(tables: Sequence[Written]) -> dict[str, list[dict[str, Any]]]:
    return {table.mart.name: [asdict(part) for part in table.parts.values()] for table in tables}


def _changed_parts(
    warehouse: duckdb.DuckDBPyConnection,
    previous: EarlierPublication | None,
    billed: Mapping[str, Any],
) -> Collection[str] | None:
    """The months that the warehouse may have changed since a publication; None is all of them.

    The warehouse knows what its last billing changed. A publication that rests on an earlier one
    (a night that was billed and not published lies between) is no use.
    """
    if previous is None:
        return None
    if previous.billing_id == billed["billing_id"]:
        return ()
    if previous.billing_id != billed.get("follows"):
        return None
    months = warehouse.execute(
        "select strftime(month, '%Y-%m') from int_changed_months where month is not null"
    ).fetchall()
    return {UNDATED, *(month for (month,) in months)}


def prepare_archive(settings: Settings) -> None:
    """Make sure that each part of the archive has a file for the models to read."""
    for table, (schema, _) in _FINAL.items():
        empty = settings.archive_dir / table / "none.parquet"
        if not empty.exists():
            put_table(schema.empty_table(), empty)
    action_receipts(settings.archive_dir).copy()


def _archive_final_invoices(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, name: str
) -> None:
    """Write down the invoices that this publication is the first to show as final.

    Before the switch: an invoice that was ever seen as final is in the archive. After a crash in
    between, the next publication finds it there, and its controls have compared it.
    """
    newly_final = warehouse.sql(
        "select * from invoice_lines where status = 'final' and invoice_id not in "
        "(select invoice_id from read_parquet($1, hive_partitioning = false))",
        params=[_files_of(settings.archive_dir / "final_invoice_lines")],
    ).to_arrow_table()
    if not newly_final.num_rows:
        return
    warehouse.register("newly_final", newly_final)
    for table, (schema, query) in _FINAL.items():
        folder = settings.archive_dir / table
        rows = warehouse.sql(query, params={"archived": _files_of(folder)}).to_arrow_table()
        if not rows.num_rows:
            continue
        path = folder / f"{name}.parquet"
        if path.exists():
            raise FileExistsError(
                f"{path} is there already, and no archived invoice is ever replaced: bill again"
            )
        put_table(rows.select(schema.names).cast(schema), path)


def _files_of(folder: Path) -> str:
    return glob.escape(str(folder)) + "/*.parquet"
