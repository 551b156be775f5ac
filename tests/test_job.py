"""The whole job on the generated sample: the same deliveries give the same books, however they come."""

from datetime import date

import pytest
from conftest import Books, days, differences

pytestmark = pytest.mark.job

FIRST, LAST = "2026-01-05", "2026-01-12"


def test_one_run_single_nights_and_shuffled_nights_give_the_same_books(books, sample_feeds):
    """Method: bill eight deliveries at once, night by night, and shuffled with gaps filled later."""
    settings = {"feeds_url": str(sample_feeds), "books_open_on": date(2026, 1, 5)}
    at_once: Books = books("at_once", **settings)
    at_once.bill(FIRST, LAST)

    nightly: Books = books("nightly", **settings)
    for day in days(FIRST, LAST):
        nightly.bill(day, day)
    assert differences(at_once.publish(), nightly.publish()) == {}
