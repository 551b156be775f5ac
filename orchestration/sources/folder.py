"""Sources: where deliveries come from, and the one way a delivery can be unusable as a whole.

A source finds and opens what was delivered. It never looks inside a row: that is landing's job.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zlib_ng import zlib_ng

from orchestration.errors import NotDone
from orchestration.printable import printable

Feed = Literal["usage", "energy", "carbon", "gpu", "fx"]
UndatedFeed = Literal["energy", "carbon", "gpu", "fx"]

# The folder of an undated feed carries the feed's name; these are its files, plain or gzipped.
UNDATED_FILES: dict[UndatedFeed, str] = {
    "energy": "energy_price_*.csv",
    "carbon": "carbon_mix_*.csv",
    "gpu": "gpu_prices.csv",
    "fx": "fx_rates.csv",
}
USAGE_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

_USAGE_FILE = re.compile(
    r"usage_(?P<day>\d{4}-\d\d-\d\d)(" + "|".join(map(re.escape, USAGE_SUFFIXES)) + ")"
)
MAX_UNPACKED_BYTES = 16 * 10**9
"""So large may a delivered file be, unpacked, unless a setting says otherwise."""

_READ_BYTES = 1 << 20
_HEAD_BYTES = 64 << 10
_GZIP = b"\x1f\x8b"
_SHOWN_NAMES = 5


class Hash(Protocol):
    """What hashlib's hashes have in common."""

    def update(self, data: bytes, /) -> None:
        """Take in some more bytes."""


class FeedProblem(NotDone):
    """A delivery that cannot be used at all: what is wrong with which file, and the cure."""

    def __init__(
        self, feed: str, file: str, wrong: str, cure: str, *, line: int | None = None
    ) -> None:
        self.feed, self.file, self.wrong, self.cure, self.line = feed, file, wrong, cure, line
        where = file if line is None else f"{file}, line {line}"
        # Names of files are given by whoever delivers.
        super().__init__(printable(f"{feed} feed, {where}: {wrong}. {cure}."))


@dataclass(frozen=True)
class FeedFile:
    """One delivered file: its feed, its name without the folder, and how to open its raw bytes."""

    feed: str
    name: str
    open_raw: Callable[[], BinaryIO]

    @property
    def is_parquet(self) -> bool:
        """Whether the rows come as Parquet, not as lines of text."""
        return self.name.endswith(".parquet")

    def open(
        self, content: Hash | None = None, *, max_bytes: int = MAX_UNPACKED_BYTES
    ) -> DeliveredStream:
        """Open the file's content, unpacked if its name ends in ``.gz``.

        Args:
            content: is updated with the bytes as delivered (packed) while they are read.
            max_bytes: reading more unpacked bytes than this is a FeedProblem.

        Raises:
            FeedProblem: it is gone or cannot be read.
        """
        return DeliveredStream(self, content or hashlib.sha256(), max_bytes)

    def too_large(self, max_bytes: int) -> FeedProblem:
        """The problem of a file that holds more than it may."""
        return FeedProblem(
            self.feed,
            self.name,
            f"it holds more than {max_bytes / 10**9:g} GB, unpacked",
            "Find out what was delivered; if it is meant, raise MAX_DELIVERY_GB and land it again",
        )


class Source(Protocol):
    """Anything that can hand over deliveries, one usage file a day and files without a day."""

    def usage(self, day: date) -> FeedFile:
        """Find the usage delivery of a day, or raise FeedProblem."""
        ...

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """List the files of a feed that has no delivery day, in the order of delivery."""
        ...


class FoundUsage:
    """A source whose usage delivery of a day has been looked for; landing it asks nobody.

    So whoever lands may hold a lock that others wait for, however long the source took.
    """

    def __init__(self, source: Source, day: date) -> None:
        self._source, self._day = source, day
        self._found: FeedFile | FeedProblem
        try:
            self._found = source.usage(day)
        except FeedProblem as problem:
            self._found = problem

    def usage(self, day: date) -> FeedFile:
        """Hand over what was found, or raise the problem that was met; another day is looked for."""
        if day != self._day:
            return self._source.usage(day)
        if isinstance(self._found, FeedProblem):
            raise self._found
        return self._found

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """List the files of a feed that has no delivery day."""
        return self._source.files(feed)


