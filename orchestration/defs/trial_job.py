"""Replay as a job of its own: no asset, so that no night and no backfill selects it."""

from datetime import date

import dagster as dg
from pydantic import Field

from orchestration.pages.pictures import data_uri
from orchestration.seeds.staging import SeedError
from orchestration.settings import Settings
from orchestration.trial.books_apart import NotBilled
from orchestration.trial.scenario import ScenarioError


class ReplayConfig(dg.Config):
    """What to replay."""

    scenarios: list[str] = Field(description="Folders of changed seeds, on the server's disk.")
    first: str = Field(description="First delivery day of the window, for example 2026-01-05.")
    last: str = Field(description="Last delivery day of the window.")


# A pool holds one run, so that two replays do not fill the memory together.
@dg.op(pool="replay")
def compare_catalogs(
    context: dg.OpExecutionContext, config: ReplayConfig, settings: dg.ResourceParam[Settings]
) -> str:
    """Bill a window with today's seeds and with each scenario's, and publish the comparison."""
    # Here, so that no night waits for polars to start.
    from orchestration.trial.replay import replay as run_replay

    try:
        first, last = date.fromisoformat(config.first), date.fromisoformat(config.last)
        if last < first:
            raise ValueError(f"last={last} lies before first={first}")
        folder = run_replay(settings, config.scenarios, first, last, say=context.log.info)
    except (NotBilled, ScenarioError, SeedError, ValueError) as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    context.add_output_metadata(
        {
            "path": dg.MetadataValue.path(str(folder)),
            "comparison": dg.MetadataValue.md((folder / "comparison.md").read_text("utf-8")),
            **{
                picture.stem: dg.MetadataValue.md(
                    f"![{picture.stem}]({data_uri(picture.read_text('utf-8'))})"
                )
                for picture in sorted(folder.glob("*.svg"))
            },
        }
    )
    return str(folder)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Bill past deliveries under a changed catalog, beside the books, and compare.",
)
def replay() -> None:
    """A replay with the scenarios and the window of its configuration."""
    compare_catalogs()
