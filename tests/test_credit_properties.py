"""Properties of the credit books over random contracts, orders and usage.

Starting dbt is what costs, not billing one more customer. So an example is a whole random world
(``contracts.random_world``): many customers with random anchor days, plans, changes of plan inside
a cycle, packs, auto-purchases, adjustments, late and negative usage, over nine weeks. It is billed
once in one run, and once more in two, cut at a random day; everything else is asked of those books.

The second opinion is ``auditor``, which shares no code with the job, and ``posted_usage``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import auditor
import duckdb
import pytest
from auditor import Balance, Grant, Line, Transfer, UsageRow, audit, broken_identities, load_seeds
from conftest import Books, differences
from contracts import (
    BOOKS_OPEN_ON,
    FIRST_DELIVERY,
    LAST_DELIVERY,
    Posted,
    Row,
    World,
    posted_usage,
    random_world,
    write_feeds,
    write_seeds,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings

pytestmark = pytest.mark.job

CUSTOMERS, TWINS = 90, 25
ONE_DAY = timedelta(days=1)

# Lines that follow from the credit books; burst and energy surcharges and usage lines do not.
CREDIT_LINES = (
    "base_credits",
    "term_discount",
    "burst_pack",
    "top_up",
    "auto_purchase",
    "overage",
    "dedicated_cluster",
    "rollover",
    "expiry",
    "adjustment",
)

AnyRow = TypeVar("AnyRow")


class Published:
    """The published tables, as rows of the auditor's kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query; tables are named `{like_this}`."""
        names = {path.name: f"'{path}/*.parquet'" for path in self.folder.iterdir()}
        with duckdb.connect() as connection:
            return connection.execute(sql.format(**names)).fetchall()

    def rows(self, row_type: type[AnyRow], table: str, where: str = "true") -> list[AnyRow]:
        columns = ", ".join(column.name for column in fields(row_type))  # type: ignore[arg-type]
        found = self.query(f"select {columns} from {{{table}}} where {where}")
        return [row_type(*row) for row in found]


def complain(what: str, found: Iterable[object]) -> None:
    """Fails with the first few things that were found; an assert would print all of them."""
    listed = [str(one) for one in found]
    if listed:
        pytest.fail(f"{what}: {len(listed)}\n  " + "\n  ".join(listed[:12]), pytrace=False)


def unequal(
    ours: list[AnyRow], audited: list[AnyRow], key: Callable[[AnyRow], tuple[Any, ...]]
) -> list[str]:
    """One sentence for each row that is not the same in both, column by column."""
    left, right = {key(row): row for row in ours}, {key(row): row for row in audited}
    assert len(left) == len(ours), "a key of the published table is not unique"
    assert len(right) == len(audited), "a key of the audit is not unique"
    found = [f"{k}: only published" for k in left.keys() - right.keys()]
    found += [f"{k}: only in the audit" for k in right.keys() - left.keys()]
    for k in left.keys() & right.keys():
        for name, value in vars(right[k]).items():
            if getattr(left[k], name) != value:
                found.append(f"{k} {name}: published {getattr(left[k], name)}, audited {value}")
    return sorted(found)


# ---------------------------------------------------------------------------------------------
# What is asked of the books
# ---------------------------------------------------------------------------------------------


def usage_is_posted_as_recomputed(published: Published, posted: list[Posted]) -> None:
    """Accepted, rated and booked on a day: all of it, to the last micro-credit."""
    complain(
        "usage_daily",
        unequal(
            published.rows(Posted, "usage_daily"),
            posted,
            lambda row: tuple(vars(row).values())[:6],
        ),
    )