class DeliveredStream(io.RawIOBase):
    """Reads a delivered file once, front to back; unpacks gzip, and hashes what was delivered.

    Reading raises FeedProblem when the bytes end or break inside a gzip member, and when there are
    more of them than ``max_bytes``: a small file can unpack to any size.
    """

    def __init__(self, file: FeedFile, content: Hash, max_bytes: int) -> None:
        self._file = file
        self._content = content
        self._max_bytes = max_bytes
        self._bytes = 0
        self.head = b""
        """The first bytes, unpacked, as far as they were read: they tell what a file is."""
        self._gzip = file.name.endswith(".gz")
        self._unpacker: Any = None
        self._packed = b""
        self._raw = self._guard(file.open_raw)

    def readable(self) -> bool:
        """A delivery can only be read."""
        return True

    def close(self) -> None:
        """Close the delivered file, too."""
        if not self.closed and hasattr(self, "_raw"):
            self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as bytes are left."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def read(self, size: int | None = -1) -> bytes:
        """Read up to ``size`` unpacked bytes; fewer only at the end, all that is left if < 0."""
        left = -1 if size is None else size
        found = []
        while left != 0:
            piece = self._unpack(left) if self._gzip else self._read_raw(left)
            if not piece:
                break
            self._bytes += len(piece)
            if self._bytes > self._max_bytes:
                raise self._file.too_large(self._max_bytes)
            if len(self.head) < _HEAD_BYTES:
                self.head += piece[: _HEAD_BYTES - len(self.head)]
            found.append(piece)
            left = max(left - len(piece), 0) if left > 0 else left
        return found[0] if len(found) == 1 else b"".join(found)

    def _unpack(self, size: int) -> bytes:
        """Return at least one unpacked byte, or b"" at the end of the last gzip member."""
        while True:
            if not self._packed:
                self._packed = self._read_raw(_READ_BYTES)
                if not self._packed:
                    if self._unpacker is not None:
                        raise self._broken("the gzip data stops in the middle (truncated)")
                    return b""
            if self._unpacker is None:
                # Gzip files are often padded with zeros; like gzip itself, read past them.
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    continue
                # One byte of it alone may be what was read so far.
                if not _GZIP.startswith(self._packed[:2]):
                    raise self._no_gzip()
                # Python's own unpacker costs two and a half times as much.
                self._unpacker = zlib_ng.decompressobj(31)
            try:
                piece = self._unpacker.decompress(self._packed, size if size > 0 else _READ_BYTES)
            except zlib_ng.error:  # type: ignore[misc]  # its types call the class an instance
                raise self._broken("the gzip data is damaged") from None
            self._packed = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                self._packed = self._unpacker.unused_data
                self._unpacker = None
            if piece:
                return cast(bytes, piece)

    def _read_raw(self, size: int) -> bytes:
        piece = self._guard(lambda: self._raw.read(size if size > 0 else _READ_BYTES))
        self._content.update(piece)
        return piece

    def _no_gzip(self) -> FeedProblem:
        if self._bytes:
            return self._broken("something that is no gzip follows the gzip data")
        return FeedProblem(
            self._file.feed,
            self._file.name,
            "it is no gzip, though its name says so",
            "Deliver it packed, or without .gz in its name",
        )

    def _broken(self, wrong: str) -> FeedProblem:
        return FeedProblem(self._file.feed, self._file.name, wrong, "Deliver the file again")

    def _guard(self, read: Callable[[], Any]) -> Any:
        """Turn any error into a FeedProblem without its text, which may hold a credential."""
        try:
            return read()
        except FeedProblem:
            raise
        except FileNotFoundError:
            raise FeedProblem(
                self._file.feed, self._file.name, "the file is missing", "Deliver it"
            ) from None
        except Exception as error:
            raise _unreadable(self._file.feed, self._file.name, error) from None


def content_sha256(delivered: Sequence[FeedFile]) -> str:
    """Hex SHA-256 of some files' bytes as delivered, one after the other.

    Of files that cannot be read only the bytes that can be had count; without files it is "".
    """
    content = hashlib.sha256()
    for file in delivered:
        try:
            with closing(file.open_raw()) as raw:
                while piece := raw.read(_READ_BYTES):
                    content.update(piece)
        except Exception:  # Whatever a file system raises: the problem is known already.
            continue
    return content.hexdigest() if delivered else ""


