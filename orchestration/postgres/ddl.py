"""The SQL that makes a published table in PostgreSQL: types, keys, comments, and who reads which row.

Every name and text is composed with psycopg's ``sql``, which quotes it; nothing is pasted.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier, Literal

from orchestration.postgres import NotLoaded
from orchestration.postgres.contract import CUSTOMER_ID, Contract

CUSTOMER_SETTING = "app.customer_id"
"""The session's setting that names the customer whose rows the customer role sees."""


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


def count(schema: str, contract: Contract) -> Composed:
    """How many rows the server has taken."""
    return SQL("select count(*) from {}").format(Identifier(schema, contract.mart.name))


def keys(schema: str, contract: Contract) -> Iterator[Composed]:
    """The primary key, further keys, and an index for what rows are looked up by."""
    table = Identifier(schema, contract.mart.name)
    for key in contract.keys:
        is_primary = key == contract.primary_key
        yield SQL("alter table {table} add {kind} ({columns})").format(
            table=table,
            kind=SQL("primary key" if is_primary else "unique nulls not distinct"),
            columns=SQL(", ").join(Identifier(column) for column in key),
        )
    leading = {key[0] for key in contract.keys}
    looked_up = {reference.column for reference in contract.references}
    if _has_customer(contract):
        looked_up.add(CUSTOMER_ID)
    for column in sorted(looked_up - leading):
        yield SQL("create index on {table} ({column})").format(
            table=table, column=Identifier(column)
        )


def references(schema: str, contract: Contract) -> Iterator[Composed]:
    """The foreign keys; every table they point at has its keys by then."""
    for reference in contract.references:
        yield SQL("alter table {table} add foreign key ({column}) references {other}").format(
            table=Identifier(schema, contract.mart.name),
            column=Identifier(reference.column),
            other=SQL("{table} ({target})").format(
                table=Identifier(schema, reference.table), target=Identifier(reference.target)
            ),
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
