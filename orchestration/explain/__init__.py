"""The arithmetic of an invoice line and the way down; ``python -m orchestration.explain LINE_ID``.

From the line to the ledger's transfers, to the rows of usage, to the delivered events with file
and line number; each step is summed and compared with the step above it. Readers' figures come
from the publication, what lies between from the warehouse, events from the landing. Nothing here
bills or writes: a figure is worked out a second time, in exact fractions, from the catalog.

``explanation`` begins with the line and knows what each kind of line is made of: a plan, packs,
bursts, overage, energy, dedicated clusters, used credits, or credits that moved. Each ends in the
ledger, the usage and the events, which all share.
"""

from orchestration.explain.books_read import NothingToExplain
from orchestration.explain.explanation import Explanation, explain, explain_line

__all__ = ["Explanation", "NothingToExplain", "explain", "explain_line"]
