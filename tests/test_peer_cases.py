"""Numeric cases of other billing systems (../shared/cases), where they mean what our rules mean.

The cases exercise the project's SQL. Prices go through the macro that the models price with,
rendered without dbt. Wallets, top-ups and thresholds become contracts and usage, a customer per
case, all of them billed in one run. The peers keep time in instants and the books in days, so the
instants of a case become days, in their order.

``LEFT_OUT`` lists every case that is not run, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatch
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from conftest import SHARED, Books
from contracts import (
    Row,
    Tables,
    catalog,
    customer,
    delivered_on_its_day,
    order,
    pack,
    plan,
    subscription,
    tier,
    usage,
    write_feeds,
    write_seeds,
)

from orchestration.settings import DBT_PROJECT_DIR, Settings

Case = dict[str, Any]

# ---------------------------------------------------------------------------------------------
# What is left out, and why
# ---------------------------------------------------------------------------------------------

LEFT_OUT: list[tuple[str, str]] = [
    # -- prices --
    (
        "OM-VOL-10 OM-VOL-12 OM-VOL-15 OM-GRAD-05 OM-GRAD-06 OM-GRAD-07 OM-PKG-02 OM-PKG-04 "
        "OM-PKG-10 OM-DLT-08 OM-DLT-09",
        "a minimum or maximum spend: our prices have none",
    ),
    ("OM-VOL-01", "volume billed at the period's end; ours is billed as it changes (2.6)"),
    ("OM-DLT-06 LG-VOL-01 LG-GPCT-01 LG-SLICE-08", "zero units owe a fee; ours don't (3)"),
    ("LG-VOL-09", "the tier is picked by another quantity than the one that is priced"),
    ("LG-PKG-02 LG-PKG-08", "free units: our packages have none"),
    ("LG-PCT-*", "a percentage of money and a fee per transaction: we price units"),
    ("LG-PGRD-*", "proration of every event; we prorate a plan's price by its days"),
    ("LG-DYN-*", "amounts that events bring along: ours bring minutes"),
    ("LG-RND-06 LG-RND-07 LG-RND-08 LG-RND-10", "our one rounding is half away from zero"),
    ("OM-UNIT-*", "conversions of meters to packages; ours are fixed, tested with landing"),
    ("KB-BLK-03", "each tier's blocks rounded up on their own; ours are of the tier reached (3)"),
    ("KB-BLK-13", "finds bills by their dates; our invoice lines have ids"),
    ("LG-MON-*", "tax, credit notes, true-ups, bills inside a period: not in the rules"),
    # -- wallets --
    ("LG-WAL-0? LG-WAL-10 LG-WAL-12", "credits worth whole cents; ours keep six decimals of both"),
    ("LG-WAL-21", "a purchase at intervals: ours is made by depletion alone (2.5)"),
    ("LG-WAL-26 LG-WAL-27 LG-WAL-28 LG-WAL-30", "fills up to a target; ours buys whole packs"),
    ("LG-WAL-34 LG-WAL-35 LG-WAL-36", "waits after a declined payment: payment isn't ours"),
    ("LG-WAL-43 LG-WAL-44", "refuses an overdraft; ours books it as overage (2.6)"),
    ("LG-WAL-47 LG-WAL-54 LG-WAL-58", "alerts on amounts; ours are on depletion (5)"),
    ("LG-WAL-6?", "wallets pay for fees of an invoice; ours burn with usage"),
    # -- grants --
    (
        "OM-RUN-18 OM-RUN-20 OM-RUN-21 OM-RUN-22 OM-RES-08 OM-RES-09 OM-RST-04",
        "grants that refill themselves; ours are granted anew each cycle (2.1)",
    ),
    (
        "OM-RST-01 OM-RST-02 OM-RST-05 OM-SNP-02 OM-ENT-06 OM-ENT-09 OM-ENT-14 OM-ENT-21",
        "resets that cap a balance; our bonus is a share of what is left (2.7)",
    ),
    ("OM-RUN-04 OM-SNP-08", "refuses a saved state that can't be; ours is no input"),
    (
        "OM-ENT-05",
        "starts from a saved state; that runs may be split, test_credit_properties shows",
    ),
    ("OM-PROP-01", "runs may be split: test_credit_properties shows it for whole books"),
    ("OM-RES-10", "overage of before is paid by a later grant; ours stays overage (2.6)"),
    ("OM-RUN-05 OM-ENT-01", "a run of no length, and one before which all happened"),
    ("OM-RUN-08", "ends the moment it starts; a grant of ours lives its day (2.1)"),
    ("OM-RUN-17", "100,000 grants: about speed"),
    ("OM-EFF-* OM-ACT-*", "instants at which a grant starts and ends; ours live whole days (2.1)"),
    ("OM-RULE-*", "when resets and reads are allowed: the books have neither"),
    # -- expiry --
    (
        "OM-BRK-05",
        "a correction gives back to the grants it was burned from; ours is a refund (2.9)",
    ),
    ("OM-BRK-1?", "plans, reopens and voids expiries: the ledger has none of these (2)"),
    # -- thresholds --
    ("OM-THR-01 OM-THR-13 OM-THR-15 OM-THR-20 OM-THR-24", "amounts; ours are on depletion (5)"),
    ("OM-THR-11", "exactly at the threshold is silent; ours is reached at >= (5)"),
]


def reasons(case_id: str) -> list[str]:
    """Why a case is left out; empty for one that is run."""
    return [
        reason
        for listed, reason in LEFT_OUT
        if any(fnmatch(case_id, pattern) for pattern in listed.split())
    ]


def load_cases() -> dict[str, Case]:
    """Every case, by id; none without the folder."""
    found: dict[str, Case] = {}
    for path in sorted((SHARED / "cases").glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            kind = case.get("kind") or case.get("model") or path.stem
            if path.stem == "openmeter_expiry_ledger" and "lots" in case:
                kind = "lots"
            found[case["id"]] = {**case, "kind": kind}
    return found


ALL = load_cases()


def cases_of(*kinds: str) -> Any:
    """Parameters: the cases of some kinds that are run."""
    run = [case for case in ALL.values() if case["kind"] in kinds and not reasons(case["id"])]
    return pytest.mark.parametrize("case", run, ids=lambda case: case["id"])


PRICED_KINDS = (
    "tier_price",
    "tier_index",
    "cumulative_total",
    "package_count",
    "cumulative_rerating",
    "graduated",
    "graduated_percentage",
    "tier_slice",
    "tier_slice_pct",
    "volume",
    "package",
    "flat_rate",
    "block_tiers",
    "rebill_delta",
)
BOOKED_KINDS = (
    "burn_down",
    "draw_order",
    "lots",
    "top_up_sizing",
    "top_up_trigger",
    "openmeter_thresholds",
)


def test_each_case_is_run_or_listed_once(shared: Path) -> None:
    runnable = {*PRICED_KINDS, *BOOKED_KINDS, "quantity_rounding"}
    assert [
        c["id"] for c in ALL.values() if not reasons(c["id"]) and c["kind"] not in runnable
    ] == []
    assert [case_id for case_id in ALL if len(reasons(case_id)) > 1] == []


def test_the_list_names_only_cases_that_exist(shared: Path) -> None:
    patterns = [pattern for listed, _ in LEFT_OUT for pattern in listed.split()]
    unknown = [p for p in patterns if not any(fnmatch(case_id, p) for case_id in ALL)]
    assert unknown == []


def test_more_than_a_few_cases_are_run(shared: Path) -> None:
    assert len([case_id for case_id in ALL if not reasons(case_id)]) > 70


# ---------------------------------------------------------------------------------------------
# Prices: the macro and the staging model, without dbt
# ---------------------------------------------------------------------------------------------


class Dispatch:
    """What dbt's adapter does for a macro on DuckDB: the default implementation."""

    module: Any = None

    def dispatch(self, name: str) -> Callable[..., str]:
        return getattr(self.module, f"default__{name}")