def books_equal_the_audit(published: Published, audited: auditor.Books) -> None:
    """Every grant, transfer, balance and credit line, to the last digit."""
    grants = published.rows(Grant, "credit_grants")
    complain("credit_grants", unequal(grants, audited.grants, lambda row: (row.grant_id,)))
    complain(
        "credit_ledger",
        unequal(
            published.rows(Transfer, "credit_ledger"),
            audited.transfers,
            lambda row: (row.transfer_id,),
        ),
    )
    complain(
        "credit_balances",
        unequal(
            published.rows(Balance, "credit_balances"),
            audited.balances,
            lambda row: (row.customer_id, row.balance_date),
        ),
    )
    # Expired refunds and adjustments have no SKU to name their line after: only the sum is law.
    named = f"line_type in {CREDIT_LINES} and not (line_type = 'expiry' and sku is null)"
    complain(
        "invoice_lines",
        unequal(
            published.rows(Line, "invoice_lines", named),
            [line for line in audited.lines if (line.line_type, line.sku) != ("expiry", None)],
            lambda row: (row.invoice_line_id,),
        ),
    )
    nameless: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for line in audited.lines:
        if (line.line_type, line.sku) == ("expiry", None):
            nameless[line.customer_id, line.cycle_start] += line.quantity
    found = published.query(
        "select customer_id, cycle_start, sum(quantity), sum(amount) from {invoice_lines} "
        "where line_type = 'expiry' and sku is null group by all"
    )
    assert {(customer, start): credits for customer, start, credits, _ in found} == nameless
    assert not any(amount for *_, amount in found)


def every_micro_credit_has_one_fate(published: Published) -> None:
    """Burned, expired, rolled or still there: exactly what was granted; nothing left after expiry.

    And what was rolled out of a grant is granted again the next day, with the value it carries.
    """
    complain(
        "grants whose credits or value are not accounted for",
        published.query(
            f"""
            with gone as (
                select
                    grant_id,
                    sum(credits) as credits,
                    sum(value) as value,
                    max(posted_on) as last_on,
                    count(distinct debit_account) as accounts
                from {{credit_ledger}}
                where kind in ('burn', 'expiry', 'rollover')
                group by grant_id
            )
            select grants.grant_id, grants.credits, gone.credits, grants.amount, gone.value
            from {{credit_grants}} as grants
            left join gone on grants.grant_id = gone.grant_id
            where
                gone.credits > grants.credits
                or gone.accounts > 1
                or gone.last_on > grants.expires_on
                or (gone.credits = grants.credits and gone.value <> grants.amount)
                or (
                    grants.expires_on <= date '{LAST_DELIVERY}'
                    and gone.credits is distinct from grants.credits
                )
            """
        ),
    )
    complain(
        "credits that left a wallet without a grant, or came without a source",
        published.query(
            """
            select ledger.transfer_id
            from {credit_ledger} as ledger
            left join {credit_grants} as grants on ledger.grant_id = grants.grant_id
            where ledger.kind <> 'overage' and (
                grants.grant_id is null
                or ledger.posted_on < grants.granted_on
                or (ledger.kind in ('grant', 'refund') and ledger.credits <> grants.credits)
            )
            """
        ),
    )
    complain(
        "rollovers that did not arrive",
        published.query(
            f"""
            select coalesce(out.grant_id, arrived.origin_id), out.credits, arrived.credits
            from (
                select * from {{credit_ledger}}
                where kind = 'rollover' and posted_on < date '{LAST_DELIVERY}'
            ) as out
            full join (select * from {{credit_grants}} where source = 'rollover') as arrived
                on out.grant_id = arrived.origin_id and out.posted_on + 1 = arrived.granted_on
            where
                out.credits is distinct from arrived.credits
                or out.value is distinct from arrived.amount
            """
        ),
    )


