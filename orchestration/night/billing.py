"""One billing of the warehouse, from the plan to the record of what was billed.

Whoever starts dbt does it inside ``billing_run``: the lock is held, the plan is written, and the
warehouse counts as unfinished until the block ends without an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from orchestration.books.plan import BilledState, RunPlan, landed_books, make_plan, write_plan
from orchestration.books.warehouse import start_anew, writer_lock
from orchestration.errors import NotDone
from orchestration.gates.verdicts import refused
from orchestration.publication.publish import prepare_archive
from orchestration.seeds.changes import Tables
from orchestration.seeds.edits import NO_EDITS, SeedEdits, edits_of_closed_cycles, edits_since
from orchestration.seeds.people import people_problems
from orchestration.seeds.staging import BookDays, SeedError, earlier_seeds, stage_seeds
from orchestration.settings import Settings


class NothingToBill(NotDone, RuntimeError):
    """The deliveries do not allow to bill; the message names what is missing and the cure."""


@dataclass(frozen=True)
class BillingRun:
    """A billing under way."""

    plan: RunPlan

    @property
    def dbt_arguments(self) -> list[str]:
        """What to start dbt with; the window is the ledger's, the rest is in the written plan."""
        return [
            "build",
            # Unit tests prove the SQL, not tonight's data: they run in `make test`.
            "--exclude-resource-type=unit_test",
            f"--event-time-start={self.plan.ledger_from:%Y-%m-%d}",
            f"--event-time-end={self.plan.last_day + timedelta(days=1):%Y-%m-%d}",
        ]

    def __str__(self) -> str:
        plan = self.plan
        return (
            f"Books as of {plan.last_day}: {len(plan.deliveries)} deliveries taken in, "
            f"{len(plan.touched_days)} usage days to rebuild, ledger from {plan.ledger_from}"
            + (", warehouse from nothing" if plan.starts_anew else "")
        )


@contextmanager
def billing_run(
    settings: Settings, first: date, last: date, *, of_a_window: bool = False
) -> Iterator[BillingRun]:
    """Bill what the delivery days ``first`` to ``last`` touch, and anything landed but not billed.

    The lock is held from the plan to the record of what was billed, and landing takes it too: what
    a run reads cannot change under it.

    Args:
        settings: say where everything is.
        first: the first delivery day.
        last: the last delivery day.
        of_a_window: the books are a replay's, which begin in the middle of contracts: what people
            adjusted before is no error there, and stays out.

    Raises:
        SeedError: the seeds break their contract, or would lose or double what is in the books.
        NothingToBill: nothing is landed, a delivery day is missing, or a feed fails its gates.
        WriterBusy: another run holds the warehouse.
    """
    with writer_lock(settings):
        days = landed_books(settings)
        books = BookDays(*days, of_a_window) if days else None
        seeds = stage_seeds(settings.seeds_dir, settings.staged_seeds_dir, books)
        state = BilledState(settings)
        plan = _without_gap(make_plan(settings, first, last, _edits(settings, state, seeds)))
        if failed := refused(settings, plan):
            raise NothingToBill("Feeds failed their checks. " + "; ".join(failed[:5]))
        state.begin(plan)
        if plan.starts_anew:
            start_anew(settings)
            state.begin(plan)
        write_plan(plan, settings)
        prepare_archive(settings)
        yield BillingRun(plan)
        state.complete(plan, settings, seeds)


def _edits(settings: Settings, state: BilledState, seeds: Tables) -> SeedEdits:
    """What was edited in the seeds since they were billed last.

    Raises:
        SeedError: an edit would lose or double what is in the books.
    """
    kept, books = state.seeds(), state.books()
    before = earlier_seeds(seeds, kept) if kept else None
    people = people_problems(settings, before["customers"] if before else [], seeds["customers"])
    problems = list(people.values())
    if before and books:
        problems += edits_of_closed_cycles(before, seeds, books, but=people)
    if problems:
        raise SeedError(
            "These seeds cannot follow on those that were billed; correct them and run again:\n  "
            + "\n  ".join(problems)
        )
    return edits_since(before, seeds, books) if before and books else NO_EDITS


def _without_gap(plan: RunPlan | None) -> RunPlan:
    """Nothing is billed over a gap: the books of a day need every delivery up to it."""
    if plan is None:
        raise NothingToBill("No usage delivery is landed without a problem: land a day first")
    if plan.books_open_on > plan.last_day:
        raise NothingToBill(
            f"BOOKS_OPEN_ON={plan.books_open_on} lies after the last delivery, {plan.last_day}: "
            "there is nothing to bill yet"
        )
    if plan.refusals:
        raise NothingToBill("Deliveries are refused. " + "; ".join(plan.refusals[:5]))
    if plan.missing_days:
        first, last = plan.missing_days[0], plan.missing_days[-1]
        named = ", ".join(str(day) for day in plan.missing_days[:5])
        more = f" and {len(plan.missing_days) - 5} more" if len(plan.missing_days) > 5 else ""
        raise NothingToBill(
            f"Delivery days are missing between the opening of the books and the last delivery: "
            f"{named}{more}. Bill them with: make bill FROM={first} TO={last} "
            "(if the feed only begins later, set BOOKS_OPEN_ON to its first day)"
        )
    return plan
