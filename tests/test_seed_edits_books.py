"""Contracts edited after days were billed: the next night's books are those of a billing from nothing.

The contracts are random ones (``contracts.random_world``). Before the edit they lack rows, end
earlier or later, or hold other quantities, each only on days of its customer's open cycles.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from datetime import date, timedelta
from random import Random

import pytest
from conftest import Books, differences
from contracts import (
    BOOKS_OPEN_ON,
    FIRST_DELIVERY,
    Row,
    Tables,
    random_world,
    write_feeds,
    write_seeds,
)

from orchestration.night.summary import summarize
from orchestration.seeds.changes import Books as BilledBooks
from orchestration.settings import Settings

LAST_BILLED, NEXT_NIGHT = date(2026, 2, 12), date(2026, 2, 13)
ONE_DAY = timedelta(days=1)
SEED = 7


def as_it_was(seeds: Tables, random: Random) -> tuple[Tables, Counter[str]]:
    """Contracts that become ``seeds`` by edits of open days, and how many edits of each kind."""
    before = deepcopy(seeds)
    billed = BilledBooks(BOOKS_OPEN_ON, LAST_BILLED, days_until_close=3)
    open_from = {
        row["customer_id"]: billed.first_open_day(row["billing_anchor_day"])
        for row in seeds["customers"]
    }
    done: Counter[str] = Counter()
    for table, column in (("orders", "ordered_at"), ("adjustments", "posted_on")):
        for row in list(before[table]):
            day = date.fromisoformat(str(row[column])[:10])
            # A day later at the earliest: some orders name an instant of another time zone.
            if day > open_from[row["customer_id"]] and random.random() < 0.6:
                done[f"{table} {_change_moment(before[table], row, random)}"] += 1
    for row in list(before["subscriptions"]):
        is_last = not any(
            other["customer_id"] == row["customer_id"] and other["starts_on"] > row["starts_on"]
            for other in seeds["subscriptions"]
        )
        if random.random() < 0.7:
            kind = _change_subscription(
                before["subscriptions"], row, open_from[row["customer_id"]], is_last, random
            )
            done[f"subscriptions {kind}"] += 1
    return before, done


def _change_moment(rows: list[Row], row: Row, random: Random) -> str:
    """Take an order or adjustment away, or let it be for something else."""
    if random.random() < 0.5:
        rows.remove(row)
        return "late"
    if "quantity" in row:
        row["quantity"] += 1
    else:
        row["credits"] = "17.5"
    return "other"


def _change_subscription(
    rows: list[Row], row: Row, open_from: date, is_last: bool, random: Random
) -> str:
    """Let a subscription be otherwise on open days after the first one.

    Whether that day has a plan decides what rolls over at the end of a cycle that has closed: an
    edit of it may change a final invoice, and a control is there for that.
    """
    ends_on = row["ends_on"]
    if row["starts_on"] > open_from:
        kind = random.choice(["new", "quantity", "months", "later"])
        if kind == "quantity":
            row["quantity"] += 1
        elif kind == "months":
            row["commit_months"] = 12
        elif kind == "later" and (ends_on is None or ends_on > row["starts_on"] + ONE_DAY):
            row["starts_on"] += ONE_DAY
        else:
            rows.remove(row)
            return "new"
        return kind
    if ends_on is not None and ends_on <= open_from:
        return "left alone"
    if is_last and random.random() < 0.5:
        row["ends_on"] = None
        return "ends"
    row["ends_on"] = open_from + random.randint(1, 9) * ONE_DAY
    if ends_on and not is_last:
        row["ends_on"] = min(row["ends_on"], ends_on)
    return "goes on"


WAITING = "select scope, actual from billing_controls where control = 'seed_edits_waiting'"


@pytest.mark.job
def test_edited_contracts_give_the_books_of_a_billing_from_nothing(tmp_path):
    """Method: five weeks in one run, the edits, then one night; and all of it with the edited seeds.

    One night before, the catalog gets a spelling that no usage has: an edit that waits, and moves
    nothing. Late usage has that night rebuild the days from the 7th on; the edited contracts have
    the next one rebuild all days of open cycles but the first.
    """
    world = random_world(SEED, 60, 10)
    deliveries = {day: rows for day, rows in world.deliveries.items() if day <= NEXT_NIGHT}
    before, edits = as_it_was(world.seeds, Random(SEED))
    assert min(edits.values()) > 1, edits
    edited = Books(
        Settings(
            data_dir=tmp_path / "edited",
            feeds_url=str(write_feeds(tmp_path / "feeds", deliveries)),
            seeds_dir=write_seeds(tmp_path / "seeds", before),
            books_open_on=BOOKS_OPEN_ON,
        )
    )
    edited.bill(FIRST_DELIVERY, LAST_BILLED - ONE_DAY)
    for seeds in (before, world.seeds):
        seeds["accelerator_aliases"].append({"alias": "a G1", "accelerator": "G1"})
    write_seeds(tmp_path / "seeds", before)
    edited.bill(LAST_BILLED, LAST_BILLED)
    [(scope, waiting_days)] = edited.rows(WAITING)
    assert scope == (
        "catalog/accelerator_aliases a G1 from 2026-01-10: make bill FROM=2026-01-10 TO=2026-02-06"
    )
    assert waiting_days == 28
    said = "(1 edits of catalog or fleet wait for days of open cycles)"
    assert f"{said}\n    {scope}\n" in summarize(edited.settings)

    write_seeds(tmp_path / "seeds", world.seeds)
    edited.bill(NEXT_NIGHT, NEXT_NIGHT)
    [(scope, waiting_days)] = edited.rows(WAITING)
    assert scope.endswith(" from 2026-01-11: make bill FROM=2026-01-11 TO=2026-01-11")
    assert waiting_days == 1

    anew = Books(edited.settings.apart(data_dir=tmp_path / "anew"))
    anew.bill(FIRST_DELIVERY, NEXT_NIGHT)
    one, other = (each.settings.published_dir / "current" for each in (edited, anew))
    assert differences(one, other) == []
