"""Hostile files: bombs, links, pipes and Parquet that lies; refused in words, within bounds."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import zlib
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.landing import land_energy_prices, land_fx_rates, land_usage, usage
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.folder import FeedProblem, FolderSource

DAY = date(2026, 1, 31)
GOOD = {
    "event_id": "good",
    "customer_id": "acme",
    "meter": "gpu_minute",
    "quantity": Decimal("60.5"),
    "ts": "2026-01-30T10:00:00Z",
    "metadata": {"cluster": "c1", "gpu_type": "H100", "duration_s": 3600.0},
}
FX = b"date,currency,usd_per_unit\n2026-01-02,EUR,1.08\n"


class Feed:
    """A feed folder and a landing beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "feeds"
        self.landing = root / "landing"
        for name in ("usage", "fx", "energy"):
            (self.folder / name).mkdir(parents=True)

    def deliver(self, content: bytes, suffix: str) -> Path:
        path = self.folder / "usage" / f"usage_{DAY}{suffix}"
        path.write_bytes(content)
        return path

    def land(self, **options: Any) -> Any:
        return land_usage(FolderSource(str(self.folder)), DAY, self.landing, **options)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in self.landing.glob("usage/usage_day=*/delivery_day=*/part.parquet"):
            found += pq.ParquetFile(path).read().to_pylist()
        return sorted(found, key=lambda row: row["line_number"])

    def rejected(self) -> list[dict[str, Any]]:
        return pq.ParquetFile(self.landing / f"rejected/usage/{DAY}.parquet").read().to_pylist()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(tmp_path)


# --- small files that are large -------------------------------------------------------------------


def bomb(unpacked: int, piece: bytes) -> bytes:
    """A gzip file that unpacks to so many bytes of a repeated piece."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = piece * ((1 << 20) // len(piece))
    packed = b"".join(packer.compress(block) for _ in range(unpacked // len(block) + 1))
    return packed + packer.flush()


@pytest.mark.parametrize("piece", [b"\0", b"\n", b"{}\n", b'{"a":'], ids=["nul", "n", "{}", "deep"])
def test_a_bomb_is_refused_at_its_limit(feed, piece):
    packed = bomb(100 << 20, piece)
    feed.deliver(packed, ".jsonl.gz")

    delivery = feed.land(max_bytes=2_000_000)

    assert len(packed) < 1 << 20
    assert "it holds more than 0.002 GB, unpacked" in delivery.problem
    assert "MAX_DELIVERY_GB" in delivery.problem
    assert delivery.landed_rows == delivery.rejected_rows == 0


def test_a_bomb_in_a_price_feed_is_refused_and_the_old_prices_stay(feed):
    place = feed.folder / "fx" / "fx_rates.csv.gz"
    place.write_bytes(gzip.compress(FX))
    source = FolderSource(str(feed.folder))
    assert land_fx_rates(source, feed.landing).problem is None
    before = (feed.landing / "fx/rates.parquet").read_bytes()
    place.write_bytes(gzip.compress(FX) + bomb(100 << 20, b"2026-01-02,EUR,1.08\n"))

    delivery = land_fx_rates(source, feed.landing, max_bytes=2_000_000)

    assert "it holds more than 0.002 GB" in delivery.problem
    assert (feed.landing / "fx/rates.parquet").read_bytes() == before


def test_many_tiny_gzip_members_are_one_file(feed):
    lines = [json.dumps(GOOD | {"event_id": f"e{n}"}, default=float) for n in range(300)]
    feed.deliver(
        b"".join(
            gzip.compress(bytes([byte])) for line in lines[:3] for byte in f"{line}\n".encode()
        )
        + b"".join(gzip.compress(b"") for _ in range(1000)),
        ".jsonl.gz",
    )

    assert feed.land().landed_rows == 3


def test_the_limit_is_a_setting(monkeypatch):
    monkeypatch.setenv("MAX_DELIVERY_GB", "0.5")
    assert Settings().max_delivery_bytes == 500_000_000
    monkeypatch.delenv("MAX_DELIVERY_GB")
    assert Settings().max_delivery_bytes == 16_000_000_000


_PEAK = """
import resource, sys
from datetime import date
from pathlib import Path
from orchestration.landing import land_fx_rates, land_usage
from orchestration.sources.folder import FolderSource
feeds, landing = map(Path, sys.argv[1:3])
if sys.argv[3] == "usage":
    delivery = land_usage(FolderSource(str(feeds)), date(2026, 1, 31), landing)
