"""Loading the package of an optional extra when it is first needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from orchestration.sources.folder import FeedProblem


def load(extra: str, *modules: str) -> list[ModuleType]:
    """Import modules that an extra brings.

    Raises:
        FeedProblem: the extra is not installed, or what it needs does not fit.
    """
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError:
        problem = FeedProblem(
            "energy",
            f"{modules[0]} connector",
            f"the Python package {modules[0]} cannot be imported",
            f'Install the project\'s extra "{extra}" (pip install ".[{extra}]")',
        )
    raise problem
