"""Hostile price feeds: any bytes in any of the four, and still every line is accounted for."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import hostile
import pyarrow.parquet as pq
import pytest
from hostile import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.landing import (
    Delivery,
    files,
    land_energy_mix,
    land_energy_prices,
    land_fx_rates,
    land_gpu_prices,
)
from orchestration.landing.lines import MAX_LINE_BYTES
from orchestration.sources.folder import FolderSource


@dataclass(frozen=True)
class Shape:
    """A feed: how it is landed, its file, its columns and a good row; which column is an amount."""

    land: Callable[..., Delivery]
    file: str
    good: dict[str, str]
    amount: str
    landed_amount: str

    @property
    def header(self) -> str:
        return ",".join(self.good)


SHAPES = {
    "energy": Shape(
        land_energy_prices,
        "energy_price_A.csv",
        {
            "zone": "A",
            "interval_start": "2026-01-01T00:00:00Z",
            "resolution_minutes": "60",
            "price": "1.5",
            "currency": "EUR",
            "unit": "kWh",
            "timestamp_kind": "offset",
            "tz": "Europe/Stockholm",
        },
        "price",
        "price_per_kwh",
    ),
    "carbon": Shape(
        land_energy_mix,
        "carbon_mix_A.csv",
        {
            "zone": "A",
            "ts_utc": "2026-01-01T00:00:00Z",
            "carbon_gco2_kwh_lca": "12.5",
            "renewable_pct": "50",
        },
        "carbon_gco2_kwh_lca",
        "carbon_gco2_kwh_lca",
    ),
    "gpu": Shape(
        land_gpu_prices,
        "gpu_prices.csv",
        {
            "observed_at": "2026-01-01T00:00:00Z",
            "provider": "cloud",
            "region": "eu",
            "gpu_type": "H100",
            "price_per_gpu_hour": "2.5",
            "currency": "USD",
            "price_kind": "spot",
        },
        "price_per_gpu_hour",
        "price_per_gpu_hour",
    ),
    "fx": Shape(
        land_fx_rates,
        "fx_rates.csv",
        {"date": "2026-01-02", "currency": "EUR", "usd_per_unit": "1.08"},
        "usd_per_unit",
        "usd_per_unit",
    ),
}
CELLS = (
    *hostile.TEXTS.values(),
    *hostile.NUMBERS,
    *hostile.NOT_NUMBERS,
    *hostile.TIMES,
    *(time.removesuffix("Z") for time in hostile.TIMES),
    "",
    " ",
    '"',
    '""',
    '"a',
    'a"b',
    '"a"b',
    "Mars/Olympus",
    "America/New_York",
    "naive_local",
    "naive_utc",
    "MWh",
    "2147483648",
    "9" * 100,
    "60.0",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "2026-02-29",
)


class Feed:
    """One feed in a folder, and a landing beside it."""

    def __init__(self, name: str, root: Path) -> None:
        self.shape = SHAPES[name]
        self.name = name
        self.folder = root / "feeds"
        self.landing = root / "landing"
        (self.folder / name).mkdir(parents=True)

    def land(self, content: bytes, **options: Any) -> Delivery:
        (self.folder / self.name / self.shape.file).write_bytes(content)
        return self.shape.land(FolderSource(str(self.folder)), self.landing, **options)

    def landed(self) -> list[dict[str, Any]]:
        path, schema = files.SNAPSHOTS[self.name]
        with pq.ParquetFile(self.landing / path) as snapshot:
            assert snapshot.schema_arrow.equals(schema)
            return snapshot.read().to_pylist()

    def rejected(self) -> list[dict[str, Any]]:
        return pq.ParquetFile(self.landing / f"rejected/{self.name}/all.parquet").read().to_pylist()


def record(cells: list[str]) -> str:
    """A CSV line, its cells quoted where they have to be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def check(feed: Feed, header: bytes, lines: list[bytes]) -> None:
    """Land lines under a header; each is landed once or rejected once, or repeats an earlier one."""
    delivery = feed.land(b"\n".join([header, *lines, b""]))

    assert delivery.problem is None
    delivered = {
        number: line
        for number, line in enumerate(b"\n".join(lines).split(b"\n"), 2)
        if line.removesuffix(b"\r").decode("utf-8", "backslashreplace").strip()
    }
    sequence = {number: place for place, number in enumerate(delivered, 1)}
    rejected = {row["line_number"]: row for row in feed.rejected()}
    landed = {row["sequence"]: row for row in feed.landed()}
    assert delivery.delivered_rows == len(delivered)
    assert delivery.landed_rows == len(landed)
    assert delivery.rejected_rows == len(rejected) == sum(delivery.rejected_by_reason.values())
    assert rejected.keys() <= delivered.keys()
    assert not landed.keys() & {sequence[number] for number in rejected}
    left = [n for n in delivered if n not in rejected and sequence[n] not in landed]
    before = list(delivered.items())
    for number in left:
        assert feed.name == "gpu"
        earlier = [line for n, line in before if n < number and sequence[n] in landed]
        assert any(same(line, delivered[number]) for line in earlier), delivered[number]
    for number, row in rejected.items():
        text = delivered[number].removesuffix(b"\r").decode("utf-8", "backslashreplace")
        assert row["raw"] == text
        assert row["reason"]
        assert row["detail"].startswith(f"{feed.shape.file}: ")
        assert len(row["detail"]) < 400


