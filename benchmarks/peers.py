"""The event pass as it is usually written in pandas, polars and on Spark.

``python -m benchmarks.peers pandas|polars|spark JOB`` reads the landed Parquet of a run, drops what
repeats an ``event_id``, joins the contracts and the rates of the day, and sums to the grain of
``usage_daily``, into the file that ``benchmarks.limit.Job`` names. All of them count in whole
millionths, as the job does: with floats they would be faster, and wrong. None of them says which
rows it dropped or why, and none takes negative corrections: the benchmark's feeds have none.

polars is looked for in ``.venv/readers`` and Spark in ``.venv/spark``, beside the project's packages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

from benchmarks.limit import Job, cpu_seconds

_MICRO = 1_000_000
_GROUP = ["customer_id", "usage_day", "delivery_day", "cluster", "gpu_type", "model_family"]
_KEYS = ["customer_id", "usage_day", "posting_date", "cluster", "accelerator", "model_family"]
_READ = [
    *("event_id", "usage_day", "delivery_day", "line_number", "customer_id", "cluster"),
    *("gpu_type", "model_family", "meter", "quantity_micro"),
]
_PER_MINUTE = {"gpu_second": 60, "gpu_millisecond": 60_000}
_NEVER = date(9999, 12, 31)


def _cycle_start(day: date, anchor: int) -> date:
    """The billing cycle that holds a day; ``anchor`` is at most 28."""
    first = day if day.day >= anchor else day.replace(day=1) - timedelta(days=1)
    return first.replace(day=anchor)


def posting_date(job: Job, anchor: int, usage_day: date, delivery_day: date) -> date:
    """The day that usage is booked on: its own until its cycle closes, then its delivery's."""
    opens_on = date.fromisoformat(job.books_open_on)
    cycle = _cycle_start(usage_day, anchor)
    ends = _cycle_start(cycle + timedelta(days=31), anchor)
    is_open = delivery_day <= ends + timedelta(days=job.days_until_close)
    if cycle >= _cycle_start(opens_on, anchor) and is_open:
        return usage_day
    return max(delivery_day, opens_on)


def with_pandas(job: Job) -> None:
    """pandas, on columns that pyarrow has read."""
    import pandas as pd
    import pyarrow.dataset as ds

    events = ds.dataset(job.landed, format="parquet").to_table(columns=_READ).to_pandas()
    events = events.sort_values(["delivery_day", "line_number"])
    events = events.drop_duplicates(["usage_day", "event_id"])
    quantity = events["quantity_micro"]
    minutes = quantity.where(events["meter"] != "gpu_hour", quantity * 60)
    for meter, divisor in _PER_MINUTE.items():
        rounded = (2 * minutes + divisor) // (2 * divisor)
        minutes = minutes.where(events["meter"] != meter, rounded)
    events["minutes"] = minutes
    events["gpu_type"] = events["gpu_type"].fillna("")
    events["model_family"] = events["model_family"].fillna("unspecified")
    used = events.groupby(_GROUP, as_index=False).agg(
        event_count=("event_id", "size"), minutes=("minutes", "sum")
    )

    def seed(name: str) -> pd.DataFrame:
        return pd.read_csv(f"{job.seeds}/{name}.csv", keep_default_na=False, dtype=str)

    customers = seed("contracts/customers")
    customers["billing_anchor_day"] = customers["billing_anchor_day"].astype(int)
    accelerators = seed("catalog/accelerators")["accelerator"]
    aliases = seed("catalog/accelerator_aliases").set_index("alias")["accelerator"]
    used = used.merge(customers[["customer_id", "billing_anchor_day"]], on="customer_id")
    used = used.merge(seed("fleet/clusters")[["cluster", "default_accelerator"]], on="cluster")
    named = used["gpu_type"].map(aliases).fillna(used["gpu_type"])
    used["accelerator"] = named.where(used["gpu_type"] != "", used["default_accelerator"])
    used = used[used["accelerator"].isin(accelerators)].reset_index(drop=True)

    def in_effect(found: pd.DataFrame, first: str, end: str) -> pd.DataFrame:
        days = found["usage_day"].astype(str)
        ends = found[end].where(found[end] != "", str(_NEVER))
        return found[(days >= found[first]) & (days < ends)]

    used["row"] = used.index
    subscriptions = seed("contracts/subscriptions")
    kinds = {
        kind: subscriptions[subscriptions["sku"].isin(seed(f"catalog/{kind}")["sku"])]
        for kind in ("plans", "dedicated_clusters")
    }
    dates = ["starts_on", "ends_on"]
    planned = used.merge(kinds["plans"][["customer_id", *dates]], on="customer_id")
    has_plan = used["row"].isin(in_effect(planned, *dates)["row"])
    owned = used.merge(
        kinds["dedicated_clusters"][["customer_id", "cluster", *dates]],
        on=["customer_id", "cluster"],
    )
    used["is_dedicated"] = used["row"].isin(in_effect(owned, *dates)["row"])
    rates = seed("catalog/credit_rates")
    rates["rate"] = [_micro(rate) for rate in rates["credits_per_gpu_minute"]]
    valid = ["valid_from", "valid_to"]
    exact = used.merge(rates, on=["accelerator", "model_family"])
    every = rates[rates["model_family"] == "*"].drop(columns="model_family")
    exact = in_effect(exact, *valid).set_index("row")["rate"]
    general = in_effect(used.merge(every, on="accelerator"), *valid).set_index("row")["rate"]
    rate = used["row"].map(exact).fillna(used["row"].map(general))
    used["rate"] = rate.where(~used["is_dedicated"], 0)
    used = used[used["is_dedicated"] | (has_plan & rate.notna())].copy()
    used["rate"] = used["rate"].astype("int64")

    booked = used[["billing_anchor_day", "usage_day", "delivery_day"]].drop_duplicates()
    booked["posting_date"] = [
        posting_date(job, *when) for when in booked.itertuples(index=False, name=None)
    ]
    used = used.merge(booked, on=["billing_anchor_day", "usage_day", "delivery_day"])
    result = used.groupby([*_KEYS, "is_dedicated", "rate"], as_index=False).agg(
        event_count=("event_count", "sum"), gpu_minutes_micro=("minutes", "sum")
    )
    # Whole minutes and the rest apart: the product would not fit into 64 bits.
    whole, rest = result["gpu_minutes_micro"].divmod(_MICRO)
    result["credits_micro"] = whole * result["rate"] + _rounded(rest * result["rate"])
    result[[*_KEYS, "event_count", "gpu_minutes_micro", "credits_micro"]].to_parquet(
        job.result, index=False
    )


