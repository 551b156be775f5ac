"""Seeds: what people edit is checked against its contract and staged for dbt.

The contract (columns, types, keys, what may be empty) is ``dbt_project/models/_seeds.yml``. A seed
that breaks it stops the job before anything is built, with file, row and column.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from orchestration.printable import printable
from orchestration.settings import DBT_PROJECT_DIR

CONTRACTS_FILE = DBT_PROJECT_DIR / "models" / "_seeds.yml"
_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)")
# Python reads more as a number than anyone means: 1_000, other scripts' digits.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_INT_LIMIT = 2**31

MAX_FILE_BYTES = 64 << 20
MAX_CELL_CHARACTERS = 10_000


class SeedError(ValueError):
    """One or more seeds break their contract; the message has a line per problem."""


@dataclass(frozen=True)
class SeedContract:
    """What a seed file must look like."""

    name: str
    folder: str
    types: dict[str, str]
    key: tuple[str, ...]
    required: frozenset[str]
    values: dict[str, list[str]]
    optional_file: bool

    @property
    def is_dated(self) -> bool:
        """Whether its rows hold for a range of days, valid_to exclusive."""
        return "valid_from" in self.types


@cache
def seed_contracts() -> tuple[SeedContract, ...]:
    """Read the contracts of all seeds."""
    document = yaml.safe_load(CONTRACTS_FILE.read_text(encoding="utf-8"))
    contracts = []
    for seed in document["seeds"]:
        config = seed["config"]
        meta = config["meta"]
        contracts.append(
            SeedContract(
                name=seed["name"],
                folder=meta["folder"],
                types=config["column_types"],
                key=tuple(meta["key"]),
                required=frozenset(meta["required"]),
                values=meta.get("values", {}),
                optional_file=meta.get("optional_file", False),
            )
        )
    return tuple(contracts)


def check_seeds(seeds_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Read every seed of ``seeds_dir`` and check it against its contract.

    Returns:
        The typed rows of each seed by its name; none for a seed that may be absent and is.

    Raises:
        SeedError: with file, row and column of everything that breaks the contract.
    """
    problems: list[str] = []
    tables: dict[str, list[dict[str, Any]]] = {}
    for contract in seed_contracts():
        path = seeds_dir / contract.folder / f"{contract.name}.csv"
        try:
            tables[contract.name] = _read(contract, path, problems)
        except FileNotFoundError:
            tables[contract.name] = []
            if not contract.optional_file:
                problems.append(f"{contract.folder}/{contract.name}.csv: the file is missing")
    if not problems:
        problems.extend(_cross_checks(tables))
    if problems:
        raise _broken(problems)
    return tables


def _broken(problems: list[str]) -> SeedError:
    return SeedError(
        "The seeds break their contract; correct them and run again:\n  " + "\n  ".join(problems)
    )


def check_adjustments(tables: Mapping[str, list[dict[str, Any]]], books_open_on: date) -> None:
    """Check that no adjustment is dated before its customer's first cycle in the books.

    No cycle would bill it, so what a person granted or settled would be lost without a word. One
    that is dated after the last delivery day waits for its day.

    Args:
        tables: the rows of each seed, as ``check_seeds`` returns them.
        books_open_on: the day the books open; the cycle that holds it is the first one.

    Raises:
        SeedError: with file, row and column of each.
    """
    anchors = {row["customer_id"]: row["billing_anchor_day"] for row in tables["customers"]}
    problems = []
    for row in tables["adjustments"]:
        anchor = anchors[row["customer_id"]]
        month = books_open_on.replace(day=1)
        if books_open_on.day < anchor:
            month = (month - timedelta(days=1)).replace(day=1)
        first_cycle = month.replace(day=anchor)
        if row["posted_on"] < first_cycle:
            problems.append(
                f"contracts/adjustments.csv: row {row['row']}: column posted_on: "
                f"{row['posted_on']} lies before the books, whose first cycle of "
                f"{printable(row['customer_id'])} starts on {first_cycle}; date it in an open cycle"
            )
    if problems:
        raise _broken(problems)