else:
    delivery = land_fx_rates(FolderSource(str(feeds)), landing)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, delivery.delivered_rows)
print(delivery.problem, file=sys.stderr)
"""


def peak(feed: Feed, kind: str) -> tuple[int, int]:
    """The most memory (MB) that landing takes in a process of its own, and the rows delivered."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, feed.folder, feed.landing, kind],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    memory, rows = map(int, done.stdout.split())
    return memory, rows


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"\n", b"{}\n", b"x\n", b"\xff\n"])
def test_memory_does_not_grow_with_a_delivery_of_short_lines(tmp_path, piece):
    """Method: a bomb and one of twice its size; what the larger takes more is below 15 %."""
    peaks = []
    for size in (40 << 20, 80 << 20) if piece == b"\n" else (4 << 20, 8 << 20):
        feed = Feed(tmp_path / str(size))
        feed.deliver(bomb(size, piece), ".jsonl.gz")
        peaks.append(peak(feed, "usage")[0])

    assert peaks[1] < 1.15 * peaks[0]
    assert peaks[1] < 1200


# --- names that lead elsewhere --------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/etc/hostname", "../secret.jsonl", "/dev/zero", "/proc/self/environ"]
)
def test_a_link_out_of_the_folder_is_not_followed(feed, target):
    """Or whoever delivers could have the job publish any file that it may read."""
    (feed.folder / "secret.jsonl").write_text('{"password": "hunter2"}\n')
    (feed.folder / "usage" / f"usage_{DAY}.jsonl").symlink_to(target)
    (feed.folder / "fx" / "fx_rates.csv").symlink_to(target)

    deliveries = feed.land(), land_fx_rates(FolderSource(str(feed.folder)), feed.landing)
    for delivery in deliveries:
        assert "it is a link that leads out of its folder" in delivery.problem
    for path in feed.landing.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()


def test_a_link_within_the_folder_and_a_linked_folder_are_followed(feed, tmp_path):
    """Folders are the operator's; a link beside its file tells nothing new."""
    elsewhere = tmp_path / "elsewhere"
    (feed.folder / "usage").rename(elsewhere)
    (feed.folder / "usage").symlink_to(elsewhere)
    (elsewhere / "real.jsonl").write_text(json.dumps(GOOD, default=float) + "\n")
    (elsewhere / f"usage_{DAY}.jsonl").symlink_to("real.jsonl")
    (feed.folder / "fx" / "real.csv").write_bytes(FX)
    (feed.folder / "fx" / "fx_rates.csv").symlink_to("real.csv")

    assert feed.land().landed_rows == 1
    assert land_fx_rates(FolderSource(str(feed.folder)), feed.landing).landed_rows == 1


def test_loops_dangling_links_pipes_and_folders_are_problems(feed):
    place = feed.folder / "usage" / f"usage_{DAY}.jsonl"
    source = FolderSource(str(feed.folder))
    place.symlink_to(place)
    assert "cannot be read" in feed.land().problem
    place.unlink()
    place.symlink_to("nothing.jsonl")
    assert "is missing" in feed.land().problem
    place.unlink()
    os.mkfifo(place)
    assert "a pipe or a device" in feed.land().problem
    place.unlink()
    os.mkfifo(feed.folder / "usage" / "pipe")
    place.symlink_to("pipe")
    assert "a pipe or a device" in feed.land().problem
    place.unlink()
    place.mkdir()
    assert "is missing" in feed.land().problem
    pipe = feed.folder / "energy" / "energy_price_A.csv"
    os.mkfifo(pipe)
    assert "a pipe or a device" in land_energy_prices(source, feed.landing).problem
    pipe.unlink()
    os.mkfifo(feed.folder / "energy" / "pipe")
    pipe.symlink_to("pipe")
    assert "a pipe or a device" in land_energy_prices(source, feed.landing).problem


