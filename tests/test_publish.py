"""Publication: switched in one step, kept for rollback, never half."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from orchestration.books.plan import BilledState
from orchestration.publication.parts import Column, Mart
from orchestration.publication.publish import NotPublishable, marts_of, prepare_archive, publish
from orchestration.settings import Settings
from orchestration.store.tables import put_table

MARTS = [
    Mart("billing_controls", "The checks.", (Column("control", "What's checked."),)),
    Mart("invoice_lines", "Lines.", (Column("invoice_id", "The invoice."),)),
]
LINE = {
    "invoice_line_id": "varchar",
    "invoice_id": "varchar",
    "customer_id": "varchar",
    "cycle_start": "date",
    "cycle_end": "date",
    "line_type": "varchar",
    "sku": "varchar",
    "description": "varchar",
    "cluster": "varchar",
    "accelerator": "varchar",
    "model_family": "varchar",
    "unit": "varchar",
    "currency": "varchar",
    "facility_ids": "varchar",
    "quantity": "decimal(38,6)",
    "unit_price": "decimal(38,12)",
    "amount": "decimal(18,2)",
    "gpu_minutes": "decimal(38,6)",
    "amortized_cost_per_gpu_minute": "decimal(18,6)",
    "amortized_cost": "decimal(38,6)",
    "renewable_share": "decimal(18,6)",
    "carbon_kg": "decimal(38,6)",
    "is_adjustment": "boolean",
    "status": "varchar",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder whose warehouse was billed to its end and passes its one control."""
    settings = Settings(data_dir=tmp_path, publications_kept=2)
    settings.warehouse_dir.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse_file)) as warehouse:
        warehouse.execute(
            "create table billing_controls as select 'c' as control, 'error' as severity, "
            "'s' as scope, 1.0 as expected, 1.0 as actual, true as passed"
        )
        columns = ", ".join(f"{name} {kind}" for name, kind in LINE.items())
        warehouse.execute(f"create table invoice_lines ({columns})")
        warehouse.execute(
            "insert into invoice_lines (invoice_line_id, invoice_id, customer_id, cycle_start, quantity, "
            "amount, status) values ('a/1', 'a', 'acme', '2026-01-01', 1, 12.34, 'final'), "
            "('b/1', 'b', 'acme', '2026-02-01', 1, 5.00, 'open')"
        )
        warehouse.execute(
            "create table customers as select 'acme' customer_id, 'Acme' customer_name"
        )
        warehouse.execute(
            "create table int_usage_costed as select 'acme' as customer_id, cycle_start, "
            "cycle_start as usage_date, cycle_start as posting_date, 'c' as cluster, "
            "'H100' as accelerator, 'llama' as model_family, is_dedicated, "
            "60000000::hugeint as gpu_minutes_micro, 1200000::hugeint as busy_kwh_micro, "
            "300000::hugeint as energy_cost_micro from (values (date '2026-01-01', false), "
            "(date '2026-01-01', true), (date '2026-02-01', false)) as rows (cycle_start, is_dedicated)"
        )
    complete(settings)
    prepare_archive(settings)
    return settings


def complete(settings: Settings, billing: int = 1) -> None:
    state = BilledState(settings)
    state._update(
        {
            "complete": True,
            "billing_id": f"b{billing}",
            "follows": f"b{billing - 1}",
            "last_day": "2026-01-31",
            "first_delivery_day": "2026-01-05",
            "basis": {},
            "deliveries": {},
        }
    )


def change(settings: Settings, sql: str) -> None:
    with duckdb.connect(str(settings.warehouse_file)) as warehouse:
        warehouse.execute(sql)