@dataclass(frozen=True)
class Pricing:
    """The project's price SQL over an in-memory database."""

    macros: Any
    staging: str
    connection: duckdb.DuckDBPyConnection

    def price(self, tiers: list[Row], units: Fraction | str) -> Fraction:
        """The price of some units by tiers of the seed's columns."""
        columns = (
            *("sku", "charge", "mode", "tier", "up_to", "unit_price"),
            *("flat_fee", "package_size", "valid_from", "valid_to"),
        )
        self.connection.execute("delete from price_tiers")
        self.connection.executemany(
            f"insert into price_tiers values ({', '.join('?' * len(columns))})",
            [[row.get(column) for column in columns] for row in tiers],
        )
        micro = Fraction(units) * 1_000_000
        assert micro.denominator == 1
        amount = self.macros.tier_price_atto(f"cast({micro} as bigint)", "tiers")
        [(atto,)] = self.connection.execute(
            f"select sum({amount}) from ({self.staging}) as tiers"
        ).fetchall()
        return Fraction(int(atto), 10**18)

    def rounded(self, quantity: str, places: int) -> Fraction:
        """A quantity by the project's rounding."""
        micro = int(Fraction(quantity) * 1_000_000)
        unit = 10 ** (6 - places)
        sql = self.macros.divide_rounded(f"cast({micro} as hugeint)", str(unit))
        [(units,)] = self.connection.execute(f"select {sql}").fetchall()
        return Fraction(units) * Fraction(unit, 1_000_000)


