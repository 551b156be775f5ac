"""docs/production.md: its unit files are units, and what it names is there."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from orchestration.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "production.md").read_text(encoding="utf-8")
UNITS = dict(
    re.findall(
        r"`/etc/systemd/system/([\w.-]+)`.*?```ini\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL
    )
)


def test_each_unit_is_on_it():
    assert sorted(UNITS) == [
        "gpu-credits-daemon.service",
        "gpu-credits-night.service",
        "gpu-credits-night.timer",
        "gpu-credits-web.service",
    ]


def test_systemd_takes_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed: nobody can judge its units")
    for name, unit in UNITS.items():
        (tmp_path / name).write_text(unit)
    judged = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / name for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = (judged.stdout + judged.stderr).splitlines()
    # This machine has not what the page has had installed.
    assert [line for line in complaints if "is not executable" not in line] == []


def test_services_write_nowhere_else_and_have_one_home():
    for name, unit in UNITS.items():
        if name.endswith(".service"):
            service = configparser.RawConfigParser(strict=False)
            service.optionxform = str
            service.read_string(unit)
            assert service["Service"]["ReadWritePaths"] == "/srv/billing"
            assert service["Service"]["ProtectSystem"] == "strict"
    homes = re.findall(r"DAGSTER_HOME=(\S+)", PAGE)
    assert set(homes) == {"/srv/billing/data/dagster"}


def test_what_it_names_is_there(location):
    repository = location.get_repository_def()
    assert {schedule.name for schedule in repository.schedule_defs} >= {"nightly_schedule"}
    sensors = {sensor.name for sensor in repository.sensor_defs}
    assert sensors >= {"late_usage", "failed_run_notification"}
    assert (PROJECT_ROOT / "orchestration" / "night" / "dagster.yaml").exists()
    [storage] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    url = yaml.safe_load(storage)["storage"]["postgres"]["postgres_url"]["env"]
    assert f"{url}=postgresql+psycopg2://" in PAGE


def test_the_storage_is_of_the_release_of_dagster():
    pins = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [dagster] = [p for p in pins["project"]["dependencies"] if p.startswith("dagster==")]
    [library] = [p for p in pins["project"]["dependencies"] if p.startswith("dagster-dbt==")]
    # The libraries of one release of Dagster have one version among them.
    assert f"Dagster {dagster.partition('==')[2]}" in PAGE
    assert f"dagster-postgres=={library.partition('==')[2]}" in PAGE
