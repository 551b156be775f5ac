"""A file that is something else is called what it is; a good one in an odd dress is taken."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.landing import files, land_energy_prices, land_fx_rates, land_usage
from orchestration.sources.folder import FolderSource

DAY = date(2026, 2, 3)
EVENT = {
    "event_id": "a",
    "customer_id": "c",
    "meter": "gpu_minute",
    "quantity": 1,
    "ts": f"{DAY}T00:00:00Z",
    "metadata": {"cluster": "c1"},
}
LINE = json.dumps(EVENT) + "\n"
PRETTY = json.dumps(EVENT, indent=2)
HEADER = "zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz"
PRICES = f"{HEADER}\nZ1,2025-10-01T00:00:00Z,60,0.10,EUR,kWh,offset,\n"


def land(root: Path, content: bytes | str, name: str) -> files.Delivery:
    folder, landing = root / "feeds", root / "landing"
    kind = {"u": "usage", "e": "energy", "f": "fx"}[name[0]]
    (folder / kind).mkdir(parents=True)
    (folder / kind / name).write_bytes(content.encode() if isinstance(content, str) else content)
    source = FolderSource(str(folder))
    if kind == "usage":
        return land_usage(source, DAY, landing)
    return {"energy": land_energy_prices, "fx": land_fx_rates}[kind](source, landing)


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue()


def workbook() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return sink.getvalue()


USAGE = f"usage_{DAY}.jsonl"
FOREIGN = [
    (
        USAGE,
        "JobIDRaw|User|Start\n1|a|b\n2|c|d\n",
        "columns between bars",
        "one JSON object a line",
    ),
    (USAGE, "id;customer\n1;2\n", "columns between semicolons", "one JSON object a line"),
    (USAGE, "id\tcustomer\n1\t2\n", "columns between tabs", "one JSON object a line"),
    (USAGE, 'id,"customer"\n1,2', "columns between commas", "one JSON object a line"),
    (USAGE, f"[{LINE.strip()},{LINE.strip()}]\n", "it is one JSON array", "without brackets"),
    (USAGE, json.dumps([EVENT] * 2, indent=1), "it is one JSON array", "without brackets"),
    (USAGE, PRETTY + "\n" + PRETTY + "\n", "spread over several lines", "one JSON object a line"),
    (USAGE, LINE.encode("utf-16"), "it is UTF-16", "as UTF-8"),
    (USAGE, LINE.encode("utf-16-le"), "it is UTF-16", "as UTF-8"),
    (USAGE, LINE.encode("utf-32-be"), "UTF-32", "as UTF-8"),
    (USAGE, LINE.replace("\n", "\r") * 3, "carriage return alone", "line feeds"),
    (USAGE, gzip.compress(LINE.encode()), "it is gzip", "with .gz"),
    (USAGE, parquet(), "it is Parquet", "with .parquet"),
    (USAGE, workbook(), "an Excel workbook", "as text"),
    (USAGE, "\x28\xb5\x2f\xfd".encode("latin-1") + b"\n\n", "zstd", "packed with gzip"),
    (USAGE, "<!DOCTYPE html>\n<html></html>\n", "HTML", "the data"),
    (USAGE, "# HELP gpu x\n# TYPE gpu gauge\ngpu 1\n", "Prometheus text", "JSON lines"),
    (USAGE, 'util{gpu="0",name="A, B"} 0.5\nutil{gpu="1"} 1\n', "Prometheus text", "JSON lines"),
    (USAGE + ".gz", LINE, "it is no gzip", "without .gz"),
    (USAGE + ".gz", gzip.compress(LINE.encode()) + b"more", "no gzip follows", "again"),
    (USAGE.replace("jsonl", "json"), LINE, f"there is usage_{DAY}.json", "Deliver it"),
    (USAGE + ".GZ", LINE, f"there is usage_{DAY}.jsonl.GZ", "Deliver it"),
    ("energy_price_Z.csv", PRICES.replace(",", ";"), "separated by semicolons", "with commas"),
    ("energy_price_Z.csv", PRICES.replace(",", "\t"), "separated by tabs", "with commas"),
    ("energy_price_Z.csv", PRICES.encode("utf-16"), "it is UTF-16", "as UTF-8"),
    ("energy_price_Z.csv", gzip.compress(PRICES.encode()), "it is gzip", "with .gz"),
    ("energy_price_Z.csv.gz", PRICES, "it is no gzip", "without .gz"),
    ("energy_price_Z.csv", workbook(), "an Excel workbook", "as text"),
    ("energy_price_Z.csv", PRICES.replace("\n", "\r"), "carriage return alone", "line feeds"),
    (
        "energy_price_Z.csv",
        "# made\n" + PRICES,
        "a line stands above its header: # made",
        "without",
    ),
    ("energy_price_Z.csv", "sep=,\n" + PRICES, "a line stands above its header: sep=,", "without"),
    ("energy_price_Z.csv", LINE, "it is JSON", "Deliver CSV whose first line names zone,"),
    ("energy_price_Z.csv", PRICES.replace("zone", "Zone"), "it has Zone", "Write Zone in small"),
    ("energy_price_Z.CSV", PRICES, "there is energy_price_Z.CSV", "Give it such a name"),
    ("energy_prices_Z.csv", PRICES, "there is energy_prices_Z.csv", "Give it such a name"),
    ("fx_rates.csv", "Date,USD,JPY\n2026-01-02,1,160\n", "it has Date, USD, JPY", "names date"),
]


@pytest.mark.parametrize(("name", "content", "what", "cure"), FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_file_is_called_what_it_is(tmp_path, name, content, what, cure):
    delivery = land(tmp_path, content, name)

    assert delivery.landed_rows == 0
    assert what in delivery.problem
    assert cure in delivery.problem.partition(what)[2]
    assert "half-written" not in delivery.problem


BOM = b"\xef\xbb\xbf"
GOOD = [
    (USAGE, BOM + LINE.encode()),
    (USAGE, LINE.replace("\n", "\r\n")),
    (USAGE, LINE.strip()),
    (USAGE, "\n \n" + LINE),
    (USAGE + ".gz", gzip.compress(LINE[:40].encode()) + gzip.compress(LINE[40:].encode())),
    (USAGE + ".gz", gzip.compress(LINE.encode()) + gzip.compress(b"") + bytes(100)),
    ("energy_price_Z.csv", BOM + PRICES.replace("\n", "\r\n").encode()),
    ("energy_price_Z.csv", PRICES.replace(HEADER, '"' + HEADER.replace(",", '","') + '"')),
    ("energy_price_Z.csv", PRICES.replace("\n", ",\n")),
    ("energy_price_Z.csv", PRICES.replace(HEADER, f"{HEADER},#,sep=")[:-1] + ",x,y\n"),
    (
        "energy_price_Z.csv.gz",
        gzip.compress(PRICES[:99].encode()) + gzip.compress(PRICES[99:].encode()),
    ),
]


@pytest.mark.parametrize(("name", "content"), GOOD, ids=range(len(GOOD)))
def test_a_good_file_in_an_odd_dress_is_taken(tmp_path, name, content):
    delivery = land(tmp_path, content, name)

    assert delivery.problem is None
    assert delivery.landed_rows == 1


def test_a_bad_line_above_good_ones_costs_one_row(tmp_path):
    """What the file begins with says nothing about it as long as rows can be used."""
    delivery = land(tmp_path, "id,customer\n" + LINE, USAGE)

    assert (delivery.problem, delivery.landed_rows) == (None, 1)
    assert delivery.rejected_by_reason == {"malformed": 1}


def test_a_refusal_shows_a_right_row(tmp_path):
    from decimal import Decimal

    land(tmp_path, json.dumps({**EVENT, "event_id": None, "metadata": {}}) + "\n", USAGE)

    said = files.refusal(tmp_path / "landing", "usage", DAY, Decimal("0.05"))
    assert "event_id, metadata.cluster: null, absent or empty" in said
    assert files.EXAMPLE in said


def test_the_right_row_is_one(tmp_path):
    example = files.EXAMPLE.replace("2026-01-31", str(DAY))

    assert land(tmp_path, example + "\n", USAGE).landed_rows == 1
