"""The SQL that makes a published table in PostgreSQL: types, keys, comments, and who reads which row.

Every name and text is composed with psycopg's ``sql``, which quotes it; nothing is pasted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier, Literal

from orchestration.publication.postgres import NotLoaded
from orchestration.publication.postgres.contract import CUSTOMER_ID, Contract, ForeignKey

CUSTOMER_SETTING = "app.customer_id"
"""The session's setting that names the customer whose rows the customer role sees."""

RIGHTS = SQL(
    "select rolname, relname, attname, "
    "has_column_privilege(roles.oid, tables.oid, attnum, 'insert, update, references') "
    "or has_table_privilege(roles.oid, tables.oid, 'delete, truncate, trigger') as changes "
    "from pg_roles as roles cross join pg_class as tables "
    "join pg_namespace as schemas on relnamespace = schemas.oid "
    "join pg_attribute on attrelid = tables.oid and attnum > 0 "
    "where pg_has_role(%s, roles.oid, 'member') and nspname = %s and relkind in ('r', 'v', 'm') "
    "and (has_column_privilege(roles.oid, tables.oid, attnum, 'select, insert, update, references') "
    "or has_table_privilege(roles.oid, tables.oid, 'delete, truncate, trigger')) order by 1, 2, 3"
)
"""What a role, or one that it is a member of, may read or change in a schema, column by column."""

UNBOUND = SQL(
    "select rolname from pg_roles where pg_has_role(%s, oid, 'member') "
    "and (rolsuper or rolbypassrls) order by 1"
)
"""The roles among these whom row security does not bind."""


def create_table(schema: str, contract: Contract, columns: pa.Schema) -> Composed:
    """The table with the types of its published columns.

    Raises:
        NotLoaded: a column has no exact type there.
    """
    return SQL("create table {table} ({columns})").format(
        table=Identifier(schema, contract.mart.name),
        columns=SQL(", ").join(
            SQL("{name} {type}{constraint}").format(
                name=Identifier(field.name),
                type=_type_of(field, contract.mart.name),
                constraint=SQL(" not null" if field.name in contract.never_null else ""),
            )
            for field in columns
        ),
    )


def _type_of(field: pa.Field, table: str) -> SQL | Composed:
    kind = field.type
    if pa.types.is_decimal(kind):
        return SQL("numeric({precision}, {scale})").format(
            precision=Literal(kind.precision), scale=Literal(kind.scale)
        )
    for matches, name in (
        (pa.types.is_string, "text"),
        (pa.types.is_date, "date"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_int16, "smallint"),
        (pa.types.is_int32, "integer"),
        (pa.types.is_int64, "bigint"),
        # Instants without a zone are UTC; so is the session that loads them.
        (pa.types.is_timestamp, "timestamptz"),
    ):
        if matches(kind):
            return SQL(name)
    raise NotLoaded(
        f"{table}.{field.name} is published as {kind}, which has no exact type in PostgreSQL: "
        "give the column another type in its dbt contract, or its type a counterpart in ddl.py"
    )


def copy_into(schema: str, contract: Contract, columns: pa.Schema) -> Composed:
    """Load CSV into a table of this transaction.

    Frozen rows are seen by every snapshot: a reader whose transaction began before the load sees
    the whole table, where it would otherwise find an empty one.
    """
    return SQL("copy {table} ({columns}) from stdin with (format csv, freeze)").format(
        table=Identifier(schema, contract.mart.name),
        columns=SQL(", ").join(Identifier(name) for name in columns.names),
    )


def longest(schema: str, contract: Contract, columns: Iterable[str]) -> Composed:
    """How many bytes the texts of some columns have at most, together."""
    return SQL("select {bytes} from {table}").format(
        bytes=SQL(" + ").join(
            SQL("coalesce(max(octet_length({}::text)), 0)").format(Identifier(column))
            for column in columns
        ),
        table=Identifier(schema, contract.mart.name),
    )


def count(schema: str, contract: Contract) -> Composed:
    """How many rows the server has taken."""
    return SQL("select count(*) from {}").format(Identifier(schema, contract.mart.name))


