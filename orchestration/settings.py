"""Every setting of the job, read from the environment and ``.env`` and validated before anything runs.

Nothing else in the project reads an environment variable, except dbt (which gets its two paths
from here, see ``dbt_environment``).
"""

from __future__ import annotations

import os
import re
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestration import env_file, renamed
from orchestration.errors import PlainError
from orchestration.places import Places
from orchestration.setting_types import (
    WITHOUT_MINOR_UNIT,
    Address,
    Currency,
    DatabaseUrl,
    DataFolder,
    Feeds,
    Folder,
    Memory,
    MixServices,
    NotificationServices,
    OptionalFields,
    Origins,
    PortalSecret,
    PriceServices,
    Share,
    UsageApi,
    UsageEngine,
    WebhookKeys,
    Webhooks,
)

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DBT_PROJECT_DIR = PROJECT_ROOT / "dbt_project"


class SettingsError(PlainError, ValueError):
    """A setting is wrong; the message names it, its value and what is expected."""


class Settings(Places, BaseSettings):
    """The job's settings; the name of an environment variable is the field's name in capitals.

    The table in docs/settings.md is tested against these fields.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    seeds_dir: Folder = Field(
        default=PROJECT_ROOT / "seeds",
        description="Folder with the seeds to bill with: catalog/, fleet/ and contracts/.",
    )
    feeds_url: Feeds = Field(
        default=str(PROJECT_ROOT / "data" / "sample_feeds"),
        description="Where the feeds come from: a folder, or any URL that fsspec opens.",
    )
    usage_url: UsageEngine = Field(
        default="",
        description="The UsageBox engine asked for usage instead of the folder (default: none).",
    )
    usagebox_api_key: SecretStr | None = Field(
        default=None, description="Token for USAGE_URL; a bare engine asks for none."
    )
    usagebox_lookback_days: Annotated[int, Field(ge=1, le=400)] = Field(
        default=60,
        description="How many days before its delivery day UsageBox is asked for late usage.",
    )
    usagebox_parallel: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8,
        description="How many questions UsageBox is asked at once.",
    )
    energy_price_url: PriceServices = Field(
        default="",
        description="Services asked for energy prices besides the folder (default: none).",
    )
    energy_mix_url: MixServices = Field(
        default="",
        description="Services asked for the energy mix besides the folder (default: none).",
    )
    entsoe_api_key: SecretStr | None = Field(
        default=None, description="Token for entsoe:// in ENERGY_PRICE_URL."
    )
    electricitymaps_token: SecretStr | None = Field(
        default=None, description="Token for electricitymaps:// in ENERGY_MIX_URL."
    )
    data_dir: DataFolder = Field(
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
    reporting_currency: Currency = Field(
        default="USD",
        description="Currency of prices, costs and invoices; exchange rates are quoted in it.",
    )
    provider_name: Annotated[str, Field(min_length=1)] = Field(
        default="GPU Cloud",
        description="Your company, as the FOCUS export names provider, publisher and issuer.",
    )
    conflict_days: Annotated[int, Field(ge=1, le=31)] = Field(
        default=7,
        description="How far apart two usage days may be for one event id to be a conflict.",
    )
    max_incurable_share: Share = Field(
        default=Decimal("0.05"),
        description="Share of incurable rows above which a delivery fails its check.",
    )
    max_delivery_gb: Annotated[Decimal, Field(gt=0, le=10_000)] = Field(
        default=Decimal(16),
        description="Gigabytes, unpacked, above which a delivered file is refused.",
    )
    warn_curable_share: Share = Field(
        default=Decimal("0.05"),
        description="Share of curable rows above which a delivery gets a warning.",
    )
    max_volume_change: Annotated[Decimal, Field(gt=1)] | None = Field(
        default=None,
        description="Factor in rows, up or down, above which a feed fails its gate (default: it only warns).",
    )
    max_feed_age_days: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description=(
            "Days of its newest row before the last delivery day above which a feed fails its gate "
            "(default: it only warns)."
        ),
    )
    accepted_fields_gone: OptionalFields = Field(
        default="",
        description=(
            "Optional fields of usage that no row is to have any more, separated by commas "
            "(default: none)."
        ),
    )
    notify_urls: NotificationServices | None = Field(
        default=None,
        description="Apprise URLs told of a failed run, separated by spaces (default: only the log).",
    )
    publications_kept: Annotated[int, Field(ge=1)] = Field(
        default=7,
        description="How many publications stay for rollback, the current one included.",
    )
    publish_postgres_url: DatabaseUrl | None = Field(
        default=None,
        description="PostgreSQL database that each publication is loaded into as well.",
    )
    publish_postgres_schema: Annotated[str, Field(min_length=1, max_length=58)] = Field(
        default="billing",
        description="Schema that each publication replaces there.",
    )
    publish_postgres_reader: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        default="billing_reader",
        description="Role there that reads every table.",
    )
    publish_postgres_customer: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        default="billing_customer",
        description="Role there that reads the rows of one customer.",
    )
    policy_api_url: UsageApi = Field(
        default="",
        description="The usage API that takes policy actions; /v1/policy-actions is added (default: none).",
    )
    policy_api_token: SecretStr | None = Field(
        default=None, description="Bearer token for POLICY_API_URL, if it asks for one."
    )
    send_policy_actions: bool = Field(
        default=False,
        description="Whether policy actions are sent; off only lists what would be.",
    )
    alert_webhook_secret: WebhookKeys | None = Field(
        default=None,
        description="Signs alerts: whsec_ and 24 to 64 bytes in base64. Two, with a space, while it changes.",
    )
    alert_webhook_urls: Webhooks | None = Field(
        default=None,
        description="Where each alert is posted to, separated by spaces.",
    )
    outbox_from: date | None = Field(
        default=None,
        description=(
            "First day whose actions and alerts are sent; older caps only if they still hold "
            "(default: the books' last day when sending was first on)."
        ),
    )
    show_cost_to: str = Field(
        default="",
        description=(
            "Customers whose contract shows them what a GPU minute cost, separated by commas; "
            "* is all (default: none)."
        ),
    )
    top_up_url: Address = Field(
        default="",
        description="Where the link on a gauge page leads that adds credits (default: none).",
    )
    portal_secret: PortalSecret | None = Field(
        default=None,
        description="Signs portal sessions, 32 characters or more; without it a key in DATA_DIR does.",
    )
    portal_session_minutes: Annotated[int, Field(ge=1, le=180)] = Field(
        default=15,
        description="Minutes that a portal session lasts.",
    )
    portal_frame_ancestors: Origins = Field(
        default="",
        description="Origins whose pages may embed a gauge, separated by spaces (default: none).",
    )
    duckdb_memory_limit: Memory = Field(
        default="8GB",
        description="Memory that DuckDB may use before it spills to disk.",
    )
    dbt_target: Literal["duckdb", "spark"] = Field(
        default="duckdb",
        description="Engine that bills: duckdb on this machine, or spark (docs/spark.md).",
    )
    spark_thrift_host: str = Field(
        default="127.0.0.1", description="Host of the Spark Thrift server."
    )
    spark_thrift_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=10000, description="Its port."
    )
    spark_thrift_user: str = Field(default="dbt", description="Whom it knows the job as.")
    spark_thrift_auth: Literal["NONE", "NOSASL", "LDAP", "KERBEROS"] = Field(
        default="NONE", description="How it asks who that is."
    )
    spark_thrift_password: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="Password for SPARK_THRIFT_AUTH=LDAP.",
    )
    spark_schema: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")] = Field(
        default="billing",
        description="Schema that holds the books there; one for each DATA_DIR.",
    )
    spark_warehouse_dir: Path | None = Field(
        default=None,
        validate_default=True,
        description="The server's spark.sql.warehouse.dir, as this machine sees it.",
    )

    @field_validator("dbt_target")
    @classmethod
    def _folder_for_spark(cls, target: str, info: ValidationInfo) -> str:
        # Spark takes these for patterns and for columns, and knows no way to spell them.
        if target == "spark" and re.search(r"[*?\[\]{}=\\]", str(info.data.get("data_dir", ""))):
            raise ValueError("Spark cannot read a DATA_DIR with one of * ? [ ] { } = in its path")
        return target

    @field_validator("spark_thrift_password")
    @classmethod
    def _password_where_asked(
        cls, password: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if password is None and info.data.get("spark_thrift_auth") == "LDAP":
            raise ValueError("SPARK_THRIFT_AUTH=LDAP needs one")
        return password

    @field_validator("spark_warehouse_dir")
    @classmethod
    def _absolute_where_read(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None and info.data.get("dbt_target") == "spark":
            raise ValueError("DBT_TARGET=spark needs it, to read what was billed")
        return path.expanduser().resolve() if path else None

    @field_validator("send_policy_actions")
    @classmethod
    def _usage_api_is_named(cls, on: bool, info: ValidationInfo) -> bool:
        if on and info.data.get("policy_api_url") == "":
            raise ValueError("it is on, but POLICY_API_URL names no usage API")
        return on

    @field_validator("alert_webhook_urls")
    @classmethod
    def _alerts_are_signed(cls, urls: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if urls and info.data.get("alert_webhook_secret", "wrong") is None:
            raise ValueError("alerts are signed: set ALERT_WEBHOOK_SECRET")
        return urls

    @cached_property
    def fields_gone(self) -> frozenset[str]:
        """The fields of ACCEPTED_FIELDS_GONE."""
        return frozenset(
            name.strip() for name in self.accepted_fields_gone.split(",") if name.strip()
        )

    @cached_property
    def cost_shown_to(self) -> frozenset[str]:
        """The customer ids of SHOW_COST_TO; ``*`` stands for all."""
        return frozenset(name.strip() for name in self.show_cost_to.split(",") if name.strip())

    @cached_property
    def tokens(self) -> dict[str, SecretStr | None]:
        """The connectors' tokens by environment variable."""
        return {
            "ENTSOE_API_KEY": self.entsoe_api_key,
            "ELECTRICITYMAPS_TOKEN": self.electricitymaps_token,
        }

    @cached_property
    def max_delivery_bytes(self) -> int:
        """The largest delivered file that is read, unpacked."""
        return int(self.max_delivery_gb * 10**9)

    @property
    def spark_tables_dir(self) -> Path:
        """Where Spark keeps the tables of the books, a folder each; dbt is their only writer.

        Raises:
            SettingsError: the setting that names the place is missing.
        """
        if self.spark_warehouse_dir is None:
            raise SettingsError("SPARK_WAREHOUSE_DIR is not set")
        return self.spark_warehouse_dir / f"{self.spark_schema}.db"

    @property
    def built_warehouse(self) -> Path:
        """What is there once anything was billed: the file of DuckDB, the folder of Spark."""
        return self.spark_tables_dir if self.dbt_target == "spark" else self.warehouse_file

    def require_feeds(self) -> None:
        """Make sure that the folder of the feeds is there, if it is one of this machine.

        Raises:
            SettingsError: it isn't.
        """
        folder = self.feeds_url.removeprefix("file://")
        if "://" not in folder and not Path(folder).is_dir():
            raise SettingsError(f"FEEDS_URL={folder!r} is not a folder: nothing is there")

    def apart(self, **others: Any) -> Settings:
        """These settings with other values for some, such as ``data_dir``.

        Not ``model_copy``: that hands on the folders that were worked out for the old values.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_construct(**{**values, **others})

    @property
    def minor_digits(self) -> int:
        """Decimals of an invoice amount in the reporting currency (ISO 4217): 2, or 0."""
        return 0 if self.reporting_currency in WITHOUT_MINOR_UNIT else 2

    def dbt_environment(self) -> dict[str, str]:
        """The environment that dbt_project.yml and profiles.yml read."""
        return {
            "DATA_DIR": str(self.data_dir),
            "DBT_SEEDS_PATH": os.path.relpath(self.staged_seeds_dir, DBT_PROJECT_DIR),
            "DBT_TARGET_PATH": str(self.data_dir / "dbt" / "target"),
            "DBT_LOG_PATH": str(self.data_dir / "dbt" / "logs"),
            "DUCKDB_MEMORY_LIMIT": self.duckdb_memory_limit,
            "PROVIDER_NAME": self.provider_name,
            "MINOR_UNIT_CENTS": str(10 ** (2 - self.minor_digits)),
            "DBT_TARGET": self.dbt_target,
            **(self._spark_environment() if self.dbt_target == "spark" else {}),
        }

    def _spark_environment(self) -> dict[str, str]:
        password = self.spark_thrift_password
        return {
            "SPARK_THRIFT_HOST": self.spark_thrift_host,
            "SPARK_THRIFT_PORT": str(self.spark_thrift_port),
            "SPARK_THRIFT_USER": self.spark_thrift_user,
            "SPARK_THRIFT_AUTH": self.spark_thrift_auth,
            "SPARK_SCHEMA": self.spark_schema,
            **({"SPARK_THRIFT_PASSWORD": password.get_secret_value()} if password else {}),
        }


def load_settings() -> Settings:
    """Read and validate the environment and ``.env``; from here on, what the process writes is private.

    Under DATA_DIR stand customers, prices and usage: its owner writes, its group may read (BI), and
    nobody else sees anything.

    Raises:
        SettingsError: names every setting that is wrong, with its value and what is expected.
    """
    names = [name.upper() for name in Settings.model_fields]
    path = None
    try:
        given = renamed.under_new_names(os.environ)
        if path := env_file.env_file(os.environ):
            of_file = env_file.read_env_file(path, names, renamed.SETTINGS)
            set_here = {name.upper() for name, value in os.environ.items() if value}
            given = {n.lower(): v for n, v in of_file.items() if n not in set_here} | given
        settings = Settings(**given)
    except (renamed.SetTwice, env_file.EnvFileError) as error:
        raise SettingsError(f"Wrong settings: {error}") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])).upper()}={_shown(problem)}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        also = f" or {path}" if path else ""
        raise SettingsError(f"Wrong settings in the environment{also}: {problems}") from None
    if not settings.seeds_dir.is_dir():
        raise SettingsError(f"SEEDS_DIR={str(settings.seeds_dir)!r} is not a folder")
    for sentence in env_file.misspelt(os.environ, names):
        renamed.say_once(sentence)
    os.umask(os.umask(0o077) | 0o027)
    return settings


def _shown(problem: Any) -> str:
    """The value of a wrong setting, unless it is a secret."""
    field = Settings.model_fields[str(problem["loc"][0])]
    return (
        "***" if is_secret(field.annotation) else repr(without_credentials(str(problem["input"])))
    )


def is_secret(annotation: Any) -> bool:
    """Whether a setting of this type is never shown."""
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))


def without_credentials(url: str) -> str:
    """A URL, or several, as they may be shown: without user, password and query."""
    return re.sub(r"//[^\s]*@", "//***@", re.sub(r"\?[^\s]*", "?***", url))
