"""The publication that readers see now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from orchestration.errors import PlainError
from orchestration.settings import Settings


class NothingPublished(PlainError, RuntimeError):
    """There is no publication to read."""


@dataclass(frozen=True)
class CurrentPublication:
    """One publication, whatever is published meanwhile."""

    folder: Path
    manifest: Mapping[str, Any]
    """What was written down of it, last of all."""

    @property
    def last_day(self) -> date:
        """The day as of whose end it is."""
        return date.fromisoformat(self.manifest["last_delivery_day"])

    @property
    def run_id(self) -> str:
        """The run that published it."""
        return str(self.manifest["run_id"])

    @classmethod
    def of(cls, settings: Settings) -> CurrentPublication:
        """The publication that readers see now.

        Raises:
            NothingPublished: there is none.
        """
        return cls.within(settings.published_dir)

    @classmethod
    def within(cls, published: Path) -> CurrentPublication:
        """The same, by the folder that all publications are in.

        Raises:
            NothingPublished: there is none.
        """
        folder = (published / "current").resolve()
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise NothingPublished(
                f"Nothing is published in {published}: bill a day first"
            ) from None
        return cls(folder, manifest)

    def rows(self, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given columns of a published table, a row at a time."""
        published = ds.dataset(self.folder / table, format="parquet")
        rows: list[dict[str, Any]] = published.to_table(columns=list(columns)).to_pylist()
        return rows
