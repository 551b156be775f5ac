"""Publication as an asset: the last step of a night, and only after every check passed."""

from typing import Any

import dagster as dg

from orchestration.books.warehouse import writer_lock
from orchestration.defs.feed_assets import OWNERS
from orchestration.location import manifest
from orchestration.pages.asset_pictures import cost_trend, margin_waterfall
from orchestration.partitions import delivery_day
from orchestration.publication.publish import Publication, marts_of, publish
from orchestration.settings import Settings


@dg.definitions
def publication() -> dg.Definitions:
    """The publication of every mart of the dbt project."""
    marts = marts_of(manifest())

    @dg.asset(
        key=["published", "marts"],
        deps=[dg.AssetKey([mart.name]) for mart in marts],
        partitions_def=delivery_day,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="publication",
        kinds={"parquet", "duckdb"},
        owners=OWNERS,
    )
    def published_marts(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult[None]:
        """The marts as BI reads them: Parquet and a DuckDB file, switched in one step."""
        with writer_lock(settings):
            published = publish(settings, marts, context.run_id)
        context.log.info(
            f"Published {sum(published.row_counts.values()):,} rows in {len(marts)} tables"
        )
        return dg.MaterializeResult(metadata=_metadata(published))

    return dg.Definitions(assets=[published_marts])


def _metadata(published: Publication) -> dict[str, Any]:
    pictures = {
        "margin_waterfall": margin_waterfall(published.path),
        "cost_per_gpu_minute": cost_trend(published.path),
    }
    return {
        **{
            name: dg.MetadataValue.md(picture)
            for name, picture in pictures.items()
            if picture is not None
        },
        "path": dg.MetadataValue.path(str(published.path)),
        "dagster/row_count": sum(published.row_counts.values()),
        "rows_by_table": dict(published.row_counts),
    }