@pytest.fixture(scope="module")
def pricing() -> Pricing:
    macros = "".join(
        (DBT_PROJECT_DIR / "macros" / name).read_text(encoding="utf-8")
        for name in ("exact.sql", "tiers.sql")
    )
    staging = (DBT_PROJECT_DIR / "models" / "staging" / "stg_price_tiers.sql").read_text("utf-8")
    adapter = Dispatch()
    environment = jinja2.Environment()
    environment.globals.update(
        {"adapter": adapter, "return": lambda value: value, "ref": lambda name: name}
        | {"config": lambda **_: "", "view_or_files": lambda: "view"}
    )
    adapter.module = environment.from_string(macros).module
    connection = duckdb.connect()
    connection.execute(
        "create table price_tiers (sku varchar, charge varchar, mode varchar, tier int, "
        "up_to decimal(18, 6), unit_price decimal(18, 9), flat_fee decimal(18, 6), "
        "package_size decimal(18, 6), valid_from date, valid_to date)"
    )
    return Pricing(adapter.module, environment.from_string(macros + staging).render(), connection)


def numbered(tiers: list[Row], mode: str) -> list[Row]:
    return [
        tier("x", "overage", row.pop("unit_price") or "0", mode=mode, tier=number, **row)
        for number, row in enumerate(tiers, start=1)
    ]


def bounded(case: Case) -> list[Row]:
    """Tiers written with `up_to`, or one package price."""
    if case.get("package_size"):
        row = {"unit_price": case.get("package_price", "1"), "package_size": case["package_size"]}
        return numbered([row], "package")
    rows = [
        {"up_to": t["up_to"], "unit_price": t["unit_price"], "flat_fee": t["flat_price"]}
        for t in case["tiers"]
    ]
    return numbered(rows, case["mode"])


def ranged(tiers: list[Row], mode: str) -> list[Row]:
    """Tiers written as `lower` to `upper`, in whole units or touching: (previous upper, upper]."""
    rows = []
    for row in tiers:
        price = row.get("unit_price") or str(Decimal(row["rate_pct"]) / 100)
        rows.append({"up_to": row["upper"], "unit_price": price, "flat_fee": row["flat_fee"]})
    return numbered(rows, mode)


def blocks(case: Case) -> list[Row]:
    """Tiers that hold a number of blocks; past the last one its price goes on."""
    rows, reached = [], 0
    for row in case["tiers"]:
        reached += int(row["block_size"]) * (row["max_blocks"] or 0)
        price, size = row["price_per_block"], row["block_size"]
        rows.append({"up_to": reached, "unit_price": price, "package_size": size})
    rows[-1]["up_to"] = None
    return numbered(rows, "package")


@cases_of("tier_price")
def test_price_of_a_line_is_the_change_of_the_price(pricing: Pricing, case: Case) -> None:
    before = Fraction(case["prior_quantity"])
    tiers = bounded(case)
    change = pricing.price(tiers, before + Fraction(case["quantity"])) - pricing.price(
        tiers, before
    )
    assert change == Fraction(case["expect"]["gross"])


