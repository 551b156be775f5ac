"""The publication in PostgreSQL as an asset, where ``PUBLISH_POSTGRES_URL`` names a database.

It reads what was published, so the books stand whatever happens here; a run that cannot load them
fails and says why, and PostgreSQL keeps the publication that it had.
"""

import dagster as dg

from orchestration.defs.feed_assets import OWNERS
from orchestration.location import manifest, settings
from orchestration.partitions import delivery_day
from orchestration.settings import Settings


@dg.asset(
    key=["published", "postgres"],
    deps=[dg.AssetKey(["published", "marts"])],
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="publication",
    kinds={"postgres"},
    owners=OWNERS,
)
def published_postgres(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """The publication in PostgreSQL, replaced whole in one transaction: keys, comments, row security."""
    try:
        # Imported late: the driver comes with an extra.
        from orchestration.publication.postgres import NotLoaded
        from orchestration.publication.postgres.contract import contracts_of
        from orchestration.publication.postgres.load import load
    except ModuleNotFoundError as missing:
        raise dg.Failure(
            f"PUBLISH_POSTGRES_URL is set, but the Python package {missing.name} is not installed: "
            'install the project\'s extra "postgres" (pip install ".[postgres]")',
            allow_retries=False,
        ) from None
    try:
        loaded = load(settings, contracts_of(manifest()))
    except NotLoaded as reason:
        raise dg.Failure(f"PostgreSQL keeps what it had. {reason}", allow_retries=False) from reason
    context.log.info(
        f"Loaded {sum(loaded.row_counts.values()):,} rows in {len(loaded.row_counts)} tables; "
        f"readers waited {loaded.switch_seconds * 1000:.0f} ms"
    )
    return dg.MaterializeResult(
        metadata={
            "as_of": str(loaded.publication.last_day),
            "schema": settings.publish_postgres_schema,
            "dagster/row_count": sum(loaded.row_counts.values()),
            "rows_by_table": dict(loaded.row_counts),
            "switch_seconds": loaded.switch_seconds,
        }
    )


@dg.definitions
def postgres() -> dg.Definitions:
    """The asset, if there is a database to load."""
    return dg.Definitions(assets=[published_postgres] if settings().publish_postgres_url else [])
