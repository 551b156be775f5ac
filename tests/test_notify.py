"""A failed run is told of, to the log and to services, without a secret and without harm."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest
from conftest import run_job

from orchestration.night.failures import FailedRun, failed_run
from orchestration.night.notify import notify, without_secrets
from orchestration.settings import Settings, SettingsError, load_settings

RUN = FailedRun(
    "run-7",
    "2026-01-05",
    "2026-01-06",
    ("check volume of landing/usage failed: rows_within_limit (error): ...",),
)


class Receiver:
    """A service on 127.0.0.1 that takes JSON; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.messages: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.messages.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *of: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_address[1]}/hook-s3cr3t"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Receiver()
    yield made
    made.close()


def told(urls: str | None, run: FailedRun = RUN, **more: Any) -> tuple[list[str], list[str]]:
    log: list[str] = []
    warned: list[str] = []
    notify(Settings(notify_urls=urls, **more), run, log=log.append, warn=warned.append)
    return log, warned


def test_a_service_gets_the_run_its_days_what_failed_and_the_cure(receiver):
    log, warned = told(receiver.url)
    assert log == ["GPU credit billing failed for deliveries 2026-01-05 to 2026-01-06 (run run-7)"]
    assert warned == []
    [message] = receiver.messages
    assert message["title"] == "GPU credit billing failed for deliveries 2026-01-05 to 2026-01-06"
    for part in ("run-7", RUN.problems[0], "make bill FROM=2026-01-05 TO=2026-01-06"):
        assert part in message["message"]
    assert "what was published before stays as it was" in message["message"]


def test_without_a_service_there_is_only_the_log(receiver):
    log, warned = told(None)
    assert len(log) == 1
    assert (warned, receiver.messages) == ([], [])


def test_every_service_is_told_although_one_cannot_be(receiver, capfd):
    """Nothing of the URLs is printed, by us or by Apprise."""
    dead = "json://user:p4ss@127.0.0.1:9/dead-s3cr3t"
    log, warned = told(f"{dead} {receiver.url}")
    assert len(receiver.messages) == 1
    [warning] = warned
    assert "service 1 of the 2" in warning
    printed = "".join([*log, *warned, *capfd.readouterr()])
    assert "s3cr3t" not in printed
    assert "p4ss" not in printed


def test_a_service_that_refuses_is_said_so(receiver):
    receiver.status = 500
    _, warned = told(receiver.url)
    assert "service 1 of the 1" in warned[0]


def test_a_plugin_that_breaks_harms_nothing(receiver, monkeypatch):
    import apprise

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(receiver.url)

    monkeypatch.setattr(type(apprise.Apprise.instantiate(receiver.url)), "notify", broken)
    _, warned = told(receiver.url)
    assert len(warned) == 1
    assert "s3cr3t" not in warned[0]


def test_a_message_holds_no_secret(receiver):
    run = FailedRun("run", "", "", ("GET https://me:pw1@host/x?key=t0ken-of-entsoe failed",))
    told(receiver.url, run, entsoe_api_key="t0ken-of-entsoe")
    [message] = receiver.messages
    assert "t0ken-of-entsoe" not in message["message"]
    assert "pw1" not in message["message"]
    assert "GET https://***@host/x?key=*** failed" in message["message"]


def test_each_of_several_secrets_is_taken_out():
    settings = Settings(notify_urls="json://127.0.0.1/one jsons://example.org/two")
    assert without_secrets("to json://127.0.0.1/one, jsons://example.org/two", settings) == (
        "to ***, ***"
    )


