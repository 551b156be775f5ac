"""When the job runs: every night, for the day that ended."""

import dagster as dg

from orchestration.defs.outbox_assets import RENAMED
from orchestration.partitions import delivery_day

nightly = dg.define_asset_job(
    "nightly",
    # What has an old name, too, does the same as what has the new one.
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(RENAMED),
    partitions_def=delivery_day,
    executor_def=dg.in_process_executor,
    description="Land a delivery day, bill it, check it, publish it.",
)

# 02:30 UTC, an hour after the deliveries of the day before are due.
nightly_schedule = dg.build_schedule_from_partitioned_job(
    nightly, hour_of_day=2, minute_of_hour=30, name="nightly_schedule"
)
