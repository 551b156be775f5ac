"""Holds: a blocking check that failed and that no later step can see for itself.

Dagster stops the run in which such a check fails, but not the next one, and not a run of only the
tables. So the failure is written down, and nothing is billed until the check passes.
"""

from __future__ import annotations

from pathlib import Path

from orchestration.settings import Settings
from orchestration.store.durable import put_text, remove


def hold(settings: Settings, check: str, problem: str | None) -> None:
    """Write down why a check failed, or that it passed.

    Args:
        check: its name.
        problem: a sentence, or None if it passed.
    """
    path = _folder(settings) / f"{check}.txt"
    if problem is None:
        remove(path)
        return
    put_text(problem, path)


def held(settings: Settings) -> list[str]:
    """The checks that failed and have not passed since, each with the reason."""
    return [
        f"{path.stem}: {path.read_text(encoding='utf-8')}"
        for path in sorted(_folder(settings).glob("*.txt"))
    ]


def _folder(settings: Settings) -> Path:
    return settings.quality_dir / "holds"
