"""What the fields of each feed mean, in words for whoever delivers them, and rows that may be delivered.

Which fields there are, and which a row must have, is said where rows are judged: ``event_lines`` for usage,
``price_rules`` for the rest. Tests hold these words against them, and land the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestration.landing.event_lines import DAYS_BACK, METERS, REQUIRED
from orchestration.landing.price_rules import CARBON, ENERGY, FX, GPU, PRICE_KINDS, CsvFeed
from orchestration.sources.folder import UNDATED_FILES, USAGE_SUFFIXES, Feed


@dataclass(frozen=True)
class Field:
    """A field of a feed, in words."""

    kind: str
    """What its values are: text, number, whole number, time or day."""
    meaning: str


@dataclass(frozen=True)
class FeedFields:
    """A feed in words.

    Attributes:
        files: what its files are called, below the folder of the feeds.
        asked_for: when it must be delivered.
        rows: what a row is, and what else must be known of the files.
        fields: its fields by name, in the order of the page.
        needed: of which rows each field is needed, "yes" of all; other fields are optional.
        example: lines of a file that may be delivered as they stand.
    """

    name: Feed
    files: str
    asked_for: str
    rows: str
    fields: Mapping[str, Field]
    needed: Mapping[str, str]
    example: str


def _of_usage() -> dict[str, str]:
    return {
        place: "if `kind` is not usage" if "kind" in only else "yes" for _, place, only in REQUIRED
    }


def _of_csv(feed: CsvFeed) -> dict[str, str]:
    return dict.fromkeys(feed.required, "yes") | dict.fromkeys(
        feed.may_be_empty, "the column, not a value"
    )


USAGE_FIELDS = FeedFields(
    name="usage",
    files=f"usage/usage_<delivery day>{' | '.join(USAGE_SUFFIXES)}",
    asked_for="Needed always: one file for every delivery day.",
    rows=(
        "A JSON object per line, or a row of a Parquet file with the same fields. The day in the name is "
        "the *delivery day*, on which it came in; the *usage day* is the UTC date of `ts`, up to "
        f"{DAYS_BACK} days earlier. Of a day on which nothing ran, deliver the one line "
        '`{"kind": "no_usage"}`; an empty file is a mistake. Any other key of `metadata` is kept.'
    ),
    fields={
        "event_id": Field("text", "Your id of the event. Delivered twice, it is billed once."),
        "kind": Field(
            "text",
            "usage (also where it is absent), or correction or retraction: a signed change to earlier "
            "usage.",
        ),
        "corrects_event_id": Field("text", "The event that a correction or retraction changes."),
        "customer_id": Field("text", "Who is billed, as in contracts/customers."),
        "meter": Field("text", f"The unit of `quantity`: {', '.join(METERS)}."),
        "quantity": Field(
            "number",
            "How much of it: GPUs times time. Below 0 only for corrections and retractions; 6 decimals are "
            "kept. A text may spell the number, as JSON would.",
        ),
        "ts": Field(
            "time", "When the use began, with its offset from UTC; a time without is refused."
        ),
        "metadata.cluster": Field("text", "Where it ran, as in fleet/clusters."),
        "metadata.gpu_type": Field(
            "text",
            "The GPU: an accelerator of catalog/accelerators or a spelling in catalog/accelerator_aliases. "
            "Absent: the cluster's default.",
        ),
        "metadata.model_family": Field(
            "text", "What ran, where a credit rate or a report tells families apart."
        ),
        "metadata.duration_s": Field(
            "number",
            "Seconds from `ts` on over which the use is spread evenly, where hours matter: bursts, energy. "
            "Absent or 0: all in the hour of `ts`.",
        ),
        "metadata.energy_cost": Field(
            "number",
            "Metered cost of its energy in the reporting currency, in place of the modelled cost.",
        ),
    },
    needed=_of_usage(),
    example="""\
{"event_id": "job-4711/1", "customer_id": "frame-forge", "meter": "gpu_minute", "quantity": 480, \
"ts": "2026-01-31T10:00:00Z", "metadata": {"cluster": "fra-train", "gpu_type": "nvidia-h100-80gb-hbm3", \
"model_family": "video-diffusion", "duration_s": 3600, "energy_cost": "0.84"}}
{"event_id": "job-4712/1", "customer_id": "frame-forge", "meter": "gpu_hour", "quantity": "2.5", \
"ts": "2026-01-31T11:30:00+01:00", "metadata": {"cluster": "fra-train"}}
{"event_id": "job-4711/2", "kind": "correction", "corrects_event_id": "job-4711/1", \
"customer_id": "frame-forge", "meter": "gpu_minute", "quantity": -60, "ts": "2026-01-31T10:00:00Z", \
"metadata": {"cluster": "fra-train", "gpu_type": "nvidia-h100-80gb-hbm3"}}
""",
)

ENERGY_FIELDS = FeedFields(
    name="energy",
    files=f"energy/{UNDATED_FILES['energy']}",
    asked_for="Needed if a site in fleet/facilities has no `default_price_per_kwh`.",
    rows=(
        "A row per zone and interval, as exchanges publish them. Where one interval comes with two prices, "
        "the last one counts."
    ),
    fields={
        "zone": Field("text", "Zone of the market, as in fleet/facilities."),
        "interval_start": Field("time", "When the price begins to hold."),
        "resolution_minutes": Field("whole number", "For how many minutes it holds."),
        "price": Field("number", "The price of one `unit`; zero and below are prices, too."),
        "currency": Field(
            "text", "Its currency; another than the reporting currency needs a rate in fx/."
        ),
        "unit": Field("text", "kWh or MWh."),
        "timestamp_kind": Field(
            "text",
            "How `interval_start` is meant: offset (it names its offset from UTC), naive_utc, or "
            "naive_local (the clock of `tz`; of an hour that comes twice, the first row is the first).",
        ),
        "tz": Field("text", "Time zone of naive_local times; needed for those only."),
    },
    needed=_of_csv(ENERGY),
    example="""\
