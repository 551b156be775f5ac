"""What rows of the seeds promise about each other, whatever the day: keys, references, tiers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

from orchestration.printable import printable
from orchestration.seeds.contracts import Row, SeedContract, Tables, seed_contracts, shown
from orchestration.seeds.findings import Findings

_LONGEST_QUOTE = 80
_DATE_IN_ID = re.compile(r"/\d{4}-\d{2}-\d{2}")
_MOST_CREDITS = Decimal(10) ** 12


def quoted(text: Any) -> str:
    """A value of a file in quotes, cut short."""
    return repr(text) if len(str(text)) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]!r}..."


def check_rules(tables: Tables, findings: Findings) -> None:
    """Check the rows of all seeds against each other.

    Args:
        tables: the rows that could be read, by seed.
        findings: what was found in them so far; what is wrong besides is added.
    """
    contracts = {contract.name: contract for contract in seed_contracts()}
    for contract in contracts.values():
        _check_keys(contract, tables[contract.name], findings)
        _check_references(contract, tables, contracts, findings)
    _check_names(tables["customers"], contracts["customers"], findings)
    _check_skus(tables, contracts, findings)
    _check_credits(tables["plans"], tables["subscriptions"], contracts["subscriptions"], findings)
    _check_credits(tables["packs"], tables["orders"], contracts["orders"], findings)
    _check_subscriptions(tables, contracts["subscriptions"], findings)
    _check_tiers(tables["price_tiers"], contracts["price_tiers"], findings)


def _check_keys(contract: SeedContract, rows: list[Row], findings: Findings) -> None:
    """No key stands there twice, or twice on a day."""
    by_key: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(row[column] for column in contract.key)
        if None in key:
            findings.incomplete.add(contract.name)
        else:
            by_key[key].append(row)
    for key, same in by_key.items():
        if len(same) == 1:
            continue
        named = printable(", ".join(f"{c}={v}" for c, v in zip(contract.key, key, strict=True)))
        named = named if len(named) <= 2 * _LONGEST_QUOTE else named[: 2 * _LONGEST_QUOTE] + "..."
        if not contract.is_dated:
            for row in same[1:]:
                findings.of_row(
                    contract,
                    row["row"],
                    f"{named} stands in row {same[0]['row']} already; remove one of them",
                )
            continue
        dated = sorted((r for r in same if r["valid_from"]), key=lambda r: r["valid_from"])
        for earlier, later in pairwise(dated):
            if earlier["valid_to"] is None or earlier["valid_to"] > later["valid_from"]:
                findings.of_row(
                    contract,
                    later["row"],
                    f"column valid_from: overlaps row {earlier['row']} ({named}); end the earlier "
                    f"one with valid_to {later['valid_from']} or before",
                )


def _check_references(
    contract: SeedContract,
    tables: Tables,
    contracts: dict[str, SeedContract],
    findings: Findings,
) -> None:
    """What a row names is there; not judged where the other seed could not be read in full."""
    known: dict[tuple[str, str], set[Any]] = {}
    for column, reference in contract.references.items():
        for row in tables[contract.name]:
            targets = reference.of(row)
            if row[column] is None or not targets:
                continue
            if any(table in findings.incomplete for table, _ in targets):
                continue
            for table, name in targets:
                if (table, name) not in known:
                    known[table, name] = {r[name] for r in tables[table]}
            if any(row[column] in known[target] for target in targets):
                continue
            files = " or ".join(contracts[table].file for table, _ in targets)
            of_kind = f" as its {reference.by} {row[reference.by]} asks" if reference.by else ""
            findings.of_row(
                contract,
                row["row"],
                f"column {column}: {quoted(row[column])} is not in {files}{of_kind}; enter it "
                "there, or correct it here",
            )


def _check_names(customers: list[Row], contract: SeedContract, findings: Findings) -> None:
    """No customer may be called like an id of ours that begins with another one's."""
    for row in customers:
        if row["customer_id"] and _DATE_IN_ID.search(row["customer_id"]):
            findings.of_row(
                contract,
                row["row"],
                f"column customer_id: {quoted(row['customer_id'])} holds a date behind a slash, as "
                "ids of invoices and grants do; write the date in another way",
            )


def _check_skus(tables: Tables, contracts: dict[str, SeedContract], findings: Findings) -> None:
    """A SKU is a plan or a dedicated cluster: of one that is both, both would be billed."""
    plans = {row["sku"]: row["row"] for row in tables["plans"] if row["sku"]}
    for row in tables["dedicated_clusters"]:
        if row["sku"] in plans:
            findings.of_row(
                contracts["dedicated_clusters"],
                row["row"],
                f"column sku: {quoted(row['sku'])} is a plan, too (catalog/plans.csv, row "
                f"{plans[row['sku']]}); give one of them another SKU",
            )