class FolderSource:
    """A folder of files, on disk or behind any URL that fsspec opens (``s3://``, ``gs://``, ...).

    Args:
        url: the folder with ``usage/``, ``energy/``, ``carbon/``, ``gpu/`` and ``fx/`` in it.
        options: passed to the file system, for example ``endpoint_url`` or credentials.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(str(url), **options)
        except Exception as error:
            raise FeedProblem(
                "any",
                "the feed folder",
                f"the feed URL cannot be opened ({type(error).__name__})",
                "Check FEEDS_URL and that the package for its protocol is installed",
            ) from None

    def usage(self, day: date) -> FeedFile:
        """Find ``usage/usage_<day>`` with one of USAGE_SUFFIXES.

        Raises:
            FeedProblem: none is there, more than one is, or the folder cannot be read.
        """
        stem = f"usage_{day.isoformat()}"
        found = [stem + suffix for suffix in USAGE_SUFFIXES if self._exists(stem + suffix)]
        if not found:
            entries = self._entries("usage")
            near = [name for name in entries if name.lower().startswith(stem)]
            raise FeedProblem(
                "usage",
                f"{stem}{USAGE_SUFFIXES[0]}",
                "the file is missing" + self._what_is_there("usage", near),
                f"Deliver it (or {stem}.jsonl.gz, or {stem}.parquet) into the folder usage",
            )
        if len(found) > 1:
            raise _two_files("usage", found)
        return self._file("usage", found[0])

    def files(self, feed: UndatedFeed) -> list[FeedFile]:
        """List the files of a feed without a delivery day, sorted by name; empty if none is there.

        Raises:
            FeedProblem: a file is there both plain and gzipped, or files only under names like its, or
                the folder cannot be read.
        """
        pattern = UNDATED_FILES[feed]
        there = sorted(self._entries(feed))
        names = [
            name
            for name in there
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + ".gz")
        ]
        # Written in capitals, in the plural or the like; whatever else lies there is not ours.
        begins = pattern.removesuffix(".csv").rstrip("*_s")
        near = [name for name in there if name.lower().startswith(begins)]
        if near and not names:
            raise FeedProblem(
                feed,
                pattern,
                "no such file is there" + self._what_is_there(feed, near),
                f"Give it such a name (plain or as .gz) in the folder {feed}",
            )
        for name in names:
            if name + ".gz" in names:
                raise _two_files(feed, [name, name + ".gz"])
        return [self._file(feed, name) for name in names]

    def _file(self, feed: str, name: str) -> FeedFile:
        path = self._path(feed, name)

        def open_raw() -> BinaryIO:
            if isinstance(self._files, LocalFileSystem):
                return _open_local(feed, name, Path(path))
            return cast(BinaryIO, self._files.open(path, "rb"))

        return FeedFile(feed, name, open_raw)

    def _path(self, *parts: str) -> str:
        return "/".join([self._root.rstrip("/"), *parts])

    def _exists(self, name: str) -> bool:
        path = self._path("usage", name)
        # Remote file systems remember listings; a file delivered since must be seen.
        self._files.invalidate_cache()
        try:
            # What is neither a file nor a folder is named when it is opened.
            return bool(self._files.info(path)["type"] != "directory")
        except FileNotFoundError:
            return False
        except Exception as error:
            raise _unreadable("usage", name, error) from None

    def usage_fingerprints(self) -> dict[date, str]:
        """Say of every usage delivery that is there what its file looks like from outside.

        Returns:
            By delivery day, a text that changes when the file does (its size, time, tag or whatever
            else the file system tells) and that may change when it doesn't.

        Raises:
            FeedProblem: the folder cannot be read.
        """
        looks: dict[date, list[str]] = {}
        for name, entry in self._entries("usage").items():
            found = _USAGE_FILE.fullmatch(name)
            if found and (day := _day(found["day"])):
                looks.setdefault(day, []).append(repr(sorted(entry.items(), key=str)))
        return {
            day: hashlib.sha256("".join(sorted(files)).encode()).hexdigest()[:16]
            for day, files in looks.items()
        }

    def unread_usage(self) -> list[str]:
        """The files in the folder of usage that nothing reads, because of their names."""
        return sorted(name for name in self._entries("usage") if not _USAGE_FILE.fullmatch(name))

    def _what_is_there(self, feed: str, near: list[str]) -> str:
        """A part of a sentence: the files that may be meant, or that not even the folder is there."""
        if near:
            more = f" and {len(near) - _SHOWN_NAMES} more" if len(near) > _SHOWN_NAMES else ""
            return f"; there is {', '.join(sorted(near)[:_SHOWN_NAMES])}{more}"
        try:
            has_folder = self._files.exists(self._path(feed))
        except Exception as error:
            raise _unreadable(feed, f"the folder {feed}", error) from None
        if has_folder:
            return ""
        if isinstance(self._files, LocalFileSystem):
            return f"; there is no folder {self._path(feed)}"
        return f"; FEEDS_URL has no folder {feed}"

    def _entries(self, feed: str) -> dict[str, dict[str, Any]]:
        """What the file system tells of the files of a feed, by name."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._path(feed), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except Exception as error:
            raise _unreadable(feed, f"the folder {feed}", error) from None
        # A link is told from a file here; where it leads is looked at when it is opened.
        return {
            entry["name"].rsplit("/", 1)[-1]: entry
            for entry in entries
            if entry["type"] != "directory" or entry.get("islink")
        }


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _open_local(feed: str, name: str, path: Path) -> BinaryIO:
    """Open a file on disk.

    A link to a file outside is refused: whoever delivers must not have the job read what it may.
    The folders themselves may be links: only the operator makes them. A pipe or a device is
    refused, too: reading it might never end. It is asked of what was opened, and opening waits for
    nobody.
    """
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise FeedProblem(
            feed, name, "it is a link that leads out of its folder", "Deliver the file itself"
        )
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FeedProblem(
            feed, name, "it is no file but a folder, a pipe or a device", "Deliver a file"
        )
    return os.fdopen(descriptor, "rb")


def _two_files(feed: str, names: list[str]) -> FeedProblem:
    return FeedProblem(
        feed,
        " and ".join(names),
        "they are one delivery in more than one file",
        "Remove all but the right one",
    )


def _unreadable(feed: str, name: str, error: Exception) -> FeedProblem:
    return FeedProblem(
        feed,
        name,
        f"it cannot be read ({type(error).__name__})",
        "Check that the feed folder can be reached and read, then land it again",
    )
