"""Customers with anything in the books stay in the seeds, as whom they were billed.

Every table finds a customer's billing cycles through ``contracts/customers``: without its row, or
by another anchor day, money and credits that are billed would vanish or be billed twice.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable

import duckdb

from orchestration.books.warehouse import read_warehouse
from orchestration.printable import printable
from orchestration.seeds.changes import Row
from orchestration.settings import Settings

_FILE = "contracts/customers.csv"
# What the warehouse keeps of a customer in tables of its own: their name, what is counted, its day.
_KEPT = {
    "grants of credits": ("credit_ledger", "case when kind = 'grant' then 1 end", "posted_on"),
    "invoices": ("invoice_lines", "distinct invoice_id", "cycle_start"),
    "days of usage": ("int_usage_rated", "distinct posting_date", "posting_date"),
}


def people_problems(
    settings: Settings, billed: Iterable[Row], customers: Iterable[Row]
) -> dict[str, str]:
    """Which customers may not go, or change their anchor day, because of what is in the books.

    Who never had a grant, an invoice or usage in them may: nothing of theirs is lost.

    Args:
        settings: say where the warehouse, the publication and the archive are.
        billed: the customers of the last billing; none if it isn't known any more. What was
            published, or is final for good, is known without it.
        customers: those to bill with.

    Returns:
        By customer, a sentence that names the file, what is in the books, and the cure.
    """
    rows = {row["customer_id"]: row for row in customers}
    found: dict[str, tuple[int, str]] = {}
    edited = {
        row["customer_id"]: row["billing_anchor_day"]
        for row in billed
        if _anchor(rows, row["customer_id"]) != row["billing_anchor_day"]
    }
    if edited:
        in_the_books = _in_the_warehouse(settings, list(edited))
        found = {who: (edited[who], has) for who, has in in_the_books.items()}
    for who, anchor, has in _invoiced(settings):
        if _anchor(rows, who) != anchor:
            found.setdefault(who, (anchor, has))
    return {
        who: _problem(who, rows.get(who), anchor, has)
        for who, (anchor, has) in sorted(found.items())
    }


def _anchor(rows: dict[str, Row], customer: str) -> int | None:
    return rows[customer]["billing_anchor_day"] if customer in rows else None


def _problem(customer: str, row: Row | None, anchor: int, has: str) -> str:
    named = printable(repr(customer))
    if row is None:
        return (
            f"{_FILE}: column customer_id: {named} is missing, but the books hold {has} of this "
            f"customer. Put its row back as it was (billing_anchor_day {anchor}), and its rows in "
            "the other files of contracts/: a customer that leaves gets an ends_on in "
            "contracts/subscriptions.csv; a new name is a new customer_name, never a new id"
        )
    return (
        f"{_FILE}: row {row['row']}: column billing_anchor_day: {anchor} became "
        f"{row['billing_anchor_day']}, but the books hold {has} of {named}, in cycles from day "
        f"{anchor} to day {anchor}: new ones would overlap them. Set it back to {anchor}; who is "
        "to be billed from another day on gets a customer_id of its own, with subscriptions that "
        "start when the old ones end"
    )


def _in_the_warehouse(settings: Settings, customers: list[str]) -> dict[str, str]:
    """What the warehouse holds of some customers; nobody is named of whom it holds nothing."""
    found: dict[str, list[str]] = {}
    if not settings.built_warehouse.exists():
        return {}
    with read_warehouse(settings) as warehouse:
        built = warehouse.execute("select table_name from information_schema.tables").fetchall()
        for what, (table, counted, day) in _KEPT.items():
            if (table,) not in built:
                continue
            for customer, number, since in warehouse.execute(
                f"select customer_id, count({counted}), min({day}) from {table} "
                "where customer_id in (select unnest($1::varchar[])) "
                f"group by 1 having count({counted}) > 0",
                [customers],
            ).fetchall():
                found.setdefault(customer, []).append(f"{what} ({number}, since {since})")
    return {customer: ", ".join(words) for customer, words in found.items()}


def _invoiced(settings: Settings) -> list[tuple[str, int, str]]:
    """Who has an invoice that was published or is final: customer, anchor day, how many since when.

    The anchor day is the one of the first invoice: a cycle starts on it.
    """
    files = [
        glob.escape(str(path))
        for folder in (
            settings.published_dir / "current" / "invoices",
            settings.archive_dir / "final_invoice_lines",
        )
        for path in sorted(folder.glob("*.parquet"))
    ]
    if not files:
        return []
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "select customer_id, min(cycle_start), count(distinct invoice_id) "
            "from read_parquet($1, union_by_name = true, hive_partitioning = false) group by 1",
            [files],
        ).fetchall()
    return [
        (customer, since.day, f"invoices ({number}, since {since})")
        for customer, since, number in rows
    ]
