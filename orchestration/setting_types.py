"""What a setting may be: types that pydantic judges, each with the words for what is wrong."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from orchestration.addresses import problem_with, services
from orchestration.gates.gate import OPTIONAL_FIELDS
from orchestration.sources.services.wanted import wanted
from orchestration.sources.usagebox.address import engine_address

# ISO 4217: currencies whose invoices are in whole units, and those that these invoices can't hold.
WITHOUT_MINOR_UNIT = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI"}
    | {"VND", "VUV", "XAF", "XOF", "XPF"}
)
_FINER_THAN_CENTS = frozenset({"BHD", "CLF", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "UYW"})


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def _feeds(url: str) -> str:
    """A local folder by its whole path, so that every message names it; a URL as it is."""
    return url if "://" in url else str(_absolute(Path(url)))


def _can_hold_a_database(path: Path) -> Path:
    # DuckDB would put its journal into another folder for the one, and find no file for the other.
    for character in "?\\":
        if character in str(path):
            raise ValueError(f"DuckDB cannot work in a folder with {character} in its path")
    for place in (path, *path.parents):
        if place.is_dir():
            break
        if place.exists():
            raise ValueError(f"{place} is a file; name a folder, which is made if it isn't there")
    return path


def _at_most_two_minor_digits(currency: str) -> str:
    if currency in _FINER_THAN_CENTS:
        raise ValueError(f"{currency} has more than two minor digits; invoices have two at most")
    return currency


def _usage_engine(url: str) -> str:
    if url:
        engine_address(url)
    return url


def _price_connectors(urls: str) -> str:
    wanted("energy", urls)
    return urls


def _mix_connectors(urls: str) -> str:
    wanted("carbon", urls)
    return urls


def _database(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("it must read postgresql://user:password@host:port/database")
    return url


def _address(url: str) -> str:
    if url and (problem := problem_with(url)):
        raise ValueError(problem)
    return url


def _usage_api(url: str) -> str:
    if url and (problem := problem_with(url)):
        raise ValueError(f"{problem}; a token goes into POLICY_API_TOKEN")
    return url.rstrip("/")


def _webhook_keys(secrets: SecretStr) -> SecretStr:
    for secret in secrets.get_secret_value().split():
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError(
                "a secret is whsec_ and 24 to 64 random bytes in base64; make one with: "
                "echo whsec_$(openssl rand -base64 32)"
            )
    return secrets


def _webhooks(urls: SecretStr) -> SecretStr:
    listed = urls.get_secret_value().split()
    for number, url in enumerate(listed, start=1):
        if problem := problem_with(url):
            raise ValueError(f"URL {number}: {problem}")
    if len(set(listed)) != len(listed):
        raise ValueError("a URL stands there twice")
    return urls


def _optional_fields(names: str) -> str:
    for name in names.split(","):
        if name.strip() and name.strip() not in OPTIONAL_FIELDS:
            raise ValueError(f"{name.strip()} is none of {', '.join(OPTIONAL_FIELDS)}")
    return names


def _known_services(urls: SecretStr) -> SecretStr:
    services(urls)
    return urls


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 32:
        raise ValueError("it is shorter than 32 characters; make one with: openssl rand -hex 32")
    return secret


def _origins(origins: str) -> str:
    for origin in origins.split():
        if problem := problem_with(origin):
            raise ValueError(f"{origin}: {problem}")
        # It goes into a header, where a semicolon or a comma begins something else.
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-]+(:[0-9]+)?", origin):
            raise ValueError(f"{origin}: an origin is a scheme, a host and at most a port")
    return " ".join(origins.split())


Folder = Annotated[Path, AfterValidator(_absolute)]
DataFolder = Annotated[Folder, AfterValidator(_can_hold_a_database)]
Feeds = Annotated[str, AfterValidator(_feeds)]
Share = Annotated[Decimal, Field(ge=0, le=1, max_digits=7, decimal_places=6)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$"), AfterValidator(_at_most_two_minor_digits)]
Memory = Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s?(MB|GB|MiB|GiB)$")]
Address = Annotated[str, AfterValidator(_address)]
UsageEngine = Annotated[str, AfterValidator(_usage_engine)]
PriceServices = Annotated[str, AfterValidator(_price_connectors)]
MixServices = Annotated[str, AfterValidator(_mix_connectors)]
UsageApi = Annotated[str, AfterValidator(_usage_api)]
OptionalFields = Annotated[str, AfterValidator(_optional_fields)]
Origins = Annotated[str, AfterValidator(_origins)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
WebhookKeys = Annotated[SecretStr, AfterValidator(_webhook_keys)]
Webhooks = Annotated[SecretStr, AfterValidator(_webhooks)]
NotificationServices = Annotated[SecretStr, AfterValidator(_known_services)]
PortalSecret = Annotated[SecretStr, AfterValidator(_long_enough)]