zone,interval_start,resolution_minutes,price,currency,unit,timestamp_kind,tz
DE-LU,2026-01-31T10:00:00+01:00,60,84.20,EUR,MWh,offset,
DE-LU,2026-01-31 11:00,60,-3.05,EUR,MWh,naive_local,Europe/Berlin
ERCOT-WEST,2026-01-31T10:00:00,15,0.021,USD,kWh,naive_utc,
""",
)

CARBON_FIELDS = FeedFields(
    name="carbon",
    files=f"carbon/{UNDATED_FILES['carbon']}",
    asked_for="Never needed: of a zone without it, nothing is said about carbon.",
    rows="A row per zone and hour: how clean its energy was.",
    fields={
        "zone": Field("text", "Zone of the market, as in fleet/facilities."),
        "ts_utc": Field("time", "Start of the hour; without an offset, it is UTC."),
        "carbon_gco2_kwh_lca": Field(
            "number", "Grams of CO2 equivalent for one kWh, over the life cycle of its source."
        ),
        "renewable_pct": Field("number", "Renewable part in per cent, 0 to 100."),
    },
    needed=_of_csv(CARBON),
    example="""\
zone,ts_utc,carbon_gco2_kwh_lca,renewable_pct
DE-LU,2026-01-31T10:00:00Z,312.4,58.1
DE-LU,2026-01-31T11:00:00Z,,61
""",
)

GPU_FIELDS = FeedFields(
    name="gpu",
    files=f"gpu/{UNDATED_FILES['gpu']}",
    asked_for="Needed if a lot in fleet/procurement_lots has the basis market.",
    rows=(
        "A row per price that was seen. A week's price is the median of the week before it, carried on "
        "while weeks have none. GPUs that the catalog does not know are kept, unused."
    ),
    fields={
        "observed_at": Field("time", "When the price was seen, with its offset from UTC."),
        "provider": Field("text", "Who asks it; a lot may count one provider only."),
        "region": Field("text", "Where it is offered."),
        "gpu_type": Field("text", "The GPU, spelled as in usage."),
        "price_per_gpu_hour": Field("number", "Price of one GPU for one hour."),
        "currency": Field(
            "text", "Its currency; another than the reporting currency needs a rate in fx/."
        ),
        "price_kind": Field("text", f"{', '.join(PRICE_KINDS[:-1])} or {PRICE_KINDS[-1]}."),
    },
    needed=_of_csv(GPU),
    example="""\
observed_at,provider,region,gpu_type,price_per_gpu_hour,currency,price_kind
2026-01-28T12:00:00Z,nordlys,eu-central,H100,2.15,EUR,on_demand
2026-01-29T12:00:00Z,,,H100,1.48,USD,spot
""",
)

FX_FIELDS = FeedFields(
    name="fx",
    files=f"fx/{UNDATED_FILES['fx']}",
    asked_for="Needed if a price in the seeds or feeds is in another currency than the reporting currency.",
    rows="A row per day and currency; a rate holds until the next one.",
    fields={
        "date": Field("day", "Day from which the rate holds."),
        "currency": Field("text", "The currency that is converted."),
        "usd_per_unit": Field(
            "number",
            "What one unit of it is worth in the reporting currency (US dollars, unless "
            "REPORTING_CURRENCY says otherwise).",
        ),
    },
    needed=_of_csv(FX),
    example="""\
date,currency,usd_per_unit
2026-01-30,EUR,1.1723
2026-01-31,EUR,1.1748
""",
)

ALL_FIELDS = (USAGE_FIELDS, ENERGY_FIELDS, CARBON_FIELDS, GPU_FIELDS, FX_FIELDS)
"""Every feed, in the order of the page."""
