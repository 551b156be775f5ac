"""The delivered events behind rows of usage, accepted from the landing a second time."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from fractions import Fraction

from orchestration.explain.exact import ZERO, Row, many, sum_of
from orchestration.explain.rated_minutes import name_of
from orchestration.explain.trace import Trace

# The events behind rows of usage, accepted as the models accept them (int_repeated_events,
# int_kinds_of_use): of an event id the first delivery on a usage day, unless the books hold it as a
# conflict with another day or as a row that waits for a seed edit. An id may be claimed by any
# customer's row.
_ACCEPTED = """
create or replace temp table accepted as
with

keys as (

    select
        generate_subscripts($usage_days::date[], 1) as row_number,
        unnest($usage_days::date[]) as usage_day,
        unnest($posting_dates::date[]) as posting_date,
        unnest($clusters::varchar[]) as cluster,
        unnest($accelerators::varchar[]) as accelerator,
        unnest($families::varchar[]) as model_family

),

landed as (

    select
        event_id, kind, corrects_event_id, customer_id, meter, quantity_micro, usage_day, delivery_day,
        line_number, cluster, coalesce(gpu_type, '') as gpu_type,
        coalesce(model_family, 'unspecified') as model_family
    from read_parquet($files, hive_partitioning = false)
    where delivery_day <= $last_day

),

first_deliveries as (

    select * from landed
    where event_id in (select event_id from landed where customer_id = $customer)
    qualify row_number() over (
        partition by usage_day, event_id order by delivery_day, line_number
    ) = 1

),

billed as (

    select
        first_deliveries.*,
        customers.billing_anchor_day - 1 as shift,
        cast(date_trunc('month', usage_day - shift) as date) + shift as cycle_start,
        cast(date_trunc('month', $books_open_on::date - shift) as date) + shift as first_cycle,
        cast(cycle_start + interval 1 month as date) + $days_until_close::int as closes_on,
        case
            when cycle_start >= first_cycle and delivery_day <= closes_on then usage_day
            else greatest(delivery_day, $books_open_on::date)
        end as posting_date,
        case
            when gpu_type = '' then clusters.default_accelerator
            else coalesce(named.accelerator, aliases.accelerator)
        end as accelerator
    from first_deliveries
    inner join customers using (customer_id)
    inner join clusters using (cluster)
    left join accelerators as named on first_deliveries.gpu_type = named.accelerator
    left join accelerator_aliases as aliases on first_deliveries.gpu_type = aliases.alias
    where customer_id = $customer
        and not exists (
            from published.usage_conflicts as conflicts
            where conflicts.other_delivery = first_deliveries.delivery_day
                and conflicts.other_line_number = first_deliveries.line_number
                and conflicts.usage_date = first_deliveries.usage_day
        )
        and not exists (
            from published.rejected_rows as rejected
            where rejected.feed = 'usage'
                and rejected.delivery_date = first_deliveries.delivery_day
                and rejected.line_number = first_deliveries.line_number
        )

)

select
    keys.row_number,
    billed.usage_day,
    billed.delivery_day,
    billed.line_number,
    billed.event_id,
    billed.kind,
    billed.corrects_event_id,
    billed.meter,
    billed.quantity_micro,
    case billed.meter
        when 'gpu_minute' then quantity_micro
        when 'gpu_hour' then quantity_micro * 60
        when 'gpu_second' then sign(quantity_micro) * ((2 * abs(quantity_micro) + 60) // 120)
        when 'gpu_millisecond' then
            sign(quantity_micro) * ((2 * abs(quantity_micro) + 60000) // 120000)
    end as gpu_minutes_micro
from billed
inner join keys
    on
        billed.usage_day = keys.usage_day
        and billed.posting_date = keys.posting_date
        and billed.cluster = keys.cluster
        and billed.accelerator = keys.accelerator
        and billed.model_family = keys.model_family
"""


def follow_events(trace: Trace, rows: Sequence[Row]) -> None:
    """Derive the accepted events of some rows of usage from the landing, and sum them."""
    page = trace.page
    page.heading("The delivered events")
    if not rows:
        page.say("  None: no usage stands behind this line.")
        return
    landed = trace.books.landing / "usage"
    files = [
        glob.escape(str(path))
        for day in sorted({row["usage_date"] for row in rows})
        for path in sorted((landed / f"usage_day={day}").glob("delivery_day=*/part.parquet"))
    ]
    if not files:
        page.fail(f"no event of these days is landed in {landed}")
        return
    _accept(trace, rows, files)
    found = _sums(trace, len(rows))
    _print_events(trace, sum(of_row["events"] for of_row in found), len(rows))
    _compare(trace, rows, found)


def _accept(trace: Trace, rows: Sequence[Row], files: Sequence[str]) -> None:
    """Fill the table ``accepted``: the events of the rows, each with the number of its row."""
    trace.rows(
        _ACCEPTED,
        files=files,
        books_open_on=trace.books.books_open_on,
        days_until_close=trace.books.days_until_close,
        usage_days=[row["usage_date"] for row in rows],
        posting_dates=[row["posting_date"] for row in rows],
        clusters=[row["cluster"] for row in rows],
        accelerators=[row["accelerator"] for row in rows],
        families=[row["model_family"] for row in rows],
    )


def _sums(trace: Trace, count: int) -> list[Row]:
    """Number and minutes of the accepted events of each row."""
    found = {
        row["row_number"]: row
        for row in trace.rows(
            "select row_number, count(*) as events, "
            "sum(gpu_minutes_micro) as gpu_minutes_micro from accepted group by 1"
        )
    }
    none: Row = {"events": 0, "gpu_minutes": ZERO}
    return [found.get(number, none) for number in range(1, count + 1)]


def _print_events(trace: Trace, events: int, rows: int) -> None:
    """Print the first events, and say how many there are."""
    page = trace.page
    printed = trace.rows(
        "select * from accepted order by usage_day, delivery_day, line_number limit $limit",
        limit=trace.events_shown,
    )
    if printed:
        page.table(
            ["used on", "delivered in", "event", "quantity", "meter", "minutes"],
            [
                [
                    event["usage_day"],
                    f"{trace.books.file_names.get(event['delivery_day'], '(no record)')} "
                    f"line {event['line_number']}",
                    _what(event),
                    event["quantity"],
                    event["meter"],
                    event["gpu_minutes"],
                ]
                for event in printed
            ],
            limit=len(printed),
        )
    if events > len(printed):
        page.say(f"  ... and {events - len(printed):,} more")
    page.say(f"  {many(events, 'event')} of {many(rows, 'row')} of usage")


def _what(event: Row) -> str:
    if event["kind"] == "usage":
        return str(event["event_id"])
    return f"{event['event_id']} ({event['kind']} of {event['corrects_event_id']})"


def _compare(trace: Trace, rows: Sequence[Row], sums: Sequence[Row]) -> None:
    page = trace.page
    page.each_equals(
        "number of events of each row",
        (
            (name_of(row), Fraction(of_row["events"]), Fraction(row["event_count"]))
            for row, of_row in zip(rows, sums, strict=True)
        ),
    )
    page.each_equals(
        "minutes of the events of each row equal the row's",
        (
            (name_of(row), of_row["gpu_minutes"], row["gpu_minutes"])
            for row, of_row in zip(rows, sums, strict=True)
        ),
    )
    page.equals(
        "minutes of all events",
        sum_of(sums, "gpu_minutes"),
        "the rows of usage",
        sum_of(rows, "gpu_minutes"),
    )
