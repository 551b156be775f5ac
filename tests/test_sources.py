"""A source finds one delivery a day, hands over its bytes, and says what is wrong in words."""

import gzip
import hashlib
import io
import struct
import zlib
from contextlib import closing
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sources.folder import FeedFile, FeedProblem, FolderSource, content_sha256

DAY = date(2026, 1, 2)


def write(folder, name, content=b"x\n"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_usage_delivery_is_found_in_each_form(tmp_path, suffix):
    write(tmp_path, f"usage/usage_2026-01-02{suffix}")
    write(tmp_path, "usage/usage_2026-01-03.jsonl")

    assert FolderSource(str(tmp_path)).usage(DAY).name == f"usage_2026-01-02{suffix}"


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_folder_is_a_path_or_a_url(tmp_path, url):
    write(tmp_path, "fx/fx_rates.csv", b"date\n")

    (file,) = FolderSource(url.format(tmp_path)).files("fx")

    with closing(file.open()) as stream:
        assert stream.read() == b"date\n"


def test_a_relative_path_works(tmp_path, monkeypatch):
    write(tmp_path, "feeds/fx/fx_rates.csv")
    monkeypatch.chdir(tmp_path)

    assert [file.name for file in FolderSource("feeds").files("fx")] == ["fx_rates.csv"]


def test_a_missing_delivery_names_the_file_and_the_cure(tmp_path):
    with pytest.raises(
        FeedProblem,
        match=r"usage_2026-01-02\.jsonl: the file is missing; there is no folder /.*/usage\. Deliver",
    ):
        FolderSource(str(tmp_path)).usage(DAY)


def test_two_files_of_one_delivery_are_a_problem(tmp_path):
    write(tmp_path, "usage/usage_2026-01-02.jsonl")
    write(tmp_path, "usage/usage_2026-01-02.parquet")
    write(tmp_path, "gpu/gpu_prices.csv")
    write(tmp_path, "gpu/gpu_prices.csv.gz")
    source = FolderSource(str(tmp_path))

    with pytest.raises(FeedProblem, match=r"jsonl and usage_2026-01-02\.parquet.*Remove all but"):
        source.usage(DAY)
    with pytest.raises(FeedProblem, match=r"gpu_prices\.csv and gpu_prices\.csv\.gz"):
        source.files("gpu")


def test_undated_files_come_sorted_and_others_are_left_alone(tmp_path):
    for name in ("carbon_mix_SE2.csv", "carbon_mix_SE1.csv.gz", "mix_long_SE.csv.gz", "notes.txt"):
        write(tmp_path, f"carbon/{name}")
    source = FolderSource(str(tmp_path))

    assert [file.name for file in source.files("carbon")] == [
        "carbon_mix_SE1.csv.gz",
        "carbon_mix_SE2.csv",
    ]
    assert source.files("energy") == []


def test_a_file_delivered_after_the_first_look_is_seen(tmp_path):
    source = FolderSource(str(tmp_path))
    with pytest.raises(FeedProblem):
        source.usage(DAY)
    write(tmp_path, "usage/usage_2026-01-02.jsonl")

    assert source.usage(DAY).name == "usage_2026-01-02.jsonl"


@pytest.mark.parametrize("size", [1, 7, 1 << 20, -1])
def test_gzip_is_unpacked_over_all_members_and_padding(tmp_path, size):
    """Two members and zero padding, as tape and split writers leave them."""
    text = bytes(range(256)) * 999
    packed = gzip.compress(text[:1000]) + gzip.compress(text[1000:]) + bytes(513)
    write(tmp_path, "fx/fx_rates.csv.gz", packed)
    (file,) = FolderSource(str(tmp_path)).files("fx")
    content = hashlib.sha256()

    with closing(file.open(content)) as stream:
        pieces = [stream.read(size)]
        while size > 1000 and pieces[-1]:
            pieces.append(stream.read(size))
        pieces.append(stream.read())

    assert b"".join(pieces) == text
    assert content.hexdigest() == hashlib.sha256(packed).hexdigest() == content_sha256([file])


@pytest.mark.parametrize(
    ("packed", "wrong"),
    [
        (gzip.compress(b"x" * 999)[:-9], "truncated"),
        (gzip.compress(b"x" * 999)[:-3] + b"abc", "damaged"),
        (gzip.compress(b"x") + b"garbage", "no gzip follows"),
    ],
    # Named: gzip writes the time into its header, and two test processes must agree on names.
    ids=["cut", "wrong checksum", "garbage after the end"],
)
def test_broken_gzip_is_a_problem(tmp_path, packed, wrong):
    write(tmp_path, "fx/fx_rates.csv.gz", packed)
    (file,) = FolderSource(str(tmp_path)).files("fx")

    with (
        pytest.raises(FeedProblem, match=rf"fx_rates\.csv\.gz: .*{wrong}.*Deliver the file again"),
        closing(file.open()) as stream,
    ):
        stream.read()


def gzip_member(text, flags):
    """A gzip member with every optional part of a header that its flags promise."""
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    header += b"\3\0abc" * bool(flags & 4) + b"name\0" * bool(flags & 8)
    header += b"comment\0" * bool(flags & 16)
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) * bool(flags & 2)
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(text) + packer.flush()
    return header + body + struct.pack("<II", zlib.crc32(text), len(text))


