"""Pictures of a comparison."""

from __future__ import annotations

from decimal import Decimal
from itertools import cycle

from orchestration.pages.pictures import GREY, PALETTE, Kind, bars
from orchestration.trial.compare import Row

TODAY = "today"
_MOST = 12
"""Customers in a picture: those whose invoices change most."""


def pictures(tables: dict[str, list[Row]]) -> dict[str, str]:
    """Draw the margin by accelerator, and who pays more; as SVG by name.

    What has nothing to show is left out.
    """
    scenarios = [row["scenario"] for row in tables["summary"]]
    currency = tables["summary"][0]["currency"]
    margins = {
        (row["accelerator"], row["scenario"]): row["gross_margin_after"]
        for row in tables["accelerators"]
    } | {(row["accelerator"], TODAY): row["gross_margin_before"] for row in tables["accelerators"]}
    changes = {
        (row["customer_id"], row["scenario"]): row["invoiced_difference"]
        for row in sorted(tables["customers"], key=lambda row: -abs(row["invoiced_difference"]))
    }
    most = list(dict.fromkeys(customer for (customer, _), change in changes.items() if change))
    drawn = {
        "margin_by_accelerator": _bars(
            "Gross margin by accelerator",
            currency,
            [TODAY, *scenarios],
            list(dict.fromkeys(accelerator for accelerator, _ in margins)),
            margins,
        ),
        "who_pays_more": _bars(
            "Change of the invoices by customer", currency, scenarios, most[:_MOST], changes
        ),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def _bars(
    title: str,
    currency: str,
    catalogs: list[str],
    names: list[str],
    amounts: dict[tuple[str, str], Decimal],
) -> str | None:
    groups = [(name, [amounts.get((name, catalog)) for catalog in catalogs]) for name in names]
    if not any(amount for _, group in groups for amount in group):
        return None
    # The grey is only given to today.
    colours = dict(zip((c for c in catalogs if c != TODAY), cycle(PALETTE), strict=False))
    kinds = [Kind(catalog, colours.get(catalog, GREY)) for catalog in catalogs]
    return bars(title, currency, kinds, groups)