def same(one: bytes, other: bytes) -> bool:
    """Whether two lines have the same values, however they are quoted."""
    values = [next(csv.reader([line.decode()])) for line in (one, other)]
    return values[0] == values[1]


@pytest.mark.parametrize("name", SHAPES)
def test_every_hostile_cell_in_every_column(name, tmp_path):
    """Between good rows, which land as they do alone; and amounts are what was written, exactly."""
    shape = SHAPES[name]
    good = record(list(shape.good.values()))
    alone = Feed(name, tmp_path / "alone")
    alone.land(f"{shape.header}\n{good}\n".encode())
    [expected] = alone.landed()
    lines, amounts = [], {}
    for column in shape.good:
        for cell in CELLS:
            line = record([*(shape.good | {column: cell}).values()])
            if column == shape.amount and "\n" not in line:
                amounts["\n".join(lines).count("\n") + 3 if lines else 2] = cell
            lines.append(line)
    lines += [
        good,
        good + ",",
        good.rpartition(",")[0],
        "," * 20_000,
        good + '"',
        '"' + good,
        "\x00",
        good + "\x00",
        good.replace(",", ";"),
        good.replace(",", "\t"),
        good.replace(",", "\r"),
        good,
    ]
    feed = Feed(name, tmp_path / "all")

    check(feed, shape.header.encode(), [line.encode() for line in lines])

    rejected = {row["line_number"] for row in feed.rejected()}
    landed = feed.landed()
    for row in landed:
        amount = row[shape.landed_amount]
        assert amount is None or isinstance(amount, Decimal)
    # Rows landed under the number that their line has among the lines that are not blank.
    written = "\n".join(lines).split("\n")
    places = [n for n, line in enumerate(written, 2) if line.strip()]
    by_line = {places[row["sequence"] - 1]: row for row in landed}
    exact = Decimal("0.000000001" if name != "carbon" else "0.000001")
    for number, cell in amounts.items():
        if number in by_line and cell.strip():
            kept = by_line[number][shape.landed_amount]
            assert abs(kept - Decimal(cell.strip())) <= exact / 2, cell
        else:
            assert number in rejected or not cell.strip() or name == "gpu", cell
    [first] = [n for n, line in enumerate(written, 2) if line == good][:1]
    if first in by_line:
        assert by_line[first] | {"sequence": 1} == expected


@st.composite
def damaged_lines(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    name = draw(st.sampled_from(sorted(SHAPES)))
    shape = SHAPES[name]
    lines = []
    for _ in range(draw(st.integers(1, 20))):
        changes = draw(
            st.dictionaries(
                st.sampled_from(sorted(shape.good)),
                st.sampled_from(CELLS) | st.text(st.characters(codec="utf-8"), max_size=5),
                max_size=3,
            )
        )
        line = record([*(shape.good | changes).values()]).encode()
        for _ in range(draw(st.integers(0, 2)) if draw(st.booleans()) else 0):
            at = draw(st.integers(0, len(line)))
            line = line[:at] + draw(st.binary(max_size=4)) + line[at + draw(st.integers(0, 3)) :]
        lines.append(line + draw(st.sampled_from([b"", b"", b"\r", b"\n"])))
    return name, lines


@given(damaged_lines())
@settings(max_examples=examples(25), deadline=None)
def test_every_line_of_any_price_feed_is_accounted_for(tmp_path_factory, damaged):
    name, lines = damaged
    if any(line.decode("utf-8", "backslashreplace").strip() for line in lines):
        feed = Feed(name, tmp_path_factory.mktemp("fuzz"))
        check(feed, feed.shape.header.encode(), lines)


@pytest.mark.parametrize("name", SHAPES)
@given(data=st.data())
@settings(max_examples=examples(6), deadline=None)
def test_any_header_is_read_or_refused(name, data, tmp_path_factory):
    """A header is shuffled, doubled, damaged: the feed is landed, or a problem says why not."""
    shape = SHAPES[name]
    columns = data.draw(st.permutations(list(shape.good)))
    more = data.draw(st.lists(st.sampled_from([*hostile.TEXTS.values(), *shape.good]), max_size=4))
    header = record([*columns, *more]).encode()
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(header)))
        header = header[:at] + data.draw(st.binary(max_size=3)) + header[at + 1 :]
    row = record([*(shape.good[column] for column in columns), *("" for _ in more)])

    feed = Feed(name, tmp_path_factory.mktemp("header"))
    delivery = feed.land(header + b"\n" + row.encode() + b"\n")

    if delivery.problem:
        assert shape.file in delivery.problem
    else:
        assert delivery.landed_rows + delivery.rejected_rows == delivery.delivered_rows