@settings(max_examples=500)
@given(data=st.data(), flags=st.sampled_from([0, 2, 8, 16, 31, 32]), size=st.sampled_from([3, -1]))
def test_damage_is_seen_wherever_pythons_own_unpacker_sees_it(data, flags, size):
    """The checksum of a header among it, which some unpackers that are quicker still don't check."""
    packed = bytearray(gzip_member(data.draw(st.binary(max_size=60)), flags))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    packed = bytes(packed[: data.draw(st.sampled_from([len(packed), place]))])
    reference = zlib.decompressobj(31)
    try:
        wanted = reference.decompress(packed)
        is_whole = (reference.eof and not reference.unused_data) or not packed
    except zlib.error:
        wanted, is_whole = b"", False
    file = FeedFile("fx", "fx_rates.csv.gz", lambda: io.BytesIO(packed))

    try:
        with closing(file.open()) as stream:
            found = b"".join(iter(lambda: stream.read(size), b""))
    except FeedProblem:
        assert not is_whole
    else:
        assert is_whole
        assert found == wanted


def test_a_file_that_vanished_is_a_problem(tmp_path):
    path = write(tmp_path, "fx/fx_rates.csv")
    (file,) = FolderSource(str(tmp_path)).files("fx")
    path.unlink()

    with pytest.raises(FeedProblem, match="the file is missing"):
        file.open()


def test_no_credential_reaches_a_message():
    """Errors of file systems quote URLs; ours name the kind of error only."""

    def fail():
        raise PermissionError("https://user:hunter2@feeds.example/usage denied")

    with pytest.raises(FeedProblem) as caught:
        FeedFile("usage", "usage_2026-01-02.jsonl", fail).open()
    with pytest.raises(FeedProblem) as unknown:
        FolderSource("nosuch://user:hunter2@feeds.example/")

    for problem in (caught.value, unknown.value):
        assert "hunter2" not in str(problem)
        assert problem.__suppress_context__


def test_a_problem_names_the_line():
    problem = FeedProblem(
        "fx", "fx_rates.csv", "the header lacks the column date", "Add it", line=1
    )

    assert str(problem) == (
        "fx feed, fx_rates.csv, line 1: the header lacks the column date. Add it."
    )


@pytest.fixture
def bucket(monkeypatch):
    """An S3 bucket on this machine, as (url, options, client)."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: no S3 source to test")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed: no S3 server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}"}
    client = s3fs.S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False)
    client.mkdir("feeds")
    yield "s3://feeds/daily", options, client
    server.stop()


def test_a_bucket_is_a_folder(bucket):
    url, options, client = bucket
    source = FolderSource(url, **options)
    with pytest.raises(FeedProblem, match="the file is missing"):
        source.usage(DAY)
    assert source.files("energy") == []

    client.pipe_file("feeds/daily/usage/usage_2026-01-02.jsonl.gz", gzip.compress(b"{}\n"))
    client.pipe_file("feeds/daily/energy/energy_price_B.csv", b"b")
    client.pipe_file("feeds/daily/energy/energy_price_A.csv", b"a")

    with closing(source.usage(DAY).open()) as stream:
        assert stream.read() == b"{}\n"
    assert [file.name for file in source.files("energy")] == [
        "energy_price_A.csv",
        "energy_price_B.csv",
    ]
