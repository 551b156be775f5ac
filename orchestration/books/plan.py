"""The plan of a run: which deliveries are new, which days they touch, from when the ledger replays.

Read from what is landed and from what was billed last; written as small Parquet files beside the
landed feeds, where the models find it. A plan holds days only: nothing here knows a price.
"""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa

from orchestration.landing.files import (
    SNAPSHOTS,
    has_usage,
    refusal,
)
from orchestration.seeds.changes import Books, Tables
from orchestration.seeds.edits import NO_EDITS, SeedEdits, WaitingEdit, still_waiting
from orchestration.seeds.staging import canonical, seed_contracts
from orchestration.settings import Settings
from orchestration.store.durable import copy, put_text
from orchestration.store.tables import put_table

LAYOUT = 3
"""Counted up when a table of the warehouse means, holds or is called something else than before."""

# The longest billing cycle: no cycle that contains a day ends later than this many days after it.
_LONGEST_CYCLE = 31

# For each undated feed, the first day whose cost a changed row can move.
_PRICE_SNAPSHOTS = {
    "energy/prices.parquet": "cast(min(interval_start) as date)",
    "carbon/mix.parquet": "cast(min(ts_utc) as date)",
    "gpu/prices.parquet": "cast(date_trunc('week', min(observed_at)) as date) + 7",
    "fx/rates.parquet": "min(rate_date)",
}


@dataclass(frozen=True)
class RunPlan:
    """What a run has to do."""

    first_delivery_day: date
    """First day that was ever delivered."""
    last_day: date
    """L, the last delivery day: the books are as of its end."""
    books_open_on: date
    missing_days: tuple[date, ...]
    """Delivery days that stand in the way of billing: not landed, or landed but refused."""
    refusals: tuple[str, ...]
    """Why deliveries that are landed may not be billed: a problem, or too many incurable rows."""
    deliveries: tuple[date, ...]
    """Delivery days that this run takes in: asked for, or changed since they were billed."""
    touched_days: tuple[date, ...]
    """Usage days to rebuild."""
    ledger_from: date
    """First day that the ledger steps through again; the last is ``last_day``."""
    starts_anew: bool
    """Whether the warehouse has to be built from nothing."""
    waiting: tuple[WaitingEdit, ...] = ()
    """Edits of the catalog and the fleet that billed days still wait for after this run."""