def test_a_file_that_may_not_be_read_is_a_problem(feed):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    feed.deliver(b"{}\n", ".jsonl").chmod(0)

    assert "cannot be read (PermissionError)" in feed.land().problem


def test_what_a_source_lists_never_leaves_its_folder(feed, monkeypatch):
    """An object store may list any name; only its last part is a file's name."""
    names = ("a/../../energy_price_A.csv", "/etc/energy_price_B.csv", "..", ".")
    source = FolderSource(str(feed.folder))
    # The file system is shared by every source of its kind: what is changed here is put back.
    monkeypatch.setattr(
        source._files, "ls", lambda path, detail: [{"name": n, "type": "file"} for n in names]
    )

    files = source.files("energy")

    assert [file.name for file in files] == ["energy_price_A.csv", "energy_price_B.csv"]
    for file in files:
        with pytest.raises(FeedProblem, match="the file is missing"):
            file.open()


# --- Parquet --------------------------------------------------------------------------------------


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def table(rows: list[dict[str, Any]], **columns: pa.Array) -> pa.Table:
    """Rows as columns, of which some are given."""
    made = {
        name: pa.array(
            [row[name] for row in rows], pa.decimal128(38, 6) if name == "quantity" else None
        )
        for name in GOOD
    }
    return pa.table(made | columns)


def test_text_that_is_not_utf_8_costs_its_row_only(feed):
    ids = [b"e1", b"caf\xe9", b"e3", b"\xff\xfe"]
    offsets = pa.array([0, 2, 6, 8, 10], pa.int32()).buffers()[1]
    broken = pa.StringArray.from_buffers(4, offsets, pa.py_buffer(b"".join(ids)))
    feed.deliver(as_parquet(table([GOOD] * 4, event_id=broken)), ".parquet")

    delivery = feed.land()

    assert delivery.problem is None
    assert [(row["line_number"], row["event_id"]) for row in feed.rows()] == [(1, "e1"), (3, "e3")]
    rows = feed.rejected()
    assert [(row["line_number"], row["reason"], row["detail"]) for row in rows] == [
        (2, "malformed", "the line is not UTF-8"),
        (4, "malformed", "the line is not UTF-8"),
    ]
    assert '"event_id": "caf\\xe9"' in rows[0]["raw"]


def test_metadata_that_cannot_be_spelled_costs_its_row_only(feed):
    """A map with a key twice; numbers that a lenient reader takes for some."""
    kind = pa.map_(pa.string(), pa.string())
    metadata = [
        [("cluster", "c1"), ("duration_s", "60")],
        [("cluster", "c1"), ("cluster", "c2")],
        *([("cluster", "c1"), ("duration_s", text)] for text in ("+5", "inf", "1_0", " 1", "0x1")),
        [("cluster", "c1"), ("energy_cost", "1e400")],
        [("cluster", "c1")],
    ]
    feed.deliver(
        as_parquet(table([GOOD] * len(metadata), metadata=pa.array(metadata, kind))), ".parquet"
    )

    delivery = feed.land()

    assert delivery.problem is None
    assert delivery.delivered_rows == len(metadata)
    assert {1, 9} <= {row["line_number"] for row in feed.rows()}
    assert {row["reason"] for row in feed.rejected()} == {"malformed"}
    assert {2, 3, 4, 5, 7, 8} <= {row["line_number"] for row in feed.rejected()}


