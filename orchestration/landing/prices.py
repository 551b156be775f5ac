"""Landing the feeds without a delivery day: energy prices, energy mix, GPU prices, exchange rates.

Each is read whole, from all its CSV files, into one snapshot that replaces the one before. A CSV
record is one line: a quoted value cannot hold a line break, so a stray quote costs one row only.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.landing import files
from orchestration.landing.files import Delivery, of_delivery
from orchestration.landing.foreign import not_this_csv
from orchestration.landing.lines import MAX_LINE_BYTES, Lines, read_lines, readable
from orchestration.landing.price_rules import CARBON, ENERGY, FX, GPU, CsvFeed
from orchestration.sources.folder import (
    MAX_UNPACKED_BYTES,
    UNDATED_FILES,
    FeedFile,
    FeedProblem,
    Hash,
    Source,
    UndatedFeed,
    content_sha256,
)
from orchestration.store.duck import connect
from orchestration.store.files import put, remove
from orchestration.store.tables import TableWriter, write_table

PRICES: frozenset[UndatedFeed] = frozenset({"energy", "gpu", "fx"})
"""The feeds that may be needed. A zone may have no mix, so none may have one."""

_AGAIN = "Deliver the whole file again, then land the feed again"
_SPLIT = pa.schema(
    [
        ("line_number", pa.int64()),
        ("raw", pa.string()),
        ("wrong", pa.string()),
        ("delivered", pa.list_(pa.string())),
    ]
)
_BATCH_ROWS = 100_000
_SHOWN_HEADER = 200


def land_energy_prices(
    source: Source,
    landing: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    needed: Collection[UndatedFeed] = PRICES,
) -> Delivery:
    """Land the energy prices as ``energy/prices.parquet``: currency per kWh, UTC interval starts.

    Every row stays, also a repeated or conflicting one. See land_gpu_prices for problems.
    """
    return _land(ENERGY, source, landing, max_bytes, needed)


def land_energy_mix(
    source: Source,
    landing: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    needed: Collection[UndatedFeed] = PRICES,
) -> Delivery:
    """Land the hourly energy mix as ``carbon/mix.parquet``: gCO2 per kWh, renewable per cent.

    Never needed: a zone may have no mix. See land_gpu_prices for problems.
    """
    return _land(CARBON, source, landing, max_bytes, needed)


def land_gpu_prices(
    source: Source,
    landing: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    needed: Collection[UndatedFeed] = PRICES,
) -> Delivery:
    """Land the GPU market prices as ``gpu/prices.parquet``: currency per GPU hour.

    Of rows that are identical in every delivered column the first one is landed.

    Args:
        source: where the files are found.
        landing: the folder that holds everything landed.
        max_bytes: how many bytes a file may hold, unpacked.
        needed: the feeds that must have a file. Without a file of another one, what was landed of
            it before stands (of an energy mix nothing), and if nothing was, there is nothing of it.

    Returns:
        What is landed now. A needed file that is missing, or a file that is empty, truncated, too
        large or without a required column is no exception but the delivery's ``problem``; then
        the earlier snapshot stands.
    """
    return _land(GPU, source, landing, max_bytes, needed)


def land_fx_rates(
    source: Source,
    landing: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    needed: Collection[UndatedFeed] = PRICES,
) -> Delivery:
    """Land the exchange rates as ``fx/rates.parquet``: US dollars per unit of a currency.

    See land_gpu_prices for problems.
    """
    return _land(FX, source, landing, max_bytes, needed)


def _land(
    feed: CsvFeed,
    source: Source,
    landing: Path,
    max_bytes: int,
    needed: Collection[UndatedFeed],
) -> Delivery:
    """Read all files of a feed and replace its snapshot, or record why that cannot be done."""
    with files.staging(landing, feed.name) as stage:
        delivered: list[FeedFile] = []
        try:
            delivered = source.files(feed.name)
            if not delivered and feed.name in needed:
                pattern = UNDATED_FILES[feed.name]
                raise FeedProblem(
                    feed.name,
                    pattern,
                    "no such file is there",
                    f"Deliver it (plain or as .gz) into the folder {feed.name}",
                )
            # Prices bill the open cycles: those that are known are not forgotten with the file.
            if (
                not delivered
                and feed.name in PRICES
                and (kept := _keep_landed(feed, landing, stage))
            ):
                return kept
            with connect(stage) as connection:
                content = hashlib.sha256()
                delivered_rows = _read(feed, delivered, content, max_bytes, connection)
                landed_rows, rejected = _judge(feed, stage, connection)
        except FeedProblem as problem:
            return files.record_problem(landing, stage, problem, None, content_sha256(delivered))
        delivery = Delivery(
            feed=feed.name,
            delivery_day=None,
            file_name=", ".join(file.name for file in delivered),
            delivered_rows=delivered_rows,
            landed_rows=landed_rows,
            rejected_rows=sum(rejected.values()),
            content_sha256=content.hexdigest() if delivered else "",
            rejected_by_reason=rejected,
        )
        _replace_snapshot(delivery, landing, stage)
        return delivery


def _keep_landed(feed: CsvFeed, landing: Path, stage: Path) -> Delivery | None:
    """Record that no file is there and that what was landed before stands; None if nothing was."""
    snapshot = landing / files.SNAPSHOTS[feed.name][0]
    rows = pq.read_metadata(snapshot).num_rows if snapshot.exists() else 0
    if rows == 0:
        return None
    nothing = Delivery(feed.name, None, "", rows, rows, 0, "")
    standing = files.landed_delivery(landing, feed.name, None) or nothing
    delivery = replace(standing, file_name="", content_sha256="", problem=None)
    write_table(delivery.record(), stage / "deliveries.parquet")
    put(stage / "deliveries.parquet", of_delivery(landing, "deliveries", feed.name, None))
    return delivery


def _read(
    feed: CsvFeed,
    delivered: list[FeedFile],
    content: Hash,
    max_bytes: int,
    connection: duckdb.DuckDBPyConnection,
) -> int:
    """Read all rows of all files as text into the table ``cells``; returns how many.

    Its columns: the feed's (NULL if missing); all values of the row as ``delivered``, under the
    names that ``header`` stands for; ``file``, ``line_number``, ``raw``, ``broken`` (what is wrong
    with the line as a whole); and ``sequence``, the row's place in the order of delivery. Whatever
    does not fit into memory waits on disk.
    """
    empty = _named(feed, None, [], _SPLIT.empty_table(), connection)
    connection.register("piece", empty.append_column("sequence", pa.array([], pa.int64())))
    connection.execute("create table cells as from piece")
    rows = 0
    for file in delivered:
        before = rows
        for piece in _read_file(feed, file, content, max_bytes, connection):
            sequence = pa.arange(rows + 1, rows + 1 + piece.num_rows)
            connection.register("piece", piece.append_column("sequence", sequence))
            connection.execute("insert into cells from piece")
            rows += piece.num_rows
        if rows == before:
            raise FeedProblem(feed.name, file.name, "it is empty, it has no rows", _AGAIN)
    connection.unregister("piece")
    return rows


def _read_file(
    feed: CsvFeed,
    file: FeedFile,
    content: Hash,
    max_bytes: int,
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[pa.Table]:
    """Read the rows of one file, in pieces."""
    header: list[str] = []
    with closing(file.open(content, max_bytes=max_bytes)) as stream:
        for lines in read_lines(stream):
            if not header:
                header = _header(feed, file, lines, stream.head)
            if lines.unended is not None:
                _check_complete(file, header, lines.unended)
            yield _named(feed, file, header, _split(lines), connection)


def _header(feed: CsvFeed, file: FeedFile, lines: Lines, head: bytes) -> list[str]:
    """The column names in a file's first line."""
    first = lines.table.slice(0, 1).to_pylist()
    names = None
    if first and first[0]["line_number"] == 1:
        names = _values(first[0]["line"])
    names = [name.strip() for name in names or []]
    wanted = (*feed.required, *feed.may_be_empty)
    lacking = [column for column in wanted if column not in names]
    if not lacking:
        return names
    if foreign := not_this_csv(head, wanted):
        raise FeedProblem(feed.name, file.name, foreign.what, foreign.cure)
    otherwise = [name for name in names if name not in wanted and name.lower() in lacking]
    has = ", ".join(names)
    raise FeedProblem(
        feed.name,
        file.name,
        f"the header lacks the column{'s' if lacking[1:] else ''} {', '.join(lacking)}; it has "
        + (has if len(has) <= _SHOWN_HEADER else has[:_SHOWN_HEADER] + "..."),
        f"Write {', '.join(otherwise)} in small letters"
        if otherwise and len(otherwise) == len(lacking)
        else f"Add it, or deliver a file whose first line names {', '.join(wanted)}",
        line=1,
    )