class BilledState:
    """What the warehouse was last built from; lies beside it, so that both vanish together."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.warehouse_dir / "billed"
        self._file = self._folder / "billed.json"
        self._warehouse = settings.built_warehouse

    def read(self) -> dict[str, Any]:
        """The last completed billing; empty if there is none or its warehouse is gone."""
        if not self._warehouse.exists() or not self._file.exists():
            return {}
        return dict(json.loads(self._file.read_text(encoding="utf-8")))

    def begin(self, plan: RunPlan) -> None:
        """Say that the warehouse is being changed: until ``complete`` nothing may be published.

        What the plan covers is kept, so that the next run covers it again if this one dies.
        """
        self._update(
            {
                **self._stored(),
                "complete": False,
                "unfinished": {
                    "deliveries": _iso(plan.deliveries),
                    "touched_days": _iso(plan.touched_days),
                    "ledger_from": plan.ledger_from.isoformat(),
                },
            }
        )

    def is_complete(self) -> bool:
        """Whether the last billing ran to its end."""
        return bool(self.read().get("complete"))

    def complete(self, plan: RunPlan, settings: Settings, seeds: Tables) -> None:
        """Say what the warehouse is now built from.

        Args:
            plan: the run's.
            settings: say where the landing is.
            seeds: the rows of each seed that the run was planned with.
        """
        for snapshot in _PRICE_SNAPSHOTS:
            copy(settings.landing_dir / snapshot, self.snapshot(snapshot))
        billing_id = uuid4().hex
        # Beside those of the last billing: which ones count, the record says, and changes at once.
        kept = self._folder / f"seeds-{billing_id}"
        for contract in seed_contracts():
            text = canonical(contract, seeds[contract.name])
            put_text(text, kept / contract.file)
        self._update(
            {
                "complete": True,
                "billing_id": billing_id,
                # The billing that this one went on from: it knows what it changed since then.
                "follows": self._stored().get("billing_id"),
                "last_day": plan.last_day.isoformat(),
                "first_delivery_day": plan.first_delivery_day.isoformat(),
                "basis": _basis(settings, plan.books_open_on),
                "deliveries": _landed_hashes(settings),
                "seeds": kept.name,
                "waiting_edits": [
                    [edit.file, edit.key, *_iso([edit.first_day, edit.last_day])]
                    for edit in plan.waiting
                ],
            }
        )
        for folder in self._folder.glob("seeds-*"):
            if folder != kept:
                shutil.rmtree(folder)

    def seeds(self) -> Path | None:
        """The seeds of the last completed billing; None if they are not known."""
        name = self.read().get("seeds")
        return self._folder / name if name else None

    def books(self) -> Books | None:
        """How far the last completed billing went; None if there is none."""
        billed = self.read()
        if "basis" not in billed:
            return None
        return Books(
            opened_on=date.fromisoformat(billed["basis"]["books_open_on"]),
            last_day=date.fromisoformat(billed["last_day"]),
            days_until_close=billed["basis"]["days_until_close"],
        )

    def waiting_edits(self) -> list[WaitingEdit]:
        """The edits that still waited after the last completed billing."""
        return [
            WaitingEdit(file, key, *map(date.fromisoformat, days))
            for file, key, *days in self.read().get("waiting_edits", [])
        ]

    def unfinished(self) -> dict[str, Any]:
        """What a billing that did not end had begun to work on; empty if the last one ended."""
        return dict(self.read().get("unfinished", {}))

    def rebuild(self) -> None:
        """Have the next billing build the warehouse from nothing."""
        self._update({name: known for name, known in self._stored().items() if name != "basis"})

    def snapshot(self, name: str) -> Path:
        """The copy of a price feed that was billed last."""
        return self._folder / name.replace("/", "_")

    def _stored(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text("utf-8"))) if self._file.exists() else {}

    def _update(self, state: dict[str, Any]) -> None:
        put_text(json.dumps(state, indent=1, sort_keys=True), self._file)


def landed_books(settings: Settings) -> tuple[date, date] | None:
    """The day the books open and the last delivery day, by what is landed; None if nothing is."""
    landed = _landed_hashes(settings)
    if not landed:
        return None
    first, last = (date.fromisoformat(day) for day in (min(landed), max(landed)))
    return settings.books_open_on or first, last


def make_plan(
    settings: Settings, first: date, last: date, edits: SeedEdits = NO_EDITS
) -> RunPlan | None:
    """Work out what a run over the delivery days ``first`` to ``last`` (inclusive) has to do.

    Deliveries that were landed earlier but never billed (a crash, a gap that is now filled) are
    taken in as well, and so is all that an unfinished run had begun to work on, and the days that
    edited contracts concern. Returns None when nothing at all is landed.
    """
    landing = settings.landing_dir
    hashes = _landed_hashes(settings)
    if not hashes:
        return None
    landed = sorted(date.fromisoformat(day) for day in hashes)
    first_delivery_day, last_day = landed[0], landed[-1]
    books_open_on = settings.books_open_on or first_delivery_day
    missing = tuple(
        day
        for day in _days(min(first_delivery_day, books_open_on), max(last_day, last))
        if day.isoformat() not in hashes
    )
    refusals = _refusals(settings, sorted({*missing, *_refused_days(settings)}))
    state = BilledState(settings)
    # Without the seeds nobody can say what was edited since.
    same_basis = state.read().get("basis") == _basis(settings, books_open_on)
    starts_anew = not same_basis or state.seeds() is None
    ledger_floor = books_open_on - timedelta(days=_LONGEST_CYCLE)
    waiting: tuple[WaitingEdit, ...] = ()
    if starts_anew:
        taken_in = landed
        touched = {day for days in _touched_by(landing, None).values() for day in days} | set(
            _days(books_open_on, last_day)
        )
        ledger_from = ledger_floor
    else:
        taken_in = [
            day
            for day in landed
            if first <= day <= last
            or state.read()["deliveries"].get(day.isoformat()) != hashes[day.isoformat()]
        ]
        by_delivery = _touched_by(landing, taken_in)
        touched = _touched_since(settings, state, edits, books_open_on, last_day)
        touched |= {day for day in _days(first, min(last, last_day)) if day >= books_open_on}
        touched = touched.union(*by_delivery.values())
        # Asked for from the opening of the books on: the cycles open then, from their start.
        asked_from = ledger_floor if first <= max(first_delivery_day, books_open_on) else first
        replay = [asked_from, *_late_from(by_delivery, settings.days_until_close)]
        replay += _replayed_since(state, edits)
        taken_in = sorted({*taken_in, *_dates(state.unfinished().get("deliveries", []))})
        ledger_from = min(max(min(replay), ledger_floor), last_day)
        waiting = still_waiting(
            [*state.waiting_edits(), *edits.waiting],
            touched,
            ledger_from,
            edits.anchors,
            Books(books_open_on, last_day, settings.days_until_close),
        )
    return RunPlan(
        first_delivery_day=first_delivery_day,
        last_day=last_day,
        books_open_on=books_open_on,
        missing_days=missing,
        refusals=refusals,
        deliveries=tuple(taken_in),
        touched_days=tuple(sorted(touched)),
        ledger_from=ledger_from,
        starts_anew=starts_anew,
        waiting=waiting,
    )


def _touched_since(
    settings: Settings, state: BilledState, edits: SeedEdits, books_open_on: date, last_day: date
) -> set[date]:
    """The usage days to rebuild whatever is asked for: new, edited, repriced, begun and not ended."""
    billed_last_day = date.fromisoformat(state.read()["last_day"])
    touched = set(_days(billed_last_day + timedelta(days=1), last_day))
    if moved_from := _prices_moved_from(settings.landing_dir, state):
        touched |= set(_days(max(moved_from, books_open_on), last_day))
    edited = {day for first, end in edits.usage_days for day in _days(first, min(end, last_day))}
    # Nothing is booked for days before the books, but usage that was delivered within them.
    touched |= {
        day for day in edited if day >= books_open_on or has_usage(settings.landing_dir, day)
    }
    return touched | _dates(state.unfinished().get("touched_days", []))


def _replayed_since(state: BilledState, edits: SeedEdits) -> list[date]:
    """From which days the ledger steps again, whatever is asked for."""
    days = [date.fromisoformat(state.read()["last_day"]) + timedelta(days=1)]
    if edits.ledger_from:
        days.append(edits.ledger_from)
    if unfinished := state.unfinished():
        days.append(date.fromisoformat(unfinished["ledger_from"]))
    return days


def _late_from(by_delivery: Mapping[date, set[date]], days_until_close: int) -> Iterator[date]:
    """The days on which the usage of each delivery may be booked."""
    for delivery_day, usage_days in by_delivery.items():
        for usage_day in usage_days:
            # Later than any cycle of the usage day can close, all its rows are adjustments.
            certainly_closed = delivery_day > usage_day + timedelta(
                days=_LONGEST_CYCLE + days_until_close
            )
            yield delivery_day if certainly_closed else usage_day


def write_plan(plan: RunPlan, settings: Settings) -> None:
    """Write the plan where the models read it (``landing/run/``)."""
    folder = settings.landing_dir / "run"
    neighbours = {
        day + timedelta(days=offset)
        for day in plan.touched_days
        for offset in range(-settings.conflict_days, settings.conflict_days + 1)
    }
    for name, days in (("days", plan.touched_days), ("neighbour_days", sorted(neighbours))):
        landed = [has_usage(settings.landing_dir, day) for day in days]
        _write(
            folder / f"{name}.parquet",
            {
                "usage_day": pa.array(days, pa.date32()),
                "has_usage": pa.array(landed, pa.bool_()),
            },
        )
    _write(folder / "deliveries.parquet", {"delivery_day": pa.array(plan.deliveries, pa.date32())})
    _write(
        folder / "seed_edits.parquet",
        {
            "file": pa.array([edit.file for edit in plan.waiting], pa.string()),
            "key": pa.array([edit.key for edit in plan.waiting], pa.string()),
            "first_day": pa.array([edit.first_day for edit in plan.waiting], pa.date32()),
            "last_day": pa.array([edit.last_day for edit in plan.waiting], pa.date32()),
        },
    )
    _write(
        folder / "settings.parquet",
        {
            "first_delivery_day": pa.array([plan.first_delivery_day], pa.date32()),
            "last_day": pa.array([plan.last_day], pa.date32()),
            "books_open_on": pa.array([plan.books_open_on], pa.date32()),
            "ledger_from": pa.array([plan.ledger_from], pa.date32()),
            "reporting_currency": pa.array([settings.reporting_currency]),
            "days_until_close": pa.array([settings.days_until_close], pa.int32()),
            "conflict_days": pa.array([settings.conflict_days], pa.int32()),
            "normal_utilization_micro": pa.array([_micro(settings.normal_utilization)], pa.int64()),
            "max_incurable_micro": pa.array([_micro(settings.max_incurable_share)], pa.int64()),
            "warn_curable_micro": pa.array([_micro(settings.warn_curable_share)], pa.int64()),
        },
    )


def _micro(share: Any) -> int:
    return int(share * 1_000_000)


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    put_table(pa.table(columns), path)


def _iso(days: Iterable[date]) -> list[str]:
    return [day.isoformat() for day in days]


def _dates(days: Iterable[str]) -> set[date]:
    return {date.fromisoformat(day) for day in days}


def _days(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _basis(settings: Settings, books_open_on: date) -> dict[str, Any]:
    """The settings that every number of the books rests on: another value means other books."""
    return {
        # How the warehouse is laid out: one of another layout is built anew from the landing.
        "layout": LAYOUT,
        "books_open_on": books_open_on.isoformat(),
        "days_until_close": settings.days_until_close,
        "normal_utilization": str(settings.normal_utilization),
        "reporting_currency": settings.reporting_currency,
        "conflict_days": settings.conflict_days,
        # Tables of one engine are not those of another, however recent both are.
        **({"spark_schema": settings.spark_schema} if settings.dbt_target == "spark" else {}),
    }


def _query(sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as connection:
        return connection.execute(sql, parameters).fetchall()


def _landed_hashes(settings: Settings) -> dict[str, str]:
    """The usage deliveries that may be billed, by day: hash of the file's bytes."""
    rows = _query(
        "select cast(delivery_day as varchar), content_sha256 "
        "from read_parquet($glob, hive_partitioning = false) "
        "where problem is null and delivery_day is not null "
        "and rejected_rows * 1000000 <= $max_incurable_micro * delivered_rows",
        _records(settings),
    )
    return dict(rows)