def stage_seeds(seeds_dir: Path, staged_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """Check every seed of ``seeds_dir`` and copy it to ``staged_dir``, where dbt loads it.

    Values are written in one canonical form (dates ISO, instants UTC), so that every engine reads
    the same; a file that did not change is left alone, so that dbt need not parse it again.

    Returns:
        The typed rows of each seed, as ``check_seeds`` does.

    Raises:
        SeedError: with file, row and column of everything that breaks the contract.
    """
    tables = check_seeds(seeds_dir)
    for contract in seed_contracts():
        _write(contract, tables[contract.name], staged_dir)
    return tables


def earlier_seeds(
    tables: Mapping[str, list[dict[str, Any]]], folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """The seeds that were written to a folder as ``canonical`` spells them, to compare with.

    A seed that is written alike is the very list of ``tables``. What an earlier release wrote
    otherwise counts as different: a column that it did not know is empty, a value that is none of
    its type any more is text.
    """
    earlier = {}
    for contract in seed_contracts():
        path = folder / contract.folder / f"{contract.name}.csv"
        text = path.read_bytes().decode() if path.exists() else ""
        rows = tables[contract.name]
        earlier[contract.name] = (
            rows if text == canonical(contract, rows) else _written(contract, text)
        )
    return earlier


def _written(contract: SeedContract, text: str) -> list[dict[str, Any]]:
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for record in reader:
        row: dict[str, Any] = {"row": reader.line_num}
        for column, kind in contract.types.items():
            raw = record.get(column) or None
            try:
                row[column] = raw and _written_value(kind, raw)
            except (ValueError, ArithmeticError):
                row[column] = raw
        rows.append(row)
    return rows


def _written_value(kind: str, raw: str) -> Any:
    # Instants are written in UTC, without the offset that people have to name.
    return datetime.fromisoformat(raw) if kind == "timestamp" else _value(kind, raw)


def _read(contract: SeedContract, path: Path, problems: list[str]) -> list[dict[str, Any]]:
    where = f"{contract.folder}/{contract.name}.csv"
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES or not path.is_file():
            problems.append(f"{where}: is no file of at most {MAX_FILE_BYTES >> 20} MB")
            return []
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        problems.append(f"{where}: is not UTF-8; save it as UTF-8")
        return []
    except OSError as error:
        problems.append(f"{where}: cannot be read ({type(error).__name__})")
        return []
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        return _rows(contract, where, reader, problems)
    except csv.Error:
        problems.append(
            f"{where}: row {reader.line_num + 1}: its quotes do not match, or a cell is far too long"
        )
        return []


def _rows(
    contract: SeedContract, where: str, reader: csv.DictReader[str], problems: list[str]
) -> list[dict[str, Any]]:
    """The typed rows of a seed; what is wrong with them is added to ``problems``."""
    header = reader.fieldnames or []
    missing = [column for column in contract.types if column not in header]
    unknown = [column for column in header if column not in contract.types]
    if missing or unknown or len(set(header)) != len(header):
        for column in missing:
            problems.append(f"{where}: row 1: column {column} is missing")
        for column in unknown:
            problems.append(f"{where}: row 1: column {_quoted(column)} is unknown")
        if not missing and not unknown:
            problems.append(f"{where}: row 1: a column is named twice")
        return []
    rows = []
    for record in reader:
        row_number = reader.line_num
        if None in record or None in record.values():
            problems.append(f"{where}: row {row_number}: has not {len(header)} cells")
            continue
        row: dict[str, Any] = {"row": row_number}
        for column, kind in contract.types.items():
            raw = record[column].strip()
            try:
                value = _value(kind, raw) if raw else None
            except (ValueError, ArithmeticError) as error:
                expected = str(error) if isinstance(error, _NotText) else f"is not a {kind}"
                problems.append(
                    f"{where}: row {row_number}: column {column}: {_quoted(raw)} {expected}"
                )
                value = None
            else:
                if value is None and column in contract.required:
                    problems.append(f"{where}: row {row_number}: column {column} is empty")
                allowed = contract.values.get(column)
                if allowed and value is not None and value not in allowed:
                    problems.append(
                        f"{where}: row {row_number}: column {column}: {_quoted(raw)} is none of "
                        f"{', '.join(allowed)}"
                    )
            row[column] = value
        rows.append(row)
    problems.extend(_key_problems(contract, where, rows))
    return rows


class _NotText(ValueError):
    """Why a text cannot be kept."""


def _quoted(text: Any) -> str:
    return repr(text) if len(str(text)) <= 80 else f"{text[:80]!r}..."


def _value(kind: str, raw: str) -> Any:
    if kind == "string":
        if raw.lower() == "null":
            raise _NotText("means an empty cell to some engines; write it another way")
        if len(raw) > MAX_CELL_CHARACTERS:
            raise _NotText(f"has {len(raw):,} characters, more than {MAX_CELL_CHARACTERS:,}")
        return raw
    if kind == "int":
        if not _WHOLE.fullmatch(raw) or not -_INT_LIMIT <= int(raw) < _INT_LIMIT:
            raise ValueError(raw)
        return int(raw)
    if kind == "date":
        return date.fromisoformat(raw)
    if kind == "boolean":
        if raw.lower() not in ("true", "false"):
            raise ValueError(raw)
        return raw.lower() == "true"
    if kind == "timestamp":
        moment = datetime.fromisoformat(raw)
        if moment.tzinfo is None:
            raise ValueError("an instant needs an offset")
        return moment.astimezone(UTC).replace(tzinfo=None)
    digits, scale = map(int, _DECIMAL.fullmatch(kind).groups())  # type: ignore[union-attr]
    if not _NUMBER.fullmatch(raw):
        raise ValueError(raw)
    number = Decimal(raw)
    if not number.is_finite() or number != round(number, scale):
        raise ValueError(f"more than {scale} decimals")
    if abs(number) >= Decimal(10) ** (digits - scale):
        raise ValueError("too large")
    return number


def _key_problems(contract: SeedContract, where: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    by_key = defaultdict(list)
    for row in rows:
        by_key[tuple(row[column] for column in contract.key)].append(row)
    for key, same in by_key.items():
        if len(same) == 1 and not contract.is_dated:
            continue
        named = printable(", ".join(f"{c}={v}" for c, v in zip(contract.key, key, strict=True)))
        if not contract.is_dated:
            for row in same[1:]:
                yield (f"{where}: row {row['row']}: {named} stands in row {same[0]['row']} already")
            continue
        dated = sorted((r for r in same if r["valid_from"]), key=lambda r: r["valid_from"])
        for row in dated:
            if row["valid_to"] and row["valid_to"] <= row["valid_from"]:
                yield (
                    f"{where}: row {row['row']}: column valid_to: {row['valid_to']} is not after "
                    f"valid_from"
                )
        for earlier, later in pairwise(dated):
            if earlier["valid_to"] is None or earlier["valid_to"] > later["valid_from"]:
                yield (
                    f"{where}: row {later['row']}: column valid_from: overlaps row "
                    f"{earlier['row']} ({named})"
                )


def _cross_checks(tables: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What one seed promises about another, and the few rules that types cannot say."""
    plans = {row["sku"] for row in tables["plans"]}
    dedicated = {row["sku"] for row in tables["dedicated_clusters"]}
    top_ups = {
        row["sku"]
        for row in tables["packs"]
        if row["kind"] == "top_up" and row["included_credits"] > 0
    }
    references = [
        ("accelerator_aliases", "accelerator", "accelerators", "accelerator"),
        ("credit_rates", "accelerator", "accelerators", "accelerator"),
        ("clusters", "facility_id", "facilities", "facility_id"),
        ("pools", "cluster", "clusters", "cluster"),
        ("pools", "accelerator", "accelerators", "accelerator"),
        ("procurement_lots", "cluster", "clusters", "cluster"),
        ("procurement_lots", "accelerator", "accelerators", "accelerator"),
        ("subscriptions", "customer_id", "customers", "customer_id"),
        ("subscriptions", "cluster", "clusters", "cluster"),
        ("orders", "customer_id", "customers", "customer_id"),
        ("orders", "sku", "packs", "sku"),
        ("adjustments", "customer_id", "customers", "customer_id"),
    ]
    folders = {contract.name: contract.folder for contract in seed_contracts()}
    for table, column, target, target_column in references:
        known = {row[target_column] for row in tables[target]}
        for row in tables[table]:
            if row[column] is not None and row[column] not in known:
                yield (
                    f"{folders[table]}/{table}.csv: row {row['row']}: column {column}: "
                    f"{row[column]!r} is not in {folders[target]}/{target}.csv"
                )
    for row in tables["subscriptions"]:
        where = f"contracts/subscriptions.csv: row {row['row']}"
        if row["sku"] not in plans | dedicated:
            yield f"{where}: column sku: {row['sku']!r} is neither a plan nor a dedicated cluster"
        if row["sku"] in dedicated and row["cluster"] is None:
            yield f"{where}: column cluster is empty; a dedicated cluster needs one"
        if row["ends_on"] and row["ends_on"] <= row["starts_on"]:
            yield f"{where}: column ends_on: {row['ends_on']} is not after starts_on"
        if row["quantity"] < 0:
            yield f"{where}: column quantity: {row['quantity']} is negative"
        if row["auto_purchase_sku"] and row["auto_purchase_sku"] not in top_ups:
            yield (
                f"{where}: column auto_purchase_sku: {row['auto_purchase_sku']!r} is not a top-up "
                f"pack with credits"
            )
    yield from _subscription_overlaps(tables["subscriptions"], plans, dedicated)
    for row in tables["customers"]:
        if not 1 <= row["billing_anchor_day"] <= 28:
            yield (
                f"contracts/customers.csv: row {row['row']}: column billing_anchor_day: "
                f"{row['billing_anchor_day']} is not between 1 and 28"
            )
    for row in tables["plans"]:
        if not 0 < row["hard_cap_depletion"] <= 1:
            yield (
                f"catalog/plans.csv: row {row['row']}: column hard_cap_depletion: "
                f"{row['hard_cap_depletion']} is not above 0 and at most 1"
            )
    for row in tables["adjustments"]:
        if row["credits"] is not None and row["credits"] < 0:
            yield (
                f"contracts/adjustments.csv: row {row['row']}: column credits: "
                f"{row['credits']} is negative"
            )
    yield from _tier_problems(tables["price_tiers"])


def _subscription_overlaps(
    subscriptions: list[dict[str, Any]], plans: set[str], dedicated: set[str]
) -> Iterator[str]:
    """At most one plan per customer and day, and one customer per dedicated cluster and day."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in subscriptions:
        if row["sku"] in plans:
            groups["customer", row["customer_id"]].append(row)
        elif row["sku"] in dedicated:
            groups["cluster", row["cluster"]].append(row)
    for (kind, name), rows in groups.items():
        ordered = sorted(rows, key=lambda r: r["starts_on"])
        for earlier, later in pairwise(ordered):
            if earlier["ends_on"] is None or earlier["ends_on"] > later["starts_on"]:
                yield (
                    f"contracts/subscriptions.csv: row {later['row']}: column starts_on: {kind} "
                    f"{printable(name)} has the subscription of row {earlier['row']} on that day"
                )


def _tier_problems(tiers: list[dict[str, Any]]) -> Iterator[str]:
    """Tiers rise, only the last is open-ended, and it must be."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in tiers:
        groups[row["sku"], row["charge"], row["valid_from"]].append(row)
    for rows in groups.values():
        ordered = sorted(rows, key=lambda r: r["tier"])
        where = "catalog/price_tiers.csv: row "
        if ordered[-1]["up_to"] is not None:
            yield (
                f"{where}{ordered[-1]['row']}: column up_to: the last tier must be open-ended "
                f"(empty)"
            )
        reached = Decimal(0)
        for row in ordered[:-1]:
            if row["up_to"] is None or row["up_to"] <= reached:
                yield f"{where}{row['row']}: column up_to: must be above {reached}"
            else:
                reached = row["up_to"]
        for row in ordered:
            if row["mode"] != ordered[0]["mode"]:
                yield f"{where}{row['row']}: column mode: the tiers of a charge have one mode"
            if row["mode"] == "package" and not (row["package_size"] or 0) > 0:
                yield f"{where}{row['row']}: column package_size: a package needs a size"


def _write(contract: SeedContract, rows: list[dict[str, Any]], staged_dir: Path) -> None:
    path = staged_dir / contract.folder / f"{contract.name}.csv"
    text = canonical(contract, rows)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, path)


def canonical(contract: SeedContract, rows: list[dict[str, Any]]) -> str:
    """The rows of a seed as CSV, always in the same spelling."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(contract.types)
    for row in rows:
        writer.writerow([_text(row[column]) for column in contract.types])
    return buffer.getvalue()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)