def test_numbers_of_every_type_are_read_exactly_or_refused(feed):
    ones = {
        "int8": pa.array([7], pa.int8()),
        "uint64": pa.array([7], pa.uint64()),
        "float": pa.array([7.25], pa.float32()),
        "double": pa.array([0.1]),
        "decimal128": pa.array([Decimal("123456789.123456")], pa.decimal128(38, 6)),
    }
    for name, numbers in ones.items():
        feed.deliver(as_parquet(table([GOOD], quantity=numbers)), ".parquet")
        assert feed.land().problem is None, name
        [row] = feed.rows()
        assert row["quantity_micro"] == Decimal(str(numbers[0].as_py())) * 10**6


def test_nan_and_infinity_are_no_amounts(feed):
    numbers = pa.array([float("nan"), float("inf"), -float("inf"), -0.0, 1e308, 1.0])
    feed.deliver(as_parquet(table([GOOD] * 6, quantity=numbers)), ".parquet")

    assert feed.land().rejected_by_reason == {"malformed": 4}
    assert [row["quantity_micro"] for row in feed.rows()] == [0, 10**6]


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([Decimal(7)], pa.decimal256(50, 2)),
        pa.array([1], pa.duration("ns")),
    ],
    ids=lambda numbers: str(numbers.type),
)
def test_a_type_that_json_cannot_say_is_named(feed, numbers):
    feed.deliver(as_parquet(table([GOOD], quantity=numbers)), ".parquet")

    problem = feed.land().problem
    assert problem is None or "quantity" in problem
    assert problem or feed.rejected()[0]["reason"] == "malformed"


@pytest.mark.parametrize(
    ("instants", "reason"),
    [
        (pa.array([1769767200 * 10**9 + 1], pa.timestamp("ns", "UTC")), None),
        (pa.array([1769767200 * 10**9 + 1], pa.timestamp("ns", "Asia/Kathmandu")), None),
        (pa.array([1769767200 * 10**9], pa.timestamp("ns")), "naive_timestamp"),
        (pa.array([2**63 - 1], pa.timestamp("us", "UTC")), "malformed"),
        (pa.array([-(2**63)], pa.timestamp("us", "UTC")), "malformed"),
        (pa.array([2**60], pa.timestamp("us", "UTC")), "malformed"),
        (pa.array([-62167219200], pa.timestamp("s", "UTC")), "malformed"),
        (pa.array([253402300799], pa.timestamp("s", "UTC")), "timestamp_out_of_range"),
        (pa.array([20483], pa.date32()), "malformed"),
        (pa.array([None], pa.timestamp("us", "UTC")), "missing_ts"),
    ],
    ids=range(10),
)
def test_instants_of_every_type_and_size(feed, instants, reason):
    feed.deliver(as_parquet(table([GOOD], ts=instants)), ".parquet")

    delivery = feed.land()

    assert delivery.problem is None
    assert [row["reason"] for row in feed.rejected()] == ([reason] if reason else [])
    if not reason:
        assert feed.rows()[0]["ts"] == datetime(2026, 1, 30, 10)


def test_dictionaries_nested_types_and_views_are_read(feed):
    rows = [GOOD | {"event_id": f"e{n}"} for n in range(3)]
    plain = table(rows)
    texts = pa.array([json.dumps(row["metadata"]) for row in rows])
    for metadata in (texts, texts.dictionary_encode(), texts.cast(pa.large_string())):
        made = plain.set_column(5, "metadata", metadata)
        for name in ("customer_id", "meter", "ts"):
            at = made.schema.get_field_index(name)
            made = made.set_column(at, name, made[name].combine_chunks().dictionary_encode())
        made = made.append_column("nested", pa.array([[{"a": [1, None]}], [], None]))
        made = made.append_column("bytes", pa.array([b"\xff", b"", None]))
        feed.deliver(as_parquet(made), ".parquet")

        delivery = feed.land()

        assert delivery.problem is None
        assert [row["gpu_type"] for row in feed.rows()] == ["H100"] * 3


@pytest.mark.parametrize(
    "names", [("event_id", "event_id"), ("ts", "TS"), ("Quantity", "quantity")]
)
def test_columns_that_cannot_be_told_apart_are_named(feed, names):
    made = table([GOOD]).drop_columns(sorted({name.lower() for name in names}))
    for name in names:
        made = made.append_column(name, pa.array(["x"]))
    feed.deliver(as_parquet(made), ".parquet")

    assert f"the column {names[0].lower()!r} is there twice" in feed.land().problem


