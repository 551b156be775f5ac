"""The publication in PostgreSQL, on a real server: exact, switched in one step, and each to its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from postgres_server import postgres_server

from orchestration.publication.parts import Column, Mart
from orchestration.settings import PROJECT_ROOT, Settings

psycopg = pytest.importorskip("psycopg", reason='the extra "postgres" is not installed')

from orchestration.publication.postgres import NotLoaded  # noqa: E402
from orchestration.publication.postgres.contract import Contract, ForeignKey  # noqa: E402
from orchestration.publication.postgres.load import Loaded, load  # noqa: E402

DAY = date(2026, 1, 31)
HOSTILE = 'rate "cards"; drop table x --'


def contract(
    name: str,
    columns: dict[str, str],
    *,
    key: tuple[str, ...] = (),
    references: tuple[ForeignKey, ...] = (),
    for_customers: tuple[str, ...] = (),
) -> Contract:
    mart = Mart(name, f"What {name} is.", tuple(Column(*column) for column in columns.items()))
    return Contract(mart, frozenset(key), (key,) if key else (), references, for_customers)


INVOICES = contract(
    "invoices",
    {"invoice_id": "The invoice.", "customer_id": "The customer’s.", "total": "It's the total."},
    key=("invoice_id",),
    for_customers=("invoice_id", "customer_id", "total"),
)
LINES = contract(
    "invoice_lines",
    {"line_id": "", "invoice_id": "", "customer_id": "", "amount": "", "our_cost": "Internal."},
    key=("line_id",),
    references=(ForeignKey("invoice_id", "invoices", "invoice_id"),),
    for_customers=("line_id", "invoice_id", "customer_id", "amount"),
)
MARGIN = contract("margin", {"customer_id": "", "margin": ""})
RATES = contract(HOSTILE, {'the "rate"': "100 % of it", "at": "", "raw": "", "is_new": "", "n": ""})
CONTRACTS = [INVOICES, LINES, MARGIN, RATES]


def tables(version: int) -> dict[str, pa.Table]:
    """Rows of a publication; its amounts tell which."""
    money, micro = pa.decimal128(18, 2), pa.decimal128(38, 6)
    amount = Decimal(version)
    return {
        "invoices": pa.table(
            {
                "invoice_id": ["a/1", "b/1"],
                "customer_id": ["a", "b"],
                "total": pa.array([amount, amount], money),
            }
        ),
        "invoice_lines": pa.table(
            {
                "line_id": ["a/1/x", "b/1/x", "b/1/y"],
                "invoice_id": ["a/1", "b/1", "b/1"],
                "customer_id": ["a", "b", "b"],
                "amount": pa.array([amount, amount, Decimal(0)], money),
                "our_cost": pa.array([amount, None, Decimal("0.000001")], micro),
            }
        ),
        "margin": pa.table({"customer_id": ["a"], "margin": pa.array([amount], micro)}),
        HOSTILE: pa.table(
            {
                'the "rate"': pa.array(
                    [Decimal("12345678901234567890.123456789012"), None], pa.decimal128(38, 12)
                ),
                "at": pa.array([datetime(2026, 1, 31, 12, 0, 0, 1), None], pa.timestamp("us")),
                "raw": ['{"a": "x,\\"y\\"\n\\.\0"}', ""],
                "is_new": [True, None],
                "n": pa.array([2**62, None], pa.int64()),
            }
        ),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server with the roles that docs/bi.md asks for, and logins that are members of them."""
    with postgres_server() as url:
        with psycopg.connect(url, autocommit=True) as superuser:
            for statement in (
                "create role publisher login",
                "create role billing_reader nologin",
                "create role billing_customer nologin",
                "create role bi login in role billing_reader",
                "create role portal login in role billing_customer",
                "grant create on database postgres to publisher",
            ):
                superuser.execute(statement)
        yield url