def identities_hold(published: Published, posted: dict[tuple[str, date], Decimal]) -> None:
    """Rules, section 6, on the published tables: credits here, invoices and margin below."""
    books = auditor.Books(
        grants=published.rows(Grant, "credit_grants"),
        transfers=sorted(
            published.rows(Transfer, "credit_ledger"),
            key=lambda row: (row.posted_on, row.kind not in ("grant", "refund")),
        ),
        balances=sorted(
            published.rows(Balance, "credit_balances"),
            key=lambda row: (row.customer_id, row.balance_date),
        ),
    )
    complain("broken identities", broken_identities(books, posted, LAST_DELIVERY))
    complain("balances below zero", [row for row in books.balances if row.closing_credits < 0])
    for what, sql in {
        "an invoice total is not the sum of its lines": """
            select invoice_id, max(total), sum(amount) from {invoices}
            full join {invoice_lines} using (invoice_id)
            group by invoice_id
            having max(total) is distinct from sum(amount)
        """,
        "margin is not revenue less cost": """
            select * from {margin_daily}
            where
                gross_margin <> revenue - amortized_cost
                or amortized_cost <> direct_cost + idle_cost
        """,
        "revenue of a day is not what its credits carried": """
            with earned as (
                select
                    customer_id,
                    posted_on,
                    sum(case kind when 'refund' then -value else value end) as value
                from {credit_ledger} where kind in ('burn', 'overage', 'refund')
                group by all
            ), booked as (
                select customer_id, posting_date, sum(burn_revenue + overage_revenue) as value
                from {margin_daily} group by all
            )
            select * from earned full join booked
                on earned.customer_id = booked.customer_id and posted_on = posting_date
            where coalesce(earned.value, 0) <> coalesce(booked.value, 0)
        """,
        "deferred revenue does not roll forward": """
            with billed as (
                select customer_id, sum(amount) as value from {credit_grants}
                where source <> 'rollover' group by all
            ), gone as (
                select customer_id, sum(value) as value from {credit_ledger}
                where kind in ('burn', 'expiry') group by all
            ), closing as (
                select customer_id, arg_max(deferred_revenue, balance_date) as value
                from {credit_balances} group by all
            )
            select customer_id, billed.value, gone.value, closing.value
            from billed join closing using (customer_id) left join gone using (customer_id)
            where billed.value - coalesce(gone.value, 0) <> closing.value
        """,
        "a control failed": """
            select control, scope, expected, actual from {billing_controls}
            where not passed and severity = 'error'
        """,
    }.items():
        complain(what, published.query(sql))


def alerts_are_raised_on_the_exact_edge(
    published: Published, world: World, audited: auditor.Books
) -> None:
    """Rules, section 5, by exact fractions: reached is reached, and only rounding gets there."""
    versions: dict[str, list[Row]] = defaultdict(list)
    for row in world.seeds["plans"]:
        versions[row["sku"]].append(row)
    subscribed: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(world.seeds["subscriptions"], key=lambda row: row["starts_on"]):
        if row["sku"] in versions:
            subscribed[row["customer_id"]].append(row)
    purchases = {
        (grant.customer_id, grant.granted_on)
        for grant in audited.grants
        if grant.source == "auto_purchase"
    }
    wanted, reached = set(), set()
    for row in sorted(audited.balances, key=lambda row: row.balance_date):
        day, key = row.balance_date, (row.customer_id, row.cycle_start)
        plans = [one["sku"] for one in subscribed[row.customer_id] if one["starts_on"] <= day]
        if not plans:
            continue
        [plan] = [
            version
            for version in versions[plans[-1]]
            if version["valid_from"] <= day < (version.get("valid_to") or date.max)
        ]
        balance = row.closing_credits + row.expired_credits + row.rolled_credits
        granted = Fraction(row.burned_in_cycle) + Fraction(balance)
        exact = Fraction(row.overage_credits > 0)
        if granted:
            exact = Fraction(row.burned_in_cycle) / granted
        for alert, threshold in (
            ("pre_alert", plan["pre_alert_depletion"]),
            ("hard_cap", plan["hard_cap_depletion"]),
            ("auto_purchase", plan["hard_cap_depletion"]),
        ):
            raised = exact >= Fraction(threshold)
            if alert == "auto_purchase":
                raised = (row.customer_id, day) in purchases
            elif not raised:
                reached.discard((*key, alert))
            elif (*key, alert) in reached:
                raised = False
            else:
                reached.add((*key, alert))
            if raised:
                level = auditor.decimal(exact, 6)
                wanted.add((*key, alert, day, level, balance, Decimal(threshold)))
    found = set(
        published.query(
            "select customer_id, cycle_start, alert_type, raised_on, depletion, balance, threshold "
            "from {credit_alerts} where alert_type <> 'burst_cap'"
        )
    )
    complain("alerts, published or due but not both", sorted(wanted ^ found))