def _check_complete(file: FeedFile, header: list[str], last_line: bytes) -> None:
    """A last line without a line end is whole only if it has a value for every column."""
    values = _values(readable(last_line)) if len(last_line) <= MAX_LINE_BYTES else None
    if last_line.strip() and len(values or []) < len(header):
        raise FeedProblem(
            file.feed, file.name, "it is half-written: its last line stops in the middle", _AGAIN
        )


def _values(line: str) -> list[str] | None:
    """The values of one CSV line, or None if its quotes don't match."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


def _split(lines: Lines) -> pa.Table:
    """Split lines into values (schema _SPLIT); the header and blank lines are no rows."""
    table = lines.table.filter(pc.greater(lines.table["line_number"], 1))
    table = table.filter(pc.not_equal(pc.utf8_trim_whitespace(table["line"]), ""))
    # Only a quote can hide a comma; lines without one are split without a loop.
    quoted = pc.match_substring(table["line"], '"')
    plain, odd = table.filter(pc.invert(quoted)), table.filter(quoted)
    rows: list[dict[str, Any]] = [
        {"line_number": line.line_number, "raw": line.raw, "wrong": line.wrong}
        for line in lines.unreadable
    ]
    for row in odd.to_pylist():
        values = _values(row["line"])
        wrong = None if values is not None else "the line's quotes do not match"
        rows.append(
            {
                "line_number": row["line_number"],
                "raw": row["line"],
                "wrong": wrong,
                "delivered": values,
            }
        )
    right = pa.nulls(plain.num_rows, pa.string())
    values = pc.split_pattern(plain["line"], ",")
    split = pa.concat_tables(
        [
            pa.table([plain["line_number"], plain["line"], right, values], schema=_SPLIT),
            pa.Table.from_pylist(rows, schema=_SPLIT),
        ]
    )
    return split.take(pc.sort_indices(split, [("line_number", "ascending")]))


def _named(
    feed: CsvFeed,
    file: FeedFile | None,
    header: list[str],
    split: pa.Table,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """Give split lines the feed's columns; a line that has not a value for each is broken."""
    places = {name: place for place, name in reversed(list(enumerate(header, 1)))}
    columns = ", ".join(
        f"case when fits then nullif(trim(delivered[{places.get(column, 0)}]), '') end as {column}"
        for column in (*feed.required, *feed.may_be_empty, *feed.optional)
    )
    connection.register("split", split)
    named = connection.sql(
        f"""
        select
            $file as file,
            $header as header,
            line_number,
            raw,
            case
                when delivered is null then wrong
                when not fits
                    then 'the line has ' || len(delivered) || ' values for {len(header)} columns'
            end as broken,
            delivered,
            {columns}
        from (select *, coalesce(len(delivered) = {len(header)}, false) as fits from split)
        """,
        # A header can be as long as a line; rows only need to tell one from another.
        params={
            "file": file.name if file else "",
            "header": hashlib.sha256("\n".join(header).encode()).hexdigest(),
        },
    ).to_arrow_table()
    connection.unregister("split")
    return named


