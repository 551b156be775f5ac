"""The folders and files below DATA_DIR: where everything that the job writes has its place."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path


class Places:
    """What lies where below ``data_dir``."""

    data_dir: Path

    @cached_property
    def connector_cache_dir(self) -> Path:
        """What connectors have fetched; a service may not give it again."""
        return self.data_dir / "connector_cache"

    @cached_property
    def usagebox_dir(self) -> Path:
        """What UsageBox engines have delivered, a folder each."""
        return self.data_dir / "usagebox"

    @cached_property
    def landing_dir(self) -> Path:
        """Where the feeds are landed as Parquet."""
        return self.data_dir / "landing"

    @cached_property
    def warehouse_dir(self) -> Path:
        """Where dbt keeps the warehouse; deleting it starts the books anew from the landing."""
        return self.data_dir / "warehouse"

    @cached_property
    def warehouse_file(self) -> Path:
        """The warehouse of DuckDB; dbt is its only writer."""
        return self.warehouse_dir / "warehouse.duckdb"

    @cached_property
    def console_log(self) -> Path:
        """What dbt printed in the last run from the command line."""
        return self.data_dir / "dbt" / "logs" / "console.log"

    @cached_property
    def quality_dir(self) -> Path:
        """What the gates of the feeds found."""
        return self.data_dir / "quality"

    @cached_property
    def data_docs_dir(self) -> Path:
        """The same as pages: open ``index.html``."""
        return self.quality_dir / "data_docs"

    @cached_property
    def archive_dir(self) -> Path:
        """What is kept for good: final invoices, and receipts of what was sent."""
        return self.data_dir / "archive"

    @cached_property
    def outbox_dir(self) -> Path:
        """Where the lists are of what was sent and what waits."""
        return self.data_dir / "outbox"

    @cached_property
    def published_dir(self) -> Path:
        """Where the publications are; ``current`` is what readers open."""
        return self.data_dir / "published"

    @cached_property
    def portal_dir(self) -> Path:
        """Where the pages are, and the key that names them."""
        return self.data_dir / "portal"

    @cached_property
    def pages_dir(self) -> Path:
        """The customers' gauge pages; ``current`` is what a portal reads."""
        return self.portal_dir / "pages"

    @cached_property
    def finance_dir(self) -> Path:
        """Finance's page, which no customer may see: outside the folder of the customers' pages."""
        return self.portal_dir / "finance"

    @cached_property
    def staged_seeds_dir(self) -> Path:
        """The validated copy of the seeds that dbt loads."""
        return self.data_dir / "seeds"
