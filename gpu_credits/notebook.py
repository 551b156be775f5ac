"""The publication as it opens in a notebook: tables that are described, exact and cannot be changed.

What a notebook holds is one publication, in the file that was the current one when it was opened.
That file stays open: it is read to its end even if the publication is switched, or cleaned away.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import date
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas

from orchestration.errors import PlainError
from orchestration.printable import printable
from orchestration.publication.current import CurrentPublication, NothingPublished
from orchestration.publication.parts import quoted
from orchestration.settings import Settings, load_settings

if TYPE_CHECKING:
    import polars
    import pyarrow

    from orchestration.explain import Explanation

_NEAR_NAMES = 3
# Off the network. Frames of the notebook may be named in a query, from whichever frame they stand in.
_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_scan_all_frames": "true",
}


class NoSuchTable(PlainError, LookupError):
    """No table of this name is published; the message lists those that are spelled like it."""


class PublishedSince(PlainError, RuntimeError):
    """The books that are open are not those that the warehouse holds any more."""


class Rows:
    """Rows of the publication, as whichever frame is wanted; every decimal in it is exact.

    Attributes:
        relation: the same for whoever goes on in DuckDB. Its own ``df()`` makes floats of decimals.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation, about: Mapping[str, Any]) -> None:
        self.relation = relation
        self._about = dict(about)

    def arrow(self) -> pyarrow.Table:
        """The rows as an Arrow table; a decimal is ``decimal128``."""
        return self.relation.to_arrow_table()

    def df(self) -> pandas.DataFrame:
        """The rows as a pandas frame backed by Arrow; ``attrs`` says what they are and of which run.

        Sums, differences, groups and pivots of decimals are exact. A product or quotient of two
        columns of 38 digits has no exact type, so pandas refuses it: divide in the query, or
        ``astype(float)`` what is only looked at.
        """
        frame: pandas.DataFrame = self.arrow().to_pandas(types_mapper=pandas.ArrowDtype)
        frame.attrs.update(self._about)
        return frame

    def pl(self) -> polars.DataFrame:
        """The rows as a polars frame; a decimal is ``Decimal``."""
        return self.relation.pl()

    def __repr__(self) -> str:
        return f"{self.relation}"


class TableRows(Rows):
    """A published table.

    Attributes:
        name: of the table.
        description: what one row is.
        columns: what each column means, with its unit, by name.
        run_id: the run that published it.
        as_of: the day as of whose end it is.
    """

    def __init__(
        self,
        relation: duckdb.DuckDBPyRelation,
        about: Mapping[str, Any],
        name: str,
        description: str,
        columns: Mapping[str, str],
    ) -> None:
        told = {"table": name, "description": description, "columns": dict(columns), **about}
        super().__init__(relation, told)
        self.name = name
        self.description = description
        self.columns = dict(columns)
        self.run_id: str = about["run_id"]
        self.as_of: date = about["as_of"]

    def __repr__(self) -> str:
        return f"{self.name}: {self.description}\n{self.relation}"


class OpenedBooks:
    """One publication, open to read: nothing here can change it, and no run waits for it.

    Attributes:
        folder: of the publication.
        run_id: the run that published it.
        as_of: the day as of whose end the books are: the last delivery day.
    """

    def __init__(self, data_dir: Path) -> None:
        """Open the current publication.

        Args:
            data_dir: the folder that the job writes to.

        Raises:
            NothingPublished: there is none in it.
        """
        self._data_dir = data_dir
        published = CurrentPublication.within(data_dir / "published")
        self.folder = published.folder
        self.run_id = published.run_id
        self.as_of = published.last_day
        self._marts = duckdb.connect(":memory:", config=_OPTIONS)
        try:
            self._marts.execute(
                f"attach '{quoted(self.folder / 'marts.duckdb')}' as published (read_only)"
            )
        except duckdb.IOException:
            self._marts.close()
            raise NothingPublished(
                f"{self.folder} was cleaned away, or is damaged: open the books again"
            ) from None
        self._marts.execute("use published")
        self._descriptions: dict[str, str] = dict(
            self._marts.execute(
                "select table_name, comment from duckdb_tables() "
                "where database_name = 'published' order by table_name"
            ).fetchall()
        )

    @property
    def tables(self) -> pandas.DataFrame:
        """The published tables: ``name``, and ``description``, which says first what one row is."""
        return pandas.DataFrame(self._descriptions.items(), columns=["name", "description"])

    def table(self, name: str) -> TableRows:
        """A published table.

        Args:
            name: as ``tables`` lists it.

        Raises:
            NoSuchTable: there is none of this name; the message lists names like it.
        """
        if name not in self._descriptions:
            raise NoSuchTable(self._no_such(name))
        columns = self._marts.execute(
            "select column_name, comment from duckdb_columns() "
            "where database_name = 'published' and table_name = $1 order by column_index",
            [name],
        ).fetchall()
        relation = self._marts.sql(f'from published."{name}"')
        return TableRows(relation, self._about, name, self._descriptions[name], dict(columns))

    def sql(self, query: str) -> Rows:
        """What a query over all tables finds; frames of the notebook may be named in it, too.

        Args:
            query: a query of DuckDB's SQL. ``/`` and ``avg`` make floats, which are to look at;
                ``sum``, ``+``, ``-``, ``*`` of decimals are exact.

        Raises:
            duckdb.Error: it is no query, or asks to change something.
        """
        return Rows(self._marts.sql(query), self._about)

    @property
    def controls(self) -> pandas.DataFrame:
        """What the run checked before it published: the table ``billing_controls``."""
        return self.table("billing_controls").df()

    def explain(self, line: str, *, events: int = 20) -> Explanation:
        """Take a line of these books down to the delivered events, as data.

        The steps between are in the warehouse, which keeps only what was billed last.

        Args:
            line: an ``invoice_line_id``.
            events: how many delivered events are listed; all are summed.

        Raises:
            NothingToExplain: no such line (with the closest ids), or a run is writing the warehouse.
            PublishedSince: something else was published since these books were opened.
            SettingsError: a setting of the environment is wrong.
        """
        if CurrentPublication.within(self._data_dir / "published").folder != self.folder:
            raise PublishedSince(
                f"These books, as of {self.as_of}, were opened before the ones that are published "
                "now, and only those can be explained: open the books again"
            )
        return explained(self._data_dir, line, events)

    def close(self) -> None:
        """Let go of the file; frames that were made stay."""
        self._marts.close()

    def __enter__(self) -> OpenedBooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Books as of {self.as_of}, {len(self._descriptions)} tables, published by run "
            f"{self.run_id} in {self.folder}"
        )

    @property
    def _about(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "as_of": self.as_of}

    def _no_such(self, name: str) -> str:
        near = difflib.get_close_matches(name.lower(), self._descriptions, _NEAR_NAMES)
        hint = f"did you mean {' or '.join(near)}?" if near else "books.tables lists all"
        return f"No table {printable(repr(name))} is published: {hint}"


def data_folder(given: str | PathLike[str] | None) -> Path:
    """The folder that the job writes to: the one given, else what DATA_DIR says."""
    return _settings().data_dir if given is None else Path(given).expanduser().resolve()


def explained(data_dir: Path, line: str, events: int) -> Explanation:
    """Explain a line of the current publication with the settings of the environment."""
    from orchestration.explain import explain

    return explain(_settings().apart(data_dir=data_dir), line, events=events)


def _settings() -> Settings:
    """The settings of the environment; what this process writes elsewhere stays as public as it was."""
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        return load_settings()
    finally:
        os.umask(mask)