def _judge(
    feed: CsvFeed, stage: Path, connection: duckdb.DuckDBPyConnection
) -> tuple[int, dict[str, int]]:
    """Type the rows of ``cells`` and stage them as ``snapshot`` and ``rejected``.

    Returns:
        How many were landed, and how many rejected for each reason.
    """
    missing = " ".join(f"when {name} is null then 'missing_{name}'" for name in feed.required)
    schema = files.SNAPSHOTS[feed.name][1]
    once = "qualify row_number() over (partition by header, delivered order by sequence) = 1"
    connection.execute(
        f"""
        create temp table judged as
        select
            *,
            case
                when broken is not null or malformed is not null then 'malformed'
                {missing}
                else other_reason
            end as reason
        from ({feed.typed})
        """
    )
    connection.execute("drop table cells")
    landed = connection.sql(
        f"""
        select {feed.landed}, {"sequence, raw" if "raw" in schema.names else "sequence"}
        from judged
        where reason is null
        {once if feed.identical_once else ""}
        order by judged.sequence
        """
    )
    landed_rows = _write(landed, schema, stage / "snapshot.parquet")
    rejected = connection.sql(
        """
        select
            $feed as feed,
            null::date as delivery_date,
            line_number,
            reason,
            file || ': ' || case
                when reason = 'malformed' then coalesce(broken, malformed)
                when reason = other_reason then other_detail
                else substring(reason, 9) || ' is empty'
            end as detail,
            raw
        from judged
        where reason is not null
        order by sequence
        """,
        params={"feed": feed.name},
    )
    _write(rejected, files.REJECTED, stage / "rejected.parquet")
    reasons = connection.execute(
        "select reason, count(*) from judged where reason is not null group by 1 order by 1"
    )
    return landed_rows, dict(reasons.fetchall())


def _write(rows: duckdb.DuckDBPyRelation, schema: pa.Schema, path: Path) -> int:
    """Stage rows some at a time; returns how many."""
    writer = TableWriter(path, schema)
    try:
        for batch in rows.to_arrow_reader(_BATCH_ROWS):
            writer.write(pa.Table.from_batches([batch]).cast(schema))
    finally:
        writer.close()
    return writer.rows


def _replace_snapshot(delivery: Delivery, landing: Path, stage: Path) -> None:
    """Move the staged snapshot into place. The record goes first and comes back last."""
    feed = delivery.feed
    record = of_delivery(landing, "deliveries", feed, None)
    write_table(delivery.record(), stage / "deliveries.parquet")
    remove(record)
    put(stage / "snapshot.parquet", landing / files.SNAPSHOTS[feed][0])
    put(stage / "rejected.parquet", of_delivery(landing, "rejected", feed, None))
    put(stage / "deliveries.parquet", record)
