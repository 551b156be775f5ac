"""Pictures of a comparison. Numbers become floats here, and only here: as places on a chart."""

from __future__ import annotations

from typing import Any

import altair as alt

from orchestration.trial.compare import Row

TODAY = "today"
_MOST = 12
"""Customers in a picture: those whose invoices change most."""

_COLOURS = ["#5d6673", "#1d5bb8", "#b0500a", "#0d7265", "#7a3db8", "#a8321f"]


def pictures(tables: dict[str, list[Row]]) -> dict[str, str]:
    """Draw the margin by accelerator, and who pays more; as SVG by name.

    What has nothing to show is left out.
    """
    scenarios = [row["scenario"] for row in tables["summary"]]
    currency = tables["summary"][0]["currency"]
    drawn = {
        "margin_by_accelerator": _bars(
            [
                *(
                    (row["accelerator"], TODAY, row["gross_margin_before"])
                    for row in tables["accelerators"]
                    if row["scenario"] == scenarios[0]
                ),
                *(
                    (row["accelerator"], row["scenario"], row["gross_margin_after"])
                    for row in tables["accelerators"]
                ),
            ],
            [TODAY, *scenarios],
            "Gross margin by accelerator",
            currency,
        ),
        "who_pays_more": _bars(
            [
                (row["customer_id"], row["scenario"], row["invoiced_difference"])
                for row in tables["customers"]
                if row["customer_id"] in _most_changed(tables["customers"])
            ],
            scenarios,
            "Change of the invoices by customer",
            currency,
        ),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def _most_changed(customers: list[Row]) -> set[str]:
    ordered = sorted(customers, key=lambda row: -abs(row["invoiced_difference"]))
    changed = (row["customer_id"] for row in ordered if row["invoiced_difference"])
    return set(list(dict.fromkeys(changed))[:_MOST])


def _bars(
    values: list[tuple[str, str, Any]], catalogs: list[str], title: str, currency: str
) -> str | None:
    if not any(amount for _, _, amount in values):
        return None
    import vl_convert

    rows = [
        {
            "name": name,
            "catalog": catalog,
            "amount": float(amount),
            "order": catalogs.index(catalog),
        }
        for name, catalog, amount in values
    ]
    # The grey of today is only given to today.
    colours = _COLOURS if catalogs[0] == TODAY else _COLOURS[1:]
    chart = (
        alt.Chart(alt.Data(values=rows), title=title)
        .mark_bar()
        .encode(
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X("amount:Q", title=currency),
            yOffset=alt.YOffset("catalog:N", sort=catalogs),
            color=alt.Color(
                "catalog:N",
                title=None,
                sort=catalogs,
                scale=alt.Scale(domain=catalogs, range=colours),
            ),
        )
        .properties(width=520, height=alt.Step(14))
    )
    return str(vl_convert.vegalite_to_svg(chart.to_json()))
