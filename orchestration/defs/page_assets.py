"""Pages for people, drawn from what was published: a fuel gauge per customer, and finance's."""

import dagster as dg

from orchestration.books.warehouse import writer_lock
from orchestration.defs.feed_assets import OWNERS
from orchestration.pages.build import build_pages
from orchestration.pages.finance_page import build_finance_page
from orchestration.partitions import delivery_day
from orchestration.settings import Settings

PUBLISHED = dg.AssetKey(["published", "marts"])


@dg.asset(
    key=["portal", "gauge_pages"],
    deps=[PUBLISHED],
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="portal",
    kinds={"python", "html"},
    owners=OWNERS,
)
def gauge_pages(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[None]:
    """A static page and a JSON read model per customer: how full its wallet is, how long it lasts."""
    # Nobody publishes, and nobody else builds, while pages are built.
    with writer_lock(settings):
        built = build_pages(settings)
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(built.path)),
            "as_of": str(built.as_of),
            "pages": built.pages,
            "customers_by_state": built.states,
        }
    )


@dg.asset(
    key=["portal", "finance_page"],
    deps=[PUBLISHED],
    partitions_def=delivery_day,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="portal",
    kinds={"python", "html"},
    owners=OWNERS,
)
def finance_page(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[None]:
    """Revenue, margin and alerts of all customers on one static page, for finance only."""
    with writer_lock(settings):
        page = build_finance_page(settings)
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(page))})
