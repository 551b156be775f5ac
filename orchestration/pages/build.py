"""Builds the pages of all customers from the current publication, and switches to them at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from orchestration.pages.gauge_page import content_security_policy, gauge_page
from orchestration.pages.names import page_name
from orchestration.pages.read_models import Gauge, gauge_of
from orchestration.pages.slices import customer_slices
from orchestration.settings import Settings
from orchestration.store.versions import new_version

SETS_KEPT = 3
"""How many sets of pages stay, so that a reader in the middle of one keeps it."""

PAGE = "index.html"
READ_MODEL = "gauge.json"
POLICY = "content-security-policy.txt"


@dataclass(frozen=True)
class PageSet:
    """What was built.

    Attributes:
        path: the link that readers open.
        as_of: the day that the figures go up to; None when there is no customer.
        states: how many customers are in each state.
    """

    path: Path
    as_of: date | None
    states: dict[str, int]

    @property
    def pages(self) -> int:
        """How many pages the set has."""
        return sum(self.states.values())


def build_pages(settings: Settings) -> PageSet:
    """Draw every customer's page and write its read model beside it.

    ``<pages>/current/<name>/index.html`` and ``gauge.json``, with the name of ``page_name``. What
    was there before stays until the whole new set is.
    """
    gauges = read_gauges(settings)
    as_of = gauges[0].as_of if gauges else None
    with new_version(settings.pages_dir, version_name(as_of), kept=SETS_KEPT) as staged:
        (staged / POLICY).write_text(content_security_policy() + "\n", encoding="utf-8")
        for gauge in gauges:
            folder = staged / page_name(settings, gauge.customer_id)
            folder.mkdir()
            (folder / PAGE).write_text(gauge_page(gauge), encoding="utf-8")
            (folder / READ_MODEL).write_text(gauge.model_dump_json(), encoding="utf-8")
    states = Counter(gauge.state.value for gauge in gauges)
    return PageSet(settings.pages_dir / "current", as_of, dict(sorted(states.items())))


def read_gauges(settings: Settings) -> list[Gauge]:
    """The read model of every customer of the current publication."""
    shown = settings.cost_shown_to
    return [
        gauge_of(
            customer,
            currency=settings.reporting_currency,
            shows_cost="*" in shown or customer.customer_id in shown,
            top_up_url=settings.top_up_url or None,
        )
        # Resolved once: the link may move while the tables are read.
        for customer in customer_slices((settings.published_dir / "current").resolve())
    ]


def version_name(as_of: date | None) -> str:
    """How the name of a set begins: its day, and when it was made."""
    return f"{as_of or 'empty'}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
