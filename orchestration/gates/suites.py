"""What is expected of each landed feed: one suite of expectations per feed, as data.

An error means that what is landed is not what landing promises, so nothing may be billed from it.
A warning means that it is unlike other days: a person should look, but a feed may be small, late
or strange and still be right. How far that may go before it is an error is for the operator to say:
MAX_VOLUME_CHANGE and MAX_FEED_AGE_DAYS.

``docs/checks.md`` lists all of them; tests/test_checks_doc.py compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal

from orchestration.gates.gate import (
    OPTIONAL_FIELDS,
    Check,
    FeedKey,
    Gate,
    between,
    equal,
    ordered,
)
from orchestration.landing.events import DAYS_BACK
from orchestration.settings import Settings

FEEDS: tuple[FeedKey, ...] = ("usage", "energy_price", "energy_mix", "gpu_price", "fx_rate")
"""The feeds as their assets are called: ``landing/<feed>``."""

CHECKS: dict[Check, str] = {
    "schema": "What is landed has the columns and types that the models read.",
    "ranges": "No value is impossible, and few are implausible.",
    "volume": "All that was landed is there, and it is about as much as in the last four weeks.",
    "freshness": "The newest rows are as new as they should be.",
    "unmapped_share": "Few rows are of customers, clusters or accelerators that no seed knows.",
}

USUAL_CHANGE = 3
"""A delivery of a third or the threefold of the usual rows is worth a look."""
STALE_DAYS: dict[FeedKey, int] = {
    "usage": 2,
    # Published a day ahead.
    "energy_price": 0,
    "energy_mix": 1,
    # Observed weekly.
    "gpu_price": 10,
    # No rates on weekends and holidays.
    "fx_rate": 5,
}
"""Days that the newest row may lie before the last delivery day without a warning."""

LAND_AGAIN = "Land the day again; if it stays, landing has a bug: report it"
LOOK = "Ask who delivers the feed"


def suite(feed: FeedKey, settings: Settings) -> tuple[Gate, ...]:
    """The gates of a feed under the given settings."""
    gates = [_columns_and_types(), *_RANGES[feed]]
    if feed == "usage":
        gates += _fields_are_there(settings.fields_gone)
    gates += _usage_volume() if feed == "usage" else _snapshot_volume()
    gates += _within_limits(feed, settings)
    if feed == "usage":
        gates += _unmapped_share(settings.warn_curable_share)
    elif feed != "energy_mix":  # A zone may have no energy mix.
        gates.append(
            between(
                "freshness",
                "wanted_is_there",
                "warning",
                "wanted_rows",
                "Whatever the seeds need of the feed has rows",
                "Have it delivered, or take it out of the seeds",
                at_least=1,
            )
        )
    return tuple(gates)


def fingerprint(gates: tuple[Gate, ...]) -> str:
    """Changes when anything that the gates expect does."""
    return hashlib.sha256(repr(gates).encode()).hexdigest()[:16]


def _columns_and_types() -> Gate:
    return equal(
        "schema",
        "columns_and_types",
        "landed_columns",
        "declared_columns",
        "Every landed file has the declared columns and types",
        LAND_AGAIN,
    )


def _fields_are_there(gone: frozenset[str]) -> list[Gate]:
    """A renamed optional field would else be billed as if no row had it, by its default."""
    return [
        between(
            "schema",
            f"{field}_is_there",
            "error",
            f"rows_with_{field}",
            "Some row corrects another, if rows name what they correct"
            if field == "kind"
            else f"Some row has {place}, which most rows of the last deliveries had",
            f"Was {place} renamed by its producer? Have the day delivered again; if no row is to "
            f"have it any more, say so with ACCEPTED_FIELDS_GONE={field}",
            at_least=1,
        )
        for field, place in OPTIONAL_FIELDS.items()
        if field not in gone
    ]


def _required_values() -> Gate:
    return between(
        "ranges",
        "required_values_are_there",
        "error",
        "empty_cells",
        "No landed row lacks a value that landing requires",
        LAND_AGAIN,
        at_least=0,
        at_most=0,
    )


def _none(name: str, measure: str, promise: str) -> Gate:
    return between("ranges", name, "error", measure, promise, LAND_AGAIN, at_least=0, at_most=0)


_RANGES: dict[FeedKey, tuple[Gate, ...]] = {
    "usage": (
        _required_values(),
        _none("kinds_are_known", "unknown_kinds", "Every row is a usage, correction or retraction"),
        _none("meters_are_known", "unknown_meters", "Every row has a meter that can be converted"),
        between(
            "ranges",
            "usage_is_not_negative",
            "error",
            "lowest_usage",
            "No usage is negative; only corrections take something back",
            LAND_AGAIN,
            at_least=0,
        ),
        _none(
            "corrections_name_their_event",
            "nameless_corrections",
            "Every correction names the event that it corrects",
        ),
        _none(
            "rows_lie_under_their_days",
            "misplaced_rows",
            "Every row lies under its usage day and delivery day",
        ),
        between(
            "ranges",
            "use_is_not_ahead",
            "error",
            "newest_age_days",
            "No use is later than its delivery day",
            LAND_AGAIN,
            at_least=0,
        ),
        between(
            "ranges",
            "use_is_in_reach",
            "error",
            "oldest_age_days",
            "No use is older than a delivery may hold",
            LAND_AGAIN,
            at_most=DAYS_BACK,
        ),
        ordered(
            "ranges",
            "slices_fit_the_fleet",
            "warning",
            "largest_slice_gpu_hours",
            "No slice is more than the largest cluster can do in a day",
            "Check the producer's meter and unit; correct fleet/pools if GPUs are missing there",
            at_most="fleet_gpu_hours",
        ),
    ),
    "energy_price": (
        _required_values(),
        between(
            "ranges",
            "resolution_is_positive",
            "error",
            "shortest_interval",
            "Every price holds for a minute or more",
            LAND_AGAIN,
            at_least=1,
        ),
        between(
            "ranges",
            "prices_are_of_the_usual_size",
            "warning",
            "times_default",
            "The last week's typical price is not far above the facility's default price",
            "Check the feed's unit (kWh or MWh) and currency, and default_price_per_kwh",
            at_most=20,
        ),
    ),
    "energy_mix": (
        _required_values(),
        between(
            "ranges",
            "carbon_is_not_negative",
            "warning",
            "lowest_carbon",
            "No hour has a negative carbon intensity",
            LOOK,
            at_least=0,
        ),
        between(
            "ranges",
            "carbon_is_plausible",
            "warning",
            "highest_carbon",
            "No hour is dirtier than any power plant",
            LOOK,
            at_most=2000,
        ),
        between(
            "ranges",
            "renewable_is_not_negative",
            "warning",
            "lowest_renewable",
            "No hour has a negative renewable share",
            LOOK,
            at_least=0,
        ),
        between(
            "ranges",
            "renewable_is_a_share",
            "warning",
            "highest_renewable",
            "No hour is more than 100 per cent renewable",
            LOOK,
            at_most=100,
        ),
    ),
    "gpu_price": (
        _required_values(),
        between(
            "ranges",
            "prices_are_not_negative",
            "warning",
            "lowest_price",
            "No GPU hour has a negative price",
            LOOK,
            at_least=0,
        ),
        between(
            "ranges",
            "prices_are_plausible",
            "warning",
            "highest_price",
            "No GPU hour costs more than 1,000 of the reporting currency",
            LOOK,
            at_most=1000,
        ),
    ),
    "fx_rate": (
        _required_values(),
        between(
            "ranges",
            "rates_are_positive",
            "error",
            "lowest_rate",
            "Every exchange rate is above zero",
            LAND_AGAIN,
            above=0,
        ),
        between(
            "ranges",
            "rates_do_not_jump",
            "warning",
            "times_in_a_month",
            "No currency doubled or halved within a month",
            "Check the rates of the last month for a slipped decimal point or a swapped pair",
            at_most=2,
        ),
    ),
}


def _all_there() -> Gate:
    return equal(
        "volume",
        "every_landed_row_is_there",
        "rows",
        "recorded_rows",
        "As many rows are there as landing wrote down",
        "A landed file was changed or lost: land the day again",
    )


def _usage_volume() -> list[Gate]:
    return [
        _all_there(),
        _as_usual("The delivery has about as many rows as on that weekday lately"),
    ]


def _as_usual(promise: str) -> Gate:
    return between(
        "volume",
        "rows_as_usual",
        "warning",
        "change",
        promise,
        "Check that the feed is whole and not delivered twice over",
        at_most=USUAL_CHANGE,
    )


def _snapshot_volume() -> list[Gate]:
    return [
        _all_there(),
        _as_usual("The last week has about as many rows as the four weeks before"),
        ordered(
            "volume",
            "history_stays",
            "warning",
            "kept_share",
            "The feed still has the rows that were billed last",
            "Check that the feed's files are whole; without their history, past costs change",
            at_least=Decimal("0.9"),
        ),
    ]


def _within_limits(feed: FeedKey, settings: Settings) -> Iterator[Gate]:
    """How new the feed should be, and the operator's own limits, if any are set."""
    yield between(
        "freshness",
        "newest_row_is_recent",
        "warning",
        "newest_age_days",
        "The newest row is not long before the last delivery day",
        "Ask whether the feed is late; until it comes, the last known values are used",
        at_most=STALE_DAYS[feed],
    )
    if settings.max_feed_age_days is not None:
        yield between(
            "freshness",
            "newest_row_within_limit",
            "error",
            "newest_age_days",
            "The newest row is within MAX_FEED_AGE_DAYS of the last delivery day",
            "Have the feed delivered, or raise MAX_FEED_AGE_DAYS to accept it",
            at_most=settings.max_feed_age_days,
        )
    if settings.max_volume_change is not None:
        yield ordered(
            "volume",
            "rows_within_limit",
            "error",
            "change",
            "Rows have changed by at most the factor MAX_VOLUME_CHANGE",
            "Have the feed delivered again, or raise MAX_VOLUME_CHANGE to accept it",
            at_most=settings.max_volume_change,
        )


def _unmapped_share(most: Decimal) -> list[Gate]:
    seeds = {
        "customers": "contracts/customers",
        "clusters": "fleet/clusters",
        "accelerators": "catalog/accelerators or catalog/accelerator_aliases",
    }
    return [
        ordered(
            "unmapped_share",
            f"{what}_are_known",
            "warning",
            f"unknown_{what}_share",
            f"Few rows are of {what} that the seeds do not know",
            f"Enter the {what} in {seed} and run the day again; until then its rows wait in "
            "rejected_rows",
            at_most=most,
        )
        for what, seed in seeds.items()
    ]
