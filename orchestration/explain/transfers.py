"""The ledger's transfers behind a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from orchestration.explain.books_read import Gone
from orchestration.explain.exact import Row, sum_of
from orchestration.explain.trace import Trace


def transferred(trace: Trace, dates: Sequence[date], kinds: Sequence[str] = ()) -> list[Row]:
    """The customer's transfers for usage posted on some dates."""
    return trace.rows(
        "select * from published.credit_ledger where customer_id = $customer "
        "and list_contains($dates::date[], posted_on) and list_contains($kinds, kind) "
        "order by posted_on, transfer_id",
        dates=list(dates),
        kinds=list(kinds) or ["burn", "overage", "refund"],
    )


def of_grants(trace: Trace, grant_ids: Iterable[str]) -> list[Row]:
    """All transfers of some grants of the customer."""
    return trace.rows(
        "select * from published.credit_ledger where customer_id = $customer "
        "and list_contains($grant_ids::varchar[], grant_id) "
        "order by grant_id, posted_on, kind = 'expiry', kind <> 'grant', transfer_id",
        grant_ids=list(grant_ids),
    )


def of_kind(trace: Trace, kind: str) -> list[Row]:
    """The transfers that a rollover or expiry line sums."""
    moved = trace.rows(
        "select ledger.*, grants.expires_on from published.credit_ledger as ledger "
        "inner join published.credit_grants as grants using (grant_id) "
        "where ledger.customer_id = $customer and ledger.cycle_start = $cycle "
        "and ledger.kind = $kind and grants.sku is not distinct from $sku "
        "and (grants.sku is not null or grants.source = $key) "
        "order by ledger.posted_on, grant_id",
        kind=kind,
    )
    if not moved:
        raise Gone(f"the ledger holds no {kind} for it any more")
    return moved


def print_transfers(trace: Trace, transfers: Sequence[Row]) -> None:
    """Print transfers with their sum."""
    trace.page.table(
        ["transfer", "posted on", "from", "to", "credits", "value"],
        [
            [
                transfer["transfer_id"],
                transfer["posted_on"],
                transfer["debit_account"].partition(":")[0],
                transfer["credit_account"].partition(":")[0],
                transfer["credits"],
                transfer["value"],
            ]
            for transfer in transfers
        ],
        ["sum", "", "", "", sum_of(transfers, "credits"), sum_of(transfers, "value")],
        more=" transfers, in the sum",
    )