@cases_of("cumulative_total")
def test_cumulative_price(pricing: Pricing, case: Case) -> None:
    total = pricing.price(bounded(case), case["to_inclusive"])
    assert total == Fraction(case["expect"]["cumulative_total_at_to"])


@cases_of("tier_index")
def test_tier_that_is_reached(pricing: Pricing, case: Case) -> None:
    """The tiers' numbers as their fees: the fee says which one was reached."""
    rows = [
        {"up_to": t["up_to"], "unit_price": "0", "flat_fee": number}
        for number, t in enumerate(case["tiers"])
    ]
    reached = pricing.price(numbered(rows, case["mode"]), case["quantity"])
    assert reached == case["expect"]["tier_index_from_zero"]


@cases_of("package_count")
def test_packages(pricing: Pricing, case: Case) -> None:
    assert pricing.price(bounded(case), case["quantity"]) == case["expect"]["packages"]


@cases_of("cumulative_rerating")
def test_runs_book_the_change_since_the_last(pricing: Pricing, case: Case) -> None:
    """Also where more usage costs less: the rules let a day's revenue be negative (2.6)."""
    tiers = bounded(case)
    totals = [Fraction(0)]
    totals += [pricing.price(tiers, run["cumulative_quantity"]) for run in case["runs"]]
    booked = [Fraction(run["net"]) for run in case["expect"]["booked"]]
    assert [after - before for before, after in pairwise(totals)] == booked


@cases_of("graduated", "graduated_percentage", "volume")
def test_tiers_of_ranges(pricing: Pricing, case: Case) -> None:
    mode = "volume" if case["kind"] == "volume" else "graduated"
    amount = pricing.price(ranged(case["tiers"], mode), case["quantity"])
    assert amount == Fraction(case["expect"]["amount"])


@cases_of("tier_slice", "tier_slice_pct")
def test_one_tier(pricing: Pricing, case: Case) -> None:
    """The tier between a free one below it and a free one above."""
    one, expect = case["tier"], case["expect"]
    below = Fraction(one["lower"]) - (0 if case["tiers_touch"] or one["lower"] == "0" else 1)
    free: Row = {"unit_price": "0", "flat_fee": "0"}
    [row] = ranged([one], "graduated")
    middle = {name: row[name] for name in ("up_to", "unit_price", "flat_fee")}
    rows = [middle, {**free, "up_to": None}]
    if below > 0:
        rows.insert(0, {**free, "up_to": Decimal(below.numerator) / Decimal(below.denominator)})
    amount = pricing.price(numbered(rows, "graduated"), case["quantity"])
    assert amount == Fraction(expect.get("total_with_flat", expect["variable"]))


@cases_of("package")
def test_package_price(pricing: Pricing, case: Case) -> None:
    assert pricing.price(bounded(case), case["quantity"]) == Fraction(case["expect"]["amount"])


@cases_of("flat_rate")
def test_flat_rate(pricing: Pricing, case: Case) -> None:
    tiers = numbered([{"unit_price": case["unit_price"]}], "graduated")
    assert pricing.price(tiers, case["quantity"]) == Fraction(case["expect"]["amount"])


@cases_of("block_tiers")
def test_blocks_of_the_tier_reached(pricing: Pricing, case: Case) -> None:
    assert pricing.price(blocks(case), case["quantity"]) == Fraction(case["expect"]["amount"])


@cases_of("rebill_delta")
def test_late_records_bill_the_difference(pricing: Pricing, case: Case) -> None:
    row = {"unit_price": case["price_per_block"], "package_size": case["block_size"]}
    total = pricing.price(numbered([row], "package"), case["quantity"])
    assert total - Fraction(case["already_billed"]) == Fraction(case["expect"]["to_bill"])


@cases_of("quantity_rounding")
def test_rounding(pricing: Pricing, case: Case) -> None:
    rounded = pricing.rounded(case["quantity"], case["places"] or 0)
    assert rounded == Fraction(case["expect"]["quantity"])


