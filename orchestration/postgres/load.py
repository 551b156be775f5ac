"""Load a publication into PostgreSQL in one transaction, and put it in the place of the last one.

Readers see the old publication or the new one. Those in the middle of a transaction that has read
the old one are waited for; whoever asks while the tables are switched waits for milliseconds.
Whatever goes wrong, and whoever is killed, the transaction ends and the old publication stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Composed, Identifier, Literal

from orchestration.delivery.published import Published
from orchestration.postgres import NotLoaded, ddl
from orchestration.postgres.contract import Contract
from orchestration.settings import Settings

PATIENCE_SECONDS = 600
"""For this long, readers in the middle of a transaction are let finish before a load gives up."""

_PAUSE_SECONDS = 1.0
# Shorter than the server's deadlock_timeout (1 s): should a reader and the load wait for each
# other, it is the load that steps back.
_LOCK_TIMEOUT = "500ms"
_CONNECT_SECONDS = 10
_ROWS_AT_ONCE = 50_000
_CSV = pcsv.WriteOptions(include_header=False)
_OLDEST_SERVER = 15
_MADE_BY_US = "GPU credit publication"
# PostgreSQL cannot hold this character in a text; rejected rows may.
_NUL, _REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Loaded:
    """What PostgreSQL holds now."""

    publication: Published
    row_counts: Mapping[str, int]
    switch_seconds: float
    """How long readers were kept out."""


def load(
    settings: Settings, contracts: list[Contract], *, patience: float = PATIENCE_SECONDS
) -> Loaded:
    """Put the current publication in the place of the one that PostgreSQL has.

    Args:
        settings: the address, schema and roles, and where the publication is.
        contracts: of the published tables.
        patience: seconds to wait for readers in the middle of a transaction.

    Raises:
        NotLoaded: nothing was changed.
        NothingPublished: there is no publication.
    """
    publication = Published.current(settings)
    with _connected(settings) as connection:
        _check(connection, settings)
        schema = settings.publish_postgres_schema
        staged = f"{schema}_next"
        tables = [(contract, _columns(publication, contract)) for contract in contracts]
        connection.execute(SQL("create schema {}").format(Identifier(staged)))
        row_counts = {}
        for contract, columns in tables:
            connection.execute(ddl.create_table(staged, contract, columns))
            row_counts[contract.mart.name] = _copy(
                connection, publication, staged, contract, columns
            )
        for statements in (ddl.keys, ddl.references, ddl.comments):
            for contract in contracts:
                for statement in statements(staged, contract):
                    connection.execute(statement)
        _give_to_readers(connection, settings, staged, contracts)
        connection.execute(
            SQL("comment on schema {schema} is {text}").format(
                schema=Identifier(staged),
                text=Literal(
                    f"{_MADE_BY_US} {publication.folder.name}: as of the end of "
                    f"{publication.last_day} UTC. Replaced whole by every publication."
                ),
            )
        )
        began = _keep_readers_out(connection, schema, patience)
        _switch(connection, schema, staged)
        connection.commit()
        switch_seconds = time.monotonic() - began
    return Loaded(publication, row_counts, switch_seconds)


@contextmanager
def _connected(settings: Settings) -> Iterator[psycopg.Connection]:
    """One transaction: it commits when the block says so, and is undone if the block fails."""
    url = settings.publish_postgres_url
    if url is None:
        raise NotLoaded("PUBLISH_POSTGRES_URL names no server")
    try:
        # What the driver says of an address that it cannot read may repeat the password in it.
        conninfo_to_dict(url.get_secret_value())
    except psycopg.Error:
        raise NotLoaded(
            "PUBLISH_POSTGRES_URL is not an address that PostgreSQL's client reads"
        ) from None
    try:
        with psycopg.connect(
            url.get_secret_value(),
            application_name="gpu-credit-warehouse",
            connect_timeout=_CONNECT_SECONDS,
        ) as connection:
            connection.execute("set local timezone = 'UTC'")
            connection.execute(SQL("set local lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
            yield connection
    except psycopg.Error as error:
        said = ": ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        raise NotLoaded(f"PostgreSQL refuses: {said or error}") from error


def _check(connection: psycopg.Connection, settings: Settings) -> None:
    """Stop before anything is written if the server, the schema or the roles are not as needed."""
    if connection.info.server_version < _OLDEST_SERVER * 10_000:
        raise NotLoaded(f"The server is older than PostgreSQL {_OLDEST_SERVER}")
    schema = settings.publish_postgres_schema
    [alone] = _row(connection, SQL("select pg_try_advisory_xact_lock(hashtext(%s))"), [schema])
    if not alone:
        raise NotLoaded(f"Another run is loading schema {schema}; wait for it to end")
    comment = connection.execute(
        "select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace "
        "where nspname = %s",
        [schema],
    ).fetchone()
    if comment and not comment[0].startswith(_MADE_BY_US):
        raise NotLoaded(
            f"Schema {schema} is there, but no publication has made it, and a publication replaces "
            "the schema whole: name another one in PUBLISH_POSTGRES_SCHEMA, or drop it"
        )
    reader, customer = settings.publish_postgres_reader, settings.publish_postgres_customer
    for role in (reader, customer):
        [there] = _row(connection, SQL("select count(*) from pg_roles where rolname = %s"), [role])
        if not there:
            raise NotLoaded(f'Role {role} is missing: create role "{role}" nologin')
    [sees_all] = _row(
        connection,
        SQL(
            "select rolsuper or rolbypassrls or pg_has_role(rolname, %s, 'member') "
            "from pg_roles where rolname = %s"
        ),
        [reader, customer],
    )
    if sees_all:
        raise NotLoaded(
            f"Row security would not hold for role {customer}: it is a superuser, bypasses row "
            f"security or is a member of {reader}"
        )


def _row(
    connection: psycopg.Connection, query: SQL | Composed, values: list[Any]
) -> tuple[Any, ...]:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row


def _columns(publication: Published, contract: Contract) -> pa.Schema:
    """The columns of a published table; those that its contract names, and no other.

    Raises:
        NotLoaded: the models were edited after the publication.
    """
    files = _files(publication, contract)
    columns = pq.read_schema(files[0]) if files else pa.schema([])
    if set(columns.names) != {column.name for column in contract.mart.columns}:
        raise NotLoaded(
            f"{contract.mart.name} is published with other columns than its model has now: "
            "bill and publish a day again"
        )
    return columns


def _files(publication: Published, contract: Contract) -> list[Path]:
    return sorted((publication.folder / contract.mart.name).glob("*.parquet"))


def _copy(
    connection: psycopg.Connection,
    publication: Published,
    schema: str,
    contract: Contract,
    columns: pa.Schema,
) -> int:
    """Load the rows of a table, a piece at a time; decimals go as text, to the last digit."""
    with (
        connection.cursor() as cursor,
        cursor.copy(ddl.copy_into(schema, contract, columns)) as copy,
    ):
        for file in _files(publication, contract):
            for batch in pq.ParquetFile(file).iter_batches(_ROWS_AT_ONCE, columns=columns.names):
                piece = pa.BufferOutputStream()
                pcsv.write_csv(_without_nul(batch), piece, _CSV)
                copy.write(piece.getvalue())
    [rows] = _row(connection, ddl.count(schema, contract), [])
    return int(rows)


def _without_nul(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pc.replace_substring(column, _NUL, _REPLACEMENT)
            if pa.types.is_string(column.type)
            else column
            for column in batch.columns
        ],
        names=batch.schema.names,
    )


def _give_to_readers(
    connection: psycopg.Connection, settings: Settings, schema: str, contracts: list[Contract]
) -> None:
    reader, customer = settings.publish_postgres_reader, settings.publish_postgres_customer
    connection.execute(
        SQL("grant usage on schema {schema} to {reader}, {customer}").format(
            schema=Identifier(schema), reader=Identifier(reader), customer=Identifier(customer)
        )
    )
    for contract in contracts:
        for statement in ddl.permissions(schema, contract, reader=reader, customer=customer):
            connection.execute(statement)
    # Without it the server would plan the first queries blindly.
    connection.execute(
        SQL("analyze {tables}").format(
            tables=SQL(", ").join(Identifier(schema, contract.mart.name) for contract in contracts)
        )
    )


def _tables(connection: psycopg.Connection, schema: str) -> list[Identifier]:
    return [
        Identifier(schema, name)
        for (name,) in connection.execute(
            "select relname from pg_class join pg_namespace on relnamespace = pg_namespace.oid "
            "where nspname = %s and relkind = 'r' order by relname",
            [schema],
        )
    ]


def _keep_readers_out(connection: psycopg.Connection, schema: str, patience: float) -> float:
    """Lock the tables that are replaced, once no transaction is in the middle of reading them.

    Without the lock, a query on two tables could find the old one of the one and the new one of
    the other.

    Returns:
        When the lock that was got was asked for, on the monotonic clock.
    """
    tables = _tables(connection, schema)
    give_up = time.monotonic() + patience
    while True:
        began = time.monotonic()
        try:
            with connection.transaction():
                if tables:
                    connection.execute(
                        SQL("lock table {} in access exclusive mode").format(SQL(", ").join(tables))
                    )
            return began
        except errors.LockNotAvailable:
            if time.monotonic() > give_up:
                raise NotLoaded(
                    f"Transactions keep the tables of schema {schema} open: "
                    f"{_readers(connection, schema)}. They have to end (commit, roll back, or "
                    "pg_terminate_backend) before a publication can take its place"
                ) from None
        time.sleep(min(_PAUSE_SECONDS, patience))


def _readers(connection: psycopg.Connection, schema: str) -> str:
    """Who holds a lock on a table of the schema, in words."""
    found = connection.execute(
        "select distinct locks.pid, coalesce(usename, ''), coalesce(application_name, '') "
        "from pg_locks as locks join pg_class on relation = pg_class.oid "
        "join pg_namespace on relnamespace = pg_namespace.oid "
        "left join pg_stat_activity as activity on activity.pid = locks.pid "
        "where nspname = %s and locks.pid <> pg_backend_pid() order by 1 limit 10",
        [schema],
    ).fetchall()
    return ", ".join(f"process {pid} of {user} {program}".strip() for pid, user, program in found)


def _switch(connection: psycopg.Connection, schema: str, staged: str) -> None:
    """Drop the old tables and give the new ones their place.

    Raises:
        NotLoaded: something of somebody else's stands on the old ones and would be lost with them.
    """
    try:
        if tables := _tables(connection, schema):
            connection.execute(SQL("drop table {}").format(SQL(", ").join(tables)))
        connection.execute(SQL("drop schema if exists {}").format(Identifier(schema)))
    except errors.DependentObjectsStillExist as error:
        raise NotLoaded(
            f"Something stands on the tables of schema {schema}, which are replaced whole: "
            f"{error.diag.message_detail}. Drop it, or make it a model of the project"
        ) from error
    connection.execute(
        SQL("alter schema {} rename to {}").format(Identifier(staged), Identifier(schema))
    )
