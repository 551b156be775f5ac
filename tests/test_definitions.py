"""The code location: what the Dagster UI shows, and how the job is put together."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from conftest import Books
from receiver import action, misbehaving, publish
from usagebox_engine import MeteringEngine, event, serving

from orchestration.landing.files import usage_part
from orchestration.seeds.staging import SeedError
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT, Settings

NO_KEY = {"rejected_rows"}
"""Published tables of which no columns are a key without NULL."""


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


def test_a_manifest_is_told_from_that_of_another_release_whatever_the_dates(location, tmp_path):
    """A release that is rolled back has files that are older than the manifest of the later one."""
    from orchestration.books.dbt_project import project_fingerprint

    model = tmp_path / "models" / "one.sql"
    model.parent.mkdir()
    model.write_text("select 1", encoding="utf-8")
    first = project_fingerprint(tmp_path)
    os.utime(model, (1, 1))
    assert project_fingerprint(tmp_path) == first
    model.write_text("select 2", encoding="utf-8")
    os.utime(model, (1, 1))
    later = project_fingerprint(tmp_path)
    assert later != first
    model.rename(model.with_name("two.sql"))
    assert project_fingerprint(tmp_path) not in (first, later)


def test_another_release_is_parsed_from_nothing(location, tmp_path, monkeypatch):
    """dbt parses changed files alone, and misses what a test refers to through a changed macro."""
    from orchestration.books import dbt_project as dbt

    left = tmp_path / "dbt" / "target" / dbt.PARTIAL_PARSE_FILE_NAME
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another release")
    found = []
    monkeypatch.setattr(
        "dagster_dbt.dbt_project.DagsterDbtProjectPreparer.prepare",
        lambda self, project: found.append(left.exists()),
    )
    monkeypatch.setattr(os, "environ", dict(os.environ))
    dbt.prepare_dbt_project(Settings(data_dir=tmp_path, seeds_dir=PROJECT_ROOT / "seeds"))
    assert found == [False]


def test_published_tables_promise_their_keys(location):
    """Also those whose tests look at what a night rebuilt only: database servers are told of them."""
    from orchestration.location import manifest as manifest_of_dbt
    from orchestration.publication.postgres.contract import contracts_of

    manifest = manifest_of_dbt()
    contracts = {contract.mart.name: contract for contract in contracts_of(manifest)}
    without = {name for name, contract in contracts.items() if contract.primary_key is None}
    assert without == NO_KEY
    assert {r.table for r in contracts["credit_ledger"].references} == {"credit_grants"}
    # Another condition than the night's is no promise for every row.
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            node["config"]["where"] = "customer_id = 'acme'"
    assert not any(contract.keys for contract in contracts_of(manifest))


def test_every_run_stays_in_one_process(location):
    """Also a backfill in the UI, which is no run of a job that we define."""
    jobs = [location.resolve_job_def(name) for name in ("nightly", "replay")]
    jobs.append(location.resolve_implicit_global_asset_job_def())
    assert {job.executor_def.name for job in jobs} == {"in_process"}


def test_the_stages_are_the_groups(location):
    graph = location.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.materializable_asset_keys}
    around = {"feeds", "seeds", "publication", "outbox", "renamed", "portal"}
    folders = {path.parent.name for path in (DBT_PROJECT_DIR / "models").rglob("*.sql")}
    assert groups == folders | around


def test_the_publication_waits_for_every_mart(location):
    graph = location.resolve_asset_graph()
    published = graph.get(dg.AssetKey(["published", "marts"]))
    marts = {key for key in graph.materializable_asset_keys if graph.get(key).group_name == "marts"}
    assert published.parent_keys == marts | {dg.AssetKey(["billing_controls"])}


def test_postgres_is_loaded_only_where_a_database_is_named(location, tmp_path, monkeypatch):
    pytest.importorskip("psycopg", reason='the extra "postgres" is not installed')
    from orchestration.defs import postgres_asset as postgres

    key = dg.AssetKey(["published", "postgres"])
    assert key not in location.resolve_asset_graph().materializable_asset_keys
    (tmp_path / "published" / "current").mkdir(parents=True)
    (tmp_path / "published" / "current" / "manifest.json").write_text(
        '{"last_delivery_day": "2026-01-05"}', encoding="utf-8"
    )
    named = Settings(data_dir=tmp_path, publish_postgres_url="postgresql://a:secret@127.0.0.1:1/b")
    monkeypatch.setattr(postgres, "settings", lambda: named)
    [asset] = postgres.postgres().assets
    assert asset.key == key
    with pytest.raises(dg.Failure, match="PostgreSQL keeps what it had") as failure:
        asset(dg.build_asset_context(partition_key="2026-01-05"), settings=named)
    assert "secret" not in str(failure.value)


def test_the_night_bills_the_day_that_ended(location):
    schedule = location.resolve_schedule_def("nightly_schedule")
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 6, 2, 30))
    [request] = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == "2026-01-05"


@pytest.mark.parametrize(("status", "is_taken"), [(200, True), (422, False)])
def test_a_run_fails_when_the_usage_api_does_not_take_an_action(
    location, tmp_path, monkeypatch, status, is_taken
):
    """The list is on the asset in any case; what it hands on is told by the check that failed."""
    from orchestration.defs import outbox_assets

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    capped = action("acme", "cap_usage", "2026-01-05")
    publish(tmp_path, "2026-01-05", actions=[capped])
    with misbehaving(lambda key, turn: status) as api:
        settings = Settings(data_dir=tmp_path, policy_api_url=api.url, send_policy_actions=True)
        result = dg.materialize(
            [outbox_assets.policy_actions_outbox, outbox_assets.alerts_outbox],
            resources={"settings": settings},
            partition_key="2026-01-05",
            raise_on_error=False,
        )
    assert result.success is is_taken
    [event] = result.asset_materializations_for_node("outbox__policy_actions")
    [row] = event.metadata["list"].records
    assert row.data["id"] == capped["action_id"]
    assert row.data["state"] == ("sent" if is_taken else "refused")
    arrived = next(
        check
        for check in result.get_asset_check_evaluations()
        if check.check_name == "everything_arrived" and "alerts" not in check.asset_key.path
    )
    assert arrived.passed is is_taken
    if not is_taken:
        assert arrived.description == f"{capped['action_id']} (usage API): status 422"


def test_what_has_an_old_name_does_the_same_and_no_night_runs_it(location, tmp_path, monkeypatch):
    """After the new name or before it: what has its receipt is not sent again."""
    from orchestration.defs import outbox_assets

    old = {dg.AssetKey(["delivery", name]) for name in ("policy_actions", "alerts")}
    graph = location.resolve_asset_graph()
    assert old == {
        k for k in graph.materializable_asset_keys if graph.get(k).group_name == "renamed"
    }
    assert not any(graph.get(key).automation_condition for key in old)
    nightly = location.resolve_job_def("nightly").asset_layer
    assert nightly.executable_asset_keys == graph.materializable_asset_keys - old

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    publish(tmp_path, "2026-01-05", actions=[action("acme", "cap_usage", "2026-01-05")])
    with misbehaving() as api:
        settings = Settings(data_dir=tmp_path, policy_api_url=api.url, send_policy_actions=True)
        for assets in (
            [outbox_assets.policy_actions_renamed, outbox_assets.alerts_renamed],
            [outbox_assets.policy_actions_outbox, outbox_assets.policy_actions_renamed],
        ):
            assert dg.materialize(
                assets, resources={"settings": settings}, partition_key="2026-01-05"
            ).success
    assert len(api.asked) == 1


def test_usage_lands_from_an_engine_and_is_held_against_its_sums(location, tmp_path, monkeypatch):
    """The first day is sound; then its row is lost; on the third nothing was ingested."""
    from orchestration.defs import feed_assets as feeds

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seeds = shutil.copytree(PROJECT_ROOT / "seeds", tmp_path / "edited")
    with (seeds / "contracts" / "customers.csv").open("a", encoding="utf-8") as customers:
        customers.write("acme,Acme,1,false\n")
    engine = MeteringEngine([event("e1", "2026-01-05T09:00:00Z", "2026-01-05T10:00:00Z")])

    def checks(day: str) -> dict[str, tuple[bool, str | None]]:
        result = dg.materialize(
            [feeds.usage],
            resources={"settings": settings},
            partition_key=day,
            raise_on_error=False,
        )
        found = result.get_asset_check_evaluations()
        assert result.success is all(check.passed for check in found)
        return {check.check_name: (check.passed, check.description) for check in found}

    with serving(engine) as address:
        settings = Settings(data_dir=tmp_path, seeds_dir=seeds, usage_url=f"usagebox+{address}")
        complete, withdrawn, equal = checks("2026-01-05").values()
        assert complete == withdrawn == equal == (True, None)
        (lost,) = settings.landing_dir.glob("usage/usage_day=2026-01-05/*/part.parquet")
        engine.events.append(event("e2", "2026-01-05T11:00:00Z", "2026-01-06T10:00:00Z"))
        lost.unlink()
        complete, withdrawn, equal = checks("2026-01-06").values()
        assert complete == withdrawn == (True, None)
        assert equal[0] is False
        assert "account 'acme', usage day 2026-01-05: the engine has 2 events" in equal[1]
        complete, withdrawn, equal = checks("2026-01-07").values()
        assert "the engine took in nothing" in complete[1]
        assert withdrawn == (True, None)
        assert equal == (False, "not compared: a delivery has a problem of its own")


def test_the_replay_is_a_job_of_its_own_that_no_night_selects(location, tmp_path, monkeypatch):
    (tmp_path / "comparison.md").write_text("### Replay", encoding="utf-8")
    (tmp_path / "who_pays_more.svg").write_text("<svg/>", encoding="utf-8")
    asked = []

    def fake(settings, scenarios, first, last, say):
        asked.append((scenarios, first, last))
        return tmp_path

    monkeypatch.setattr("orchestration.trial.replay.replay", fake)
    job = location.resolve_job_def("replay")
    config = {"scenarios": ["/seeds/dear"], "first": "2026-01-05", "last": "2026-01-07"}
    done = job.execute_in_process(run_config={"ops": {"compare_catalogs": {"config": config}}})
    assert done.output_for_node("compare_catalogs") == str(tmp_path)
    assert asked == [(["/seeds/dear"], date(2026, 1, 5), date(2026, 1, 7))]
    backwards = {**config, "last": "2026-01-01"}
    failed = job.execute_in_process(
        run_config={"ops": {"compare_catalogs": {"config": backwards}}}, raise_on_error=False
    )
    assert not failed.success
    nightly = location.resolve_job_def("nightly")
    assert "compare_catalogs" not in {node.name for node in nightly.nodes_in_topological_order}


# Trust: what stops a night, what is tried again, what is told.

FEED_KEYS = [
    dg.AssetKey(["landing", feed])
    for feed in ("usage", "energy_price", "energy_mix", "gpu_price", "fx_rate")
]


def test_every_feed_has_its_gates_and_they_block(location):
    checks = location.resolve_asset_graph().asset_check_keys
    gates = {(key.asset_key.path[-1], key.name) for key in checks if key.asset_key in FEED_KEYS}
    for feed in FEED_KEYS:
        for check in ("delivery_is_complete", "schema", "ranges", "volume", "freshness"):
            assert (feed.path[-1], check) in gates
    assert ("usage", "unmapped_share") in gates
    for key in checks:
        if key.asset_key in FEED_KEYS:
            assert location.resolve_asset_graph().get(key).blocking, key


def test_no_table_is_built_before_the_gates(location):
    """In the job, the step that runs dbt waits for the results of every gate."""
    job = location.resolve_job_def("nightly")
    waits_for = job.dependencies[
        next(node for node in job.dependencies if node.name == "billing_models")
    ]
    outputs = {
        handle.node
        for dependency in waits_for.values()
        for handle in dependency.get_node_dependencies()
    }
    assert "feed_gates" in outputs


def test_only_feeds_are_tried_again(location):
    """A store may not answer; what dbt or a check says does not change by asking again."""
    nodes = location.resolve_job_def("nightly").nodes
    retried = {node.name for node in nodes if node.definition.retry_policy is not None}
    assert retried == {"__".join(key.path) for key in FEED_KEYS}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        SeedError("contracts/orders.csv: row 2: column sku is empty"),
        AttributeError("a fault of the job itself"),
        duckdb.OutOfMemoryException("failed to allocate"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_no_retry_cures_fails_at_once(location, error):
    from orchestration.defs.feed_assets import at_once_if_it_lasts

    with pytest.raises(dg.Failure, match=type(error).__name__) as failed, at_once_if_it_lasts():
        raise error
    assert failed.value.allow_retries is False
    assert str(error) in failed.value.description


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), TimeoutError("the store"), OSError(errno.EIO, "Input/output error")],
    ids=lambda error: type(error).__name__,
)
def test_a_store_that_does_not_answer_is_asked_again(location, error):
    from orchestration.defs.feed_assets import at_once_if_it_lasts

    with pytest.raises(type(error)), at_once_if_it_lasts():
        raise error


def test_a_feed_is_fresh_when_the_night_landed_it(location):
    """A night begins at 02:30; an hour later a feed that it did not land is late.

    The window is shorter than a day: the landing of the night before does not count.
    """
    graph = location.resolve_asset_graph()
    due = {key: graph.get(key).freshness_policy for key in graph.materializable_asset_keys}
    assert {key for key, policy in due.items() if policy} == set(FEED_KEYS)
    for policy in (due[key] for key in FEED_KEYS):
        assert policy.deadline_cron == "30 3 * * *"
        assert policy.lower_bound_delta == timedelta(hours=1)


def test_a_part_of_the_tables_is_no_billing(location):
    """It would count as a whole one: what it left out would be published as it was."""
    job = location.resolve_job_def("nightly")
    result = job.execute_in_process(
        asset_selection=[dg.AssetKey(["stg_usage_events"])],
        partition_key="2026-01-05",
        raise_on_error=False,
    )
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data.description
    assert "leaves out" in said
    assert "run the job nightly" in said


def test_tables_without_their_tests_are_no_billing(location):
    from orchestration.defs.billing_assets import billing_models

    job = location.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(billing_models().keys), asset_check_selection=set()
    )
    result = job.execute_in_process(partition_key="2026-01-05", raise_on_error=False)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "leaves out" in failure.step_failure_data.user_failure_data.description


def test_a_late_delivery_starts_the_nightly_job(location):
    sensor = location.resolve_sensor_def("late_usage")
    assert sensor.job_name == "nightly"
    # Like the schedule, it is switched on in production.
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    told = location.resolve_sensor_def("failed_run_notification")
    assert told.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize("day", ["2026-01-06", None])
def test_a_gate_says_in_the_ui_what_it_expected_and_found(
    location, sample_feeds, tmp_path, monkeypatch, day
):
    """Also if the checks are executed by themselves, without a day."""
    from orchestration.defs.gate_checks import gates

    [checks] = gates().asset_checks
    settings = Settings(data_dir=tmp_path, feeds_url=str(sample_feeds), max_feed_age_days=0)
    Books(settings).land([date(2026, 1, 5), date(2026, 1, 6)])
    for usage_day in (date(2026, 1, 5), date(2026, 1, 6)):
        usage_part(settings.landing_dir, usage_day, date(2026, 1, 6)).unlink()
    job = location.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=set(checks.check_keys)
    )
    result = job.execute_in_process(
        partition_key=day, resources={"settings": settings}, raise_on_error=False
    )
    assert not result.success
    found = {
        (check.asset_key.path[-1], check.check_name): check
        for check in result.get_asset_check_evaluations()
    }
    assert len(found) == len(checks.check_keys)
    stale = found["usage", "freshness"]
    assert not stale.passed
    assert stale.severity == dg.AssetCheckSeverity.ERROR
    assert stale.description.startswith("newest_row_within_limit (error): ")
    assert "expected newest_age_days at most 0, found 2 for 2026-01-06" in stale.description
    table = stale.metadata["expectations"].md_str.splitlines()
    assert [line.split(" | ")[2] for line in table[2:]] == [
        r"newest\_row\_within\_limit",
        r"newest\_row\_is\_recent",
    ]
    assert Path(stale.metadata["data_docs"].path).exists()
    whole = found["usage", "schema"]
    assert whole.passed
    assert whole.description == "6 of 6 expectations hold for 2026-01-05 to 2026-01-06"


def test_what_dbt_compiled_stays_for_the_last_billings_only(location, tmp_path):
    from orchestration.books.dbt_project import clear_old_targets

    for number in range(5):
        folder = tmp_path / f"billing_models-{number}"
        folder.mkdir()
        os.utime(folder, (number, number))
    (tmp_path / "manifest.json").touch()
    clear_old_targets(tmp_path, kept=7)
    assert len(list(tmp_path.iterdir())) == 6
    clear_old_targets(tmp_path, kept=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "billing_models-3",
        "billing_models-4",
        "manifest.json",
    ]
