"""``python -m orchestration.explain LINE_ID``: the arithmetic of an invoice line and the way down.

From the line to the ledger's transfers, to the rows of usage, to the delivered events with file
and line number; each step is summed and compared with the step above it. Readers' figures come
from the publication, what lies between from the warehouse, events from the landing. Nothing here
bills or writes: a figure is worked out a second time, in exact fractions, from the catalog.

Exit code 0 if everything adds up, 1 if a step does not, 2 if there is nothing to explain.
"""

from __future__ import annotations

import argparse
import difflib
import glob
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb

from orchestration.plan import BilledState
from orchestration.printable import printable
from orchestration.settings import Settings, SettingsError, load_settings
from orchestration.warehouse import WriterBusy, read_warehouse, writer_lock

Row = dict[str, Any]
"""A row by column name; its numbers are exact (see ``Books.rows``)."""

EVENTS_SHOWN = 20
ROWS_SHOWN = 100
_SUGGESTIONS = 5
_MISMATCHES_SHOWN = 5
_FAILED = "DOES NOT ADD UP"
_ZERO = Fraction(0)

_VALID = "valid_from <= $day and (valid_to is null or $day < valid_to)"
# Units of the warehouse's integers, by the ending of their names.
# What tells a row of closed energy: among it its minutes, since one that was cured since counts as it is.
_CLOSED_KEY = (
    "usage_day",
    "posting_date",
    "cluster",
    "accelerator",
    "model_family",
    "gpu_minutes",
)
_SCALES = {"_micro": 10**6, "_nano": 10**9, "_pico": 10**12, "_femto": 10**15}


class NothingToExplain(ValueError):
    """There is no such line, or nothing to read it from; the message says what to do."""


@dataclass(frozen=True)
class Explanation:
    """A page of plain text, and whether every step on it adds up."""

    text: str
    adds_up: bool


def explain(
    settings: Settings, line_id: str, *, events: int = EVENTS_SHOWN, rows: int = ROWS_SHOWN
) -> Explanation:
    """Explain one line of the current publication.

    Args:
        settings: says where publication, warehouse and landing are.
        line_id: an ``invoice_line_id``.
        events: how many events are printed; all are summed.
        rows: how many transfers, and rows of usage, are printed; all are summed.

    Raises:
        NothingToExplain: no such line (with the closest ids), nothing published, or a run is
            writing the warehouse.
    """
    with _open_books(settings) as books:
        return explain_line(books, line_id, events=events, rows=rows)


def explain_line(
    books: Books, line_id: str, *, events: int = EVENTS_SHOWN, rows: int = ROWS_SHOWN
) -> Explanation:
    """Explain one line with books that are already open.

    Raises:
        NothingToExplain: no such line; the message names the closest ids.
    """
    lines = books.rows(
        "select * from published.invoice_lines where invoice_line_id = $line_id", line_id=line_id
    )
    if not lines:
        raise NothingToExplain(_no_such_line(books, line_id))
    page = Page(rows)
    _Trace(books, page, lines[0], events).write()
    return Explanation(page.text(), page.adds_up)


def _no_such_line(books: Books, line_id: str) -> str:
    known = [
        row["invoice_line_id"]
        for row in books.rows("select invoice_line_id from published.invoice_lines order by 1")
    ]
    close = difflib.get_close_matches(line_id, known, _SUGGESTIONS, cutoff=0.4)
    said = [f"No invoice line {line_id!r} is published."]
    if close:
        said += ["The closest ids:", *(f"  {printable(name)}" for name in close)]
    elif known:
        said.append(f"An id looks like {printable(known[0])}; all are in the table invoice_lines.")
    return "\n".join(said)


# --- exact numbers ------------------------------------------------------------------------------


def rounded(number: Fraction, places: int) -> Fraction:
    """Round half away from zero."""
    scaled = abs(number) * 10**places
    units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(units if number >= 0 else -units, 10**places)


def spread(total: Fraction, weights: Sequence[Fraction]) -> list[Fraction]:
    """Parts of a total by weight, to the last millionth; weights in the order of their keys.

    What rounding leaves over goes to the largest weight, of equal ones the first.
    """
    sum_of_weights = sum(weights, _ZERO)
    parts = [
        rounded(total * weight / sum_of_weights, 6) if sum_of_weights else _ZERO
        for weight in weights
    ]
    if parts:
        largest = max(range(len(weights)), key=lambda n: (abs(weights[n]), -n))
        parts[largest] += total - sum(parts, _ZERO)
    return parts


def shown(number: Fraction, least: int = 0) -> str:
    """A number with thousands separators and ``least`` decimals, or as many more as it has."""
    close = rounded(number, 12)
    units = abs(close.numerator) * (10**12 // close.denominator)
    whole, decimals = divmod(units, 10**12)
    digits = f"{decimals:012d}".rstrip("0").ljust(least, "0")
    sign = "-" if close < 0 else ""
    endless = "..." if close != number else ""
    return f"{sign}{whole:,}" + (f".{digits}{endless}" if digits else endless)


def _decimals(number: Fraction) -> int:
    return len(shown(number).rstrip(".").partition(".")[2])


def _many(number: Fraction | int, noun: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{shown(Fraction(number))} {noun}{'' if number == 1 else 's'}"


def _sum(rows: Iterable[Row], column: str) -> Fraction:
    return sum((row[column] or _ZERO for row in rows), _ZERO)


# --- the page -----------------------------------------------------------------------------------


class Page:
    """Plain text as it grows, and whether every comparison on it held."""

    def __init__(self, rows_shown: int) -> None:
        self._lines: list[str] = []
        self._rows_shown = rows_shown
        self.failures = 0

    @property
    def adds_up(self) -> bool:
        """Whether no comparison failed so far."""
        return not self.failures

    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines)

    def say(self, text: str = "") -> None:
        """Add a line."""
        self._lines.append(printable(text))

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.say()
        self.say(text)
        self.say("-" * len(text))

    def equals(
        self, what: str, found: Fraction, other: str, expected: Fraction | None, least: int = 0
    ) -> None:
        """Say whether a figure is the one that it should be; both, if it is not."""
        if found == expected:
            self.say(f"  {what} {shown(found, least)} equals {other}: yes")
        else:
            wanted = "missing" if expected is None else shown(expected, least)
            self.fail(f"{what} is {shown(found, least)}, {other} is {wanted}")

    def each_equals(
        self, what: str, compared: Iterable[tuple[str, Fraction, Fraction | None]]
    ) -> None:
        """Compare many pairs of figures; only those that differ are printed."""
        pairs = list(compared)
        wrong = [(name, found, expected) for name, found, expected in pairs if found != expected]
        if not wrong:
            self.say(f"  {what}: yes ({len(pairs):,})")
        for name, found, expected in wrong[:_MISMATCHES_SHOWN]:
            wanted = "missing" if expected is None else shown(expected)
            self.fail(f"{what}: {name}: {shown(found)} and {wanted}")
        if len(wrong) > _MISMATCHES_SHOWN:
            self.say(f"  ... and {len(wrong) - _MISMATCHES_SHOWN:,} more that differ")

    def fail(self, text: str) -> None:
        """Say that a step does not add up."""
        self.failures += 1
        self.say(f"  {_FAILED}: {text}")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Any]],
        total: Sequence[Any] | None = None,
        *,
        limit: int | None = None,
        more: str = "",
    ) -> None:
        """Print rows under a header, the total of all of them below; numbers to the right."""
        limit = self._rows_shown if limit is None else limit
        printed = [list(row) for row in rows[:limit]]
        if total is not None:
            printed.append(list(total))
        numbers = [
            [r[n] for r in printed if isinstance(r[n], Fraction)] for n in range(len(header))
        ]
        places = [max(map(_decimals, column), default=0) for column in numbers]
        cells = [
            [
                shown(cell, places[n]) if isinstance(cell, Fraction) else str(cell or "")
                for n, cell in enumerate(row)
            ]
            for row in [header, *printed]
        ]
        widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
        for number, row in enumerate(cells):
            if total is not None and number == len(cells) - 1:
                self._say_left_out(len(rows) - limit, more)
            aligned = (
                cell.rjust(widths[n]) if numbers[n] else cell.ljust(widths[n])
                for n, cell in enumerate(row)
            )
            self.say("  " + "  ".join(aligned).rstrip())
        if total is None:
            self._say_left_out(len(rows) - limit, more)

    def _say_left_out(self, count: int, more: str) -> None:
        if count > 0:
            self.say(f"  ... and {count:,} more{more}")