# ---------------------------------------------------------------------------------------------
# Wallets: a customer per case, one billing for all of them
# ---------------------------------------------------------------------------------------------

OPEN = date(2026, 1, 1)
LAST = date(2026, 1, 31)  # inside the first cycle: what peers call a period
YEAR = 8_760


@dataclass
class Bench:
    """The contracts and the usage of all cases."""

    seeds: Tables
    rows: list[Row] = field(default_factory=list)

    def customer(self, case: Case, **terms: Any) -> str:
        """A customer on a plan of its own that includes no credits."""
        name = case["id"]
        plan_terms = {k: terms.pop(k) for k in list(terms) if k.endswith("_depletion")}
        self.seeds["customers"].append(customer(name))
        self.seeds["plans"].append(plan(name, 0, **plan_terms))
        self.seeds["price_tiers"].append(tier(name, "overage", "1"))
        self.seeds["subscriptions"].append(subscription(name, name, OPEN, **terms))
        return name

    def pack(self, sku: str, kind: str, credits: Any, hours: int = YEAR) -> str:
        self.seeds["packs"].append(pack(sku, kind, credits, hours))
        self.seeds["price_tiers"].append(tier(sku, "pack", "1"))
        return sku

    def grant(
        self, name: str, lot: str, credits: Any, kind: str, first: date, last: date | None = None
    ) -> None:
        """A pack of so many credits, live from the first to the last day."""
        # Ordered at noon: an hour ends on the same day.
        hours = 24 * (last - first).days or 1 if last else YEAR
        sku = self.pack(f"{name}.{lot}", kind, credits, hours)
        self.seeds["orders"].append(order(name, lot, sku, first))

    def use(self, name: str, day: date, credits: Any) -> None:
        self.rows.append(usage(name, f"use-{len(self.rows)}", day, credits))


def kinds_by_priority(priorities: list[int]) -> dict[int, str]:
    """Lower first: burst packs burn before top-ups."""
    distinct = sorted(set(priorities))
    assert len(distinct) <= 2
    return dict(zip(reversed(distinct), ("top_up", "burst"), strict=False))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def days_of(case: Case) -> dict[datetime, date]:
    """A day for every instant of a case, in their order."""
    instants = {at(case["opening"]["at"]), at(case["until"])}
    for grant in case["grants"]:
        instants |= {at(grant["effective_at"]), end_of(grant)}
    instants |= {at(used["at"]) for used in case["usage"]}
    instants |= {at(seen["at"]) for seen in case["expect"].get("balance_at", [])}
    for window in case["expect"].get("usage_in_window", []):
        instants |= {at(window["from"]), at(window["to"])}
    return {moment: OPEN + timedelta(days=n) for n, moment in enumerate(sorted(instants))}


def end_of(grant: Row) -> datetime:
    ends = [grant.get(name) for name in ("expires_at", "voided_at", "deleted_at")]
    return min((at(end) for end in ends if end), default=datetime.fromisoformat("2999-01-01T00Z"))


