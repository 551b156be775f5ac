"""The limit: the least that DuckDB can do for the event pass and for landing, written by hand.

``python -m benchmarks.limit days|hours|landing JOB`` does one of them for the run described in the
JSON file JOB (``Job``), and prints the CPU seconds of the work alone. Same threads, same
memory_limit as the job; no rejected rows with a reason, no conflicts, no tests, no warehouse.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb


@dataclass(frozen=True)
class Job:
    """What an event pass reads, and where its result goes; paths as text."""

    landed: list[str]
    """The landed Parquet files of the usage days that the run touches."""
    delivered: str
    """The usage file of the night."""
    seeds: str
    books_open_on: str
    days_until_close: int
    memory_limit: str
    result: str
    """Where the result is written: usage_daily's keys, event_count, gpu_minutes, credits (micro)."""

    def write(self, path: Path) -> Path:
        """Write this as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: str) -> Job:
        """Read what ``write`` wrote."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


# The first delivery of an id is found by its key alone, in a second look at two columns: that is
# cheaper than to carry every column of an event through a window or a group.
_KEPT = """
landed as (
    select
        event_id, usage_day, delivery_day, customer_id, cluster,
        coalesce(gpu_type, '') as gpu_type,
        coalesce(model_family, 'unspecified') as model_family,
        start_us, duration_us, meter,
        quantity_micro,
        (delivery_day - date '2000-01-01')::bigint * 4294967296 + line_number as line
    from read_parquet($landed, hive_partitioning = false)
),

firsts as (
    select usage_day, event_id, min(line) as line from landed group by usage_day, event_id
),

kept as (
    select
        landed.* exclude (meter, quantity_micro),
        case meter
            when 'gpu_minute' then quantity_micro
            when 'gpu_hour' then quantity_micro * 60
            when 'gpu_second'
                then sign(quantity_micro) * ((2 * abs(quantity_micro) + 60) // 120)
            else sign(quantity_micro) * ((2 * abs(quantity_micro) + 60000) // 120000)
        end as minutes_micro
    from landed
    semi join firsts on landed.usage_day = firsts.usage_day and landed.line = firsts.line
),
"""

_BY_DAY = """
used as (
    select
        customer_id, usage_day, delivery_day, cluster, gpu_type, model_family,
        0 as hour_of_day, count(*) as event_count, sum(minutes_micro) as minutes_micro
    from kept
    group by all
),
"""

# What is left of a slice at the end of an hour moves on to the next; moved as sums, since the hours of
# most slices are two.
_BY_HOUR = """
slices as (
    select
        *, (start_us // 3600000000)::integer as first_hour,
        ((start_us + greatest(duration_us - 1, 0)) // 3600000000)::integer as last_hour
    from kept
),

lefts as (
    select
        *,
        case when first_hour < last_hour then
            minutes_micro - sign(minutes_micro) * (
                (abs(minutes_micro)::hugeint * ((first_hour + 1) * 3600000000 - start_us) * 2
                    + duration_us) // (2 * duration_us)
            )
        end as left_micro
    from slices
),

started as (
    select
        customer_id, usage_day, delivery_day, cluster, gpu_type, model_family,
        first_hour as hour_of_day, count(*) as event_count,
        sum(minutes_micro) as minutes_micro, sum(left_micro) as left_micro
    from lefts
    group by all
),

later as (
    select
        customer_id, usage_day, delivery_day, cluster, gpu_type, model_family, into_hour,
        sum(minutes_micro - sign(minutes_micro) * (
            (abs(minutes_micro)::hugeint * (into_hour * 3600000000 - start_us) * 2 + duration_us)
            // (2 * duration_us)
        )) as left_micro
    from (
        select *, unnest(range(first_hour + 2, last_hour + 1)) as into_hour
        from lefts
        where first_hour + 1 < last_hour
    )
    group by all
),

used as (
    select
        customer_id, usage_day, delivery_day, cluster, gpu_type, model_family, hour_of_day,
        sum(event_count) as event_count, sum(minutes_micro) as minutes_micro
    from (
        select * replace (minutes_micro - coalesce(left_micro, 0) as minutes_micro) from started
        union all
        select * replace (hour_of_day + 1 as hour_of_day, 0 as event_count, left_micro as minutes_micro)
        from started
        where left_micro is not null
        union all
        select * exclude (into_hour, left_micro), into_hour - 1, 0, -left_micro, null from later
        union all
        select * exclude (into_hour, left_micro), into_hour, 0, left_micro, null from later
    )
    group by all
),
"""

