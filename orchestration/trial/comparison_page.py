"""A comparison as a page: no script, no request, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from orchestration.pages import gauge_page as gauges
from orchestration.pages.pictures import data_uri
from orchestration.pages.words import plain
from orchestration.trial.compare import TABLES, Row
from orchestration.trial.sections import sections, title, verdicts

ROWS = 25
"""Rows of a table that stand open; the rest folds away."""
MOST = 500
"""Rows of a table that are on the page at all; the CSV has every one."""

_ALTERNATIVES = {
    "margin_by_accelerator": "Gross margin by accelerator, today and in each scenario; the figures "
    "are in the table Margin by accelerator",
    "who_pays_more": "Change of the invoices of the customers for whom they change most; the "
    "figures are in the table Who pays more",
}


def page(tables: dict[str, list[Row]], drawn: dict[str, str]) -> str:
    """The page of a comparison.

    Args:
        tables: of the comparison.
        drawn: its pictures, SVG by name.
    """
    templates = Path(__file__).with_name("templates")
    style = (Path(gauges.__file__).with_name("templates") / "style.css").read_text("utf-8")
    style += (templates / "replay.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, Path(gauges.__file__).with_name("templates")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("comparison.html").render(
        style=Markup(style),
        policy=(
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
            "form-action 'none'"
        ),
        title=title(tables),
        verdicts=verdicts(tables),
        sections=sections(tables),
        pictures=[(data_uri(svg), _ALTERNATIVES[name]) for name, svg in drawn.items()],
        tables=TABLES,
        ROWS=ROWS,
        MOST=MOST,
    )
