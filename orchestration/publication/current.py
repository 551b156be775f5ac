"""The publication that readers see now."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
    last_day: date
    """The day as of whose end it is."""

    @classmethod
    def of(cls, settings: Settings) -> CurrentPublication:
        """The publication that readers see now.

        Raises:
            NothingPublished: there is none.
        """
        folder = (settings.published_dir / "current").resolve()
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NothingPublished(
                f"Nothing is published in {settings.published_dir}: bill a day first"
            ) from None
        return cls(folder, date.fromisoformat(manifest["last_delivery_day"]))

    def rows(self, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The given columns of a published table, a row at a time."""
        published = ds.dataset(self.folder / table, format="parquet")
        rows: list[dict[str, Any]] = published.to_table(columns=list(columns)).to_pylist()
        return rows