def _rounded(micro: Any) -> Any:
    """Millionths of millionths as millionths; of what is not negative, halves up."""
    return (2 * micro + _MICRO) // (2 * _MICRO)


def _micro(rate: str) -> int:
    return int(Decimal(rate) * _MICRO)


def with_polars(job: Job) -> None:
    """polars, lazily and streaming."""
    import polars as pl

    quantity = pl.col("quantity_micro")
    by_meter = pl.when(pl.col("meter") == "gpu_hour").then(quantity * 60)
    for meter, divisor in _PER_MINUTE.items():
        rounded = (2 * quantity + divisor) // (2 * divisor)
        by_meter = by_meter.when(pl.col("meter") == meter).then(rounded)
    events = pl.scan_parquet(job.landed, hive_partitioning=False).select(_READ)
    # The first delivery is the smallest pair of day and line, found while grouping.
    first = pl.struct("delivery_day", "line_number")
    columns = ["customer_id", "cluster", "gpu_type", "model_family", "meter", "quantity_micro"]
    kept = events.group_by("usage_day", "event_id").agg(
        pl.col("delivery_day", *columns).sort_by(first).first()
    )
    used = (
        kept.with_columns(
            pl.col("gpu_type").fill_null(""),
            pl.col("model_family").fill_null("unspecified"),
            by_meter.otherwise(quantity).alias("minutes"),
        )
        .group_by(_GROUP)
        .agg(pl.len().cast(pl.Int64).alias("event_count"), pl.col("minutes").sum())
        .collect(engine="streaming")
    )

    def seed(name: str, *columns: str) -> pl.DataFrame:
        return pl.read_csv(f"{job.seeds}/{name}.csv", infer_schema=False).select(columns)

    def in_effect(found: pl.DataFrame, first: str, end: str) -> pl.DataFrame:
        day, never = pl.col("usage_day"), pl.lit(_NEVER)
        return found.filter(
            day >= pl.col(first).str.to_date(), day < pl.col(end).str.to_date().fill_null(never)
        )

    aliases = seed("catalog/accelerator_aliases", "alias", "accelerator")
    used = (
        used.join(
            seed("contracts/customers", "customer_id", "billing_anchor_day").with_columns(
                pl.col("billing_anchor_day").cast(pl.Int64)
            ),
            on="customer_id",
        )
        .join(seed("fleet/clusters", "cluster", "default_accelerator"), on="cluster")
        .join(aliases, left_on="gpu_type", right_on="alias", how="left")
        .with_columns(
            pl.when(pl.col("gpu_type") == "")
            .then("default_accelerator")
            .otherwise(pl.coalesce("accelerator", "gpu_type"))
            .alias("accelerator")
        )
        .join(seed("catalog/accelerators", "accelerator"), on="accelerator")
        .with_row_index("row")
    )
    dates = ("starts_on", "ends_on")
    contracts = seed("contracts/subscriptions", "customer_id", "sku", "cluster", *dates)
    plans = contracts.join(seed("catalog/plans", "sku").unique(), on="sku").drop("cluster")
    owned = contracts.join(seed("catalog/dedicated_clusters", "sku").unique(), on="sku")
    planned = in_effect(used.join(plans, on="customer_id"), *dates)["row"].implode()
    dedicated = in_effect(used.join(owned, on=["customer_id", "cluster"]), *dates)["row"].implode()
    valid = ("valid_from", "valid_to")
    rates = seed(
        "catalog/credit_rates", "accelerator", "model_family", "credits_per_gpu_minute", *valid
    ).with_columns(
        (pl.col("credits_per_gpu_minute").cast(pl.Decimal(18, 6)) * _MICRO)
        .cast(pl.Int64)
        .alias("rate")
    )
    every = rates.filter(pl.col("model_family") == "*").drop("model_family")
    exact = in_effect(used.join(rates, on=["accelerator", "model_family"]), *valid)
    general = in_effect(used.join(every, on="accelerator"), *valid)
    used = (
        used.join(exact.select("row", "rate"), on="row", how="left")
        .join(general.select("row", pl.col("rate").alias("any_rate")), on="row", how="left")
        .with_columns(
            pl.coalesce("rate", "any_rate").alias("rate"),
            pl.col("row").is_in(dedicated).alias("is_dedicated"),
            pl.col("row").is_in(planned).alias("has_plan"),
        )
        .filter(pl.col("is_dedicated") | (pl.col("has_plan") & pl.col("rate").is_not_null()))
        .with_columns(pl.when("is_dedicated").then(0).otherwise("rate").alias("rate"))
    )
    when = ["billing_anchor_day", "usage_day", "delivery_day"]
    booked = used.select(when).unique()
    days = pl.Series("posting_date", [posting_date(job, *row) for row in booked.rows()])
    used = used.join(booked.with_columns(days), on=when)
    minutes = pl.col("gpu_minutes_micro")
    (
        used.group_by(*_KEYS, "is_dedicated", "rate")
        .agg(pl.col("event_count").sum(), pl.col("minutes").sum().alias("gpu_minutes_micro"))
        .with_columns(
            (
                minutes // _MICRO * pl.col("rate") + _rounded(minutes % _MICRO * pl.col("rate"))
            ).alias("credits_micro")
        )
        .select(*_KEYS, "event_count", "gpu_minutes_micro", "credits_micro")
        .write_parquet(job.result)
    )


