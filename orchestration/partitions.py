"""The only clock of the job: one partition per delivery day, UTC."""

import dagster as dg

# Early enough for any import of history; a day without a delivery is simply never materialized.
delivery_day = dg.DailyPartitionsDefinition(start_date="2020-01-01", timezone="UTC")
