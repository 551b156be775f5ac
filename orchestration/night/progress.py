"""What a person sees on the console while the job runs: one line per message of an asset."""

import logging
import sys
import time

import dagster as dg

from orchestration.printable import printable

# What Dagster and dagster-dbt say by the assets' own logger: the steps left out after one that failed, as
# many lines as there are, and command lines of dbt. What failed, the end of a run says.
_OF_LIBRARIES = (
    "Dependencies for step ",
    "A dbt subsetted execution ",
    "Copying `",
    "Running dbt command: ",
    "Finished dbt command: ",
)


class _Lines(logging.Handler):
    """Prints what the assets say, with the seconds since the start; Dagster's own events stay in the UI."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._began = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        if meta.get("dagster_event") is not None:
            return
        message = meta.get("orig_message") or record.getMessage()
        if message.startswith(_OF_LIBRARIES):
            return
        seconds = time.monotonic() - self._began
        print(f"  {seconds:6.1f} s  {printable(message)}", file=sys.__stdout__, flush=True)


def _open(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("progress", level=logging.INFO)
    logger.addHandler(_Lines())
    return logger


progress = dg.LoggerDefinition(
    _open, description="One line per message of an asset, for people who watch a run."
)
