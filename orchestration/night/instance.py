"""The Dagster instance of a data folder: run history, pools and logs lie under ``DATA_DIR``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestration.settings import Settings

WRITER_POOL = "warehouse_writer"
"""Whoever bills holds the one slot of this pool."""

_CONFIGURATION = Path(__file__).with_name("dagster.yaml")


def use_instance(settings: Settings) -> Path:
    """Make ``$DATA_DIR/dagster`` the Dagster home of this process, unless the operator named one."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings.data_dir / "dagster")))
    # A backfill writes an event per asset and day; one by one they would outlast the billing.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(_CONFIGURATION, home / "dagster.yaml")
    return home


def set_writer_slots() -> None:
    """Give the writer's pool its one slot before any run is queued.

    Dagster knows a pool's default limit only after the pool was used once, so two first runs would
    start together. They would not harm each other (one waits for the lock), but neither should wait.
    """
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots(WRITER_POOL, 1)
