"""The code location. Every module under ``defs/`` is loaded; nothing is registered by hand."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Load everything that ``orchestration/defs`` defines."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        # Also what people start in the UI: a process per step would cost its imports each time.
        dg.Definitions(executor=dg.in_process_executor),
    )