def more_usage_never_raises_a_balance(published: Published, twins: dict[str, str]) -> int:
    """A twin, with the same contracts and more usage, never has more credits left, on any day.

    Two rules give credits *for* usage: the efficiency bonus starts above a utilization, and an
    auto-purchase at a depletion. From the day on which a twin gets more from one of them than its
    sibling, it may well have more; the comparison ends there. Returns the days compared.
    """
    given_for_usage: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for name, day, credits in published.query(
        "select customer_id, granted_on, credits from {credit_grants} "
        "where source in ('rollover', 'auto_purchase')"
    ):
        given_for_usage[name][day] += credits
    closing: dict[str, dict[date, Decimal]] = defaultdict(dict)
    for name, day, credits in published.query(
        "select customer_id, balance_date, closing_credits from {credit_balances}"
    ):
        closing[name][day] = credits
    compared, found = 0, []
    for twin, sibling in twins.items():
        more = [
            day
            for day, credits in given_for_usage[twin].items()
            if credits > given_for_usage[sibling][day]
        ]
        for day in closing[twin].keys() & closing[sibling].keys():
            if day < min(more, default=date.max):
                compared += 1
                if closing[twin][day] > closing[sibling][day]:
                    found.append((twin, day, closing[twin][day], closing[sibling][day]))
    complain("more usage, and more credits left", sorted(found))
    return compared


def the_world_is_not_dull(published: Published, compared: int) -> None:
    """Properties of nothing hold: whatever may happen in the books did."""
    happened = {name for (name,) in published.query("select distinct source from {credit_grants}")}
    assert happened == set(auditor.PRIORITY)
    counts = dict(
        published.query("select kind, count(*) from {credit_ledger} group by all")
        + published.query("select line_type, count(*) from {invoice_lines} group by all")
        + published.query(
            "select 'late', count(*) from {usage_daily} where is_adjustment union all "
            "select 'late overage', count(*) from {invoice_lines} "
            "where line_type = 'overage' and is_adjustment union all "
            "select 'negative overage', count(*) from {credit_ledger} "
            "where kind = 'overage' and value < 0 union all "
            "select 'no plan', count(*) from {rejected_rows} where reason = 'no_active_plan'"
        )
    )
    wanted = {"refund", "rollover", "overage", "late", "late overage", "no plan", *CREDIT_LINES}
    assert {name for name in wanted if not counts.get(name)} == set()
    assert compared > 300


# ---------------------------------------------------------------------------------------------
# The test
# ---------------------------------------------------------------------------------------------


def bill(world: World, folder: Path, last_days: list[date]) -> Path:
    """Bill the world in one run per last day; returns the publication."""
    books = Books(
        Settings(
            data_dir=folder / f"data-{len(last_days)}",
            seeds_dir=write_seeds(folder / "seeds", world.seeds),
            feeds_url=str(write_feeds(folder / "feeds", world.deliveries)),
            books_open_on=BOOKS_OPEN_ON,
            warn_curable_share=Decimal(1),
        )
    )
    first = FIRST_DELIVERY
    for last in last_days:
        books.bill(first, last, publish=last == LAST_DELIVERY)
        first = last + ONE_DAY
    return books.settings.published_dir / "current"


@settings(max_examples=1, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1))
def test_books_of_random_contracts(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """One world is a few hundred contracts; raise `max_examples` to look at more of them."""
    folder = tmp_path_factory.mktemp("world")
    world = random_world(seed, CUSTOMERS, TWINS)
    published = Published(bill(world, folder, [LAST_DELIVERY]))

    rows = posted_usage(world)
    usage_is_posted_as_recomputed(published, rows)

    posted: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    by_day: dict[tuple[str, date], list[UsageRow]] = defaultdict(list)
    for row in rows:
        key = (row.customer_id, row.posting_date)
        names = (str(row.usage_date), row.cluster, row.accelerator, row.model_family)
        posted[key] += row.credits
        by_day[key].append(UsageRow(names, row.credits, row.is_adjustment))
    audited = audit(
        load_seeds(folder / "seeds"),
        posted,
        books_open_on=BOOKS_OPEN_ON,
        last_day=LAST_DELIVERY,
        usage_rows=by_day,
    )
    books_equal_the_audit(published, audited)
    every_micro_credit_has_one_fate(published)
    identities_hold(published, posted)
    alerts_are_raised_on_the_exact_edge(published, world, audited)
    compared = more_usage_never_raises_a_balance(published, world.twins)
    the_world_is_not_dull(published, compared)

    cut = FIRST_DELIVERY + Random(seed).randrange(3, len(world.deliveries) - 1) * ONE_DAY
    in_parts = bill(world, folder, [cut, LAST_DELIVERY])
    assert differences(published.folder, in_parts) == []
