"""Settings from a file beside the environment, and names that miss a setting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestration import renamed
from orchestration.env_file import misspelt
from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings

NAMES = [name.upper() for name in Settings.model_fields]

# Of the system, shells, schedulers, containers, CI, and of what this job runs on.
USUAL = """
PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_ALL LC_CTYPE TERM COLORTERM EDITOR VISUAL PAGER LESS MAIL PWD
OLDPWD SHLVL HOSTNAME HOST HOSTTYPE TZ TMPDIR TMP TEMP TEMP_DIR TMP_DIR DISPLAY XAUTHORITY XDG_RUNTIME_DIR
XDG_DATA_DIRS XDG_DATA_HOME XDG_CONFIG_DIRS XDG_CACHE_HOME XDG_STATE_HOME XDG_SESSION_ID SSH_AUTH_SOCK
SSH_CLIENT SSH_CONNECTION DBUS_SESSION_BUS_ADDRESS VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV PYTHONPATH
PYTHONHOME PYTHONUNBUFFERED PIP_INDEX_URL PIP_CACHE_DIR UV_CACHE_DIR UV_INDEX_URL JAVA_HOME JAVA_OPTS
HADOOP_HOME HADOOP_CONF_DIR SPARK_HOME SPARK_CONF_DIR SPARK_LOCAL_DIRS SPARK_LOCAL_IP SPARK_MASTER
SPARK_MASTER_HOST SPARK_MASTER_PORT SPARK_WORKER_DIR SPARK_WORKER_PORT SPARK_LOG_DIR SPARK_PID_DIR SPARK_USER
PYSPARK_PYTHON HIVE_HOME DAGSTER_HOME DAGSTER_EVENT_BATCH_SIZE DAGSTER_POSTGRES_DB DBT_PROFILES_DIR
DBT_PROJECT_DIR DBT_TARGET_PATH DBT_TARGET_DIR DBT_LOG_PATH DBT_SEEDS_PATH DBT_THREADS DBT_STATE DBT_PROFILE
MINOR_UNIT_CENTS AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_DEFAULT_REGION AWS_PROFILE
AWS_ENDPOINT_URL AZURE_STORAGE_ACCOUNT AZURE_CLIENT_ID GOOGLE_APPLICATION_CREDENTIALS GCP_PROJECT HTTP_PROXY
HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE
PGDATA POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_URL DATABASE_URL MYSQL_DATABASE REDIS_URL
KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBECONFIG DOCKER_HOST CI CI_PROJECT_DIR GITHUB_ACTIONS
GITHUB_TOKEN GITHUB_WORKSPACE GITHUB_SHA RUNNER_TEMP JENKINS_URL BUILD_URL WORKSPACE MAKE MAKEFLAGS MAKELEVEL
DAY LINE ACTION REASON CUSTOMER SCENARIO HISTORY BASE FROM TO CC CFLAGS LDFLAGS LD_LIBRARY_PATH LS_COLORS
INVOCATION_ID JOURNAL_STREAM PORT SECRET SECRET_KEY API_KEY API_TOKEN API_URL BASE_URL BASE_DIR LOG_LEVEL
LOG_DIR DEBUG ENV ENVIRONMENT APP_ENV ENV_FILE NODE_ENV NVM_DIR GOPATH CARGO_HOME CUDA_VISIBLE_DEVICES
NVIDIA_VISIBLE_DEVICES SLURM_JOB_ID SLURM_SUBMIT_DIR OMP_NUM_THREADS SENTRY_DSN OTEL_EXPORTER_OTLP_ENDPOINT
PROMETHEUS_URL SLACK_WEBHOOK_URL WEBHOOK_URL WEBHOOK_SECRET ALERT_EMAIL SMTP_HOST MAILTO CRON_TZ
WSL_DISTRO_NAME APPDATA LOCALAPPDATA PROGRAMDATA USERPROFILE COMSPEC SYSTEMROOT PATHEXT OS BACKUP_DIR
CACHE_DIR CONFIG_DIR OUTPUT_DIR STATE_DIR STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY RUNTIME_DIRECTORY
CREDENTIALS_DIRECTORY DATA_ROOT DATA_PATH DATA_HOME MAIN_DIR PROVIDER CURRENCY BOOKS FEEDS SEEDS DO_NOT_TRACK
SOURCE_DATE_EPOCH TERM_PROGRAM TMUX SUDO_USER SUDO_COMMAND HISTSIZE PS1 _
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write the file that ENV_FILE names."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "settings.env"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("ENV_FILE", str(path))
        return path

    return write


