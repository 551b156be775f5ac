"""What was written is there after a power cut, whole, whichever part of the job wrote it.

Method: ``os.fsync`` notes what it was asked to have on disk: the bytes of a file, the names in a
folder. What nobody asked for counts as lost, and then nothing may be missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from orchestration.books.plan import BilledState, RunPlan, write_plan
from orchestration.gates import verdicts
from orchestration.gates.data_docs import write_data_docs
from orchestration.gates.holds import hold
from orchestration.gates.verdicts import Verdict
from orchestration.pages.names import page_name
from orchestration.seeds.staging import stage_seeds
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.services.cache import Cache, Interval
from orchestration.store import durable
from orchestration.store.durable import copy, put, put_first, put_text, remove
from orchestration.store.tables import put_table, write_table
from orchestration.store.versions import new_version

DAY = date(2026, 1, 5)
TABLE = pa.table({"a": [1, 2]})


class Disk:
    """What a power cut leaves of a folder that was there before."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._flush(root)
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        self._flush(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    def _flush(self, path: Path) -> None:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = {
                entry.name: entry.lstat().st_ino for entry in path.iterdir()
            }
        else:
            self._bytes[found.st_ino] = path.read_bytes()

    def left(self) -> dict[str, bytes]:
        """The files that are left, by path; a file whose bytes were never flushed is empty."""

        def below(folder: Path, inode: int) -> dict[Path, bytes]:
            found: dict[Path, bytes] = {}
            for name, named in self._names.get(inode, {}).items():
                if named in self._names or (folder / name).is_dir():
                    found |= below(folder / name, named)
                else:
                    found[folder / name] = self._bytes.get(named, b"")
            return found

        return _kept(below(self.root, self.root.stat().st_ino), self.root)

    def there(self) -> dict[str, bytes]:
        """The files as the job sees them."""
        return _kept(
            {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}, self.root
        )


def _kept(found: dict[Path, bytes], root: Path) -> dict[str, bytes]:
    """But for locks, which hold nothing."""
    return {
        str(path.relative_to(root)): content
        for path, content in found.items()
        if path.suffix != ".lock" and path.name != ".lock"
    }


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    (tmp_path / "data").mkdir()
    return Disk(tmp_path / "data", monkeypatch)


def _staged(root: Path) -> None:
    (root / "stage").mkdir()
    write_table(TABLE, root / "stage" / "part.parquet")
    put(root / "stage" / "part.parquet", root / "landing" / "usage" / "part.parquet")


def _text_twice(root: Path) -> None:
    put_text("one", root / "a" / "text")
    put_text("two", root / "a" / "text")


def _removed(root: Path) -> None:
    _text_twice(root)
    remove(root / "a" / "text")


def _copied(root: Path) -> None:
    put_text("one", root / "a" / "text")
    copy(root / "a" / "text", root / "b" / "c" / "text")


def _fetched(root: Path) -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    cache = Cache("energy", root / "connector_cache")
    cache.put("A", [Interval(start, 60, ("1", "EUR", "MWh"))])
    cache.put("A", [Interval(start.replace(hour=1), 60, ("2", "EUR", "MWh"))])


def _plan() -> RunPlan:
    return RunPlan(DAY, DAY, DAY, (), (), (DAY,), (DAY,), DAY, False)


def _version(root: Path) -> None:
    with new_version(root / "published", "x", kept=2) as staged:
        (staged / "invoices").mkdir()
        (staged / "invoices" / "part.csv").write_text("a\n1\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "a staged file": _staged,
    "a text, twice": _text_twice,
    "a table": lambda root: put_table(TABLE, root / "a" / "b" / "table.parquet"),
    "a copy": _copied,
    "a removal": _removed,
    "a key": lambda root: put_first(b"key", root / "portal" / "key"),
    "the key of the pages": lambda root: page_name(Settings(data_dir=root), "acme") and None,
    "a hold": lambda root: hold(Settings(data_dir=root), "check", "it failed"),
    "a hold that ended": lambda root: hold(Settings(data_dir=root), "check", None),
    "pages of the gates": lambda root: (
        write_data_docs(root / "docs", "usage", DAY, [], TABLE) and None
    ),
    "a verdict": lambda root: verdicts._write(
        root / "verdicts" / "usage.json", Verdict("usage", DAY, {}, (), TABLE), "none"
    ),
    "staged seeds": lambda root: stage_seeds(PROJECT_ROOT / "seeds", root / "seeds") and None,
    "what services gave": _fetched,
    "what was billed": lambda root: BilledState(Settings(data_dir=root)).begin(_plan()),
    "the plan of a run": lambda root: write_plan(_plan(), Settings(data_dir=root)),
    "a publication": _version,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_was_written_is_there_after_a_power_cut(disk: Disk, write: Callable) -> None:
    write(disk.root)
    assert {name for name in disk.there() if name.endswith(".part")} == set()
    assert disk.left() == disk.there()


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_the_test_sees_a_flush_that_is_missing(disk: Disk, monkeypatch, forgotten: str) -> None:
    flush = durable.flush

    def forgetful(path: Path) -> None:
        if path.is_dir() != (forgotten == "folders"):
            flush(path)

    monkeypatch.setattr(durable, "flush", forgetful)
    _text_twice(disk.root)
    assert disk.there() == {"a/text": b"two"}
    assert disk.left() == ({"a/text": b""} if forgotten == "files" else {})


def test_the_bytes_are_on_disk_before_the_file_has_its_name(disk: Disk, monkeypatch) -> None:
    """Otherwise a power cut between the two leaves the name with nothing behind it."""
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *paths: [order.append("rename"), replace(*paths)])
    put_text("one", disk.root / "text")
    assert order == ["file", "rename", "folder"]


def test_what_was_left_over_is_no_file_of_its_folder(disk: Disk, monkeypatch) -> None:
    """A write that is cut off leaves its staged file behind; nobody may take it for a hold."""

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", cut_off)
        for path in ("x.txt", "x.csv", "x.json", "x.parquet", "2026-01-05.csv"):
            with pytest.raises(KeyboardInterrupt):
                put_text("half", disk.root / path)
    endings = ("*.txt", "*.csv", "*.json", "*.parquet")
    assert [path for ending in endings for path in disk.root.glob(ending)] == []
    put_text("whole", disk.root / "x.txt")
    assert (disk.root / "x.txt").read_text() == "whole"


def test_of_two_keys_the_first_stays_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    put_first(b"first", tmp_path / "key")
    put_first(b"second", tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
