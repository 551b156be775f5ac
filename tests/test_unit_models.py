"""The dbt unit tests: the edges of every model, as small tables beside the models."""

import pytest
from conftest import Books

pytestmark = pytest.mark.job


def test_every_dbt_unit_test_passes(books, sample_feeds):
    """Method: an empty build makes the tables that the unit tests look at; then only they run."""
    billed: Books = books(feeds_url=str(sample_feeds))
    billed.bill("2026-01-05", "2026-01-05", publish=False)
    billed.dbt(["test", "--select", "test_type:unit"])