_RATED = """
cycles as (
    select
        customer_id, usage_day, delivery_day,
        make_date(year(usage_day), month(usage_day), billing_anchor_day)
        - case when day(usage_day) < billing_anchor_day then interval 1 month else interval 0 month end
            as cycle_start,
        make_date(year(opens), month(opens), billing_anchor_day)
        - case when day(opens) < billing_anchor_day then interval 1 month else interval 0 month end
            as first_cycle
    from (select distinct customer_id, usage_day, delivery_day from used)
    inner join customers using (customer_id)
    cross join (select $books_open_on::date as opens)
),

rated as (
    select
        used.*,
        accelerators.accelerator,
        dedicated.subscription_id is not null as is_dedicated,
        coalesce(family.credits_per_gpu_minute, every.credits_per_gpu_minute) as rate,
        case
            when cycles.cycle_start >= cycles.first_cycle
                and used.delivery_day
                <= cycles.cycle_start + interval 1 month + to_days($days_until_close::int)
                then used.usage_day
            else greatest(used.delivery_day, $books_open_on::date)
        end as posting_date
    from used
    inner join cycles
        on used.customer_id = cycles.customer_id
        and used.usage_day = cycles.usage_day and used.delivery_day = cycles.delivery_day
    inner join clusters on used.cluster = clusters.cluster
    left join aliases on used.gpu_type = aliases.alias
    inner join accelerators
        on case
            when used.gpu_type = '' then clusters.default_accelerator
            else coalesce(aliases.accelerator, used.gpu_type)
        end = accelerators.accelerator
    left join plans
        on used.customer_id = plans.customer_id and used.usage_day >= plans.starts_on
        and used.usage_day < coalesce(plans.ends_on, date '9999-12-31')
    left join dedicated
        on used.customer_id = dedicated.customer_id and used.cluster = dedicated.cluster
        and used.usage_day >= dedicated.starts_on
        and used.usage_day < coalesce(dedicated.ends_on, date '9999-12-31')
    left join rates as family
        on accelerators.accelerator = family.accelerator
        and used.model_family = family.model_family and used.usage_day >= family.valid_from
        and used.usage_day < coalesce(family.valid_to, date '9999-12-31')
    left join rates as every
        on accelerators.accelerator = every.accelerator and every.model_family = '*'
        and used.usage_day >= every.valid_from
        and used.usage_day < coalesce(every.valid_to, date '9999-12-31')
    where
        dedicated.subscription_id is not null
        or (plans.subscription_id is not null
            and coalesce(family.credits_per_gpu_minute, every.credits_per_gpu_minute) is not null)
)

select
    customer_id, usage_day, posting_date, cluster, accelerator, model_family, hour_of_day,
    sum(event_count)::bigint as event_count,
    sum(minutes_micro)::bigint as gpu_minutes_micro,
    case
        when is_dedicated then 0
        else round(sum(minutes_micro)::decimal(20, 0) * rate::decimal(18, 6), 0)
    end::bigint as credits_micro
from rated
group by
    customer_id, usage_day, posting_date, cluster, accelerator, model_family, hour_of_day,
    is_dedicated, rate
"""

_SEEDS = {
    "customers": "from read_csv($seeds || '/contracts/customers.csv')",
    "clusters": "from read_csv($seeds || '/fleet/clusters.csv')",
    "aliases": "from read_csv($seeds || '/catalog/accelerator_aliases.csv')",
    "accelerators": "from read_csv($seeds || '/catalog/accelerators.csv')",
    "rates": "select * replace (credits_per_gpu_minute::decimal(18, 6) as credits_per_gpu_minute)"
    " from read_csv($seeds || '/catalog/credit_rates.csv',"
    " types = {'credits_per_gpu_minute': 'varchar', 'valid_from': 'date', 'valid_to': 'date'})",
    "plans": "from read_csv($seeds || '/contracts/subscriptions.csv',"
    " types = {'starts_on': 'date', 'ends_on': 'date', 'cluster': 'varchar'})"
    " where sku in (select sku from read_csv($seeds || '/catalog/plans.csv'))",
    "dedicated": "from read_csv($seeds || '/contracts/subscriptions.csv',"
    " types = {'starts_on': 'date', 'ends_on': 'date', 'cluster': 'varchar'})"
    " where sku in (select sku from read_csv($seeds || '/catalog/dedicated_clusters.csv'))",
}

_LANDING = """
copy (
    select
        event_id, kind, corrects_event_id, customer_id, meter, quantity::decimal(18, 6) as quantity,
        ts::timestamptz::timestamp as ts, metadata.cluster as cluster,
        metadata.gpu_type as gpu_type, metadata.model_family as model_family,
        metadata.duration_s as duration_s, metadata.energy_cost as energy_cost
    from read_json(
        '{delivered}', format = 'newline_delimited', ignore_errors = true,
        columns = {{
            'event_id': 'varchar', 'kind': 'varchar', 'corrects_event_id': 'varchar',
            'customer_id': 'varchar', 'meter': 'varchar', 'quantity': 'decimal(18, 6)',
            'ts': 'varchar', 'metadata':
            'struct(cluster varchar, gpu_type varchar, model_family varchar, duration_s double,
                energy_cost decimal(18, 6))'
        }}
    )
) to '{result}' (format parquet, compression zstd)
"""


def by_day(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Scan, de-duplicate, join, aggregate to the grain of usage_daily."""
    _event_pass(connection, job, _BY_DAY)


def by_hour(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """The same to the hour of the day, which energy and concurrency need."""
    _event_pass(connection, job, _BY_HOUR)


def _event_pass(connection: duckdb.DuckDBPyConnection, job: Job, grain: str) -> None:
    for name, query in _SEEDS.items():
        connection.execute(f"create temp table {name} as {query}", {"seeds": job.seeds})
    connection.execute(
        f"create temp table result as with {_KEPT} {grain} {_RATED}",
        {
            "landed": job.landed,
            "books_open_on": job.books_open_on,
            "days_until_close": job.days_until_close,
        },
    )
    connection.execute(f"copy result to '{job.result}' (format parquet)")


def landing(connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Unpack, parse and type the delivered file into one Parquet file; bad lines are dropped."""
    connection.execute(_LANDING.format(delivered=job.delivered, result=job.result))


LIMITS: dict[str, Callable[[duckdb.DuckDBPyConnection, Job], None]] = {
    "days": by_day,
    "hours": by_hour,
    "landing": landing,
}


def cpu_seconds() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(name: str, job: Job) -> None:
    """Do the work, and print the CPU seconds that it took."""
    options = {"memory_limit": job.memory_limit, "temp_directory": f"{job.result}.spill"}
    began = cpu_seconds()
    with duckdb.connect(":memory:", config=options) as connection:
        connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = false")
        LIMITS[name](connection, job)
    print(json.dumps({"cpu_s": cpu_seconds() - began}))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in LIMITS:
        sys.exit(__doc__)
    main(sys.argv[1], Job.read(sys.argv[2]))