def _records(settings: Settings) -> dict[str, Any]:
    """Parameters of a query over the records of usage deliveries."""
    return {
        "glob": glob.escape(str(settings.landing_dir)) + "/deliveries/usage/*.parquet",
        "max_incurable_micro": _micro(settings.max_incurable_share),
    }


def _refused_days(settings: Settings) -> set[date]:
    """The days of which rows are landed that may not be billed, wherever in the books they lie.

    Without the first or the last one, the books would begin later or end earlier in silence.
    """
    rows = _query(
        "select delivery_day from read_parquet($glob, hive_partitioning = false) "
        "where delivery_day is not null "
        "and delivered_rows > 0 and (problem is not null "
        "or rejected_rows * 1000000 > $max_incurable_micro * delivered_rows)",
        _records(settings),
    )
    return {day for (day,) in rows}


def _refusals(settings: Settings, days: Iterable[date]) -> tuple[str, ...]:
    """What is landed but must not be billed, and why: usage of some days, and price feeds."""
    deliveries = [("usage", day) for day in days] + [(feed, None) for feed in SNAPSHOTS]
    found = (
        refusal(settings.landing_dir, feed, day, settings.max_incurable_share)
        for feed, day in deliveries
    )
    return tuple(reason for reason in found if reason)


def _touched_by(landing: Path, deliveries: list[date] | None) -> dict[date, set[date]]:
    """The usage days that each delivery touches; of all deliveries when None is given."""
    rows = _query(
        "select delivery_day, usage_day from read_parquet($glob, hive_partitioning = false) "
        "where $all or delivery_day in (select unnest($deliveries::date[]))",
        {
            "glob": glob.escape(str(landing)) + "/touched/usage/*.parquet",
            "all": deliveries is None,
            "deliveries": deliveries or [],
        },
    )
    touched: dict[date, set[date]] = {}
    for delivery_day, usage_day in rows:
        touched.setdefault(delivery_day, set()).add(usage_day)
    return touched


def _prices_moved_from(landing: Path, state: BilledState) -> date | None:
    """The first day whose cost may differ because a price feed's rows did change since billing."""
    moved = []
    for name, first_day in _PRICE_SNAPSHOTS.items():
        now, then = landing / name, state.snapshot(name)
        if not then.exists() or now.read_bytes() == then.read_bytes():
            continue
        [(day,)] = _query(
            "with n as (select * exclude (sequence) from read_parquet($now, "
            "hive_partitioning = false)), "
            "t as (select * exclude (sequence) from read_parquet($then, "
            "hive_partitioning = false)) "
            f"select {first_day} from ("
            "(select * from n except all select * from t) union all "
            "(select * from t except all select * from n))",
            {"now": glob.escape(str(now)), "then": glob.escape(str(then))},
        )
        if day is not None:
            moved.append(day)
    return min(moved, default=None)