@pytest.fixture
def settings(server: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """A data folder with publication 1, to be loaded into a schema of the test's own."""
    settings = Settings(
        data_dir=tmp_path,
        publish_postgres_url=as_login(server, "publisher"),
        publish_postgres_schema=f"books {crc32(request.node.name.encode())}",
    )
    publish(settings, 1)
    return settings


def publish(settings: Settings, version: int) -> None:
    folder = settings.published_dir / "publications" / f"{DAY}-{version}"
    for name, rows in tables(version).items():
        (folder / name).mkdir(parents=True)
        pq.write_table(rows, folder / name / "part-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"last_delivery_day": DAY.isoformat()}))
    current = settings.published_dir / "current"
    current.unlink(missing_ok=True)
    current.symlink_to(folder)


def as_login(url: str, login: str) -> str:
    return url.replace("//postgres@", f"//{login}@")


@pytest.fixture
def query(server: str, settings: Settings) -> Callable[..., list[tuple[Any, ...]]]:
    """Rows that a login gets from the schema, each time over a connection of its own."""

    def ask(sql: str, login: str = "bi", customer: str | None = None) -> list[tuple[Any, ...]]:
        with connected(server, settings, login) as connection:
            if customer is not None:
                connection.execute("select set_config('app.customer_id', %s, true)", [customer])
            return connection.execute(sql).fetchall()

    return ask


def connected(server: str, settings: Settings, login: str) -> Any:
    connection = psycopg.connect(as_login(server, login))
    schema = psycopg.sql.Identifier(settings.publish_postgres_schema)
    connection.execute(psycopg.sql.SQL("set search_path = {}").format(schema))
    connection.commit()
    return connection


def loaded(settings: Settings, version: int, **options: Any) -> Loaded:
    publish(settings, version)
    return load(settings, CONTRACTS, **options)


def test_types_keys_and_comments_are_the_contracts(settings, query):
    assert load(settings, CONTRACTS).row_counts == {
        "invoices": 2,
        "invoice_lines": 3,
        "margin": 1,
        HOSTILE: 2,
    }
    schema = settings.publish_postgres_schema
    columns = query(
        "select relname, attname, format_type(atttypid, atttypmod), attnotnull, "
        "col_description(attrelid, attnum) from pg_attribute join pg_class on attrelid = pg_class.oid "
        f"where relnamespace = '\"{schema}\"'::regnamespace and relkind = 'r' and attnum > 0 "
        "order by relname, attnum"
    )
    assert [row[1:] for row in columns if row[0] == "invoices"] == [
        ("invoice_id", "text", True, "The invoice."),
        ("customer_id", "text", False, "The customer’s."),
        ("total", "numeric(18,2)", False, "It's the total."),
    ]
    assert [row[1:4] for row in columns if row[0] == HOSTILE] == [
        ('the "rate"', "numeric(38,12)", False),
        ("at", "timestamp with time zone", False),
        ("raw", "text", False),
        ("is_new", "boolean", False),
        ("n", "bigint", False),
    ]
    keys = query(
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint "
        f"where connamespace = '\"{schema}\"'::regnamespace order by 1, 2"
    )
    assert keys == [
        ("invoice_lines", "FOREIGN KEY (invoice_id) REFERENCES invoices(invoice_id)"),
        ("invoice_lines", "PRIMARY KEY (line_id)"),
        ("invoices", "PRIMARY KEY (invoice_id)"),
    ]
    [(text,)] = query(f"select obj_description('\"{schema}\"'::regnamespace)")
    assert "as of the end of 2026-01-31" in text
    assert query("select obj_description('invoices'::regclass)") == [("What invoices is.",)]


def test_every_value_arrives_as_it_was_published(settings, query):
    load(settings, CONTRACTS)
    rows = query(
        f'select "the ""rate""", "at" at time zone \'UTC\', raw, is_new, n from "{_doubled(HOSTILE)}" '
        "order by raw"
    )
    assert rows == [
        (None, None, "", None, None),
        (
            Decimal("12345678901234567890.123456789012"),
            datetime(2026, 1, 31, 12, 0, 0, 1),
            '{"a": "x,\\"y\\"\n\\.␀0"}',
            True,
            2**62,
        ),
    ]


def _doubled(name: str) -> str:
    return name.replace('"', '""')


def test_a_customer_reads_its_own_rows_of_what_is_meant_for_it(settings, query):
    load(settings, CONTRACTS)
    lines = "select line_id, amount from invoice_lines order by 1"
    assert query(lines, "portal", customer="a") == [("a/1/x", Decimal(1))]
    assert query(lines, "portal", customer="b") == [("b/1/x", Decimal(1)), ("b/1/y", Decimal(0))]
    assert query(lines, "portal", customer="") == []
    assert query(lines, "portal") == [], "without a customer there are no rows"
    for internal in (
        "select our_cost from invoice_lines",
        "select * from invoice_lines",
        "select * from margin",
        f'select * from "{_doubled(HOSTILE)}"',
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(internal, "portal", customer="a")


def test_a_reader_reads_everything_and_writes_nothing(settings, query):
    load(settings, CONTRACTS)
    assert query("select count(*) from invoice_lines") == [(3,)]
    assert query("select count(our_cost) from invoice_lines") == [(2,)]
    assert query("select count(*) from margin") == [(1,)]
    for change in ("delete from invoices", "update invoices set total = 0", "truncate invoices"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(change + " returning 1" if change[0] != "t" else change)


def test_row_security_holds_for_the_owner_too(settings, query):
    load(settings, CONTRACTS)
    assert query("select * from invoices", "publisher") == []


def test_loading_again_replaces_everything_and_leaves_nothing_behind(settings, query):
    load(settings, CONTRACTS)
    first = query("select * from invoice_lines order by 1")
    load(settings, CONTRACTS)
    assert query("select * from invoice_lines order by 1") == first
    loaded(settings, 2)
    assert query("select total from invoices") == [(Decimal(2),), (Decimal(2),)]
    assert query(
        "select count(*) from pg_namespace where nspname like %s".replace(
            "%s", f"'{settings.publish_postgres_schema}%'"
        )
    ) == [(1,)]


def test_a_snapshot_from_before_the_load_finds_the_whole_table(server, settings):
    """Not an empty one: that is what a repeatable read would get from rows younger than itself."""
    load(settings, CONTRACTS)
    with connected(server, settings, "bi") as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select 1")
        loaded(settings, 2)
        assert reader.execute("select total from invoices").fetchall() == [(Decimal(2),)] * 2
        assert reader.execute("select count(*) from invoice_lines").fetchall() == [(3,)]


def test_a_load_waits_for_a_reader_in_the_middle_and_names_it(server, settings, query):
    load(settings, CONTRACTS)
    with connected(server, settings, "bi") as reader:
        assert reader.execute("select min(total) from invoices").fetchone() == (Decimal(1),)
        with pytest.raises(NotLoaded, match=f"process {reader.info.backend_pid} of bi"):
            loaded(settings, 2, patience=0)
        # The other table is still the same publication's.
        assert reader.execute(
            "select min(amount) from invoice_lines where customer_id = 'a'"
        ).fetchone() == (Decimal(1),)
        waiting = threading.Thread(target=load, args=(settings, CONTRACTS))
        waiting.start()
        assert reader.execute("select min(total) from invoices").fetchone() == (Decimal(1),)
        reader.commit()
        waiting.join()
        assert reader.execute("select min(total) from invoices").fetchone() == (Decimal(2),)


def test_readers_see_one_publication_or_the_other_while_it_is_switched(server, settings):
    load(settings, CONTRACTS)
    seen: list[tuple[Decimal, Decimal, int]] = []
    problems: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            with connected(server, settings, "bi") as reader:
                reader.autocommit = True
                while not done.is_set():
                    seen.extend(
                        reader.execute(
                            "select min(total), max(amount), count(*) "
                            "from invoices join invoice_lines using (invoice_id)"
                        ).fetchall()
                    )
        except Exception as problem:
            problems.append(problem)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    waits = [loaded(settings, version).switch_seconds for version in range(2, 8)]
    done.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert {rows for _, _, rows in seen} == {3}
    assert [total for total, amount, _ in seen if total != amount] == []
    assert len({total for total, _, _ in seen}) > 1, "the readers met more than one publication"
    assert max(waits) < 5


def test_a_killed_load_leaves_what_was_there(server, settings, query):
    load(settings, CONTRACTS)
    publish(settings, 2)
    with connected(server, settings, "bi") as reader:
        # With a reader in the middle, the load has written everything and waits to switch.
        reader.execute("select * from invoices")
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import test_postgres as t, sys\n"
                "t.load(t.Settings.model_validate_json(sys.stdin.read()), t.CONTRACTS)",
            ],
            stdin=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        )
        assert child.stdin
        child.stdin.write(
            json.dumps(
                {
                    "data_dir": str(settings.data_dir),
                    "publish_postgres_url": settings.publish_postgres_url.get_secret_value(),
                    "publish_postgres_schema": settings.publish_postgres_schema,
                }
            )
        )
        child.stdin.close()
        waits = (
            "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock' "
            "and relation = 'invoices'::regclass"
        )
        until(lambda: query(waits) == [(1,)] or child.poll() is not None)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    until(
        lambda: query("select count(*) from pg_stat_activity where usename = 'publisher'") == [(0,)]
    )
    assert query("select distinct total from invoices") == [(Decimal(1),)]
    load(settings, CONTRACTS)
    assert query("select distinct total from invoices") == [(Decimal(2),)]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_rows_that_break_the_contract_are_refused_and_the_old_ones_stay(settings, query):
    load(settings, CONTRACTS)
    publish(settings, 2)
    file = settings.published_dir / "current" / "invoices" / "part-0.parquet"
    rows = pq.read_table(file)
    pq.write_table(pa.concat_tables([rows, rows]), file)
    with pytest.raises(NotLoaded, match=r"invoice_id.*a/1.*is duplicated"):
        load(settings, CONTRACTS)
    pq.write_table(rows.slice(1), file)
    with pytest.raises(NotLoaded, match=r"a/1.*is not present in table \"invoices\""):
        load(settings, CONTRACTS)
    assert query("select distinct total from invoices") == [(Decimal(1),)]


def test_models_edited_after_the_publication_are_named(settings):
    edited = contract("invoices", {"invoice_id": "", "new_column": ""})
    with pytest.raises(NotLoaded, match="invoices is published with other columns"):
        load(settings, [edited, *CONTRACTS[1:]])


def test_a_float_is_refused(settings):
    path = settings.published_dir / "current" / "margin" / "part-0.parquet"
    pq.write_table(pa.table({"customer_id": ["a"], "margin": [0.1]}), path)
    with pytest.raises(NotLoaded, match=r"margin\.margin is published as double"):
        load(settings, CONTRACTS)


def test_a_schema_of_somebody_else_is_never_replaced(server, settings):
    schema = settings.publish_postgres_schema
    with psycopg.connect(server) as superuser:
        superuser.execute(
            psycopg.sql.SQL("create schema {}").format(psycopg.sql.Identifier(schema))
        )
    with pytest.raises(NotLoaded, match="no publication has made it"):
        load(settings, CONTRACTS)
    public = settings.model_copy(update={"publish_postgres_schema": "public"})
    with pytest.raises(NotLoaded, match="no publication has made it"):
        load(public, CONTRACTS)


def test_a_view_on_the_tables_is_not_dropped_with_them(server, settings, query):
    load(settings, CONTRACTS)
    name = "totals"
    with connected(as_login(server, "postgres"), settings, "postgres") as superuser:
        superuser.execute(f"create view public.{name} as select sum(total) from invoices")
    with pytest.raises(NotLoaded, match=rf"view {name} depends on"):
        loaded(settings, 2)
    assert query("select distinct total from invoices") == [(Decimal(1),)]


def test_roles_that_are_missing_or_would_see_too_much_stop_the_load(server, settings):
    missing = settings.model_copy(update={"publish_postgres_reader": "nobody here"})
    with pytest.raises(NotLoaded, match='create role "nobody here" nologin'):
        load(missing, CONTRACTS)
    for sees_all in ("bi", "postgres", "billing_reader"):
        role = settings.model_copy(update={"publish_postgres_customer": sees_all})
        with pytest.raises(NotLoaded, match="Row security would not hold"):
            load(role, CONTRACTS)


def test_texts_that_differ_differ_there_too(settings, query):
    """NUL, what may stand for it, and what stands for that."""
    ids = ["a\0", "a\N{REPLACEMENT CHARACTER}", "a␀", "a␀0", "a\0\0", "a␀\0", "a\0␀", "a\\0", "a␀␀"]
    republish(
        settings,
        "invoices",
        {
            "invoice_id": ids,
            "customer_id": ids,
            "total": pa.array([Decimal(1)] * len(ids), pa.decimal128(18, 2)),
        },
    )
    load(settings, [INVOICES])
    found = [name for (name,) in query("select invoice_id from invoices")]
    assert len(set(found)) == len(ids)
    for name in ids:
        spelled = name.replace("␀", "␀␀").replace("\0", "␀0")
        assert query("select count(*) from invoices", "portal", customer=spelled) == [(1,)]


def republish(settings: Settings, table: str, columns: dict[str, Any]) -> None:
    folder = settings.published_dir / "current" / table
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


def long(seed: int, size: int = 100_000) -> str:
    """A text that no compression makes short."""
    return "".join(Random(seed).choices("abcdefghijklmnopqrstuvwxyzäöü🙂", k=size))


def publish_long_names(settings: Settings, ids: list[str], of_lines: list[str]) -> None:
    money, micro = pa.decimal128(18, 2), pa.decimal128(38, 6)
    republish(
        settings,
        "invoices",
        {"invoice_id": ids, "customer_id": ids, "total": pa.array([Decimal(1)] * len(ids), money)},
    )
    republish(
        settings,
        "invoice_lines",
        {
            "line_id": [f"line {n}" for n in range(len(of_lines))],
            "invoice_id": of_lines,
            "customer_id": of_lines,
            "amount": pa.array([Decimal(1)] * len(of_lines), money),
            "our_cost": pa.array([None] * len(of_lines), micro),
        },
    )


def test_very_long_names_load_and_their_keys_still_hold(settings, query):
    """No index of the server's holds them, so the load looks through them itself."""
    one, other = long(1), long(2)
    publish_long_names(settings, [one, other], [one, one, None])
    load(settings, CONTRACTS)
    assert query("select invoice_id from invoices where invoice_id = '" + one + "'") == [(one,)]
    assert query("select count(*) from invoice_lines", "portal", customer=one) == [(2,)]
    publish_long_names(settings, [one, other, one], [one])
    with pytest.raises(NotLoaded, match=r"invoices: 1 values of its key \(invoice_id\) stand"):
        load(settings, CONTRACTS)
    publish_long_names(settings, [one], [one, other])
    with pytest.raises(NotLoaded, match="the invoice_id of 1 rows is not in invoices"):
        load(settings, CONTRACTS)
    assert query("select count(*) from invoices") == [(2,)]


EXCESS = {
    "default privileges": (
        "alter default privileges for role publisher grant select on tables to billing_customer",
        "alter default privileges for role publisher revoke select on tables from billing_customer",
    ),
    "default privileges of everybody": (
        "alter default privileges for role publisher grant select on tables to public",
        "alter default privileges for role publisher revoke select on tables from public",
    ),
    "a change": (
        "alter default privileges for role publisher grant truncate on tables to billing_customer",
        "alter default privileges for role publisher revoke truncate on tables from billing_customer",
    ),
    "a role that reads all": (
        "grant pg_read_all_data to billing_customer",
        "revoke pg_read_all_data from billing_customer",
    ),
    "a role that is asked for": (
        "create role all_seeing in role pg_read_all_data; grant all_seeing to billing_customer; "
        "alter role billing_customer noinherit",
        "drop role all_seeing; alter role billing_customer inherit",
    ),
    "the owner": ("grant publisher to billing_customer", "revoke publisher from billing_customer"),
    "a role that no row security binds": (
        "create role unbound bypassrls; grant unbound to billing_customer",
        "drop role unbound",
    ),
}


@pytest.mark.parametrize("how", EXCESS)
def test_a_customer_that_could_read_more_stops_the_load(server, settings, query, how):
    load(settings, CONTRACTS)
    publish(settings, 2)
    give, take = EXCESS[how]
    with psycopg.connect(server, autocommit=True) as superuser:
        superuser.execute(give)
        try:
            with pytest.raises(
                NotLoaded, match=r"Role billing_customer could|role billing_customer:"
            ):
                load(settings, CONTRACTS)
        finally:
            superuser.execute(take)
    assert query("select distinct total from invoices") == [(Decimal(1),)]
    load(settings, CONTRACTS)


def test_two_loads_at_once_do_not_meet(server, settings):
    load(settings, CONTRACTS)
    schema = psycopg.sql.Identifier(f"{settings.publish_postgres_schema}_next")
    with psycopg.connect(as_login(server, "publisher")) as other:
        other.execute(psycopg.sql.SQL("create schema {}").format(schema))
        with pytest.raises(NotLoaded, match="Another run is loading"):
            load(settings, CONTRACTS)
        other.rollback()
        load(settings, CONTRACTS)
        other.execute(psycopg.sql.SQL("create schema {}").format(schema))
        other.commit()
    with pytest.raises(NotLoaded, match=r"_next is there.*drop it"):
        load(settings, CONTRACTS)


def test_no_login_that_only_reads_can_keep_a_load_out(server, settings):
    """Advisory locks are anybody's, and so are their numbers."""
    load(settings, CONTRACTS)
    schema = settings.publish_postgres_schema
    with connected(server, settings, "portal") as reader:
        reader.execute("select pg_advisory_lock(hashtext(%s))", [schema])
        reader.execute("select pg_advisory_lock(hashtext(%s))", [f"{schema}_next"])
        name = psycopg.sql.Identifier(f"{schema}_next")
        reader.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(psycopg.sql.SQL("create schema {}").format(name))
        load(settings, CONTRACTS)


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgresql://me:pw@db.example.com/books", "verify-full"),
        ("postgresql://me:pw@10.0.0.7/books", "verify-full"),
        ("postgresql://me:pw@127.0.0.1,db.example.com/books", "verify-full"),
        ("postgresql://me:pw@/books", "verify-full"),
        ("postgresql://me:pw@localhost.example.com/books?hostaddr=10.0.0.7", "verify-full"),
        ("postgresql://me:pw@db.example.com/books?sslmode=require", "require"),
        ("postgresql://me:pw@db.example.com/books?sslmode=disable", "disable"),
        ("postgresql://me:pw@127.0.0.1:5432/books", None),
        ("postgresql://me:pw@localhost/books", None),
        ("postgresql://me:pw@[::1]/books", None),
        ("postgresql://me:pw@/books?host=/run/postgresql", None),
    ],
)
def test_a_server_elsewhere_is_spoken_to_over_tls(settings, monkeypatch, url, sslmode):
    asked: list[dict[str, Any]] = []

    def connect(**how: Any) -> None:
        asked.append(how)
        raise psycopg.OperationalError("no")

    monkeypatch.setattr(psycopg, "connect", connect)
    elsewhere = Settings(data_dir=settings.data_dir, publish_postgres_url=url)
    with pytest.raises(NotLoaded):
        load(elsewhere, CONTRACTS)
    assert asked[0].get("sslmode") == sslmode
    assert (asked[0]["user"], asked[0]["password"], asked[0]["dbname"]) == ("me", "pw", "books")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:secret@[half/books",
        "postgresql://someone:secret@127.0.0.1:1/books",
        "postgresql://someone:secret@127.0.0.1:1/books?no_such_option=1",
    ],
)
def test_a_server_that_cannot_be_reached_is_said_without_the_password(settings, url):
    wrong = Settings(data_dir=settings.data_dir, publish_postgres_url=url)
    with pytest.raises(NotLoaded) as error:
        load(wrong, CONTRACTS)
    assert "secret" not in str(error.value)
    assert "PostgreSQL" in str(error.value)
