"""Withdrawals: what a delivery had when it was landed, and has no more when it is landed again.

Use that was billed must not vanish because a file was cut short or exported with another filter. So
such a delivery is held: what was landed before stays, and is what is billed, until a person accepts
exactly this: these ids missing from that file. What it then replaces is kept.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from orchestration.errors import PlainError
from orchestration.landing import files
from orchestration.landing.files import of_delivery
from orchestration.sources.folder import FeedProblem
from orchestration.store.duck import connect
from orchestration.store.files import flush, make_folder, remove
from orchestration.store.tables import put_table

CHECK = "nothing_withdrawn"
FEED = "usage"
_WITHDRAWN = pa.schema(
    [
        ("delivery_day", pa.date32()),
        ("content_sha256", pa.string()),
        ("ids_sha256", pa.string()),
        ("ids", pa.int64()),
        ("gpu_minutes", files.MINUTES),
        ("examples", pa.list_(pa.string())),
    ]
)
_ACCEPTED = pa.schema([*_WITHDRAWN, ("reason", pa.string())])
_EXAMPLES = 3
# In the order of the ids, so that equal sets have one hash, whatever the order of delivery.
_FETCHED = 100_000


@dataclass(frozen=True)
class Withdrawal:
    """What a delivery would take back.

    Attributes:
        content_sha256: of the file as delivered now.
        ids_sha256: of the ids that are gone.
        ids: how many they are.
        gpu_minutes: of their rows, the first of each id and usage day.
        examples: some of the ids.
    """

    delivery_day: date
    content_sha256: str
    ids_sha256: str
    ids: int
    gpu_minutes: Decimal
    examples: tuple[str, ...]

    def problem(self, file_name: str) -> FeedProblem:
        """Why the delivery is held."""
        such = ", ".join(id_[:80] for id_ in self.examples)
        return FeedProblem(
            FEED,
            file_name,
            f"{CHECK}: it no longer has {self.ids:,} event ids that it had when it was landed "
            f"before, of {self.gpu_minutes:,f} GPU minutes, and no other delivery has them "
            f"(such as {such}); what was landed before stays",
            "Have the whole day delivered again; or, if they are withdrawn rightly, accept it "
            f"with: make accept-withdrawal DAY={self.delivery_day} REASON='why', and land the day "
            "again",
        )


class NothingWithdrawn(PlainError, LookupError):
    """There is nothing to accept; the message says so."""


def find_withdrawal(
    landing: Path,
    day: date,
    earlier: Collection[Path],
    now: Collection[Path],
    sha256: str,
    spill: Path,
) -> Withdrawal | None:
    """What a delivery takes back that is about to be landed again.

    Args:
        landing: the folder that holds everything landed.
        day: the delivery day.
        earlier: the delivery's files as they are landed.
        now: its staged files.
        sha256: the hash of the file as delivered now.
        spill: a folder for what does not fit into memory.
    """
    others = [
        path
        for path in landing.glob("usage/usage_day=*/delivery_day=*/part.parquet")
        if path.parent.name != f"delivery_day={day.isoformat()}"
    ]
    with connect(spill) as connection:

        def is_in(paths: Collection[Path]) -> str:
            names = ", ".join("'" + glob.escape(str(p)).replace("'", "''") + "'" for p in paths)
            return (
                f"event_id in (select event_id from read_parquet([{names}], "
                "hive_partitioning = false))"
            )

        connection.execute(
            f"""
            create temp table gone as
            select event_id, usage_day, line_number, meter, quantity_micro
            from read_parquet($earlier, hive_partitioning = false)
            where {f"not {is_in(now)}" if now else "true"}
            """,
            {"earlier": [glob.escape(str(path)) for path in earlier]},
        )
        [(left,)] = connection.execute("select count(*) from gone").fetchall()
        if left and others:
            connection.execute(f"delete from gone where {is_in(others)}")
        [(minutes,)] = connection.execute(_MINUTES).fetchall()
        found = connection.execute("select distinct event_id from gone order by event_id")
        content, ids, examples = hashlib.sha256(), 0, list[str]()
        while some := found.fetchmany(_FETCHED):
            ids += len(some)
            examples += [id_ for (id_,) in some[: _EXAMPLES - len(examples)]]
            for (id_,) in some:
                content.update(id_.encode() + b"\n")
    if not ids:
        return None
    return Withdrawal(day, sha256, content.hexdigest(), ids, minutes, tuple(examples))


# As the models round them, to whole millionths, half away from zero.
_MINUTES = """
    with firsts as (
        select
            arg_min(meter, line_number) as meter,
            arg_min(quantity_micro, line_number)::hugeint as micro
        from gone
        group by event_id, usage_day
    ),

    parts as (
        select
            case meter when 'gpu_hour' then micro * 60 else micro end as micro,
            case meter when 'gpu_second' then 60 when 'gpu_millisecond' then 60000 else 1 end as n
        from firsts
    )

    select (
        coalesce(sum(sign(micro) * ((abs(micro) * 2 + n) // (2 * n))), 0)::decimal(38, 0)
        * 0.000001::decimal(7, 6)
    )::decimal(38, 6)
    from parts
"""


def hold(withdrawal: Withdrawal, landing: Path) -> None:
    """Write down what a delivery would take back, so that it can be accepted."""
    row = {name: getattr(withdrawal, name) for name in _WITHDRAWN.names}
    put_table(
        pa.Table.from_pylist([row], schema=_WITHDRAWN), _held(landing, withdrawal.delivery_day)
    )


def held(landing: Path, day: date) -> Withdrawal | None:
    """What the last attempt to land a day would have taken back; None if it was not held."""
    rows = files.rows_of(_held(landing, day))
    return Withdrawal(**{**rows[0], "examples": tuple(rows[0]["examples"])}) if rows else None


def release(landing: Path, day: date) -> None:
    """Forget that a day was held: another attempt to land it had another end."""
    remove(_held(landing, day))


def accept(landing: Path, day: date, reason: str) -> Withdrawal:
    """Accept what a day is held for, and nothing else: neither another file nor other ids.

    The caller holds the writer lock.

    Raises:
        NothingWithdrawn: the day is not held.
    """
    withdrawal = held(landing, day)
    if withdrawal is None:
        raise NothingWithdrawn(
            f"The usage delivery of {day} withdraws nothing that waits for anybody: there is "
            "nothing to accept"
        )
    path = _accepted(landing, day)
    row = {name: getattr(withdrawal, name) for name in _WITHDRAWN.names} | {"reason": reason}
    rows = [*files.rows_of(path), row]
    put_table(pa.Table.from_pylist(rows, schema=_ACCEPTED), path)
    return withdrawal


def is_accepted(withdrawal: Withdrawal, landing: Path, *, whatever_ids: bool = False) -> bool:
    """Whether a person accepted exactly this.

    Args:
        whatever_ids: a landing of it was cut off: some of the ids that were accepted are gone now.
    """
    return any(
        row["content_sha256"] == withdrawal.content_sha256
        and (whatever_ids or row["ids_sha256"] == withdrawal.ids_sha256)
        for row in files.rows_of(_accepted(landing, withdrawal.delivery_day))
    )


def keep_replaced(landing: Path, day: date) -> Path:
    """Keep what is landed of a delivery, before something takes its place; returns the folder.

    The files stay under another name: ``replaced/usage/<delivery day>/<hash of the file as it was
    delivered>``, as they lie in the landing.
    """
    kept = landing / "replaced" / FEED / day.isoformat() / files.standing_sha256(landing, FEED, day)
    for path in files.landed_files(landing, day):
        other = kept / path.relative_to(landing)
        make_folder(other.parent)
        other.unlink(missing_ok=True)
        os.link(path, other)
        flush(other.parent)
    return kept


def _held(landing: Path, day: date) -> Path:
    return of_delivery(landing, "withdrawn", FEED, day)


def _accepted(landing: Path, day: date) -> Path:
    return of_delivery(landing, "accepted_withdrawals", FEED, day)
