"""The code location: what the Dagster UI shows, and how the job is put together."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
import pytest


@pytest.fixture(scope="module")
def location(tmp_path_factory) -> dg.Definitions:
    """The loaded code location, with a data folder of its own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("location")))
    from orchestration.definitions import defs

    yield defs()
    patch.undo()


def test_every_asset_has_a_group_an_owner_and_a_description(location):
    graph = location.resolve_asset_graph()
    keys = graph.materializable_asset_keys
    assert len(keys) > 40
    for key in keys:
        node = graph.get(key)
        assert node.group_name not in (None, "default"), key
        assert node.owners, key
        assert node.description, key
        assert node.kinds, key


def test_all_daily_assets_have_one_partitioning_and_one_backfill_policy(location):
    """Mixed policies would split a backfill into many runs."""
    graph = location.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.materializable_asset_keys]
    assert {node.backfill_policy for node in nodes} == {dg.BackfillPolicy.single_run()}
    assert len({node.partitions_def for node in nodes}) == 1


def test_the_stages_are_the_groups(location):
    graph = location.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.materializable_asset_keys}
    stages = {"feeds", "seeds", "staging", "normalize", "rate", "ledger", "cost", "marts"}
    assert groups == stages | {"publication"}


def test_the_publication_waits_for_every_mart(location):
    graph = location.resolve_asset_graph()
    published = graph.get(dg.AssetKey(["published", "marts"]))
    marts = {key for key in graph.materializable_asset_keys if graph.get(key).group_name == "marts"}
    assert published.parent_keys == marts


def test_the_night_bills_the_day_that_ended(location):
    schedule = location.resolve_schedule_def("nightly_schedule")
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 6, 2, 30))
    [request] = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == "2026-01-05"
