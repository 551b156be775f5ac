"""Load a publication into PostgreSQL in one transaction, and put it in the place of the last one.

Readers see the old publication or the new one. Those in the middle of a transaction that has read
the old one are waited for; whoever asks while the tables are switched waits for milliseconds.
Whatever goes wrong, and whoever is killed, the transaction ends and the old publication stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
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

from orchestration.addresses import is_loopback
from orchestration.publication.current import CurrentPublication
from orchestration.publication.postgres import NotLoaded, ddl
from orchestration.publication.postgres.contract import Contract
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
# PostgreSQL cannot hold NUL in a text; ids may. Two texts that differ must differ there, too, so the
# sign that stands for it is doubled where it stands for itself.
_SPELLED = (("␀", "␀␀"), ("\0", "␀0"))
# A row of a B-tree has at most 2,704 bytes, of which some are the server's own.
_INDEXED_BYTES = 2_500
_NAMED = 10


@dataclass(frozen=True)
class Loaded:
    """What PostgreSQL holds now."""

    publication: CurrentPublication
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
    publication = CurrentPublication.of(settings)
    with _connected(settings) as connection:
        schema = settings.publish_postgres_schema
        staged = f"{schema}_next"
        _begin_alone(connection, schema, staged)
        _check(connection, settings)
        tables = [(contract, _columns(publication, contract)) for contract in contracts]
        row_counts = {}
        for contract, columns in tables:
            connection.execute(ddl.create_table(staged, contract, columns))
            row_counts[contract.mart.name] = _copy(
                connection, publication, staged, contract, columns
            )
        _give_keys(connection, staged, tables)
        for contract in contracts:
            for statement in ddl.comments(staged, contract):
                connection.execute(statement)
        _give_to_readers(connection, settings, staged, contracts)
        _refuse_excess(connection, settings.publish_postgres_customer, staged, contracts)
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
    address = _address(url.get_secret_value())
    try:
        with psycopg.connect(
            **{
                **address,
                "application_name": "gpu-credit-warehouse",
                "connect_timeout": _CONNECT_SECONDS,
            }
        ) as connection:
            connection.execute("set local timezone = 'UTC'")
            connection.execute(SQL("set local lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
            yield connection
    except psycopg.Error as error:
        said = ": ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        raise NotLoaded(f"PostgreSQL refuses: {said or error}") from error


def _address(url: str) -> dict[str, Any]:
    """What the driver connects with: over TLS, to a server that proves its name, unless the URL says
    otherwise or the server is on this machine.

    Raises:
        NotLoaded: the URL cannot be read.
    """
    try:
        address = conninfo_to_dict(url)
    except psycopg.Error:
        # What the driver says of it may repeat the password in it.
        raise NotLoaded(
            "PUBLISH_POSTGRES_URL is not an address that PostgreSQL's client reads"
        ) from None
    hosts = str(address.get("hostaddr") or address.get("host") or "").split(",")
    # A path is a socket's, and stays here; without any host, the client's environment may name one.
    if not all(is_loopback(host) or host.startswith("/") for host in hosts):
        address.setdefault("sslmode", "verify-full")
    return address


def _begin_alone(connection: psycopg.Connection, schema: str, staged: str) -> None:
    """Make the schema to fill; until this transaction ends, that is the lock.

    Of two transactions that make a schema of one name, the later waits for the first. Only who may
    create schemas in the database can stand in the way; an advisory lock, any login could take.

    Raises:
        NotLoaded: another run is loading, or the name is taken.
    """
    try:
        connection.execute(SQL("create schema {}").format(Identifier(staged)))
    except errors.LockNotAvailable:
        raise NotLoaded(f"Another run is loading schema {schema}; wait for it to end") from None
    except errors.DuplicateSchema:
        raise NotLoaded(
            f"Schema {staged} is there, in which a publication is put together: drop it, or name "
            "another schema in PUBLISH_POSTGRES_SCHEMA"
        ) from None


def _check(connection: psycopg.Connection, settings: Settings) -> None:
    """Stop before anything is written if the server, the schema or the roles are not as needed."""
    if connection.info.server_version < _OLDEST_SERVER * 10_000:
        raise NotLoaded(f"The server is older than PostgreSQL {_OLDEST_SERVER}")
    schema = settings.publish_postgres_schema
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


def _columns(publication: CurrentPublication, contract: Contract) -> pa.Schema:
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


def _files(publication: CurrentPublication, contract: Contract) -> list[Path]:
    return sorted((publication.folder / contract.mart.name).glob("*.parquet"))


def _copy(
    connection: psycopg.Connection,
    publication: CurrentPublication,
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
                pcsv.write_csv(_spelled(batch), piece, _CSV)
                copy.write(piece.getvalue())
    [rows] = _row(connection, ddl.count(schema, contract), [])
    return int(rows)


def _spelled(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as PostgreSQL can hold them, no two texts alike that were not."""
    columns = []
    for column in batch.columns:
        if pa.types.is_string(column.type):
            for sign, spelled in _SPELLED:
                column = pc.replace_substring(column, sign, spelled)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _give_keys(
    connection: psycopg.Connection, schema: str, tables: list[tuple[Contract, pa.Schema]]
) -> None:
    """Keys, foreign keys and indexes.

    An index of the server's holds no text of thousands of bytes, which a delivered id may be. A key
    with such values is looked through here and now instead, and so is what refers to it.

    Raises:
        NotLoaded: a value stands twice, or refers to nothing.
    """

    def fits(contract: Contract, types: pa.Schema, columns: Iterable[str]) -> bool:
        texts = [name for name in columns if pa.types.is_string(types.field(name).type)]
        if not texts:
            return True
        [size] = _row(connection, ddl.longest(schema, contract, texts), [])
        return int(size) <= _INDEXED_BYTES

    kept: set[tuple[str, tuple[str, ...]]] = set()
    for contract, types in tables:
        for columns in contract.keys:
            if fits(contract, types, columns):
                kept.add((contract.mart.name, columns))
                connection.execute(ddl.key(schema, contract, columns))
                continue
            [twice] = _row(connection, ddl.twice(schema, contract, columns), [])
            if twice:
                raise NotLoaded(
                    f"{contract.mart.name}: {twice:,} values of its key ({', '.join(columns)}) stand "
                    "there more than once"
                )
            connection.execute(ddl.index(schema, contract, columns[0], by_hash=True))
        for column in ddl.looked_up(contract):
            by_hash = not fits(contract, types, [column])
            connection.execute(ddl.index(schema, contract, column, by_hash=by_hash))
    for contract, _ in tables:
        for reference in contract.references:
            if (reference.table, (reference.target,)) in kept:
                connection.execute(ddl.foreign_key(schema, contract, reference))
                continue
            [astray] = _row(connection, ddl.astray(schema, contract, reference), [])
            if astray:
                raise NotLoaded(
                    f"{contract.mart.name}: the {reference.column} of {astray:,} rows is not in "
                    f"{reference.table}"
                )


