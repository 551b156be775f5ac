"""The GPU Credit Warehouse: its command, and what was published, opened in a notebook.

    import gpu_credits

    books = gpu_credits.open("data")
    books.table("margin_daily").df()

The command imports this package before it knows what is asked for, so nothing heavy is imported
until somebody opens the books. The guide is docs/notebooks.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from gpu_credits.notebook import OpenedBooks
    from orchestration.explain import Explanation

__all__ = ["explain", "open"]


def open(data_dir: str | PathLike[str] | None = None) -> OpenedBooks:
    """Open the current publication to read it; it stays the same one for as long as it is open.

    Args:
        data_dir: the folder that the job writes to (default: what DATA_DIR says).

    Raises:
        NothingPublished: there is no publication in it.
        SettingsError: no folder is given, and a setting of the environment is wrong.
    """
    from gpu_credits.notebook import OpenedBooks, data_folder

    return OpenedBooks(data_folder(data_dir))


def explain(
    line: str, data_dir: str | PathLike[str] | None = None, *, events: int = 20
) -> Explanation:
    """Take a line of the current publication down to the delivered events, as data.

    Args:
        line: an ``invoice_line_id``.
        data_dir: the folder that the job writes to (default: what DATA_DIR says).
        events: how many delivered events are listed; all are summed.

    Raises:
        NothingToExplain: no such line (with the closest ids), nothing published, or a run is
            writing the warehouse.
        SettingsError: a setting of the environment is wrong.
    """
    from gpu_credits.notebook import data_folder, explained

    return explained(data_folder(data_dir), line, events)
