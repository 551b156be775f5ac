"""Starting dbt: as a process of its own that ends when the one that started it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT, Settings

BOUND_DBT = PROJECT_ROOT / "orchestration" / "bin" / "bound_dbt.py"

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What dbt colours its words with, for a terminal."""


def run_dbt(
    settings: Settings,
    arguments: Sequence[str],
    *,
    target: Path | None = None,
    log: IO[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run dbt on the project, with the environment of these books.

    A night's dbt is started by dagster-dbt instead (``defs/resources.py``), which hands on its events.

    Args:
        settings: of the books.
        arguments: of dbt, without the folders of project and profiles.
        target: where what dbt compiles goes, other than where Dagster reads it.
        log: takes what dbt says, as it says it; without it the result has it.
    """
    others = {"DBT_TARGET_PATH": str(target)} if target else {}
    return subprocess.run(
        [
            *(sys.executable, str(BOUND_DBT), *arguments),
            *(f"--project-dir={DBT_PROJECT_DIR}", f"--profiles-dir={DBT_PROJECT_DIR}"),
        ],
        env={**os.environ, **settings.dbt_environment(), **others},
        stdout=log or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
