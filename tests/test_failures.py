"""What a failed run is said to have left: only what is known."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestration.night import bill_days
from orchestration.night.failures import failed_run, published_by


def published(folder: Path, run_id: str) -> Path:
    version = folder / "publications" / run_id
    version.mkdir(parents=True)
    (version / "manifest.json").write_text(json.dumps({"run_id": run_id}), encoding="utf-8")
    (folder / "current").unlink(missing_ok=True)
    (folder / "current").symlink_to(version)
    return folder


def event(kind: str, **of: Any) -> SimpleNamespace:
    return SimpleNamespace(event_type_value=kind, message="", **of)


BEGAN = event("STEP_START", step_key="published__marts")


def test_a_run_that_never_began_to_publish_has_changed_nothing(tmp_path):
    run = failed_run("r", {}, [event("STEP_START", step_key="landing__usage")], tmp_path)
    assert "what was published before stays as it was" in run.outcome


@pytest.mark.parametrize(
    ("current", "says"),
    [
        ("r", "The books were published"),
        ("another", "what was published before stays as it was"),
        (None, "what was published before stays as it was"),
    ],
)
def test_a_run_that_died_while_it_published_is_looked_up(tmp_path, current, says):
    if current:
        published(tmp_path, current)
    assert says in failed_run("r", {}, [BEGAN], tmp_path).outcome


def test_what_cannot_be_looked_up_is_not_claimed(tmp_path):
    (published(tmp_path, "r") / "current" / "manifest.json").write_text("{", encoding="utf-8")
    assert published_by(tmp_path) is None
    for folder in (tmp_path, None):
        outcome = failed_run("r", {}, [BEGAN], folder).outcome
        assert "stays" not in outcome
        assert "not known" in outcome


def test_a_command_that_fails_after_it_published_says_that_it_did(tmp_path, monkeypatch):
    """For example because what it prints at its end cannot be put together."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    published(tmp_path / "published", "before")

    def publish_and_fail(*of: Any) -> int:
        published(tmp_path / "published", "now")
        raise ValueError("no summary")

    told = []
    monkeypatch.setattr(bill_days, "require_arrivals", lambda *of: None)
    monkeypatch.setattr(bill_days, "_bill", publish_and_fail)
    monkeypatch.setattr(bill_days, "notify", lambda settings, run, **how: told.append(run.outcome))
    with pytest.raises(ValueError, match="no summary"):
        bill_days.bill_days(date(2026, 1, 5), date(2026, 1, 5))
    assert told == ["The books were published; what follows on them did not succeed."]


def check_failed(name: str, description: str | None) -> SimpleNamespace:
    said = SimpleNamespace(
        passed=False,
        severity=SimpleNamespace(value="ERROR"),
        check_name=name,
        asset_key=SimpleNamespace(path=["usage"]),
        description=description,
    )
    return event("ASSET_CHECK_EVALUATION", asset_check_evaluation_data=said)


def step_failed(description: str) -> SimpleNamespace:
    said = SimpleNamespace(user_failure_data=SimpleNamespace(description=description))
    return event("STEP_FAILURE", step_failure_data=said)


def test_a_test_that_only_failed_is_not_said_beside_the_step_that_says_why():
    bare, told = check_failed("unique", None), check_failed("whole", "a file is missing")
    assert failed_run("r", {}, [bare, step_failed("Controls failed: c")]).problems == (
        "Controls failed: c",
    )
    assert failed_run("r", {}, [bare, told]).problems == (
        "check whole of usage failed: a file is missing",
        "check unique of usage failed",
    )


def test_what_dbt_said_is_one_line_without_its_command_and_colours():
    from dagster_dbt.errors import DagsterDbtCliRuntimeError

    from orchestration.defs.billing_assets import _said_by_dbt

    error = DagsterDbtCliRuntimeError(
        "The dbt CLI process with command\n\n`dbt build`\n\nfailed with exit code `1`.\n\n"
        "Errors parsed from dbt logs:\n\n\x1b[31mFailure in test unique\x1b[0m\n\n  Got 3 results"
    )
    assert _said_by_dbt(error) == "Failure in test unique Got 3 results"
    assert _said_by_dbt(DagsterDbtCliRuntimeError("It ended.")) == "it did not say why"
