"""What the settings ENERGY_PRICE_URL and ENERGY_MIX_URL ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

LiveFeed = Literal["energy", "carbon"]

MARKETS = ("ercot", "nyiso", "caiso")
"""The North American markets whose day-ahead prices need no token."""

_SCHEMES: dict[LiveFeed, tuple[str, ...]] = {
    "energy": ("entsoe", "gridstatus"),
    "carbon": ("electricitymaps",),
}
# A zone names a folder and a file, and is a CSV value.
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._&-]{0,63}")


@dataclass(frozen=True)
class AskedService:
    """One service and what to ask it for.

    Attributes:
        service: ``entsoe``, ``gridstatus`` or ``electricitymaps``.
        market: one of MARKETS for gridstatus, else empty.
        zones: the service's own code (area, location, zone) by the zone of ``fleet/facilities``.
        renewable: ask for the renewable share, too (Electricity Maps only).
    """

    service: str
    market: str
    zones: Mapping[str, str]
    renewable: bool = True


def wanted(feed: LiveFeed, urls: str) -> list[AskedService]:
    """Read a connector setting: no, one or more URLs with white space between them.

    ``entsoe://?zones=SE3,DE-LU``, ``gridstatus://ercot?zones=ERCOT-WEST:HB_WEST`` or
    ``electricitymaps://?zones=SE3:SE-SE3&renewable=no``. A zone that the service calls by another
    name is written ``zone:code``; in a code, ``+`` or ``%20`` stands for a blank.

    Raises:
        ValueError: says what is wrong, with the zones as far as they can be read but never a whole
            URL: someone may have put a token into it.
    """
    found = [_wanted(feed, url) for url in urls.split()]
    zones = [zone for each in found for zone in each.zones]
    if twice := sorted({zone for zone in zones if zones.count(zone) > 1}):
        raise ValueError(f"{', '.join(twice)}: a zone can come from one connector only")
    return found


def _wanted(feed: LiveFeed, url: str) -> AskedService:
    parts = urlsplit(url)
    service, market = parts.scheme, parts.netloc
    if service not in _SCHEMES[feed]:
        raise ValueError(f"expected {' or '.join(f'{s}://' for s in _SCHEMES[feed])}")
    if service == "gridstatus" and market not in MARKETS:
        raise ValueError(f"expected gridstatus:// and one of {', '.join(MARKETS)}")
    if parts.path.strip("/") or parts.fragment or (market and service != "gridstatus"):
        raise ValueError(f"expected {service}://?zones=...")
    asked = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(asked)
    known = {"zones", "renewable"} if service == "electricitymaps" else {"zones"}
    if len(options) < len(asked) or set(options) - known or "zones" not in options:
        raise ValueError(f"{service}: expected ?zones= and nothing but {', '.join(sorted(known))}")
    renewable = options.get("renewable", "yes")
    if renewable not in ("yes", "no"):
        raise ValueError(f"{service}: renewable is yes or no")
    return AskedService(service, market, _zones(service, options["zones"]), renewable == "yes")


def _zones(service: str, text: str) -> dict[str, str]:
    zones: dict[str, str] = {}
    for item in text.split(","):
        zone, _, code = item.partition(":")
        code = code if ":" in item else zone
        if not _ZONE.fullmatch(zone) or not _CODE.fullmatch(code) or zone in zones:
            raise ValueError(f"{service}: {item!r} is no zone, no zone:code, or there twice")
        zones[zone] = code
    return zones