@pytest.mark.parametrize("name", SHAPES)
def test_ten_thousand_columns_are_some_more_columns(name, tmp_path):
    """Their names are kept once, not with every row: 50,000 rows of them would take gigabytes."""
    shape = SHAPES[name]
    more = [f"column_{n}" for n in range(10_000)]
    header = ",".join([*more, *shape.good])
    good = ",".join(["" for _ in more] + list(shape.good.values()))
    feed = Feed(name, tmp_path)

    delivery = feed.land("\n".join([header, good, good + ",", good, ""]).encode())

    assert (delivery.delivered_rows, delivery.rejected_rows) == (3, 1)
    assert delivery.landed_rows == (1 if name == "gpu" else 2)


@pytest.mark.parametrize("name", SHAPES)
def test_a_quote_that_is_never_closed_costs_one_row(name, tmp_path):
    shape = SHAPES[name]
    good = record(list(shape.good.values()))
    lines = [good, '"' + good, good + " ", '"never closed', good + "  "]
    feed = Feed(name, tmp_path)

    check(feed, shape.header.encode(), [line.encode() for line in lines])

    assert {3, 5} <= {row["line_number"] for row in feed.rejected()}
    assert {1, 3, 5} <= {row["sequence"] for row in feed.landed()} | {3, 5}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("line", hostile.BROKEN_BYTES.values(), ids=hostile.BROKEN_BYTES)
def test_a_line_in_another_encoding_costs_one_row(name, line, tmp_path):
    shape = SHAPES[name]
    good = record(list(shape.good.values())).encode()
    feed = Feed(name, tmp_path)

    check(feed, shape.header.encode(), [good, line.replace(b"\n", b""), good + b" "])

    assert [row["line_number"] for row in feed.rejected()] == [3]


@pytest.mark.parametrize("name", SHAPES)
def test_a_line_that_is_too_long_costs_one_row(name, tmp_path):
    shape = SHAPES[name]
    good = record(list(shape.good.values())).encode()
    long = good + b" " * (MAX_LINE_BYTES - len(good))
    feed = Feed(name, tmp_path)

    delivery = feed.land(b"\n".join([shape.header.encode(), long, long + b"x", good, b""]))

    [row] = feed.rejected()
    assert (row["line_number"], row["reason"]) == (3, "malformed")
    assert "4,194,305 bytes" in row["detail"]
    assert delivery.delivered_rows == 3


@pytest.mark.parametrize("name", ["energy", "carbon"])
def test_a_file_name_is_text_and_nothing_else(name, tmp_path):
    """Names of zone files are the deliverer's own: none of them reaches a path or SQL."""
    feed = Feed(name, tmp_path)
    pattern = feed.shape.file.partition("A")
    good = record(list(feed.shape.good.values()))
    names = []
    for text in hostile.TEXTS.values():
        file = pattern[0] + text.replace("/", "_")[:80] + pattern[2]
        if "\x00" in file or len(file.encode()) > 200:
            continue
        names.append(file)
        (feed.folder / name / file).write_text(f"{feed.shape.header}\n{good}\nbad\n", "utf-8")

    delivery = feed.land(f"{feed.shape.header}\n{good}\n".encode())

    assert delivery.problem is None
    assert delivery.landed_rows == len(names) + 1
    details = [row["detail"] for row in feed.rejected()]
    assert sorted(details) == sorted(
        f"{file}: the line has 1 values for {len(feed.shape.good)} columns" for file in names
    )
    outside = [path for path in tmp_path.iterdir() if path.name not in ("feeds", "landing")]
    assert outside == []
