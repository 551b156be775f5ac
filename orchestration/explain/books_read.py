"""The books that a line is read from: publication, warehouse, and the names of the deliveries."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb

from orchestration.books.plan import LAYOUT, BilledState
from orchestration.books.warehouse import WriterBusy, read_warehouse, writer_lock
from orchestration.errors import PlainError
from orchestration.explain.exact import Row, shown
from orchestration.settings import Settings

VALID = "valid_from <= $day and (valid_to is null or $day < valid_to)"
"""Of versions: that it holds on ``$day``."""
# Units of the warehouse's integers, by the ending of their names.
_SCALES = {"_micro": 10**6, "_nano": 10**9, "_pico": 10**12, "_femto": 10**15}


class NothingToExplain(PlainError, ValueError):
    """There is no such line, or nothing to read it from; the message says what to do."""


class Gone(ValueError):
    """What a line was made from is no longer in the books."""


class ExplainedBooks:
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
        found = self.rows(f"select * from {seed} where sku = $sku and {VALID}", sku=sku, day=day)
        if not found:
            raise Gone(f"{seed} no longer has {sku} on {day}")
        return found[0]

    def tiers(self, sku: str, charge: str, day: date) -> list[Row]:
        """The price tiers of a charge on a day, lowest first."""
        return self.rows(
            "select mode, tier, from_units_micro, up_to_units_micro, unit_price_pico, "
            "flat_fee_micro, package_size_micro from stg_price_tiers "
            f"where sku = $sku and charge = $charge and {VALID} order by tier",
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
def open_books(settings: Settings) -> Iterator[ExplainedBooks]:
    """Open the books, if they are those that are published.

    Raises:
        NothingToExplain: nothing is published, a run is writing the warehouse, or it is another
            release's.
    """
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
        if manifest["settings"].get("layout") != LAYOUT:
            raise NothingToExplain(
                "The warehouse was built by another release, with other tables. Bill again, then "
                "explain"
            )
        # ATTACH takes no parameter; the path is a setting, not what was asked for.
        path = str(current / "marts.duckdb").replace("'", "''")
        connection.execute(f"attach '{path}' as published (read_only)")
        yield ExplainedBooks(connection, settings, manifest)


def tier_prices(tiers: Iterable[Row], units: Fraction) -> Iterator[tuple[str, Fraction]]:
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