def test_the_environment_wins_over_the_file(written, monkeypatch):
    written(
        "# ours\nDAYS_UNTIL_CLOSE=5\nexport PROVIDER_NAME='GPU Works'\nbooks_open_on=2026-01-05\n"
    )
    monkeypatch.setenv("DAYS_UNTIL_CLOSE", "7")
    monkeypatch.setenv("PROVIDER_NAME", "")
    settings = load_settings()
    assert settings.days_until_close == 7
    assert settings.provider_name == "GPU Works"
    assert str(settings.books_open_on) == "2026-01-05"


def test_paths_are_relative_to_the_file_and_not_to_the_working_directory(
    written, monkeypatch, tmp_path
):
    (tmp_path / "mine").mkdir()
    written("SEEDS_DIR=mine\nFEEDS_URL=./feeds\nDATA_DIR=~/books\n")
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.chdir("/")
    settings = load_settings()
    assert settings.seeds_dir == tmp_path / "mine"
    assert settings.feeds_url == str(tmp_path / "feeds")
    assert settings.data_dir == Path("/home/ada/books")


def test_a_url_stays_as_it_is(written):
    written("FEEDS_URL=s3://bucket/prefix\n")
    assert load_settings().feeds_url == "s3://bucket/prefix"


def test_without_env_file_it_is_the_one_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.chdir(tmp_path)
    assert load_settings().days_until_close == 3
    (tmp_path / ".env").write_text("DAYS_UNTIL_CLOSE=9\n")
    assert load_settings().days_until_close == 9


def test_a_file_that_is_named_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=f"no file {tmp_path}/none"):
        load_settings()
    monkeypatch.setenv("ENV_FILE", str(tmp_path))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n\nFEED_URL=x", "line 3: FEED_URL is no setting: is FEEDS_URL"),
        ("SEED_DIR=x", "line 1: SEED_DIR is no setting: is SEEDS_DIR"),
        ("BOOK_OPEN_ON=2026-01-05", "is BOOKS_OPEN_ON meant"),
        ("DATA_DIR=x\nAWS_REGION=x", "line 2: AWS_REGION is no setting"),
        ("DELIVERY_FROM=2026-01-05", "DELIVERY_FROM is called OUTBOX_FROM now"),
        ("DATA_DIR", "line 1: it does not read NAME=value"),
        ("DATA_DIR x", "line 1: it does not read NAME=value"),
        (b"PROVIDER_NAME=\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_line_that_is_no_setting_is_an_error(written, text, says):
    path = written(text)
    with pytest.raises(SettingsError, match=says) as error:
        load_settings()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "PORTAL_SECRET=Canary",
        "ALERT_WEBHOOK_SECRET=Canary==\n",
        "PORTAL_SECRET=abc\nCanaryOfTheSecondLine==\n",
        "PORTAL_SECRET 'Canary",
        "POLICY_API_TOKEN=Canary\nDAYS_UNTIL_CLOSE=-1\n",
        "POLICY_API_TOCKEN=Canary",
        "CanaryCanary",
    ],
)
def test_a_secret_in_the_file_is_never_shown(written, text):
    written(text)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "Canary" not in str(error.value)
    assert error.value.__suppress_context__


def test_a_wrong_value_names_the_file(written):
    path = written("DAYS_UNTIL_CLOSE=-1\n")
    with pytest.raises(SettingsError, match=f"{path}: DAYS_UNTIL_CLOSE='-1'"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FEED_URL", "FEEDS_URL"),
        ("FEEDS_URI", "FEEDS_URL"),
        ("SEED_DIR", "SEEDS_DIR"),
        ("BOOK_OPEN_ON", "BOOKS_OPEN_ON"),
        ("BOOKS_OPEN", "BOOKS_OPEN_ON"),
        ("DATADIR", "DATA_DIR"),
        ("NOTIFY_URL", "NOTIFY_URLS"),
    ],
)
def test_a_misspelt_variable_is_named_on_stderr_once(monkeypatch, caplog, name, meant):
    monkeypatch.setenv(name, "2026-01-05")
    renamed.say_once.cache_clear()
    load_settings()
    load_settings()
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{name} is no setting, and nothing reads it: is {meant} ")


def test_nothing_is_said_of_what_is_set_as_well_or_empty():
    assert misspelt({"FEED_URL": "x", "FEEDS_URL": "y"}, NAMES) == []
    assert misspelt({"FEED_URL": ""}, NAMES) == []


def test_variables_of_the_system_are_not_accused():
    environment = dict.fromkeys([*USUAL.split(), *renamed.SETTINGS], "set")
    assert misspelt(environment | dict(os.environ), NAMES) == []


def test_the_documentation_names_the_file():
    page = (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert "`ENV_FILE`" in page
    assert "`.env`" in page