def set_up(bench: Bench, case: Case) -> None:
    """The contracts and the usage of one case."""
    kind = case["kind"]
    if kind == "burn_down":
        name, days = bench.customer(case), days_of(case)
        order_of = kinds_by_priority([grant["priority"] for grant in case["grants"]])
        for grant in case["grants"]:
            # The end is exclusive, our last day is not.
            last = days[end_of(grant)] - timedelta(days=1)
            first = days[at(grant["effective_at"])]
            bench.grant(
                name, grant["id"], grant["amount"], order_of[grant["priority"]], first, last
            )
        for used in case["usage"]:
            if at(case["opening"]["at"]) <= at(used["at"]) < at(case["until"]):
                bench.use(name, days[at(used["at"])], used["qty"])
    elif kind == "draw_order":
        name = bench.customer(case)
        order_of = kinds_by_priority([lot["priority"] for lot in case["lots"]])
        for lot in case["lots"]:
            day = OPEN + timedelta(days=lot["created_order"])
            bench.grant(name, lot["id"], lot["remaining"], order_of[lot["priority"]], day)
        bench.use(name, OPEN + timedelta(days=9), case["draw"])
    elif kind == "lots":
        name = bench.customer(case)
        order_of = kinds_by_priority([lot["priority"] for lot in case["lots"]])
        for lot in case["lots"]:
            lives_to = OPEN + timedelta(days=lot["expires"]) if lot["expires"] else None
            bench.grant(name, lot["id"], lot["amount"], order_of[lot["priority"]], OPEN, lives_to)
        for number, operation in enumerate(case["operations"], start=1):
            assert operation["op"] == "use"
            bench.use(name, OPEN + timedelta(days=number), operation["amount"])
    elif kind in ("top_up_sizing", "top_up_trigger"):
        # A balance must stay above the threshold T: with a hard cap of 98 % and 49 * T used in the
        # cycle, depletion is below the cap exactly when more than T is left.
        rule = case.get("rule", {"threshold": case.get("threshold_credits"), "paid": "1"})
        used = 49 * Decimal(rule["threshold"])
        name = case["id"]
        limit = case.get("paid_max_money")
        allowed = (
            int(Decimal(limit) / Decimal(case["rate_per_credit"]) / Decimal(rule["paid"]))
            if limit
            else None
        )
        bench.customer(
            case,
            hard_cap_depletion="0.98",
            auto_purchase_sku=bench.pack(f"{name}.more", "top_up", rule["paid"]),
            max_auto_purchases_per_cycle=allowed,
        )
        bench.grant(name, "had", used + Decimal(case["projected_balance_credits"]), "top_up", OPEN)
        bench.use(name, OPEN + timedelta(days=1), used)
    else:
        assert kind == "openmeter_thresholds"
        share = percent_of(case)
        capped = max(share, Decimal("0.95"))
        name = bench.customer(case, pre_alert_depletion=share, hard_cap_depletion=capped)
        state = case["state"]
        if state["granted_total"]:
            bench.grant(name, "all", state["granted_total"], "top_up", OPEN)
        if Decimal(state["usage"]):
            bench.use(name, OPEN + timedelta(days=1), state["usage"])


def percent_of(case: Case) -> Decimal:
    """The lowest threshold on a share of what was granted."""
    shares = [Decimal(t["value"]) for t in case["thresholds"] if t["on"] == "usage_percent"]
    return min(shares) / 100


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Books:
    folder = tmp_path_factory.mktemp("peers")
    bench = Bench(catalog())
    for case in ALL.values():
        if case["kind"] in BOOKED_KINDS and not reasons(case["id"]):
            set_up(bench, case)
    feeds = write_feeds(folder / "feeds", delivered_on_its_day(bench.rows, OPEN, LAST))
    books = Books(
        Settings(
            data_dir=folder / "data",
            seeds_dir=write_seeds(folder / "seeds", bench.seeds),
            feeds_url=str(feeds),
            books_open_on=OPEN,
        )
    )
    books.bill(OPEN, LAST, publish=False)
    return books


@dataclass(frozen=True)
class Wallets:
    """The ledger of one customer."""

    books: Books
    name: str

    def moved(self, kind: str, first: date, until: date, lot: str | None = None) -> Decimal:
        """Credits of a kind of transfer from the first day up to (not including) another."""
        of_lot = f"and grant_id like '%/{self.name}.{lot}'" if lot else ""
        [(credits,)] = self.books.rows(
            f"select coalesce(sum(credits), 0) from credit_ledger "
            f"where customer_id = '{self.name}' and kind = '{kind}' {of_lot} "
            f"and posted_on >= date '{first}' and posted_on < date '{until}'"
        )
        return Decimal(credits)

    def balance(self, at_start_of: date, lot: str | None = None) -> Decimal:
        gone = ("burn", "expiry", "rollover")
        return self.moved("grant", OPEN, at_start_of, lot) - sum(
            (self.moved(kind, OPEN, at_start_of, lot) for kind in gone), Decimal(0)
        )


END = LAST + timedelta(days=1)