def _refuse_excess(
    connection: psycopg.Connection, customer: str, schema: str, contracts: list[Contract]
) -> None:
    """Ask the server what the customer role can do now, whoever else has given it rights.

    Rights come from default privileges, from PUBLIC, and from every role that it is a member of,
    also if it has to ask for that one (SET ROLE).

    Raises:
        NotLoaded: it could read or change more than is meant for it.
    """
    meant = {
        (contract.mart.name, column) for contract in contracts for column in contract.for_customers
    }
    excess = [
        f"{table}.{column}" + ("" if role == customer else f" as {role}")
        for role, table, column, changes in connection.execute(ddl.RIGHTS, [customer, schema])
        if changes or (table, column) not in meant
    ]
    if excess:
        more = f" and {len(excess) - _NAMED:,} more" if len(excess) > _NAMED else ""
        raise NotLoaded(
            f"Role {customer} could read or change more than is meant for customers: "
            f"{', '.join(excess[:_NAMED])}{more}. Take the rights back (look at default privileges, "
            "at PUBLIC, and at the roles that it is a member of)"
        )
    unbound = [name for (name,) in connection.execute(ddl.UNBOUND, [customer])]
    if unbound:
        raise NotLoaded(
            f"Row security would not hold for role {customer}: it is a member of "
            f"{', '.join(unbound)}, whom it does not bind"
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