def with_spark(job: Job) -> None:
    """Spark, with as many local cores as there are and half of the memory_limit for its heap."""
    from pyspark.sql import SparkSession, Window
    from pyspark.sql import functions as f

    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.driver.memory", os.environ.get("SPARK_DRIVER_MEMORY", "4g"))
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.local.dir", f"{job.result}.spill")
        .config("spark.sql.warehouse.dir", f"{job.result}.warehouse")
        .getOrCreate()
    )
    print(json.dumps({"began": time.time()}), flush=True)

    def seed(name: str) -> Any:
        return spark.read.csv(f"{job.seeds}/{name}.csv", header=True)

    quantity = f.col("quantity_micro")
    minutes = f.when(f.col("meter") == "gpu_hour", quantity * 60)
    for meter, divisor in _PER_MINUTE.items():
        minutes = minutes.when(
            f.col("meter") == meter, f.expr(f"(2 * quantity_micro + {divisor}) div {2 * divisor}")
        )
    same_id = Window.partitionBy("usage_day", "event_id").orderBy("delivery_day", "line_number")
    used = (
        spark.read.parquet(*job.landed)
        .select(*_READ)
        .withColumn("number", f.row_number().over(same_id))
        .where("number = 1")
        .withColumn("minutes", minutes.otherwise(quantity))
        .withColumn("gpu_type", f.coalesce("gpu_type", f.lit("")))
        .withColumn("model_family", f.coalesce("model_family", f.lit("unspecified")))
        .groupBy(*_GROUP)
        .agg(f.count("*").alias("event_count"), f.sum("minutes").alias("minutes"))
    )
    views = {
        "used": used,
        "customers": seed("contracts/customers"),
        "clusters": seed("fleet/clusters"),
        "aliases": seed("catalog/accelerator_aliases"),
        "accelerators": seed("catalog/accelerators"),
        "rates": seed("catalog/credit_rates"),
        "subscriptions": seed("contracts/subscriptions"),
        "plan_skus": seed("catalog/plans").select("sku").distinct(),
        "dedicated_skus": seed("catalog/dedicated_clusters").select("sku").distinct(),
    }
    for name, view in views.items():
        view.createOrReplaceTempView(name)
    rated = spark.sql(_SPARK_RATED).cache()
    when = ["billing_anchor_day", "usage_day", "delivery_day"]
    booked = [(*row, posting_date(job, *row)) for row in rated.select(*when).distinct().collect()]
    calendar = spark.createDataFrame(
        booked, "billing_anchor_day int, usage_day date, delivery_day date, posting_date date"
    )
    (
        rated.join(f.broadcast(calendar), when)
        .groupBy(*_KEYS, "is_dedicated", "rate")
        .agg(f.sum("event_count").alias("event_count"), f.sum("minutes").alias("gpu_minutes_micro"))
        .withColumn(
            "credits_micro",
            f.expr("cast(round(cast(gpu_minutes_micro as decimal(20,0)) * rate, 0) as bigint)"),
        )
        .select(*_KEYS, "event_count", "gpu_minutes_micro", "credits_micro")
        .coalesce(1)
        .write.mode("overwrite")
        .parquet(job.result)
    )
    print(json.dumps({"ended": time.time()}), flush=True)
    spark.stop()