@pytest.mark.job
@cases_of("burn_down")
def test_burn_down(billed: Books, case: Case) -> None:
    wallets, days = Wallets(billed, case["id"]), days_of(case)
    until = days[at(case["until"])]
    burned, overage = (wallets.moved(kind, OPEN, until) for kind in ("burn", "overage"))
    balance = wallets.balance(until)
    found: Row = {
        "overage": overage,
        "period_usage": burned + overage,
        "period_grant_usage": burned,
        "total_balance": balance,
        "available_total": balance + burned,
        "balances": {g["id"]: wallets.balance(until, g["id"]) for g in case["grants"]},
    }
    expect = case["expect"] | case.get("also_true", {})
    compared = [name for name in found if name in expect]
    for name in compared:
        wanted = expect[name]
        if isinstance(wanted, dict):
            assert found[name] == {lot: Decimal(credits) for lot, credits in wanted.items()}, name
        else:
            assert found[name] == Decimal(wanted), name
    for seen in expect.get("balance_at", []):
        assert wallets.balance(days[at(seen["at"])]) == Decimal(seen["total_balance"]), seen
    for window in expect.get("usage_in_window", []):
        span = (days[at(window["from"])], days[at(window["to"])])
        used = wallets.moved("burn", *span) + wallets.moved("overage", *span)
        assert used == Decimal(window["usage"]), window
    assert compared or expect.get("balance_at")


@pytest.mark.job
@cases_of("draw_order")
def test_draw_order(billed: Books, case: Case) -> None:
    wallets = Wallets(billed, case["id"])
    remaining = {lot["id"]: wallets.balance(END, lot["id"]) for lot in case["lots"]}
    assert remaining == {k: Decimal(v) for k, v in case["expect"]["remaining"].items()}


@pytest.mark.job
@cases_of("lots")
def test_what_is_unused_at_expiry(billed: Books, case: Case) -> None:
    wallets, expect = Wallets(billed, case["id"]), case["expect"]
    for lot in case["lots"]:
        name = lot["id"]
        # Of a lot that never expires it is what is there in the end.
        unused = wallets.moved("expiry", OPEN, END, name) + wallets.balance(END, name)
        assert unused == Decimal(expect["unused_at_expiry_by_lot"][name])
        assert wallets.balance(END, name) == 0 or lot["expires"] is None
    for use in expect.get("remaining_use_by_lot", []):
        day = OPEN + timedelta(days=use["operation"] + 1)
        for lot in case["lots"]:
            burned = wallets.moved("burn", day, day + timedelta(days=1), lot["id"])
            assert burned == Decimal(use["by_lot"].get(lot["id"], 0))
    assert wallets.moved("overage", OPEN, END) == Decimal(expect.get("uncovered", 0))


@pytest.mark.job
@cases_of("top_up_sizing", "top_up_trigger")
def test_auto_purchase(billed: Books, case: Case) -> None:
    """As many packs as it takes to stay above the threshold, unless a limit allows fewer."""
    bought = billed.rows(
        "select granted_on, credits from credit_grants "
        f"where source = 'auto_purchase' and customer_id = '{case['id']}' order by 1"
    )
    if case["kind"] == "top_up_trigger":
        assert bool(bought) == case["expect"]["fires"]
        return
    [(day, credits)] = bought
    assert (day, credits) == (OPEN + timedelta(days=1), Decimal(case["expect"]["paid_credits"]))


@pytest.mark.job
@cases_of("openmeter_thresholds")
def test_thresholds(billed: Books, case: Case) -> None:
    state, expected = case["state"], case["expect"]["usage_alert"]
    alerts = billed.rows(
        "select raised_on, threshold from credit_alerts "
        f"where alert_type = 'pre_alert' and customer_id = '{case['id']}'"
    )
    if expected is None:
        assert alerts == []
    else:
        assert expected["on"] == "usage_percent"
        assert alerts == [(OPEN + timedelta(days=1), Decimal(expected["value"]) / 100)]
    if state["granted_total"]:
        [(depletion,)] = billed.rows(
            "select max(depletion) from credit_balances "
            f"where customer_id = '{case['id']}' and balance_date = date '{LAST}'"
        )
        exact = Fraction(state["usage"]) / Fraction(state["granted_total"])
        assert abs(Fraction(depletion) - exact) <= Fraction(1, 2_000_000)
