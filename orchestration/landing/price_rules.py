"""The rules of the price feeds: which columns they have, and SQL from their texts to landed values.

Prices are cast in SQL, where text becomes a decimal exactly, and local times become UTC there, too:
polars knows fewer zones, and other changes of clocks to come (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.sources.folder import UndatedFeed

_NUMBER = r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?"
_CLOCK = r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?"
_OFFSET = r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
# What landing accepts, the models hold: the sums of a night never overflow.
_MOST_PER_KWH = 10**6
_MOST_PER_GPU_HOUR = 10**6
_MOST_OF_A_MIX = 10**9
PRICE_KINDS = ("spot", "on_demand", "market_min", "market_median")


@dataclass(frozen=True)
class CsvFeed:
    """What the rows of one feed must be.

    Attributes:
        required: columns that every row must fill, in the order of their reasons.
        may_be_empty: columns that the header must have, too, but a row may leave empty.
        optional: columns that the header may lack.
        typed: SQL over ``cells`` (the columns above as text, NULL if missing, and ``sequence``).
            Adds ``malformed`` (what is, in words) and ``other_reason``, ``other_detail`` for
            rows that are neither malformed nor lack a value.
        landed: SQL that names the snapshot's columns, but for ``sequence``, in ``typed``.
        identical_once: of rows with equal values in every delivered column, only the first lands.
    """

    name: UndatedFeed
    required: tuple[str, ...]
    typed: str
    landed: str
    may_be_empty: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    identical_once: bool = False


def _in_words(column: str, expected: str) -> str:
    return f"'{column} is ' || left({column}, 80) || '; {expected} was expected'"


def _instant(column: str) -> str:
    """SQL for the UTC timestamp that a text with an offset stands for."""
    return f"make_timestamp(epoch_us(try_cast(upper({column}) as timestamptz)))"


def _reaches(amount: str, limit: int) -> str:
    """SQL for whether an amount, rounded to 6 decimals, is not below a limit, or is none at all."""
    return f"({amount} is null or abs({amount}::decimal(18, 6)) >= {limit})"


def _not_number(column: str) -> str:
    return f"{column} is not null and not regexp_full_match({column}, '{_NUMBER}')"


ENERGY = CsvFeed(
    name="energy",
    required=(
        "zone",
        "interval_start",
        "resolution_minutes",
        "price",
        "currency",
        "unit",
        "timestamp_kind",
    ),
    optional=("tz",),
    typed=f"""
        with clocked as (
            select
                *,
                regexp_full_match(interval_start, '{_CLOCK}') as is_naive,
                regexp_full_match(interval_start, '{_CLOCK}{_OFFSET}') as has_offset,
                try_cast(resolution_minutes as int) as minutes,
                case unit
                    when 'kWh' then try_cast(price as decimal(18, 9))
                    -- A thousandth of the price rounded to 6 decimals is the thousandth of the
                    -- price rounded to 9.
                    when 'MWh'
                        then (try_cast(price as decimal(18, 6)) * 0.001)::decimal(18, 9)
                end as price_per_kwh,
                case when tz in (select name from pg_timezone_names()) then tz end as known_tz
            from cells
        ),

        local as (
            select
                *,
                case
                    when is_naive and timestamp_kind = 'naive_local' and known_tz is not null
                        then try_cast(upper(interval_start) as timestamp)
                end as local_start,
                coalesce(known_tz, 'UTC') as tz_name
            from clocked
        ),

        -- The two instants that the local time can stand for: with the UTC offset of the day
        -- before and with that of the day after.
        candidates as (
            select
                *,
                local_start - (
                    timezone(tz_name, (local_start - interval 1 day)::timestamptz)
                    - (local_start - interval 1 day)
                ) as before_change,
                local_start - (
                    timezone(tz_name, (local_start + interval 1 day)::timestamptz)
                    - (local_start + interval 1 day)
                ) as after_change,
                row_number() over (
                    partition by zone, tz_name, local_start order by sequence
                ) % 2 = 1 as is_first
            from local
        ),

        started as (
            select
                *,
                timezone(tz_name, before_change::timestamptz) = local_start as before_holds,
                timezone(tz_name, after_change::timestamptz) = local_start as after_holds,
                case timestamp_kind
                    when 'offset'
                        then case when has_offset then {_instant("interval_start")} end
                    when 'naive_utc' then case
                        when is_naive then try_cast(upper(interval_start) as timestamp)
                    end
                    when 'naive_local' then case
                        when before_holds and after_holds
                            then if(
                                is_first,
                                least(before_change, after_change),
                                greatest(before_change, after_change)
                            )
                        when before_holds then before_change
                        when after_holds then after_change
                    end
                end as start
            from candidates
        )

        select
            *,
            case
                when not regexp_full_match(resolution_minutes, '\\d{{1,9}}(\\.0*)?') or minutes < 1
                    then {_in_words("resolution_minutes", "a positive whole number")}
                when {_not_number("price")} then {_in_words("price", "a number")}
                when unit not in ('kWh', 'MWh') then {_in_words("unit", "kWh or MWh")}
                when price is not null and unit is not null
                    and {_reaches("price_per_kwh", _MOST_PER_KWH)}
                    then {_in_words("price", "less than 10^6 a kWh")}
                when timestamp_kind not in ('offset', 'naive_local', 'naive_utc')
                    then {_in_words("timestamp_kind", "offset, naive_local or naive_utc")}
                when tz is not null and known_tz is null and timestamp_kind = 'naive_local'
                    then {_in_words("tz", "a time zone name")}
                when timestamp_kind like 'naive%' and has_offset
                    then {_in_words("interval_start", "a time without an offset")}
                when interval_start is not null and (
                    not is_naive and not has_offset
                    or timestamp_kind in ('offset', 'naive_utc') and start is null
                        and (not is_naive or try_cast(interval_start as timestamp) is null)
                    or timestamp_kind = 'naive_local' and known_tz is not null
                        and local_start is null
                    or year(start) not between 1 and 9999
                ) then {_in_words("interval_start", "a time")}
            end as malformed,
            case
                when timestamp_kind = 'naive_local' and tz is null then 'missing_tz'
                when timestamp_kind = 'offset' and is_naive then 'naive_timestamp'
                when timestamp_kind = 'naive_local' and start is null
                    then 'nonexistent_local_time'
            end as other_reason,
            case
                when timestamp_kind = 'naive_local' and tz is null then 'tz is empty'
                when timestamp_kind = 'offset'
                    then {_in_words("interval_start", "an offset from UTC")}
                else 'in ' || tz || ' the clock never shows ' || interval_start
            end as other_detail
        from started
    """,
    landed="""
        zone, start as interval_start, minutes as resolution_minutes, price_per_kwh,
        upper(currency) as currency
    """,
)

CARBON = CsvFeed(
    name="carbon",
    required=("zone", "ts_utc"),
    may_be_empty=("carbon_gco2_kwh_lca", "renewable_pct"),
    # The column's name says UTC, so a time without an offset is no guess.
    typed=f"""
        with started as (
            select
                *,
                case
                    when regexp_full_match(ts_utc, '{_CLOCK}{_OFFSET}') then {_instant("ts_utc")}
                    when regexp_full_match(ts_utc, '{_CLOCK}')
                        then try_cast(upper(ts_utc) as timestamp)
                end as start,
                try_cast(carbon_gco2_kwh_lca as decimal(18, 6)) as carbon,
                try_cast(renewable_pct as decimal(18, 6)) as renewable
            from cells
        )

        select
            *,
            case
                when ts_utc is not null and (start is null or year(start) not between 1 and 9999)
                    then {_in_words("ts_utc", "a time")}
                when {_not_number("carbon_gco2_kwh_lca")}
                    or carbon_gco2_kwh_lca is not null and {_reaches("carbon", _MOST_OF_A_MIX)}
                    then {_in_words("carbon_gco2_kwh_lca", "a number below 10^9")}
                when {_not_number("renewable_pct")}
                    or renewable_pct is not null and {_reaches("renewable", _MOST_OF_A_MIX)}
                    then {_in_words("renewable_pct", "a number below 10^9")}
            end as malformed,
            null::varchar as other_reason,
            null::varchar as other_detail
        from started
    """,
    landed="zone, start as ts_utc, carbon as carbon_gco2_kwh_lca, renewable as renewable_pct",
)

GPU = CsvFeed(
    name="gpu",
    required=("observed_at", "gpu_type", "price_per_gpu_hour", "currency", "price_kind"),
    optional=("provider", "region"),
    typed=f"""
        with observed as (
            select
                *,
                regexp_full_match(observed_at, '{_CLOCK}') as is_naive,
                case
                    when regexp_full_match(observed_at, '{_CLOCK}{_OFFSET}')
                        then {_instant("observed_at")}
                    when regexp_full_match(observed_at, '{_CLOCK}')
                        then try_cast(upper(observed_at) as timestamp)
                end as instant,
                try_cast(price_per_gpu_hour as decimal(18, 9)) as price
            from cells
        )

        select
            *,
            case
                when observed_at is not null
                    and (instant is null or year(instant) not between 1 and 9999)
                    then {_in_words("observed_at", "a time")}
                when {_not_number("price_per_gpu_hour")}
                    or price_per_gpu_hour is not null and {_reaches("price", _MOST_PER_GPU_HOUR)}
                    then {_in_words("price_per_gpu_hour", "a number below 10^6")}
                when price_kind not in {PRICE_KINDS}
                    then {_in_words("price_kind", "one of " + ", ".join(PRICE_KINDS))}
            end as malformed,
            case when is_naive then 'naive_timestamp' end as other_reason,
            {_in_words("observed_at", "an offset from UTC")} as other_detail
        from observed
    """,
    landed="""
        instant as observed_at, provider, region, gpu_type, price as price_per_gpu_hour,
        upper(currency) as currency,
        price_kind
    """,
    identical_once=True,
)

FX = CsvFeed(
    name="fx",
    required=("date", "currency", "usd_per_unit"),
    typed=f"""
        with dated as (
            select
                *,
                case
                    when regexp_full_match(date, '\\d{{4}}-\\d\\d-\\d\\d')
                        then try_cast(date as date)
                end as rate_date,
                try_cast(usd_per_unit as decimal(22, 12)) as rate
            from cells
        )

        select
            *,
            case
                when date is not null and (rate_date is null or year(rate_date) < 1)
                    then {_in_words("date", "a date YYYY-MM-DD")}
                when {_not_number("usd_per_unit")} or usd_per_unit is not null
                    and (rate is null or rate not between 0.000000001 and 1000000000)
                    then {_in_words("usd_per_unit", "a number from 10^-9 to 10^9")}
            end as malformed,
            null::varchar as other_reason,
            null::varchar as other_detail
        from dated
    """,
    landed="rate_date, upper(currency) as currency, rate as usd_per_unit",
)