def key(schema: str, contract: Contract, columns: tuple[str, ...]) -> Composed:
    """A key that the server keeps: the primary one, or a further one."""
    is_primary = columns == contract.primary_key
    return SQL("alter table {table} add {kind} ({columns})").format(
        table=Identifier(schema, contract.mart.name),
        kind=SQL("primary key" if is_primary else "unique nulls not distinct"),
        columns=SQL(", ").join(Identifier(column) for column in columns),
    )


def twice(schema: str, contract: Contract, columns: tuple[str, ...]) -> Composed:
    """How many values of a key stand there more than once; a NULL counts as a value."""
    return SQL(
        "select count(*) from (select from {table} group by {columns} having count(*) > 1) as twice"
    ).format(
        table=Identifier(schema, contract.mart.name),
        columns=SQL(", ").join(Identifier(column) for column in columns),
    )


def looked_up(contract: Contract) -> list[str]:
    """The columns that rows are looked up by and that no key begins with."""
    columns = {reference.column for reference in contract.references}
    if _has_customer(contract):
        columns.add(CUSTOMER_ID)
    return sorted(columns - {columns[0] for columns in contract.keys})


def index(schema: str, contract: Contract, column: str, *, by_hash: bool) -> Composed:
    """An index for looking rows up; by hash, it takes texts of any length."""
    return SQL("create index on {table} using {how} ({column})").format(
        table=Identifier(schema, contract.mart.name),
        how=SQL("hash" if by_hash else "btree"),
        column=Identifier(column),
    )


def foreign_key(schema: str, contract: Contract, reference: ForeignKey) -> Composed:
    """A foreign key; the table that it points at has its key by then."""
    return SQL("alter table {table} add foreign key ({column}) references {other}").format(
        table=Identifier(schema, contract.mart.name),
        column=Identifier(reference.column),
        other=SQL("{table} ({target})").format(
            table=Identifier(schema, reference.table), target=Identifier(reference.target)
        ),
    )


def astray(schema: str, contract: Contract, reference: ForeignKey) -> Composed:
    """How many rows refer to what is not there."""
    return SQL(
        "select count(*) from {table} as here where {column} is not null and not exists "
        "(select from {other} as there where there.{target} = here.{column})"
    ).format(
        table=Identifier(schema, contract.mart.name),
        column=Identifier(reference.column),
        other=Identifier(schema, reference.table),
        target=Identifier(reference.target),
    )


def comments(schema: str, contract: Contract) -> Iterator[Composed]:
    """What the table and its columns mean, where BI tools look for it."""
    table = Identifier(schema, contract.mart.name)
    yield SQL("comment on table {table} is {text}").format(
        table=table, text=Literal(contract.mart.description)
    )
    for column in contract.mart.columns:
        yield SQL("comment on column {column} is {text}").format(
            column=Identifier(schema, contract.mart.name, column.name),
            text=Literal(column.description),
        )


def permissions(
    schema: str, contract: Contract, *, reader: str, customer: str
) -> Iterator[Composed]:
    """Who reads what: the reader everything, a customer its own rows of what is meant for it.

    Forced, row security holds for the owner of the table too.
    """
    table = Identifier(schema, contract.mart.name)
    yield SQL("grant select on {table} to {reader}").format(table=table, reader=Identifier(reader))
    if not _has_customer(contract):
        return
    yield SQL("alter table {table} enable row level security").format(table=table)
    yield SQL("alter table {table} force row level security").format(table=table)
    yield SQL("create policy every_row on {table} for select to {reader} using (true)").format(
        table=table, reader=Identifier(reader)
    )
    if not contract.for_customers:
        return
    yield SQL("grant select ({columns}) on {table} to {customer}").format(
        columns=SQL(", ").join(Identifier(column) for column in contract.for_customers),
        table=table,
        customer=Identifier(customer),
    )
    yield SQL(
        "create policy own_rows on {table} for select to {customer} "
        "using ({column} = current_setting({setting}, true))"
    ).format(
        table=table,
        customer=Identifier(customer),
        column=Identifier(CUSTOMER_ID),
        setting=Literal(CUSTOMER_SETTING),
    )


def _has_customer(contract: Contract) -> bool:
    return any(column.name == CUSTOMER_ID for column in contract.mart.columns)