def test_hostile_texts_and_column_names_come_through_parquet_as_through_json(tmp_path):
    rows = [GOOD | {"event_id": text, "customer_id": text} for text in hostile.TEXTS.values()]
    made = table(rows)
    for number, text in enumerate(hostile.TEXTS.values()):
        if text.lower() not in [name.lower() for name in made.schema.names]:
            made = made.append_column(text, pa.array([number] * len(rows)))
    parquet, lines = Feed(tmp_path / "parquet"), Feed(tmp_path / "lines")
    parquet.deliver(as_parquet(made), ".parquet")
    lines.deliver("".join(json.dumps(row, default=float) + "\n" for row in rows).encode(), ".jsonl")

    assert parquet.land().problem is None
    lines.land()

    ids = [
        [(row["event_id"], row["customer_id"]) for row in each.rows()] for each in (parquet, lines)
    ]
    assert ids[0] == ids[1] == [(text, text) for text in hostile.TEXTS.values()]


@pytest.mark.slow
def test_a_parquet_bomb_is_refused_within_its_memory(feed):
    """One megabyte once in the file, and two hundred thousand references to it."""
    rows = 200_000
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows, pa.int32()), pa.array(["x" * (1 << 20)])
    )
    made = pa.table({"event_id": text, "customer_id": text})
    content = as_parquet(made, compression="zstd")
    feed.deliver(content, ".parquet")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    delivery = feed.land()

    assert len(content) < 2 << 20
    assert "more than 4,096 MB of memory" in delivery.problem
    assert max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) >> 10 < 4096
    assert not list(feed.landing.glob("usage/*"))


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(feed):
    feed.deliver(as_parquet(table([GOOD] * 50_000)), ".parquet")

    assert "it holds more than 0.001 GB, unpacked" in feed.land(max_bytes=1_000_000).problem


def test_a_reader_that_dies_is_a_problem_of_the_file(feed, monkeypatch, tmp_path):
    """Damaged files have taken native readers down before."""
    crash = tmp_path / "crash.py"
    crash.write_text("import os; print('{}', flush=True); os.abort()")
    monkeypatch.setattr(usage, "_AS_LINES", crash)
    feed.deliver(as_parquet(table([GOOD])), ".parquet")

    assert "its reader ended with status -6" in feed.land().problem


def test_the_reader_of_parquet_knows_no_secret(feed, monkeypatch, tmp_path):
    monkeypatch.setenv("POLICY_API_TOKEN", "canary")
    spy = tmp_path / "spy.py"
    spy.write_text("import os, sys; sys.stderr.write(repr(dict(os.environ))); sys.exit(1)")
    monkeypatch.setattr(usage, "_AS_LINES", spy)
    feed.deliver(as_parquet(table([GOOD])), ".parquet")

    problem = feed.land().problem
    assert "LC_CTYPE" in problem or "{}" in problem
    assert "canary" not in problem


WHOLE = as_parquet(table([GOOD | {"event_id": f"e{n}"} for n in range(50)]))


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3)), max_size=4),
    st.data(),
)
@settings(max_examples=examples(6), deadline=None)
def test_a_damaged_parquet_file_is_landed_whole_or_refused(tmp_path_factory, damage, data):
    """Sizes, offsets and counts that lie: never a part of the rows, never an exception."""
    content = WHOLE
    for at, replacement in damage:
        content = content[:at] + replacement + content[at + len(replacement) :]
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    feed = Feed(tmp_path_factory.mktemp("parquet"))
    feed.deliver(content[:cut], ".parquet")

    delivery = feed.land()

    if delivery.problem is None:
        assert delivery.delivered_rows == delivery.landed_rows + delivery.rejected_rows
    else:
        assert delivery.landed_rows == 0
        assert f"usage_{DAY}.parquet" in delivery.problem
