"""Publication as an asset: the last step of a night, and only after every check passed."""

import json

import dagster as dg

from orchestration.books.dbt_project import dbt_project, settings
from orchestration.books.warehouse import writer_lock
from orchestration.defs.feed_assets import OWNERS
from orchestration.partitions import delivery_day
from orchestration.publication.publish import marts_of, publish

MARTS = marts_of(json.loads(dbt_project.manifest_path.read_text(encoding="utf-8")))


@dg.asset(
    key=["published", "marts"],
    deps=[dg.AssetKey([mart.name]) for mart in MARTS],
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="publication",
    kinds={"parquet", "duckdb"},
    owners=OWNERS,
)
def published_marts(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """The marts as BI reads them: Parquet and a DuckDB file, switched in one step."""
    # Imported late: whoever only loads the code location draws nothing.
    from orchestration.pages.asset_pictures import cost_trend, margin_waterfall

    with writer_lock(settings):
        publication = publish(settings, MARTS, context.run_id)
    context.log.info(
        f"Published {sum(publication.row_counts.values()):,} rows in {len(MARTS)} tables"
    )
    pictures = {
        "margin_waterfall": margin_waterfall(publication.path),
        "cost_per_gpu_minute": cost_trend(publication.path),
    }
    return dg.MaterializeResult(
        metadata={
            **{
                name: dg.MetadataValue.md(picture)
                for name, picture in pictures.items()
                if picture is not None
            },
            "path": dg.MetadataValue.path(str(publication.path)),
            "dagster/row_count": sum(publication.row_counts.values()),
            "rows_by_table": dict(publication.row_counts),
        }
    )
