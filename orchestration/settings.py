"""Every setting of the job, read from the environment once and validated before anything runs.

Nothing else in the project reads an environment variable, except dbt (which gets its two paths
from here, see ``dbt_environment``).
"""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestration.connectors.wanted import wanted

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_project"

Share = Annotated[Decimal, Field(ge=0, le=1, max_digits=7, decimal_places=6)]


class SettingsError(ValueError):
    """A setting is wrong; the message names it, its value and what is expected."""


class Settings(BaseSettings):
    """The job's settings; the name of an environment variable is the field's name in capitals.

    The README's settings table is tested against these fields.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    seeds_dir: Path = Field(
        default=PROJECT_ROOT / "seeds",
        description="Folder with the seeds to bill with: catalog/, fleet/ and contracts/.",
    )
    feeds_url: str = Field(
        default=str(PROJECT_ROOT / "data" / "sample_feeds"),
        description="Where the feeds come from: a folder, or any URL that fsspec opens.",
    )
    energy_price_url: str = Field(
        default="",
        description="Services asked for energy prices besides the folder (default: none).",
    )
    energy_mix_url: str = Field(
        default="",
        description="Services asked for the energy mix besides the folder (default: none).",
    )
    entsoe_api_key: SecretStr | None = Field(
        default=None, description="Token for entsoe:// in ENERGY_PRICE_URL."
    )
    electricitymaps_token: SecretStr | None = Field(
        default=None, description="Token for electricitymaps:// in ENERGY_MIX_URL."
    )
    data_dir: Path = Field(
        default=PROJECT_ROOT / "data",
        description="Folder that holds everything the job writes.",
    )
    books_open_on: date | None = Field(
        default=None,
        description="The day the books open (default: the first delivery day).",
    )
    days_until_close: Annotated[int, Field(ge=0, le=28)] = Field(
        default=3,
        description="Days after a cycle's end until its invoice is final.",
    )
    normal_utilization: Share = Field(
        default=Decimal("0.5"),
        description="Share of a pool's capacity down to which customers carry its idle time.",
    )
    reporting_currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = Field(
        default="USD",
        description="Currency of prices, costs and invoices; exchange rates are quoted in it.",
    )
    conflict_days: Annotated[int, Field(ge=1, le=31)] = Field(
        default=7,
        description="How far apart two usage days may be for one event id to be a conflict.",
    )
    max_incurable_share: Share = Field(
        default=Decimal("0.05"),
        description="Share of incurable rows above which a delivery fails its check.",
    )
    warn_curable_share: Share = Field(
        default=Decimal("0.05"),
        description="Share of curable rows above which a delivery gets a warning.",
    )
    publications_kept: Annotated[int, Field(ge=1)] = Field(
        default=7,
        description="How many publications stay for rollback, the current one included.",
    )
    duckdb_memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$")] = Field(
        default="8GB",
        description="Memory that DuckDB may use before it spills to disk.",
    )

    @field_validator("data_dir", "seeds_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("energy_price_url")
    @classmethod
    def _price_connectors(cls, urls: str) -> str:
        wanted("energy", urls)
        return urls

    @field_validator("energy_mix_url")
    @classmethod
    def _mix_connectors(cls, urls: str) -> str:
        wanted("carbon", urls)
        return urls

    @cached_property
    def connector_cache_dir(self) -> Path:
        """What connectors have fetched; a service may not give it again."""
        return self.data_dir / "connector_cache"

    @cached_property
    def tokens(self) -> dict[str, SecretStr | None]:
        """The connectors' tokens by environment variable."""
        return {
            "ENTSOE_API_KEY": self.entsoe_api_key,
            "ELECTRICITYMAPS_TOKEN": self.electricitymaps_token,
        }

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
        """The warehouse; dbt is its only writer."""
        return self.warehouse_dir / "warehouse.duckdb"

    @cached_property
    def console_log(self) -> Path:
        """What dbt printed in the last run from the command line."""
        return self.data_dir / "dbt" / "logs" / "console.log"

    @cached_property
    def archive_dir(self) -> Path:
        """Where final invoices are written down for good."""
        return self.data_dir / "archive"

    @cached_property
    def published_dir(self) -> Path:
        """Where the publications are; ``current`` is what readers open."""
        return self.data_dir / "published"

    @cached_property
    def staged_seeds_dir(self) -> Path:
        """The validated copy of the seeds that dbt loads."""
        return self.data_dir / "seeds"

    def dbt_environment(self) -> dict[str, str]:
        """The environment that dbt_project.yml and profiles.yml read."""
        return {
            "DATA_DIR": str(self.data_dir),
            "DBT_SEEDS_PATH": os.path.relpath(self.staged_seeds_dir, DBT_PROJECT_DIR),
            "DBT_TARGET_PATH": str(self.data_dir / "dbt" / "target"),
            "DBT_LOG_PATH": str(self.data_dir / "dbt" / "logs"),
            "DUCKDB_MEMORY_LIMIT": self.duckdb_memory_limit,
        }


def load_settings() -> Settings:
    """Read and validate the environment.

    Raises:
        SettingsError: names every setting that is wrong, with its value and what is expected.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])).upper()}={problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError(f"Wrong settings in the environment: {problems}") from None
    if not settings.seeds_dir.is_dir():
        raise SettingsError(f"SEEDS_DIR={str(settings.seeds_dir)!r} is not a folder")
    return settings