def test_what_is_published_is_whole_and_described(settings):
    publication = publish(settings, MARTS, "run")
    manifest = json.loads((publication.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["row_counts"] == {"billing_controls": 1, "invoice_lines": 2}
    for name, sha256 in manifest["sha256"].items():
        assert hashlib.sha256((publication.path / name).read_bytes()).hexdigest() == sha256
    with duckdb.connect(str(publication.path / "marts.duckdb"), read_only=True) as marts:
        [(comment,)] = marts.execute(
            "select comment from duckdb_columns() where column_name = 'control'"
        ).fetchall()
        [(amount,)] = marts.execute("select sum(amount) from invoice_lines").fetchall()
    assert comment == "What's checked."
    assert str(amount) == "17.34"


def test_a_mart_that_says_so_is_published_as_csv_too(settings):
    """RFC 4180: CRLF, quotes where they are needed; decimals keep their point, NULL is empty."""
    change(
        settings,
        """create table usage as
        select 5::decimal(18, 2) as cost, 'a "b", c' as what, timestamp '2026-01-05' as at,
            null::varchar as tag
        union all select -0.5, 'd', timestamp '2026-01-06 01:02:03', ''""",
    )
    publication = publish(settings, [*MARTS, Mart("usage", "Usage.", (), as_csv=True)], "run")
    assert [path.name for path in publication.path.glob("*.csv")] == ["usage.csv"]
    written = (publication.path / "usage.csv").read_bytes()
    assert written.split(b"\r\n") == [
        b"cost,what,at,tag",
        b'-0.50,d,2026-01-06T01:02:03Z,""',
        b'5.00,"a ""b"", c",2026-01-05T00:00:00Z,',
        b"",
    ]
    manifest = json.loads((publication.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sha256"]["usage.csv"] == hashlib.sha256(written).hexdigest()


def test_the_marts_are_the_public_models_of_the_manifest():
    node = {"resource_type": "model", "description": "D.", "config": {"meta": {}}}
    columns = {"a": {"name": "a", "description": "A."}}
    manifest = {
        "nodes": {
            "b": {**node, "name": "b", "access": "public", "columns": columns},
            "a": {
                **node,
                "name": "a",
                "access": "public",
                "columns": {},
                "config": {"meta": {"csv": True, "published_by": "day"}},
            },
            "c": {**node, "name": "c", "access": "protected", "columns": {}},
        }
    }
    assert marts_of(manifest) == [
        Mart("a", "D.", (), as_csv=True, published_by="day"),
        Mart("b", "D.", (Column("a", "A."),)),
    ]


def test_a_reader_keeps_the_publication_it_opened(settings):
    path = publish(settings, MARTS, "one").path
    reader = duckdb.connect(str(path / "marts.duckdb"), read_only=True)
    change(settings, "update invoice_lines set amount = 7 where status = 'open'")
    publish(settings, MARTS, "two")
    assert str(reader.execute("select sum(amount) from invoice_lines").fetchall()[0][0]) == "17.34"
    fresh = duckdb.sql(f"select sum(amount) from '{path}/invoice_lines/*.parquet'").fetchall()
    assert str(fresh[0][0]) == "19.34"


def test_only_the_newest_publications_stay(settings):
    (settings.published_dir / "publications" / ".half-built").mkdir(parents=True)
    for run in ("one", "two", "three"):
        publish(settings, MARTS, run)
    kept = sorted((settings.published_dir / "publications").iterdir())
    assert len(kept) == 2
    assert (settings.published_dir / "current").resolve() == kept[-1].resolve()


class Clock:
    """A clock that somebody turns."""

    def __init__(self, *times: str) -> None:
        self.times = list(times)

    def now(self, zone):
        return datetime.fromisoformat(self.times.pop(0)).replace(tzinfo=zone)


def publications(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.published_dir / "publications").iterdir())


@pytest.mark.parametrize("kept", [1, 2])
def test_a_clock_that_was_set_back_removes_nothing_that_is_newer(settings, monkeypatch, kept):
    settings = settings.apart(publications_kept=kept)
    monkeypatch.setattr(
        "orchestration.publication.publish.datetime",
        Clock("2026-02-01T02:30:00", "2026-02-02T02:30:00", "2019-01-01T00:00:00"),
    )
    runs = []
    for run in ("one", "two", "three"):
        path = publish(settings, MARTS, run).path
        runs.append(path.resolve().name)
        assert json.loads((path / "manifest.json").read_text(encoding="utf-8"))["run_id"] == run
    assert publications(settings) == sorted(runs[-kept:])


def test_publications_of_an_earlier_release_are_older_than_any_new_one(settings):
    """Their names end in the time of a clock, which may have been ahead."""
    folder = settings.published_dir / "publications"
    for name in ("2026-01-30-20260131T023000000000", "2026-01-31-20990201T023000000000"):
        (folder / name).mkdir(parents=True)
    publish(settings, MARTS, "one")
    assert len(publications(settings)) == 2
    assert "2026-01-31-20990201T023000000000" in publications(settings)
    new = (settings.published_dir / "current").resolve().name
    assert new.endswith("-v000001")
    assert publish(settings, MARTS, "two").path.resolve().name.endswith("-v000002")


def test_what_current_points_to_is_never_removed(settings, monkeypatch):
    """Also if something of a name that no release gives counts as newer."""
    (settings.published_dir / "publications" / "kept by hand-v999999").mkdir(parents=True)
    (settings.published_dir / "publications" / ".DS_Store").touch()
    monkeypatch.setattr("orchestration.store.versions._place", lambda path: (-len(path.name), ""))
    settings = settings.apart(publications_kept=1)
    path = publish(settings, MARTS, "one").path
    assert (path / "marts.duckdb").exists()


def test_a_file_of_the_archive_is_never_replaced(settings, monkeypatch):
    """Not even if books are published anew from nothing, at the very same time."""
    monkeypatch.setattr(
        "orchestration.publication.publish.datetime",
        Clock("2026-02-01T02:30:00", "2026-02-01T02:30:00"),
    )
    publish(settings, MARTS, "one")
    shutil.rmtree(settings.published_dir)
    change(settings, "update invoice_lines set invoice_id = 'c' where invoice_id = 'a'")
    with pytest.raises(FileExistsError, match="no archived invoice is ever replaced"):
        publish(settings, MARTS, "two")


def test_a_failed_control_publishes_nothing(settings):
    before = publish(settings, MARTS, "one").path.resolve()
    change(settings, "update billing_controls set passed = false, actual = 2")
    with pytest.raises(NotPublishable, match=r"control c of s: expected 1\.0, found 2\.0"):
        publish(settings, MARTS, "two")
    assert (settings.published_dir / "current").resolve() == before


def test_an_unfinished_billing_is_not_published(settings):
    state = BilledState(settings)
    state._update({**state.read(), "complete": False})
    with pytest.raises(NotPublishable, match="did not finish"):
        publish(settings, MARTS, "run")
    assert not (settings.published_dir / "current").exists()


def test_a_final_invoice_is_archived_once_as_it_was(settings):
    publish(settings, MARTS, "one")
    change(settings, "update invoice_lines set amount = 99 where invoice_id = 'a'")
    publish(settings, MARTS, "two")
    archive = settings.archive_dir / "final_invoice_lines"
    archived = duckdb.sql(f"select invoice_id, amount from '{archive}/*.parquet'").fetchall()
    assert [(invoice, str(amount)) for invoice, amount in archived] == [("a", "12.34")]


def test_what_a_final_invoice_rests_on_is_archived_with_it(settings):
    """Its customer's name and the energy of its own usage, once, whatever becomes of them."""
    publish(settings, MARTS, "one")
    change(settings, "update customers set customer_name = 'Renamed'")
    change(settings, "update int_usage_costed set energy_cost_micro = 999")
    publish(settings, MARTS, "two")
    archive = settings.archive_dir
    assert duckdb.sql(f"from '{archive}/final_invoices/*.parquet'").fetchall() == [
        ("a", "acme", "Acme")
    ]
    energy = duckdb.sql(
        "select cycle_start::varchar, gpu_minutes::varchar, busy_kwh::varchar, energy_cost::varchar "
        f"from '{archive}/final_energy/*.parquet'"
    ).fetchall()
    assert energy == [("2026-01-01", "60.000000", "1.200000", "0.300000")]


def test_energy_archived_before_a_crash_is_not_archived_again(settings, monkeypatch):
    """The lines are written last: what stands before them is found by the next publication."""
    from orchestration.publication import publish as module

    written = []

    def put(table, path):
        if path.parent.name == "final_invoice_lines":
            raise OSError("no space left")
        written.append(path.parent.name)
        put_table(table, path)

    with monkeypatch.context() as patched:
        patched.setattr(module, "put_table", put)
        with pytest.raises(OSError, match="no space"):
            publish(settings, MARTS, "one")
    assert written == ["final_energy", "final_invoices"]
    publish(settings, MARTS, "two")
    for table in ("final_energy", "final_invoices", "final_invoice_lines"):
        rows = duckdb.sql(f"from '{settings.archive_dir}/{table}/*.parquet'").fetchall()
        assert len(rows) == 1, table
