"""One line on its way down: what it is, and what all steps ask of the books."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

from orchestration.explain.books_read import ExplainedBooks, Gone, tier_prices
from orchestration.explain.exact import ZERO, Row, many, rounded, shown
from orchestration.explain.printout import Page


class Trace:
    """A line, the books it is read from and the page it is written on."""

    def __init__(self, books: ExplainedBooks, page: Page, line: Row, events_shown: int) -> None:
        self.books = books
        self.page = page
        self.line = line
        self.events_shown = events_shown
        self.customer: str = line["customer_id"]
        self.cycle: date = line["cycle_start"]
        origin = books.one(
            "select origin_id from int_invoice_lines where invoice_line_id = $line_id",
            line_id=line["invoice_line_id"],
        )
        # What the line is from: subscription, order, adjustment or grant, else its article.
        self.key: str = (origin and origin["origin_id"]) or line["sku"]
        self.known = {
            **line,
            "customer": self.customer,
            "cycle": self.cycle,
            "key": self.key,
            "last_day": books.last_day,
        }

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Rows of a query; it may name the line's own columns, ``customer``, ``cycle``, ``key``."""
        return self.books.rows(sql, **(self.known | parameters))

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row of such a query, or None."""
        return next(iter(self.rows(sql, **parameters)), None)

    def needed(self, what: str, sql: str) -> Row:
        """A row that the line was made from, found by customer, cycle and key of the line."""
        found = self.one(sql)
        if found is None:
            raise Gone(f"the books hold no {what} {self.key} in this cycle any more")
        return found

    def is_line(self, quantity: Fraction, unit_price: Fraction | None, amount: Fraction) -> None:
        """Compare what was worked out with the line; the amount is rounded here, once."""
        page, line = self.page, self.line
        page.equals("quantity", quantity, "the line", line["quantity"])
        if unit_price is not None or line["unit_price"] is not None:
            page.equals("unit price", unit_price or ZERO, "the line", line["unit_price"])
        digits = self.books.minor_digits
        page.say(f"  {shown(amount)} rounded to {'cents' if digits else 'whole units'}")
        page.equals("amount", rounded(amount, digits), "the line", line["amount"], 2)

    def price(self, sku: str, charge: str, day: date, units: Fraction, name: str) -> Fraction:
        """The price of some units by the tiers of a day, tier by tier."""
        tiers = self.books.tiers(sku, charge, day)
        if not tiers:
            self.page.say(f"  {sku} has no price for {charge} on {day}: 0")
            return ZERO
        self.page.say(
            f"  {many(units, name)} by the {charge} tiers of {sku} on {day} ({tiers[0]['mode']}):"
        )
        whole = ZERO
        for said, amount in tier_prices(tiers, units):
            self.page.say(f"    {said} = {shown(amount)}")
            whole += amount
        self.page.say(f"  price {shown(whole)}")
        return whole