# --- the books ----------------------------------------------------------------------------------


class Books:
    """The warehouse, with the current publication attached to it as ``published``."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, settings: Settings, manifest: Row
    ) -> None:
        self._connection = connection
        self.landing = settings.landing_dir
        self.archive = settings.archive_dir
        self.minor_digits = settings.minor_digits
        self.last_day = date.fromisoformat(manifest["last_delivery_day"])
        basis = manifest["settings"]
        self.books_open_on = date.fromisoformat(basis["books_open_on"])
        self.days_until_close = int(basis["days_until_close"])
        self.file_names: dict[date, str] = {
            row["delivery_day"]: row["file_name"]
            for row in self.rows(
                "select delivery_day, file_name "
                "from read_parquet($files, hive_partitioning = false)",
                files=glob.escape(str(self.landing)) + "/deliveries/usage/*.parquet",
            )
        }
        self._rates: list[Row] = self.rows("select * from credit_rates")

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Rows of a query; parameters are never part of its text.

        Decimals come as fractions, and so do the warehouse's integers: ``credits_micro``, in
        millionths, comes as ``credits``. Parameters that the text does not name are left out.
        """
        named = {name: parameters[name] for name in re.findall(r"\$(\w+)", sql)}
        self._connection.execute(sql, named or None)
        names = [column[0] for column in self._connection.description or ()]
        scales = [
            next((scale for ending, scale in _SCALES.items() if name.endswith(ending)), None)
            for name in names
        ]
        keys = [
            name.rpartition("_")[0] if scale else name
            for name, scale in zip(names, scales, strict=True)
        ]
        return [
            {
                key: Fraction(int(value), scale)
                if scale and value is not None
                else Fraction(value)
                if isinstance(value, Decimal)
                else value
                for key, scale, value in zip(keys, scales, values, strict=True)
            }
            for values in self._connection.fetchall()
        ]

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row of a query, or None."""
        return next(iter(self.rows(sql, **parameters)), None)

    def version(self, seed: str, sku: str, day: date) -> Row:
        """The version of a SKU of plans or packs on a day."""
        found = self.rows(f"select * from {seed} where sku = $sku and {_VALID}", sku=sku, day=day)
        if not found:
            raise _Gone(f"{seed} no longer has {sku} on {day}")
        return found[0]

    def tiers(self, sku: str, charge: str, day: date) -> list[Row]:
        """The price tiers of a charge on a day, lowest first."""
        return self.rows(
            "select mode, tier, from_units_micro, up_to_units_micro, unit_price_pico, "
            "flat_fee_micro, package_size_micro from stg_price_tiers "
            f"where sku = $sku and charge = $charge and {_VALID} order by tier",
            sku=sku,
            charge=charge,
            day=day,
        )

    def credit_rate(self, accelerator: str, family: str, day: date) -> Fraction | None:
        """Credits of a GPU minute; the exact model family beats ``*``."""
        found = {
            rate["model_family"]: rate["credits_per_gpu_minute"]
            for rate in self._rates
            if rate["accelerator"] == accelerator
            and rate["model_family"] in (family, "*")
            and rate["valid_from"] <= day
            and (rate["valid_to"] is None or day < rate["valid_to"])
        }
        return found.get(family, found.get("*"))


@contextmanager
def _open_books(settings: Settings) -> Iterator[Books]:
    current = (settings.published_dir / "current").resolve()
    try:
        manifest = json.loads((current / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NothingToExplain(
            f"Nothing is published in {settings.published_dir}: bill first (make bill, or make run)"
        ) from None
    with ExitStack() as stack:
        # A reader in the warehouse would stop a run from writing it; under the lock the run waits.
        try:
            stack.enter_context(writer_lock(settings, patience=10))
        except WriterBusy as busy:
            raise NothingToExplain(str(busy)) from None
        connection = stack.enter_context(read_warehouse(settings))
        state = BilledState(settings)
        if not state.is_complete() or state.read()["billing_id"] != manifest["billing_id"]:
            raise NothingToExplain(
                "The warehouse is not the one that was published: a billing since then did not "
                "finish, or did not publish. Bill again, then explain"
            )
        # ATTACH takes no parameter; the path is a setting, not what was asked for.
        path = str(current / "marts.duckdb").replace("'", "''")
        connection.execute(f"attach '{path}' as published (read_only)")
        yield Books(connection, settings, manifest)


# --- one line -----------------------------------------------------------------------------------


class _Trace:
    """One line on its way down: what it is made of, and every step compared with the last."""

    def __init__(self, books: Books, page: Page, line: Row, events_shown: int) -> None:
        self.books = books
        self.page = page
        self.line = line
        self.events_shown = events_shown
        self.customer: str = line["customer_id"]
        self.cycle: date = line["cycle_start"]
        key = line["invoice_line_id"].removeprefix(f"{line['invoice_id']}/{line['line_type']}/")
        self.id_part: str = key.removesuffix("/adjustment") if line["is_adjustment"] else key
        # Separators are escaped in ids (macros/ids.sql), but not in a grant's, which is an id itself.
        self.key: str = (
            self.id_part
            if line["line_type"] == "auto_purchase"
            else self.id_part.replace("%2F", "/").replace("%25", "%")
        )
        self.known = {
            **line,
            "customer": self.customer,
            "cycle": self.cycle,
            "key": self.key,
            "last_day": books.last_day,
        }
        self.kinds: dict[str, Callable[[], list[Row]]] = {
            "base_credits": self._plan,
            "term_discount": self._plan,
            "burst_pack": self._order,
            "top_up": self._order,
            "auto_purchase": self._auto_purchase,
            "burst_surcharge": self._burst_surcharge,
            "overage": self._overage,
            "energy_surcharge": self._energy_surcharge,
            "dedicated_cluster": self._dedicated_cluster,
            "credit_usage": self._credit_usage,
            "rollover": self._rollover,
            "expiry": self._expiry,
            "adjustment": self._adjustment,
        }

    def write(self) -> None:
        """Write the page."""
        page, line = self.page, self.line
        page.say(line["invoice_line_id"])
        page.say("=" * len(line["invoice_line_id"]))
        usage = ", usage that came after its cycle closed" if line["is_adjustment"] else ""
        page.say(f"{line['description']} ({line['line_type']}{usage})")
        page.say(
            f"Customer {self.customer}, cycle {self.cycle} to "
            f"{line['cycle_end'] - timedelta(days=1)}, {line['status']}, "
            f"books as of {self.books.last_day}"
        )
        price = "" if line["unit_price"] is None else f", unit price {shown(line['unit_price'])}"
        page.say(
            f"Quantity {shown(line['quantity'])} {line['unit']}{price}, "
            f"amount {shown(line['amount'], 2)} {line['currency']}"
        )
        page.heading("The arithmetic")
        explained = self.kinds.get(line["line_type"])
        if explained is None:
            page.fail(f"no rule is known for lines of type {line['line_type']}")
        else:
            try:
                rows = explained()
            except _Gone as gone:
                page.fail(str(gone))
            else:
                self._events(rows)
        page.say()
        if page.adds_up:
            page.say("Every step adds up.")
            return
        steps = "1 step" if page.failures == 1 else f"{page.failures} steps"
        page.say(f"{_FAILED}: {steps} above.")
        if line["status"] == "final":
            page.say(
                "A final invoice stays as it closed. If a seed was edited or a row cured since, "
                "the control final_invoice_lines names it, and a person settles the difference "
                "in contracts/adjustments."
            )

    def _rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Rows of a query; it may name the line's own columns, ``customer``, ``cycle``, ``key``."""
        return self.books.rows(sql, **(self.known | parameters))

    def _one(self, sql: str, **parameters: Any) -> Row | None:
        return next(iter(self._rows(sql, **parameters)), None)

    # --- what each kind of line is made of ---

    def _plan(self) -> list[Row]:
        """base_credits, term_discount: what a plan grants and charges in a cycle."""
        page, line = self.page, self.line
        charge = self._needed(
            "charge of the plan",
            "select charges.*, subscriptions.commit_months "
            "from int_plan_charges as charges "
            "left join stg_plan_subscriptions as subscriptions using (subscription_id) "
            "where charges.customer_id = $customer and charges.cycle_start = $cycle "
            "and charges.subscription_id = $key",
        )
        granted_on, sku = charge["granted_on"], charge["sku"]
        plan = self.books.version("plans", sku, granted_on)
        full = plan["included_credits"] * charge["quantity"]
        page.say(
            f"  {shown(plan.get('included_credits', _ZERO))} credits of {sku} × "
            f"{charge['quantity']} = {shown(full)} credits a cycle"
        )
        list_price = self._price(sku, "base", granted_on, full, "credit")
        share = Fraction(charge["active_days"], charge["cycle_days"])
        days = f"{charge['active_days']} of {charge['cycle_days']} days"
        quantity = rounded(full * share, 6)
        if share != 1:
            page.say(
                f"  active {days}: {shown(full)} credits × {days} = {shown(full * share)}, "
                f"rounded to 6 decimals {shown(quantity)}"
            )
        unit_price = rounded(list_price / full, 12) if full else _ZERO
        discount = self._discount(sku, granted_on, charge["commit_months"] or 0)
        prorated = f" × {days}" if share != 1 else ""
        if line["line_type"] == "base_credits":
            exact_amount = list_price * share
            page.say(f"  {shown(list_price)}{prorated} = {shown(exact_amount)}")
        else:
            exact_amount = -list_price * discount * share
            page.say(
                f"  -{shown(list_price)} × {shown(discount * 100)} %{prorated} "
                f"= {shown(exact_amount)}"
            )
            unit_price = -rounded(list_price * discount / full, 12) if full else _ZERO
        self._is_line(quantity, unit_price, exact_amount)
        net = rounded(list_price * (1 - discount) * share, 6)
        return self._grants({charge["grant_id"]: net} if quantity else {})

    def _discount(self, sku: str, day: date, months: int) -> Fraction:
        found = self._one(
            "select min_commit_months, discount_rate from term_discounts "
            f"where sku = $sku and min_commit_months <= $months and {_VALID} "
            "order by min_commit_months desc limit 1",
            sku=sku,
            months=months,
            day=day,
        )
        if not found:
            return _ZERO
        rate: Fraction = found["discount_rate"]
        self.page.say(
            f"  committed for {months} months, {found['min_commit_months']} or more: "
            f"discount {shown(rate * 100)} %"
        )
        return rate

    def _order(self) -> list[Row]:
        """burst_pack, top_up: packs that a customer ordered."""
        page = self.page
        order = self._needed(
            "charge of the order",
            "select * from int_order_charges where customer_id = $customer "
            "and cycle_start = $cycle and order_id = $key",
        )
        packs = Fraction(order["quantity"])
        page.say(f"  ordered at {order['ordered_at']:%Y-%m-%dT%H:%M:%SZ}")
        price = self._price(order["sku"], "pack", order["granted_on"], packs, "pack")
        self._is_line(packs, rounded(price / packs, 12), price)
        pack = self.books.version("packs", order["sku"], order["granted_on"])
        included = pack["included_credits"]
        credits = included * packs
        page.say(
            f"  {shown(included)} credits × {shown(packs)} = {shown(credits)}, to burn from "
            f"{order['granted_on']} to {order['expires_on']}"
        )
        if not credits:
            page.say("  Without credits the pack only opens a burst window: no transfer, no usage.")
        return self._grants({order["grant_id"]: rounded(price, 6)} if credits else {}, credits)

    def _auto_purchase(self) -> list[Row]:
        """The packs that bring a day's depletion below the hard cap, and their price."""
        page = self.page
        bought = self._needed(
            "purchase",
            "select * from int_wallet_days "
            "where customer_id = $customer and cycle_start = $cycle and grant_id = $key "
            "and source = 'auto_purchase' and granted_on = posted_on",
        )
        day = bought["granted_on"]
        wallets = self._rows(
            "select grant_id, granted_on, origin_id, packs, opening_micro, granted_micro, "
            "burned_micro, burned_in_cycle_micro from int_wallet_days "
            "where customer_id = $customer and posted_on = $day",
            day=day,
        )
        others = [wallet for wallet in wallets if wallet["grant_id"] != self.key]
        burned_before = _sum(wallets, "burned_in_cycle") - _sum(wallets, "burned")
        balance = _sum(others, "opening") + _sum(others, "granted")
        used = _sum((t for t in self._transfers([day]) if t["kind"] != "refund"), "credits")
        subscription = self._one(
            "select sku, max_auto_purchases_per_cycle as allowed from stg_plan_subscriptions "
            "where subscription_id = $subscription_id",
            subscription_id=bought["origin_id"],
        )
        if subscription is None:
            raise _Gone(f"the contracts no longer have {bought['origin_id']}")
        cap = self.books.version("plans", subscription["sku"], day)["hard_cap_depletion"]
        size = self.books.version("packs", bought["sku"], day)["included_credits"]
        after, granted = burned_before + used, burned_before + balance
        needed = Fraction((after / cap - granted) // size + 1)
        page.say(
            f"  On {day}: {shown(burned_before)} burned in the cycle + {shown(used)} used = "
            f"{shown(after)}; {shown(burned_before)} + balance {shown(balance)} = {shown(granted)}"
        )
        page.say(
            f"  depletion below {shown(cap * 100)} %: floor(({shown(after)} / {shown(cap)} "
            f"- {shown(granted)}) / {shown(size)}) + 1 = {_many(needed, 'pack')} of {bought['sku']}"
        )
        packs = needed
        if subscription["allowed"] is not None:
            before = sum(
                wallet["packs"]
                for wallet in others
                if wallet["granted_on"] >= self.cycle and wallet["origin_id"] == bought["origin_id"]
            )
            left = Fraction(subscription["allowed"] - before)
            packs = min(needed, left)
            page.say(
                f"  allowed in the cycle {subscription['allowed']}, bought before {before}: "
                f"{_many(packs, 'pack')}"
            )
        price = self._price(bought["sku"], "pack", day, packs, "pack")
        self._is_line(packs, rounded(price / packs, 12) if packs else _ZERO, price)
        return self._grants({self.key: rounded(price, 6)}, packs * size)

    def _burst_surcharge(self) -> list[Row]:
        """Credits of the minutes above the plan's concurrency that a burst window let through."""
        page, line = self.page, self.line
        hours = self._rows(
            "select * from int_burst_hours where customer_id = $customer and cycle_start = $cycle "
            "and is_adjustment = $is_adjustment and pack_sku = $sku "
            "and surcharge_unit_price_pico = cast($unit_price as hugeint) and burst_nano > 0 "
            "order by posting_date, usage_day, hour_of_day",
            sku=line["sku"],
            unit_price=str(int(line["unit_price"] * 10**12)),
        )
        if not hours:
            raise _Gone("the books hold no burst minutes for it any more")
        page.say(
            "  Minutes above 60 × GPUs of the plan are excess; a window lets through up to "
            "60 × GPUs × (multiplier - 1)."
        )
        page.say("  Burst credits of an hour = credits of the hour × burst minutes / minutes.")
        credits: dict[date, Fraction] = defaultdict(Fraction)
        prices: dict[tuple[str, Fraction, Fraction], date] = {}
        table, checks = [], []
        for hour in hours:
            day, number = hour["usage_day"], hour["hour_of_day"]
            whole = self._hour(hour)
            plan = self._plan_on(day)
            window = self._window(day, number)
            gpus = plan["base_concurrency"] * plan["quantity"]
            excess = whole["minutes"] - 60 * gpus
            burst = min(excess, rounded(60 * gpus * (window["concurrency_multiplier"] - 1), 9))
            burst_credits = rounded(whole["credits"] * burst / whole["minutes"], 15)
            credits[hour["posting_date"]] += burst_credits
            included = plan["included_credits"] * plan["quantity"]
            priced = self._surcharge_price(plan, included, day, window)
            prices.setdefault((plan["sku"], included, priced), day)
            hour_name = f"{day} {number:02d}:00"
            figures = [whole["minutes"], 60 * gpus, excess, burst, whole["credits"], burst_credits]
            table.append([hour_name, hour["posting_date"], window["order_id"], *figures])
            checks.append((f"{hour_name} burst minutes", burst, hour["burst"]))
            checks.append((f"{hour_name} burst credits", burst_credits, hour["burst_credits"]))
        header = ["hour", "posted on", "window of", "minutes", "limit", "excess", "burst"]
        page.table([*header, "credits", "burst credits"], table)
        page.each_equals("minutes and credits of each hour equal the books", checks)
        by_day = {day: rounded(sum_of_day, 6) for day, sum_of_day in credits.items()}
        quantity = sum(by_day.values(), _ZERO)
        page.table(
            ["posted on", "burst credits, rounded to 6"],
            [[day, of_day] for day, of_day in by_day.items()],
            ["sum", quantity],
        )
        for (sku, included, price), day in prices.items():
            self._price(sku, "base", day, included, "credit")
            page.say(
                f"  {sku}: list price / {shown(included)} credits × surcharge rate = {shown(price)}"
            )
            page.equals("surcharge per credit", price, "the line's", line["unit_price"])
        page.say(f"  {shown(quantity)} × {shown(line['unit_price'])}")
        self._is_line(quantity, line["unit_price"], quantity * line["unit_price"])

        dates = sorted(by_day)
        self._days(dates, "A surcharge is money, no transfer of its own; the credits were moved by")
        pairs = {(hour["usage_day"], hour["posting_date"]) for hour in hours}
        rows = [
            row
            for row in self._usage_posted(dates)
            if (row["usage_date"], row["posting_date"]) in pairs and not row["is_dedicated"]
        ]
        self._usage("All usage of the days with burst hours", rows)
        by_hours = self._one(
            "select coalesce(sum(gpu_minutes_nano), 0) as minutes_nano from int_usage_hours "
            "where customer_id = $customer and not is_dedicated and (usage_day, posting_date) in "
            "(select (unnest($usage_days::date[]), unnest($posting_dates::date[])))",
            usage_days=[pair[0] for pair in sorted(pairs)],
            posting_dates=[pair[1] for pair in sorted(pairs)],
        )
        page.equals(
            "minutes of all hours of these days",
            by_hours["minutes"] if by_hours else _ZERO,
            "the rows' minutes",
            _sum(rows, "gpu_minutes"),
        )
        return rows

    def _hour(self, hour: Row) -> Row:
        """Minutes and credits, unrounded, of a customer in a clock hour."""
        return self._rows(
            "select coalesce(sum(gpu_minutes_nano), 0) as minutes_nano, "
            "coalesce(sum(cast(gpu_minutes_nano as hugeint) * credit_rate_micro), 0) "
            "as credits_femto from int_usage_hours where customer_id = $customer "
            "and usage_day = $usage_day and posting_date = $posting_date "
            "and hour_of_day = $hour and not is_dedicated",
            usage_day=hour["usage_day"],
            posting_date=hour["posting_date"],
            hour=hour["hour_of_day"],
        )[0]

    def _plan_on(self, day: date) -> Row:
        """The customer's plan on a day, with the subscription's quantity."""
        subscription = self._one(
            "select sku, quantity from stg_plan_subscriptions where customer_id = $customer "
            "and starts_on <= $day and (ends_on is null or $day < ends_on)",
            day=day,
        )
        if subscription is None:
            raise _Gone(f"the contracts no longer have a plan of this customer on {day}")
        plan = self.books.version("plans", subscription["sku"], day)
        if plan["base_concurrency"] is None:
            raise _Gone(f"{plan['sku']} no longer limits its concurrency on {day}")
        return {**plan, "quantity": subscription["quantity"]}

    def _window(self, day: date, hour: int) -> Row:
        """The burst window that counts in a clock hour: largest multiplier, then earliest order."""
        start = datetime(day.year, day.month, day.day, hour)
        windows = self._rows(
            "select orders.order_id, orders.ordered_at, packs.* from orders "
            "inner join packs on orders.sku = packs.sku and packs.kind = 'burst' "
            "and cast(orders.ordered_at as date) >= packs.valid_from and (packs.valid_to is null "
            "or cast(orders.ordered_at as date) < packs.valid_to) "
            "where orders.customer_id = $customer "
            "and date_trunc('hour', orders.ordered_at) <= $start "
            "and $start < date_trunc('hour', orders.ordered_at) "
            "+ packs.validity_hours * interval 1 hour",
            start=start,
        )
        if not windows:
            raise _Gone(f"no order opens a burst window at {start:%Y-%m-%d %H}:00")
        return min(
            windows, key=lambda w: (-w["concurrency_multiplier"], w["ordered_at"], w["order_id"])
        )

    def _surcharge_price(self, plan: Row, included: Fraction, day: date, window: Row) -> Fraction:
        tiers = self.books.tiers(plan["sku"], "base", day)
        list_price = sum((amount for _, amount in _tier_prices(tiers, included)), _ZERO)
        per_credit = rounded(list_price / included, 12) if included else _ZERO
        return rounded(per_credit * (window["surcharge_rate"] or _ZERO), 12)

    def _overage(self) -> list[Row]:
        """Credits beyond the wallets, at the price of the cycle's tiers."""
        page, line = self.page, self.line
        days = self._rows(
            "select * from int_overage_days where customer_id = $customer "
            "and cycle_start = $cycle and sku = $key order by posted_on"
        )
        if not days:
            raise _Gone("the books hold no overage for it any more")
        dates = [day["posted_on"] for day in days]
        transfers = self._transfers(dates, ["overage"])
        posted = self._usage_posted(dates)
        rows = [row for row in posted if row["is_adjustment"] == line["is_adjustment"]]
        total = _sum(transfers, "credits")
        quantity = _sum(rows, "overage")
        regular = total - quantity if line["is_adjustment"] else quantity
        priced_on = days[0]["priced_on"]
        page.say(
            f"  {shown(total)} credits beyond the wallets in the cycle, "
            f"{shown(regular)} of them of regular usage"
        )
        plan = self.books.version("plans", self.key, priced_on)
        if plan["overage_policy"] == "waive":
            page.say(f"  {self.key} waives overage: price 0")
            price = price_of_all = _ZERO
        else:
            price = self._price(self.key, "overage", priced_on, regular, "regular credit")
            price_of_all = price
            if line["is_adjustment"]:
                price_of_all = self._price(self.key, "overage", priced_on, total, "credit")
                page.say(f"  {shown(price_of_all)} - {shown(price)} of regular usage")
                price = price_of_all - price
            elif regular != total:
                tiers = self.books.tiers(self.key, "overage", priced_on)
                price_of_all = sum((part for _, part in _tier_prices(tiers, total)), _ZERO)
        self._is_line(quantity, rounded(price / quantity, 12) if quantity else _ZERO, price)

        page.heading("The ledger: what the wallets could not cover")
        self._print_transfers(transfers)
        page.equals("credits of the transfers", total, "the days'", _sum(days, "overage"))
        page.equals(
            "value of the transfers",
            _sum(transfers, "value"),
            "the price of the cycle's overage, rounded to 6",
            rounded(price_of_all, 6),
        )
        self._compare_days(dates, posted)
        self._usage(f"Usage posted on {_many(len(dates), 'day')}", rows)
        self._parts_of_days("overage", rows, posted, total)
        return rows

    def _energy_surcharge(self) -> list[Row]:
        """Energy above the plan's baseline, with the plan's mark-up."""
        page, line = self.page, self.line
        rows = [
            row
            for row in self._usage_rows("daily.cycle_start = $cycle")
            if not row["is_dedicated"] and row["plan_sku"] == self.key
        ]
        if not rows:
            raise _Gone("no usage of this plan is posted in the cycle any more")
        terms = self._energy_terms()
        rows = self._as_closed(rows)
        regular = [row for row in rows if not row["is_adjustment"]]
        surcharges = {}
        for name, part in (("all usage", rows), ("regular usage", regular)):
            if name == "all usage" and not line["is_adjustment"]:
                continue
            surcharges[name] = self._energy_formula(name, part, terms)
        if line["is_adjustment"]:
            amount = surcharges["all usage"] - surcharges["regular usage"]
            page.say(
                f"  {shown(surcharges['all usage'])} - {shown(surcharges['regular usage'])} "
                f"= {shown(amount)}"
            )
        else:
            amount = surcharges["regular usage"]
        own = [row for row in rows if row["is_adjustment"] == line["is_adjustment"]]
        self._is_line(_sum(own, "busy_kwh"), None, amount)

        page.heading("The ledger")
        page.say("  Energy is charged in money: no credits move.")
        self._usage("Usage, its energy and what that cost", own, ["busy_kwh", "energy_cost"])
        page.each_equals("kWh of each row = minutes / 60 × watts / 1000 × PUE", self._kwh(own))
        return own

    def _energy_terms(self) -> Row:
        """The plan version of the first day of the cycle with this plan: baseline and mark-up."""
        plan = self._needed(
            "subscription of the plan",
            "select min(greatest(starts_on, $cycle)) as first_day, "
            "max(coalesce(ends_on - 1, date '9999-12-31')) as last_day from ("
            "select *, lead(starts_on) over (order by starts_on, subscription_id) as next_starts_on "
            "from stg_plan_subscriptions where customer_id = $customer) as spans "
            "where sku = $key and starts_on < $cycle + interval 1 month "
            "and (next_starts_on is null or next_starts_on > $cycle)",
        )
        first = plan["first_day"]
        if not self._one(f"select sku from plans where sku = $key and {_VALID}", day=first):
            # Booked when the plan is over and has no version any more.
            first = min(first, plan["last_day"])
        self.page.say(f"  Baseline and mark-up of {self.key} are those of {first:%Y-%m-%d}.")
        return self.books.version("plans", self.key, first)

    def _as_closed(self, rows: list[Row]) -> list[Row]:
        """The rows with the energy that the invoice closed with, where it is written down."""
        closed = {
            tuple(row[name] for name in _CLOSED_KEY): row
            for row in self._rows(
                "select * from read_parquet($files, hive_partitioning = false) "
                "where customer_id = $customer and cycle_start = $cycle",
                files=glob.escape(str(self.books.archive)) + "/final_energy/*.parquet",
            )
        }
        frozen, moved = [], 0
        for row in rows:
            then = closed.get(
                tuple(row["usage_date" if n == "usage_day" else n] for n in _CLOSED_KEY)
            )
            if then and any(then[name] != row[name] for name in ("busy_kwh", "energy_cost")):
                row = {**row, "busy_kwh": then["busy_kwh"], "energy_cost": then["energy_cost"]}
                moved += 1
            frozen.append(row)
        if moved:
            self.page.say(
                f"  The energy of {_many(Fraction(moved), 'row')} was revised after the invoice closed; "
                "what is charged rests on what it was then."
            )
        return frozen

    def _energy_formula(self, name: str, rows: list[Row], terms: Row) -> Fraction:
        """The surcharge of some rows: max(0, cost - kWh × baseline) × (1 + markup)."""
        baseline = terms["energy_baseline_per_kwh"] or _ZERO
        factor = 1 + (terms["energy_markup_rate"] or _ZERO)
        cost, kwh = _sum(rows, "energy_cost"), _sum(rows, "busy_kwh")
        excess = cost - kwh * baseline
        self.page.say(
            f"  {name}: cost {shown(cost)} - {shown(kwh)} kWh × {shown(baseline)} = {shown(excess)}"
        )
        surcharge = max(_ZERO, excess) * factor
        self.page.say(f"  {name}: max(0, {shown(excess)}) × {shown(factor)} = {shown(surcharge)}")
        return surcharge

    def _kwh(self, rows: list[Row]) -> Iterator[tuple[str, Fraction, Fraction]]:
        watts = {
            (place["cluster"], place["accelerator"]): place["watts"]
            for place in self._rows(
                "select clusters.cluster, accelerators.accelerator, "
                "cast(accelerators.busy_watts as decimal(18, 3)) "
                "* cast(facilities.pue as decimal(18, 3)) as watts "
                "from clusters inner join facilities using (facility_id) cross join accelerators"
            )
        }
        for row in rows:
            drawn = watts.get((row["cluster"], row["accelerator"]), _ZERO)
            kwh = rounded(row["gpu_minutes"] * drawn / 60_000, 6)
            yield _name_of(row), kwh, row["busy_kwh"]

    def _dedicated_cluster(self) -> list[Row]:
        """The fee of a cluster that is a customer's own: tiers on its GPUs."""
        page, books = self.page, self.books
        charge = self._needed(
            "charge of the cluster",
            "select * from int_dedicated_charges where customer_id = $customer "
            "and cycle_start = $cycle and subscription_id = $key",
        )
        first, until, cluster = charge["granted_on"], charge["active_until"], charge["cluster"]
        pools = self._rows(
            "select accelerator, gpu_count from pools "
            f"where cluster = $cluster and {_VALID} order by 1",
            cluster=cluster,
            day=first,
        )
        gpus = Fraction(sum(pool["gpu_count"] for pool in pools))
        counted = " + ".join(f"{pool['gpu_count']} {pool['accelerator']}" for pool in pools)
        page.say(f"  {cluster} on {first}: {counted or 'no pool'} = {_many(gpus, 'GPU')}")
        price = self._price(charge["sku"], "dedicated", first, gpus, "GPU")
        active, in_cycle = (until - first).days, (charge["cycle_end"] - self.cycle).days
        share = Fraction(active, in_cycle)
        page.say(
            f"  {active} of {in_cycle} days: {shown(price)} × {active} / {in_cycle} "
            f"= {shown(price * share)}"
        )
        self._is_line(gpus, rounded(price / gpus, 12) if gpus else _ZERO, price * share)
        earned = self._rows(
            "select event_count, amortized_cost_micro, dedicated_revenue_micro "
            "from int_usage_earned where customer_id = $customer and cluster = $cluster "
            "and cycle_start = $cycle and is_dedicated "
            "and posting_date >= $first and posting_date < $until",
            cluster=cluster,
            first=first,
            until=until,
        )
        passed = (min(until, books.last_day + timedelta(days=1)) - first).days
        value = rounded(price * share, 6)
        page.equals(
            f"earned on {passed} of {active} active days,",
            _sum(earned, "dedicated_revenue"),
            f"{shown(value)} × {passed} / {active}",
            rounded(value * passed / active, 6),
        )
        page.equals(
            "cost of pools on days without use",
            _sum((row for row in earned if not row["event_count"]), "amortized_cost"),
            "the line's cost",
            self.line["amortized_cost"],
        )

        page.heading("The ledger")
        page.say("  A dedicated cluster is charged in money: its minutes cost no credits.")
        rows = [
            row
            for row in self._usage_rows("daily.cluster = $cluster", cluster=cluster)
            if row["is_dedicated"] and first <= row["posting_date"] < until
        ]
        self._usage("Usage of the cluster, posted on its active days", rows)
        return rows

    def _credit_usage(self) -> list[Row]:
        """Credits burned by usage of one cluster, accelerator and model family."""
        page, line = self.page, self.line
        rows = self._usage_rows(
            "daily.cycle_start = $cycle and daily.cluster = $cluster "
            "and daily.accelerator = $accelerator and daily.model_family = $model_family "
            "and daily.is_adjustment = $is_adjustment"
        )
        dates = sorted({row["posting_date"] for row in rows if row["credits"]})
        page.say("  Credits of a row = minutes × credits per minute; a day's burn is spread over")
        page.say("  the customer's rows of the day by credits. The credits were paid for when they")
        page.say("  were granted, so the amount is 0.")
        quantity = _sum(rows, "burned")
        page.say(
            f"  {_many(len(rows), 'row')}: {shown(_sum(rows, 'credits'))} credits = "
            f"{shown(quantity)} burned + {shown(_sum(rows, 'overage'))} beyond the wallets"
            + (
                f" + {shown(refunded)} refunded"
                if (refunded := _sum(rows, "credits") - quantity - _sum(rows, "overage"))
                else ""
            )
        )
        self._is_line(quantity, _ZERO, _ZERO)
        minutes, cost = _sum(rows, "gpu_minutes"), _sum(rows, "amortized_cost")
        page.equals("GPU minutes", minutes, "the line's", line["gpu_minutes"])
        page.equals("amortized cost", cost, "the line's", line["amortized_cost"])
        if minutes:
            page.equals(
                "cost per GPU minute",
                rounded(cost / minutes, 6),
                "the line's",
                line["amortized_cost_per_gpu_minute"],
            )
        if not dates:
            page.heading("The ledger")
            page.say("  Minutes of a dedicated cluster cost no credits: none move.")
            self._usage("Usage of the line", rows)
            return rows
        posted = self._days(dates, "On the days of this usage the customer's credits moved by")
        self._usage("Usage of the line", rows)
        burned = _sum(self._transfers(dates, ["burn"]), "credits")
        self._parts_of_days("burned", rows, posted, burned)
        return rows

    def _rollover(self) -> list[Row]:
        """Unused credits of plan grants that live on in the next cycle."""
        page = self.page
        moved = self._moved("rollover")
        rolled: dict[str, Fraction] = {}
        for transfer in moved:
            wallets = self._rows(
                "select * from int_wallet_days where customer_id = $customer "
                "and posted_on = $day and source = 'plan' and granted_on >= $cycle",
                day=transfer["posted_on"],
            )
            granted, burned = _sum(wallets, "credits"), _sum(wallets, "burned_in_cycle")
            grant = next((w for w in wallets if w["grant_id"] == transfer["grant_id"]), None)
            if grant is None:
                raise _Gone(f"the wallets no longer hold {transfer['grant_id']}")
            plan = self.books.version("plans", grant["sku"], grant["granted_on"])
            utilization = burned / granted
            least, rate = plan["rollover_min_utilization"], plan["rollover_rate"]
            unused = grant["opening"] + grant["granted"] - grant["burned"]
            page.say(
                f"  {transfer['grant_id']}: utilization {shown(burned)} / {shown(granted)} = "
                f"{shown(utilization * 100)} %, above {shown(least * 100)} %: "
                f"{'yes' if utilization > least else 'no'}"
            )
            part = Fraction(int(unused * rate * 10**6), 10**6) if utilization > least else _ZERO
            page.say(
                f"  unused {shown(unused)} × {shown(rate * 100)} % = {shown(unused * rate)}, "
                f"6 decimals kept {shown(part)}"
            )
            rolled[transfer["grant_id"]] = part
        self._is_line(sum(rolled.values(), _ZERO), _ZERO, _ZERO)
        rows = self._grants(dict.fromkeys(rolled))
        next_day = max(transfer["posted_on"] for transfer in moved) + timedelta(days=1)
        if next_day <= self.books.last_day:
            issued = self._rows(
                "select ledger.credits from published.credit_ledger as ledger "
                "inner join published.credit_grants as grants using (grant_id) "
                "where ledger.customer_id = $customer and ledger.kind = 'grant' "
                "and grants.source = 'rollover' and ledger.posted_on = $day "
                "and list_contains($origins::varchar[], grants.origin_id)",
                day=next_day,
                origins=list(rolled),
            )
            page.equals(
                f"granted again on {next_day}:",
                _sum(issued, "credits"),
                "what rolled over",
                self.line["quantity"],
            )
        return rows

    def _expiry(self) -> list[Row]:
        """Credits that nobody burned in time."""
        expired = _ZERO
        grants: dict[str, Fraction | None] = {}
        for transfer in self._moved("expiry"):
            grant_id = transfer["grant_id"]
            sums: dict[str, Fraction] = defaultdict(Fraction)
            for other in self._of_grants([grant_id]):
                if other["posted_on"] <= transfer["posted_on"]:
                    sums[other["kind"]] += other["credits"]
            granted = sums["grant"] + sums["refund"]
            burned, rolled = sums["burn"], sums["rollover"]
            left = granted - burned - rolled
            self.page.say(
                f"  {grant_id}, last day {transfer['expires_on']}: {shown(granted)} granted "
                f"- {shown(burned)} burned - {shown(rolled)} rolled over = {shown(left)}"
            )
            expired += left
            grants[grant_id] = None
        self._is_line(expired, _ZERO, _ZERO)
        return self._grants(grants)

    def _adjustment(self) -> list[Row]:
        """A person's credit note or settlement."""
        page = self.page
        noted = self._needed(
            "adjustment",
            "select * from adjustments where customer_id = $customer and adjustment_id = $key "
            "and posted_on >= $cycle",
        )
        page.say(f"  {self.key} in contracts/adjustments, posted on {noted['posted_on']}:")
        page.say(f"  amount {shown(noted['amount'] or _ZERO, 2)}, reason: {noted['reason']}")
        amount = noted["amount"] or _ZERO
        self._is_line(Fraction(1), rounded(amount, self.books.minor_digits), amount)
        page.heading("The ledger")
        if not noted["credits"]:
            page.say("  Money only: no credits move, and no usage stands behind it.")
            return []
        grant_id = f"{self.customer}/adjustment/{noted['posted_on']}/{self.id_part}"
        page.say("  The same adjustment also grants credits, worth 0.")
        return self._grants({grant_id: _ZERO}, noted["credits"], heading=False)

    # --- steps that several kinds of lines share ---

    def _needed(self, what: str, sql: str) -> Row:
        """A row that the line was made from, found by customer, cycle and key of the line."""
        found = self._one(sql)
        if found is None:
            raise _Gone(f"the books hold no {what} {self.key} in this cycle any more")
        return found

    def _is_line(self, quantity: Fraction, unit_price: Fraction | None, amount: Fraction) -> None:
        """Compare what was worked out with the line; the amount is rounded here, once."""
        page, line = self.page, self.line
        page.equals("quantity", quantity, "the line", line["quantity"])
        if unit_price is not None or line["unit_price"] is not None:
            page.equals("unit price", unit_price or _ZERO, "the line", line["unit_price"])
        digits = self.books.minor_digits
        page.say(f"  {shown(amount)} rounded to {'cents' if digits else 'whole units'}")
        page.equals("amount", rounded(amount, digits), "the line", line["amount"], 2)

    def _price(self, sku: str, charge: str, day: date, units: Fraction, name: str) -> Fraction:
        """The price of some units by the tiers of a day, tier by tier."""
        tiers = self.books.tiers(sku, charge, day)
        if not tiers:
            self.page.say(f"  {sku} has no price for {charge} on {day}: 0")
            return _ZERO
        self.page.say(
            f"  {_many(units, name)} by the {charge} tiers of {sku} on {day} ({tiers[0]['mode']}):"
        )
        total = _ZERO
        for said, amount in _tier_prices(tiers, units):
            self.page.say(f"    {said} = {shown(amount)}")
            total += amount
        self.page.say(f"  price {shown(total)}")
        return total

    def _transfers(self, dates: Sequence[date], kinds: Sequence[str] = ()) -> list[Row]:
        """The customer's transfers for usage posted on some dates."""
        return self._rows(
            "select * from published.credit_ledger where customer_id = $customer "
            "and list_contains($dates::date[], posted_on) and list_contains($kinds, kind) "
            "order by posted_on, transfer_id",
            dates=list(dates),
            kinds=list(kinds) or ["burn", "overage", "refund"],
        )

    def _of_grants(self, grant_ids: Iterable[str]) -> list[Row]:
        return self._rows(
            "select * from published.credit_ledger where customer_id = $customer "
            "and list_contains($grant_ids::varchar[], grant_id) "
            "order by grant_id, posted_on, kind = 'expiry', kind <> 'grant', transfer_id",
            grant_ids=list(grant_ids),
        )

    def _moved(self, kind: str) -> list[Row]:
        """The transfers that a rollover or expiry line sums."""
        moved = self._rows(
            "select ledger.*, grants.expires_on from published.credit_ledger as ledger "
            "inner join published.credit_grants as grants using (grant_id) "
            "where ledger.customer_id = $customer and ledger.cycle_start = $cycle "
            "and ledger.kind = $kind and grants.sku is not distinct from $sku "
            "and (grants.sku is not null or grants.source = $key) "
            "order by ledger.posted_on, grant_id",
            kind=kind,
        )
        if not moved:
            raise _Gone(f"the ledger holds no {kind} for it any more")
        return moved

    def _print_transfers(self, transfers: Sequence[Row]) -> None:
        self.page.table(
            ["transfer", "from", "to", "credits", "value"],
            [
                [
                    transfer["transfer_id"],
                    transfer["debit_account"].partition(":")[0],
                    transfer["credit_account"].partition(":")[0],
                    transfer["credits"],
                    transfer["value"],
                ]
                for transfer in transfers
            ],
            ["sum", "", "", _sum(transfers, "credits"), _sum(transfers, "value")],
            more=" transfers, in the sum",
        )

    def _grants(
        self,
        values: dict[str, Fraction] | dict[str, Fraction | None],
        credits: Fraction | None = None,
        *,
        heading: bool = True,
    ) -> list[Row]:
        """Follow grants through the ledger: what went in and out, and the usage that burned it.

        Args:
            values: the grants and the value that each has to have, None if it is not known.
            credits: what the only grant has to hold, if that is not the line's quantity.
            heading: whether a section begins here.
        """
        page = self.page
        if heading:
            page.heading("The ledger: the credits, and where they went")
        if not values:
            page.say("  No credits were granted.")
            return []
        transfers = self._of_grants(values)
        incoming = [t for t in transfers if t["kind"] in ("grant", "refund")]
        outgoing = [t for t in transfers if t["kind"] not in ("grant", "refund")]
        page.say("Into the wallet")
        self._print_transfers(incoming)
        for grant_id, value in values.items():
            own = [t for t in incoming if t["grant_id"] == grant_id]
            if value is not None:
                granted = self.line["quantity"] if credits is None else credits
                page.equals("granted credits", _sum(own, "credits"), "what is due", granted)
                page.equals("their value", _sum(own, "value"), "what was charged, net", value)
        page.say("Out of the wallet")
        self._print_transfers(outgoing)
        if self.line["line_type"] in ("rollover", "expiry"):
            kind = self.line["line_type"]
            moved = (t for t in outgoing if t["kind"] == kind and t["cycle_start"] == self.cycle)
            moved_sum = _sum(moved, "credits")
            page.equals(f"sum of {kind}", moved_sum, "the line's quantity", self.line["quantity"])
        closing = self._rows(
            "select closing_micro from int_wallet_days where customer_id = $customer "
            "and posted_on = $day and list_contains($grant_ids::varchar[], grant_id)",
            day=self.books.last_day,
            grant_ids=list(values),
        )
        page.equals(
            f"in - out = {shown(_sum(incoming, 'credits'))} - {shown(_sum(outgoing, 'credits'))} =",
            _sum(incoming, "credits") - _sum(outgoing, "credits"),
            f"what is left on {self.books.last_day}",
            _sum(closing, "closing"),
        )
        burns = [t for t in outgoing if t["kind"] == "burn"]
        if not burns:
            page.heading("The usage")
            page.say("  Nothing of it was burned: no usage stands behind it.")
            return []
        dates = sorted({t["posted_on"] for t in burns})
        posted = [row for row in self._usage_posted(dates) if row["credits"]]
        all_burned = _sum(self._transfers(dates, ["burn"]), "credits")
        page.say(
            f"On {_many(len(dates), 'day')} with its burns the wallets gave {shown(all_burned)} "
            f"in all, {shown(_sum(burns, 'credits'))} of it from here."
        )
        self._compare_days(dates, posted)
        self._usage("Usage posted on these days", posted)
        self._parts_of_days("burned", posted, posted, all_burned)
        return posted

    def _days(self, dates: Sequence[date], title: str) -> list[Row]:
        """The transfers for usage of some posting dates. Returns all rows posted on them."""
        page = self.page
        page.heading("The ledger")
        page.say(title)
        transfers = self._transfers(dates)
        self._print_transfers(transfers)
        posted = self._usage_posted(dates)
        self._compare_days(dates, posted)
        return posted

    def _compare_days(self, dates: Sequence[date], posted: Sequence[Row]) -> None:
        """Day by day: credits of the customer's rows = burned + overage - refunded."""
        moved: dict[date, Fraction] = defaultdict(Fraction)
        for transfer in self._transfers(dates):
            sign = -1 if transfer["kind"] == "refund" else 1
            moved[transfer["posted_on"]] += sign * transfer["credits"]
        rated: dict[date, Fraction] = defaultdict(Fraction)
        for row in posted:
            rated[row["posting_date"]] += row["credits"]
        self.page.each_equals(
            "burned + overage - refunded of each day = credits of all usage posted on it",
            ((str(day), moved[day], rated[day]) for day in dates),
        )

    def _usage_posted(self, dates: Sequence[date]) -> list[Row]:
        return self._usage_rows(
            "list_contains($dates::date[], daily.posting_date)", dates=list(dates)
        )

    def _usage_rows(self, condition: str, **parameters: Any) -> list[Row]:
        """Published rows of the customer's usage, with what the books spread over them."""
        return self._rows(
            "select daily.*, earned.plan_sku, earned.burned_micro, earned.overage_micro, "
            "earned.amortized_cost_micro from published.usage_daily as daily "
            "left join int_usage_earned as earned "
            "on daily.customer_id = earned.customer_id and daily.usage_date = earned.usage_day "
            "and daily.posting_date = earned.posting_date and daily.cluster = earned.cluster "
            "and daily.accelerator = earned.accelerator "
            "and daily.model_family = earned.model_family and earned.event_count > 0 "
            f"where daily.customer_id = $customer and {condition} "
            "order by daily.posting_date, daily.usage_date, daily.cluster, daily.accelerator, "
            "daily.model_family",
            **parameters,
        )

    def _usage(self, title: str, rows: Sequence[Row], more: Sequence[str] = ()) -> None:
        """Print rows of usage, and check that their credits are minutes × rate."""
        page = self.page
        page.heading("The usage")
        page.say(f"{title} (customer {self.customer})")
        rates = [
            _ZERO
            if row["is_dedicated"]
            else self.books.credit_rate(row["accelerator"], row["model_family"], row["usage_date"])
            for row in rows
        ]
        names = ["cluster", "accelerator", "model_family"]
        sums = ["credits", "burned", "overage", *more]
        page.table(
            ["used on", "posted on", *names, "minutes", "× rate", *sums],
            [
                [
                    *(row[name] for name in ("usage_date", "posting_date", *names, "gpu_minutes")),
                    rate,
                    *(row[name] for name in sums),
                ]
                for row, rate in zip(rows, rates, strict=True)
            ],
            ["sum", *[""] * 4, _sum(rows, "gpu_minutes"), "", *(_sum(rows, name) for name in sums)],
            more=" rows, in the sum",
        )
        page.each_equals(
            "credits of each row = minutes × rate, rounded to 6",
            (
                (_name_of(row), row["credits"], rate and rounded(row["gpu_minutes"] * rate, 6))
                if rate is not None
                else (_name_of(row), row["credits"], None)
                for row, rate in zip(rows, rates, strict=True)
            ),
        )

    def _parts_of_days(
        self, column: str, rows: Sequence[Row], posted: Sequence[Row], moved: Fraction
    ) -> None:
        """Check the part of a day's burn or overage that each row got, and that nothing is left."""
        page = self.page
        own, all_rows = _sum(rows, column), _sum(posted, column)
        page.equals(
            f"{column}: {shown(own)} here + {shown(all_rows - own)} on the customer's other rows =",
            all_rows,
            "the ledger",
            moved,
        )
        kind = "burn" if column == "burned" else "overage"
        dates = sorted({row["posting_date"] for row in rows})
        totals: dict[date, Fraction] = defaultdict(Fraction)
        for transfer in self._transfers(dates, [kind]):
            totals[transfer["posted_on"]] += transfer["credits"]
        compared = []
        for day in dates:
            of_day = [row for row in posted if row["posting_date"] == day]
            of_day.sort(key=lambda row: (row["usage_date"], *_place(row)))
            parts = spread(totals[day], [row["credits"] for row in of_day])
            for row, part in zip(of_day, parts, strict=True):
                compared.append((_name_of(row), part, row[column]))
        page.each_equals(f"each row's part of its day's {kind}, spread by credits", compared)

    # --- events ---

    def _events(self, rows: list[Row]) -> None:
        """Derive the accepted events of some rows of usage from the landing, and sum them."""
        page = self.page
        page.heading("The delivered events")
        if not rows:
            page.say("  None: no usage stands behind this line.")
            return
        landed = self.books.landing / "usage"
        files = [
            glob.escape(str(path))
            for day in sorted({row["usage_date"] for row in rows})
            for path in sorted((landed / f"usage_day={day}").glob("delivery_day=*/part.parquet"))
        ]
        if not files:
            page.fail(f"no event of these days is landed in {landed}")
            return
        self._rows(
            _ACCEPTED,
            files=files,
            books_open_on=self.books.books_open_on,
            days_until_close=self.books.days_until_close,
            usage_days=[row["usage_date"] for row in rows],
            posting_dates=[row["posting_date"] for row in rows],
            clusters=[row["cluster"] for row in rows],
            accelerators=[row["accelerator"] for row in rows],
            families=[row["model_family"] for row in rows],
        )
        found = {
            row["row_number"]: row
            for row in self._rows(
                "select row_number, count(*) as events, "
                "sum(gpu_minutes_micro) as gpu_minutes_micro from accepted group by 1"
            )
        }
        none: Row = {"events": 0, "gpu_minutes": _ZERO}
        sums = [found.get(number, none) for number in range(1, len(rows) + 1)]
        events = sum(of_row["events"] for of_row in sums)
        printed = self._rows(
            "select * from accepted order by usage_day, delivery_day, line_number limit $limit",
            limit=self.events_shown,
        )
        if printed:
            page.table(
                ["used on", "delivered in", "event", "quantity", "", "minutes"],
                [
                    [
                        event["usage_day"],
                        f"{self.books.file_names.get(event['delivery_day'], '(no record)')} "
                        f"line {event['line_number']}",
                        event["event_id"]
                        + (
                            ""
                            if event["kind"] == "usage"
                            else f" ({event['kind']} of {event['corrects_event_id']})"
                        ),
                        event["quantity"],
                        event["meter"],
                        event["gpu_minutes"],
                    ]
                    for event in printed
                ],
                limit=len(printed),
            )
        if events > len(printed):
            page.say(f"  ... and {events - len(printed):,} more")
        page.say(f"  {_many(events, 'event')} of {_many(len(rows), 'row')} of usage")
        page.each_equals(
            "number of events of each row",
            (
                (_name_of(row), Fraction(of_row["events"]), Fraction(row["event_count"]))
                for row, of_row in zip(rows, sums, strict=True)
            ),
        )
        page.each_equals(
            "minutes of the events of each row equal the row's",
            (
                (_name_of(row), of_row["gpu_minutes"], row["gpu_minutes"])
                for row, of_row in zip(rows, sums, strict=True)
            ),
        )
        page.equals(
            "minutes of all events",
            _sum(sums, "gpu_minutes"),
            "the rows of usage",
            _sum(rows, "gpu_minutes"),
        )


class _Gone(ValueError):
    """What a line was made from is no longer in the books."""


def _place(row: Row) -> tuple[str, str, str]:
    return row["cluster"], row["accelerator"], row["model_family"]


def _name_of(row: Row) -> str:
    return f"{'/'.join(_place(row))} used {row['usage_date']} posted {row['posting_date']}"


def _tier_prices(tiers: Iterable[Row], units: Fraction) -> Iterator[tuple[str, Fraction]]:
    """What each tier contributes to the price of some units, and how; a tier covers (from, to]."""
    for tier in tiers:
        first, last = tier["from_units"], tier["up_to_units"]
        if units <= first:
            continue
        ends = "on" if last is None else f"to {shown(last)}"
        name = f"tier {tier['tier']}, {shown(first)} {ends}"
        price, fee = tier["unit_price"], tier["flat_fee"]
        if tier["mode"] == "graduated":
            priced = (units if last is None else min(units, last)) - first
        elif last is not None and units > last:
            continue
        elif tier["mode"] == "volume":
            priced = units
        else:
            priced = Fraction(-(-units // tier["package_size"]))
            name += f", packages of {shown(tier['package_size'])}"
        flat = f" + flat fee {shown(fee)}" if fee else ""
        yield f"{name}: {shown(priced)} × {shown(price)}{flat}", priced * price + fee


# The events behind rows of usage, accepted as the models accept them (int_repeated_events,
# int_kinds_of_use): of an event id the first delivery on a usage day, unless the books hold it as a
# conflict with another day or as a row that waits for a seed edit. An id may be claimed by any
# customer's row.
_ACCEPTED = """
create or replace temp table accepted as
with

keys as (

    select
        generate_subscripts($usage_days::date[], 1) as row_number,
        unnest($usage_days::date[]) as usage_day,
        unnest($posting_dates::date[]) as posting_date,
        unnest($clusters::varchar[]) as cluster,
        unnest($accelerators::varchar[]) as accelerator,
        unnest($families::varchar[]) as model_family

),

landed as (

    select
        event_id, kind, corrects_event_id, customer_id, meter, quantity_micro, usage_day, delivery_day,
        line_number, cluster, coalesce(gpu_type, '') as gpu_type,
        coalesce(model_family, 'unspecified') as model_family
    from read_parquet($files, hive_partitioning = false)
    where delivery_day <= $last_day

),

first_deliveries as (

    select * from landed
    where event_id in (select event_id from landed where customer_id = $customer)
    qualify row_number() over (
        partition by usage_day, event_id order by delivery_day, line_number
    ) = 1

),

billed as (

    select
        first_deliveries.*,
        customers.billing_anchor_day - 1 as shift,
        cast(date_trunc('month', usage_day - shift) as date) + shift as cycle_start,
        cast(date_trunc('month', $books_open_on::date - shift) as date) + shift as first_cycle,
        cast(cycle_start + interval 1 month as date) + $days_until_close::int as closes_on,
        case
            when cycle_start >= first_cycle and delivery_day <= closes_on then usage_day
            else greatest(delivery_day, $books_open_on::date)
        end as posting_date,
        case
            when gpu_type = '' then clusters.default_accelerator
            else coalesce(named.accelerator, aliases.accelerator)
        end as accelerator
    from first_deliveries
    inner join customers using (customer_id)
    inner join clusters using (cluster)
    left join accelerators as named on first_deliveries.gpu_type = named.accelerator
    left join accelerator_aliases as aliases on first_deliveries.gpu_type = aliases.alias
    where customer_id = $customer
        and not exists (
            from published.usage_conflicts as conflicts
            where conflicts.other_delivery = first_deliveries.delivery_day
                and conflicts.other_line_number = first_deliveries.line_number
                and conflicts.usage_date = first_deliveries.usage_day
        )
        and not exists (
            from published.rejected_rows as rejected
            where rejected.feed = 'usage'
                and rejected.delivery_date = first_deliveries.delivery_day
                and rejected.line_number = first_deliveries.line_number
        )

)

select
    keys.row_number,
    billed.usage_day,
    billed.delivery_day,
    billed.line_number,
    billed.event_id,
    billed.kind,
    billed.corrects_event_id,
    billed.meter,
    billed.quantity_micro,
    case billed.meter
        when 'gpu_minute' then quantity_micro
        when 'gpu_hour' then quantity_micro * 60
        when 'gpu_second' then sign(quantity_micro) * ((2 * abs(quantity_micro) + 60) // 120)
        when 'gpu_millisecond' then
            sign(quantity_micro) * ((2 * abs(quantity_micro) + 60000) // 120000)
    end as gpu_minutes_micro
from billed
inner join keys
    on
        billed.usage_day = keys.usage_day
        and billed.posting_date = keys.posting_date
        and billed.cluster = keys.cluster
        and billed.accelerator = keys.accelerator
        and billed.model_family = keys.model_family
"""


def main(arguments: list[str] | None = None) -> int:
    """Print the explanation of one invoice line."""
    parser = argparse.ArgumentParser(
        prog="make explain", description="The arithmetic of an invoice line, and the way down."
    )
    parser.add_argument("line_id", metavar="LINE_ID")
    parser.add_argument("--events", type=_count, default=EVENTS_SHOWN, help="events to print")
    parser.add_argument("--rows", type=_count, default=ROWS_SHOWN, help="rows to print, per step")
    asked = parser.parse_args(arguments)
    try:
        explanation = explain(load_settings(), asked.line_id, events=asked.events, rows=asked.rows)
    except (NothingToExplain, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        print(explanation.text, flush=True)
    except BrokenPipeError:
        # Whoever reads the page (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if explanation.adds_up else 1


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
