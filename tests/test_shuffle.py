"""The same deliveries in any order, over any number of runs, some of them again: the same books."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from datetime import date

import pytest
from conftest import Books, days, differences

from orchestration.books.plan import BilledState
from orchestration.night.billing import NothingToBill
from orchestration.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.job]

DELIVERIES = days("2026-01-05", "2026-01-14")
OPEN = DELIVERIES[0]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory, sample_feeds):
    folder = tmp_path_factory.mktemp("at_once")
    billed = Books(Settings(data_dir=folder, feeds_url=str(sample_feeds), books_open_on=OPEN))
    billed.bill(DELIVERIES[0], DELIVERIES[-1])
    return billed


def attempt(billed: Books, first: date, last: date) -> None:
    """A night as it comes: over a gap it lands its days and bills nothing."""
    with suppress(NothingToBill):
        billed.bill(first, last, publish=False)


def split(draw: random.Random) -> list[tuple[date, date]]:
    """The deliveries as runs of one to four neighbouring days."""
    runs, left = [], list(DELIVERIES)
    while left:
        size = draw.randint(1, 4)
        runs.append((left[0], left[:size][-1]))
        left = left[size:]
    return runs


@pytest.mark.parametrize("seed", range(2))
def test_any_split_with_repetitions(at_once, books, sample_feeds, seed):
    """Runs in order, each of which bills; after each, one of those before it comes again."""
    draw = random.Random(seed)
    billed = books(feeds_url=str(sample_feeds), books_open_on=OPEN)
    runs = split(draw)
    for done, (first, last) in enumerate(runs, start=1):
        billed.bill(first, last, publish=False)
        billed.bill(*draw.choice(runs[:done]), publish=False)
    assert differences(at_once.settings.published_dir / "current", billed.publish()) == []


@pytest.mark.parametrize("seed", range(3))
def test_any_order_any_split_with_repetitions(at_once, books, sample_feeds, tmp_path, seed):
    """Runs shuffled, some twice; one file is first cut in half."""
    draw = random.Random(seed)
    feeds = shutil.copytree(sample_feeds, tmp_path / "feeds")
    runs = split(draw)
    runs += draw.choices(runs, k=2)
    draw.shuffle(runs)
    [cut] = (feeds / "usage").glob(f"usage_{draw.choice(DELIVERIES)}.*")
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])

    billed = books(feeds_url=str(feeds), books_open_on=OPEN)
    for first, last in runs:
        attempt(billed, first, last)
    cut.write_bytes(whole)
    # Whatever is still missing comes day by day, in any order.
    for day in draw.sample(DELIVERIES, k=len(DELIVERIES)):
        if not _is_billed(billed, day) or day == date.fromisoformat(cut.name[6:16]):
            attempt(billed, day, day)

    assert differences(at_once.settings.published_dir / "current", billed.publish()) == []


def _is_billed(billed: Books, day: date) -> bool:
    return day.isoformat() in BilledState(billed.settings).read().get("deliveries", {})
