"""A replay, from the scenarios' folders to the published comparison."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic

from orchestration.books.warehouse import writer_lock
from orchestration.night.billing import NothingToBill
from orchestration.publication.publish import NotPublishable
from orchestration.seeds.staging import SeedError
from orchestration.settings import Settings
from orchestration.store.versions import new_version
from orchestration.trial.books_apart import (
    NotBilled,
    bill_apart,
    days_of,
    land_feeds,
    landed_days,
    link_landed,
    settings_apart,
    waiting,
)
from orchestration.trial.compare import TABLES, Billed, compare, read_comparison
from orchestration.trial.comparison_page import page
from orchestration.trial.comparison_pictures import pictures
from orchestration.trial.scenario import Scenario, lay_over, read_scenarios, replay_name
from orchestration.trial.texts import markdown

BEFORE = "today's seeds"
Say = Callable[[str], None]


def replay(
    settings: Settings,
    folders: Sequence[str | Path],
    first: date,
    last: date,
    *,
    say: Say = lambda _: None,
) -> Path:
    """Bill a window of deliveries with today's seeds and with each scenario's, and compare.

    Both sides open their books on ``first``, with empty wallets, and are as of the end of
    ``last``. The real books are read while the deliveries are linked, and never written.

    Args:
        settings: of the real books; ``seeds_dir`` holds today's seeds.
        folders: a folder per scenario, shown in this order.
        first, last: the window's delivery days, both included.
        say: is told in a sentence what was done.

    Returns:
        The folder of the comparison, ``$DATA_DIR/replays/<scenarios>/current``: the tables of
        ``TABLES`` as Parquet and CSV, ``index.html``, ``comparison.md``, pictures, ``manifest.json``.

    Raises:
        ScenarioError, SeedError: a scenario is wrong.
        NotBilled: a side could not be billed; the message says which and why.
        WriterBusy: another run lands or bills, or replays the same scenarios.
    """
    scenarios = read_scenarios(folders)
    root = settings.data_dir / "replays" / replay_name(scenarios)
    work = root / "work"
    with writer_lock(settings.apart(data_dir=root)):
        # What a killed replay left behind.
        shutil.rmtree(work, ignore_errors=True)
        try:
            return _replay(settings, scenarios, first, last, root, work, say)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _replay(
    settings: Settings,
    scenarios: list[Scenario],
    first: date,
    last: date,
    root: Path,
    work: Path,
    say: Say,
) -> Path:
    seeds = work / "seeds"
    lay_over(settings.seeds_dir, None, seeds / "before")
    for scenario in scenarios:
        lay_over(settings.seeds_dir, scenario, seeds / "after" / scenario.name)
    record = settings_apart(settings, work / "record", first, seeds_dir=seeds / "before")
    days = days_of(first, last)
    with writer_lock(settings):
        is_landed = bool(landed_days(settings.landing_dir, days))
        if is_landed:
            link_landed(settings.landing_dir, record.landing_dir, days)
    if not is_landed:
        say(f"Nothing of {first} to {last} is landed yet: reading the feeds")
        land_feeds(record, days)

    def bill(of: str, place: str) -> Billed:
        side = settings_apart(settings, work / place, first, seeds_dir=seeds / place)
        link_landed(record.landing_dir, side.landing_dir, days)
        began = monotonic()
        try:
            published = bill_apart(side, first, last, f"replay of {first} to {last}, {of}")
        except (NotBilled, NothingToBill, NotPublishable) as error:
            raise NotBilled(f"Not replayed, {of}: {error}") from error
        except SeedError as error:
            raise SeedError(f"Not replayed, {of}: {error}") from None
        say(f"Billed with {of} in {monotonic() - began:.0f} s")
        return Billed(published, waiting(side))

    before = bill(BEFORE, "before")
    after = {
        scenario.name: bill(f"scenario {scenario.name}", f"after/{scenario.name}")
        for scenario in scenarios
    }
    version = f"{last}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with new_version(root, version, kept=settings.publications_kept) as staged:
        compare(before, after, first, last, settings.reporting_currency, staged)
        _tell(staged, before, first, last)
    return root / "current"


def _tell(staged: Path, before: Billed, first: date, last: date) -> None:
    """Write what people read beside the tables, and the manifest last."""
    tables = read_comparison(staged)
    drawn = pictures(tables)
    for name, svg in drawn.items():
        (staged / f"{name}.svg").write_text(svg, encoding="utf-8")
    (staged / "index.html").write_text(page(tables, drawn), encoding="utf-8")
    (staged / "comparison.md").write_text(markdown(tables), encoding="utf-8")
    billed = json.loads((before.published / "manifest.json").read_text(encoding="utf-8"))
    manifest = {
        "scenarios": [row["scenario"] for row in tables["summary"]],
        "first_delivery_day": first.isoformat(),
        "last_delivery_day": last.isoformat(),
        "settings": billed["settings"],
        "tables": TABLES,
        "row_counts": {name: len(rows) for name, rows in tables.items()},
    }
    (staged / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