def _check_credits(
    catalog: list[Row], rows: list[Row], contract: SeedContract, findings: Findings
) -> None:
    """What a contract grants at once fits into the books, which count millionths of a credit."""
    most: dict[str, Decimal] = defaultdict(Decimal)
    for version in catalog:
        most[version["sku"]] = max(most[version["sku"]], version["included_credits"] or Decimal(0))
    for row in rows:
        credits = most.get(row["sku"], Decimal(0)) * (row["quantity"] or 0)
        if credits >= _MOST_CREDITS:
            findings.of_row(
                contract,
                row["row"],
                f"column quantity: {row['quantity']} times {quoted(row['sku'])} is {credits:,f} "
                f"credits; a grant must be below {_MOST_CREDITS:,f}",
            )


def _check_subscriptions(tables: Tables, contract: SeedContract, findings: Findings) -> None:
    plans = {row["sku"] for row in tables["plans"]}
    dedicated = {row["sku"] for row in tables["dedicated_clusters"]}
    packs = {row["sku"] for row in tables["packs"]}
    top_ups = {row["sku"] for row in tables["packs"] if grants_top_up(row)}
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in tables["subscriptions"]:
        if row["sku"] in dedicated and row["cluster"] is None:
            findings.of_row(
                contract,
                row["row"],
                "column cluster is empty; name the cluster that becomes the customer's own",
            )
        bought = row["auto_purchase_sku"]
        if bought in packs - top_ups and "packs" not in findings.incomplete:
            findings.of_row(
                contract,
                row["row"],
                f"column auto_purchase_sku: {quoted(bought)} is not a top-up pack with credits; "
                "name one of catalog/packs.csv, or leave it empty",
            )
        if row["sku"] in plans and row["customer_id"]:
            groups["customer", row["customer_id"]].append(row)
        elif row["sku"] in dedicated and row["cluster"]:
            groups["cluster", row["cluster"]].append(row)
    for (kind, name), rows in groups.items():
        ordered = sorted((r for r in rows if r["starts_on"]), key=lambda r: r["starts_on"])
        for earlier, later in pairwise(ordered):
            if earlier["ends_on"] is None or earlier["ends_on"] > later["starts_on"]:
                findings.of_row(
                    contract,
                    later["row"],
                    f"column starts_on: {kind} {quoted(name)} has the subscription of row "
                    f"{earlier['row']} on that day; end that one with ends_on "
                    f"{later['starts_on']} or before",
                )


def grants_top_up(pack: Row) -> bool:
    """Whether a version of a pack can be bought when credits run low."""
    return pack["kind"] == "top_up" and (pack["included_credits"] or 0) > 0


def _check_tiers(tiers: list[Row], contract: SeedContract, findings: Findings) -> None:
    """The tiers of a charge: one set of them on a day, rising, and only the last is open-ended."""
    charges: dict[tuple[str, str], dict[date, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in tiers:
        if None not in (row["sku"], row["charge"], row["tier"], row["mode"], row["valid_from"]):
            charges[row["sku"], row["charge"]][row["valid_from"]].append(row)
    for versions in charges.values():
        for _, rows in sorted(versions.items()):
            _check_version(sorted(rows, key=lambda r: r["tier"]), contract, findings)
        for (_, earlier), (begins, later) in pairwise(sorted(versions.items())):
            if _is_reported([*earlier, *later], contract, findings):
                continue
            last = earlier[0]
            if last["valid_to"] is None or last["valid_to"] > begins:
                findings.of_row(
                    contract,
                    later[0]["row"],
                    f"column valid_from: the tiers of charge {later[0]['charge']} of "
                    f"{quoted(later[0]['sku'])} in row {last['row']} still hold on {begins}; end "
                    f"them with valid_to {begins} or before",
                )


def _check_version(rows: list[Row], contract: SeedContract, findings: Findings) -> None:
    """The tiers that begin to hold on one day."""
    first, last = rows[0], rows[-1]
    if last["up_to"] is not None:
        findings.of_row(
            contract,
            last["row"],
            f"column up_to: the last tier must be open-ended; empty it, or add a tier above "
            f"{shown(last['up_to'])}",
        )
    reached = Decimal(0)
    for row in rows[:-1]:
        if row["up_to"] is None or row["up_to"] <= reached:
            findings.of_row(
                contract,
                row["row"],
                f"column up_to: must be above {shown(reached)}, where the tier before it ends; "
                "only the last tier is open-ended",
            )
        else:
            reached = row["up_to"]
    for row in rows:
        if row["mode"] != first["mode"]:
            findings.of_row(
                contract,
                row["row"],
                f"column mode: the tiers of a charge have one mode, row {first['row']} has "
                f"{first['mode']}",
            )
        if row["valid_to"] != first["valid_to"] and not _is_reported(rows, contract, findings):
            findings.of_row(
                contract,
                row["row"],
                f"column valid_to: the tiers of a charge hold for the same days, those of row "
                f"{first['row']} end {_end(first)}",
            )


def _end(row: Row) -> str:
    return f"on {row['valid_to']}" if row["valid_to"] else "never"


def _is_reported(rows: Iterable[Row], contract: SeedContract, findings: Findings) -> bool:
    return any((contract.name, row["row"]) in findings.rows for row in rows)
