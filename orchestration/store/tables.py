"""How a Parquet file is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.store.durable import beside, put


class TableWriter:
    """Writes one Parquet file in pieces, zstd-compressed."""

    # Columns whose values hardly ever repeat: a dictionary would only be built to be dropped.
    _DISTINCT = frozenset({"event_id", "line_number", "raw"})

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            use_dictionary=[name for name in schema.names if name not in self._DISTINCT],
            write_statistics=[name for name in schema.names if name != "raw"],
            store_decimal_as_integer=True,
        )
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table)
        self.rows += table.num_rows

    def close(self) -> None:
        """Finish the file; once is enough."""
        if self._file.closed:
            return
        self._writer.close()
        self._file.close()


def write_table(table: pa.Table, path: Path) -> None:
    """Write a whole table to a staged file."""
    writer = TableWriter(path, table.schema)
    writer.write(table)
    writer.close()


def put_table(table: pa.Table, path: Path) -> None:
    """Write a whole table under its name in one step; readers never see half of it."""
    staged = beside(path)
    write_table(table, staged)
    put(staged, path)