_SPARK_RATED = """
select
    used.customer_id, used.usage_day, used.delivery_day, used.cluster, used.model_family,
    used.event_count, used.minutes, accelerators.accelerator,
    cast(customers.billing_anchor_day as int) as billing_anchor_day,
    dedicated.subscription_id is not null as is_dedicated,
    case
        when dedicated.subscription_id is not null then cast(0 as decimal(18, 6))
        else cast(coalesce(family.credits_per_gpu_minute, every.credits_per_gpu_minute)
            as decimal(18, 6))
    end as rate
from used
inner join customers on used.customer_id = customers.customer_id
inner join clusters on used.cluster = clusters.cluster
left join aliases on used.gpu_type = aliases.alias
inner join accelerators
    on case
        when used.gpu_type = '' then clusters.default_accelerator
        else coalesce(aliases.accelerator, used.gpu_type)
    end = accelerators.accelerator
left join (select * from subscriptions where sku in (select sku from plan_skus)) as plans
    on used.customer_id = plans.customer_id and used.usage_day >= cast(plans.starts_on as date)
    and used.usage_day < coalesce(cast(plans.ends_on as date), date '9999-12-31')
left join (select * from subscriptions where sku in (select sku from dedicated_skus)) as dedicated
    on used.customer_id = dedicated.customer_id and used.cluster = dedicated.cluster
    and used.usage_day >= cast(dedicated.starts_on as date)
    and used.usage_day < coalesce(cast(dedicated.ends_on as date), date '9999-12-31')
left join rates as family
    on accelerators.accelerator = family.accelerator and used.model_family = family.model_family
    and used.usage_day >= cast(family.valid_from as date)
    and used.usage_day < coalesce(cast(family.valid_to as date), date '9999-12-31')
left join rates as every
    on accelerators.accelerator = every.accelerator and every.model_family = '*'
    and used.usage_day >= cast(every.valid_from as date)
    and used.usage_day < coalesce(cast(every.valid_to as date), date '9999-12-31')
where
    dedicated.subscription_id is not null
    or (plans.subscription_id is not null
        and coalesce(family.credits_per_gpu_minute, every.credits_per_gpu_minute) is not null)
"""

_LIBRARIES = {"pandas": ("pandas", "pyarrow.dataset"), "polars": ("polars",), "spark": ("pyspark",)}
PEERS: dict[str, Callable[[Job], None]] = {
    "pandas": with_pandas,
    "polars": with_polars,
    "spark": with_spark,
}


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PEERS:
        sys.exit(__doc__)
    # What an import takes is part of no event pass.
    for module in _LIBRARIES[sys.argv[1]]:
        import_module(module)
    began = cpu_seconds()
    PEERS[sys.argv[1]](Job.read(sys.argv[2]))
    print(json.dumps({"cpu_s": cpu_seconds() - began}))