def test_a_long_story_is_cut(receiver):
    told(receiver.url, FailedRun("run", "", "", ("x" * 100_000,)))
    [message] = receiver.messages
    assert len(message["message"]) < 10_000


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        ("json://127.0.0.1/ok s3cr3t-nonsense", "URL 2 is none that Apprise understands"),
        ("json://example.org/s3cr3t", "URL 1 is not encrypted: write jsons://"),
    ],
)
def test_a_wrong_url_is_named_by_its_number_only(monkeypatch, urls, says):
    monkeypatch.setenv("NOTIFY_URLS", urls)
    with pytest.raises(SettingsError, match="NOTIFY_URLS") as error:
        load_settings()
    assert says in str(error.value)
    assert "s3cr3t" not in str(error.value)
    assert "s3cr3t" not in repr(Settings(notify_urls="json://127.0.0.1/s3cr3t"))


# Where a failure comes from.


def a_failing_job() -> dg.JobDefinition:
    daily = dg.DailyPartitionsDefinition(start_date="2026-01-01")

    @dg.asset(
        partitions_def=daily, check_specs=[dg.AssetCheckSpec("whole", asset="feed", blocking=True)]
    )
    def feed() -> Iterator[Any]:
        yield dg.MaterializeResult()
        yield dg.AssetCheckResult(passed=False, description="the file is missing. Deliver it")

    @dg.asset(partitions_def=daily)
    def other() -> None:
        raise dg.Failure("The store does not answer: land it later", allow_retries=False)

    @dg.asset(partitions_def=daily)
    def third() -> None:
        raise ValueError("odd")

    return dg.Definitions(
        assets=[feed, other, third], jobs=[dg.define_asset_job("job")]
    ).resolve_job_def("job")


PROBLEMS = [
    "check whole of feed failed: the file is missing. Deliver it",
    "The store does not answer: land it later",
    "third: ValueError: odd",
]


def test_what_failed_is_said_once_checks_first():
    result = a_failing_job().execute_in_process(partition_key="2026-01-05", raise_on_error=False)
    run = failed_run(result.run_id, {"dagster/partition": "2026-01-05"}, result.all_events)
    assert (run.first, run.last) == ("2026-01-05", "2026-01-05")
    assert sorted(run.problems) == sorted(PROBLEMS)
    assert run.problems[0] == PROBLEMS[0]
    assert "Not published" in run.outcome


def test_the_sensor_tells_of_a_failed_run(location, receiver, monkeypatch, tmp_path):
    from orchestration.defs import sensors

    settings = Settings(data_dir=tmp_path, notify_urls=receiver.url)
    with dg.DagsterInstance.ephemeral() as instance:
        result = a_failing_job().execute_in_process(
            partition_key="2026-01-05", raise_on_error=False, instance=instance
        )
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_run_notification",
            dagster_event=next(event for event in result.all_events if event.is_run_failure),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        sensors.failed_run_notification(context, settings=settings)
    [message] = receiver.messages
    assert message["title"] == "GPU credit billing failed for deliveries 2026-01-05"
    for problem in PROBLEMS:
        assert problem in message["message"]


def test_a_run_that_died_before_its_first_step_has_its_own_message():
    died = dg.DagsterEvent(
        dg.DagsterEventType.RUN_FAILURE.value, job_name="nightly", message="The worker is gone"
    )
    run = failed_run("run", {}, [died])
    assert run.problems == ("The worker is gone",)
    assert run.title == "GPU credit billing failed"
    assert "start the run again" in run.message


@pytest.mark.job
def test_the_command_tells_of_what_it_could_not_bill(receiver, tmp_path):
    """It runs the job without sensors: the same function tells. A seed that is wrong is told, too."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    settings = {
        "DATA_DIR": tmp_path / "data",
        "FEEDS_URL": tmp_path,
        "SEEDS_DIR": seeds,
        "NOTIFY_URLS": receiver.url,
        "NO_PROXY": "127.0.0.1",
    }
    done = run_job(["2026-01-05", "2026-01-06"], settings)
    assert done.returncode == 2
    [message] = receiver.messages
    assert "contracts/customers.csv: the file is missing" in message["message"]
    assert "make bill FROM=2026-01-05 TO=2026-01-06" in message["message"]
    assert "s3cr3t" not in done.stdout + done.stderr
