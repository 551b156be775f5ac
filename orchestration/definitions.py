"""The code location. Every module under ``defs/`` is loaded; nothing is registered by hand."""

import dagster as dg

from orchestration.settings import SHARE_DIR


@dg.definitions
def defs() -> dg.Definitions:
    """Load everything that ``orchestration/defs`` defines."""
    return dg.Definitions.merge(
        # Beside the pyproject.toml that names the folder of the definitions.
        dg.load_from_defs_folder(path_within_project=SHARE_DIR),
        # Also what people start in the UI: a process per step would cost its imports each time.
        dg.Definitions(executor=dg.in_process_executor),
    )
