"""Secrets: never in a log, a message, metadata or a file, whatever fails.

Method: every secret setting gets a value that occurs nowhere else, the job runs and fails in every
place that knows one, and everything it wrote is searched: also what is packed, and in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import SETTING_NAMES, run_job

from orchestration.settings import (
    PROJECT_ROOT,
    Settings,
    SettingsError,
    is_secret,
    load_settings,
    without_credentials,
)
from orchestration.sources.folder import FeedProblem, FolderSource

SECRETS = sorted(
    name for name, field in Settings.model_fields.items() if is_secret(field.annotation)
)


def canary(name: str) -> str:
    """A value that no other text has, long enough for every rule; in base64's alphabet."""
    return f"Canary{name.replace('_', '').upper()}x0123456789abcdefghijklmnop"


def webhook_secret() -> str:
    return base64.b64encode(canary("alert_webhook_secret").encode()).decode()


def values(port: int) -> dict[str, str]:
    """Every secret setting with its canary, in the form that it takes."""
    made = {
        "notify_urls": f"json://user:{canary('notify_urls')}@127.0.0.1:{port}/notify",
        "publish_postgres_url": (
            f"postgresql://user:{canary('publish_postgres_url')}@127.0.0.1:{port}/books"
        ),
        "alert_webhook_secret": f"whsec_{webhook_secret()}",
        "alert_webhook_urls": f"http://127.0.0.1:{port}/{canary('alert_webhook_urls')}",
        **{
            name: canary(name)
            for name in (
                "usagebox_api_key",
                "entsoe_api_key",
                "electricitymaps_token",
                "policy_api_token",
                "portal_secret",
                "spark_thrift_password",
            )
        },
    }
    assert sorted(made) == SECRETS, "a new secret setting: give it a canary here"
    return {name.upper(): value for name, value in made.items()}


def spellings() -> dict[str, set[bytes]]:
    """How each canary could stand in a file: as it is, quoted, in base64 with a user before it."""
    texts = {name: canary(name) for name in SECRETS} | {
        "alert_webhook_secret": webhook_secret(),
        "feeds_url password": canary("feeds_password"),
        "feeds_url query": canary("feeds_query"),
    }
    found = {}
    for name, text in texts.items():
        spelled = {text, quote(text, safe="")}
        for user in ("", "user:", "xuser:", "xxuser:"):
            coded = base64.b64encode((user + text).encode()).decode()
            # The ends depend on what stands before and after.
            spelled.add(coded[8:-8])
        found[name] = {each.encode() for each in spelled}
    return found


def contents(path: Path) -> Iterator[bytes]:
    """A file as it is, and unpacked."""
    raw = path.read_bytes()
    yield raw
    if path.suffix == ".gz":
        yield gzip.decompress(raw)
    elif path.suffix == ".parquet":
        yield str(pq.ParquetFile(path).read().to_pylist()).encode("utf-8", "replace")
    elif path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            for (name,) in connection.execute(
                "select table_name from duckdb_tables() where not internal"
            ).fetchall():
                rows = connection.execute(f'from "{name}"').fetchall()
                yield str(rows).encode("utf-8", "replace")


def leaks(folder: Path, said: str) -> list[str]:
    """Where a secret stands."""
    wanted = spellings()
    found = [
        f"{name} on the console"
        for name, spelled in wanted.items()
        if any(each in said.encode() for each in spelled)
    ]
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            for content in contents(path):
                found += [
                    f"{name} in {path.relative_to(folder)}"
                    for name, spelled in wanted.items()
                    if any(each in content for each in spelled)
                ]
    return found


def test_the_search_finds_a_secret_in_every_hiding_place(tmp_path):
    text = canary("policy_api_token")
    (tmp_path / "plain.log").write_text(f"Bearer {text}")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "basic.log").write_bytes(base64.b64encode(f"user:{text}".encode()))
    duckdb.sql(f"copy (select '{text}' as t) to '{tmp_path}/rows.parquet' (compression zstd)")
    with duckdb.connect(str(tmp_path / "books.duckdb")) as books:
        books.execute(f"create table t as select '{text}' as t from range(1000)")

    found = leaks(tmp_path, "")

    assert {place.split(" in ")[1] for place in found} == {
        "plain.log",
        "packed.gz",
        "basic.log",
        "rows.parquet",
        "books.duckdb",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_a_wrong_secret_is_named_and_not_shown(monkeypatch, name):
    """Each is wrong in some way or, if nothing can be wrong with it, right."""
    text = canary(name)
    for wrong in (text[:12], f"http://user:{text}@[::1", f"https://{text}@", f"whsec_{text}!"):
        with monkeypatch.context() as patch:
            patch.setenv(name.upper(), wrong)
            patch.setenv("DAYS_UNTIL_CLOSE", "many")
            with pytest.raises(SettingsError) as caught:
                load_settings()
            assert "Canary" not in str(caught.value)
            assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("USAGE_URL", "usagebox+https://user:Canary@usage.example/"),
        ("USAGE_URL", "https://usage.example/?token=Canary"),
        ("POLICY_API_URL", "https://user:Canary@usage.example/"),
        ("POLICY_API_URL", "ftp://usage.example/?token=Canary"),
        ("ENERGY_PRICE_URL", "entsoe://?zones=SE3&securityToken=Canary"),
        ("ENERGY_PRICE_URL", "entsoe://user:Canary@host?zones=SE3"),
        ("ENERGY_PRICE_URL", "https://transparency.example/?securityToken=Canary"),
        ("ENERGY_MIX_URL", "electricitymaps://?auth-token=Canary"),
        ("TOP_UP_URL", "https://user:Canary@shop.example/"),
    ],
)
def test_a_wrong_url_is_shown_without_what_may_be_secret(monkeypatch, name, wrong):
    monkeypatch.setenv(name, wrong)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert "Canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/data/feeds", "/data/feeds"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("sftp://user:Canary@host/feeds", "sftp://***@host/feeds"),
        ("https://user:Can/ary@host/feeds", "https://***@host/feeds"),
        ("https://user:Can@ary@host/feeds", "https://***@host/feeds"),
        ("https://host/feeds?sv=1&sig=Canary", "https://host/feeds?***"),
        ("https://host/feeds?a=b@c", "https://host/feeds?***"),
        ("simplecache::https://u:Canary@host/?sig=Canary", "simplecache::https://***@host/?***"),
    ],
)
def test_a_url_is_shown_without_user_password_and_query(url, shown):
    assert without_credentials(url) == shown


def test_a_source_that_cannot_be_opened_keeps_its_credentials(monkeypatch):
    """Errors of file systems quote URLs; ours name the kind of error only."""
    for url in ("nosuch://user:Canary@host/?sig=Canary", "https://user:Canary@[::1/feeds"):
        with pytest.raises(FeedProblem) as caught:
            FolderSource(url).files("fx")
        assert "Canary" not in str(caught.value)


def test_settings_do_not_show_secrets_when_printed(monkeypatch):
    for name, value in values(1).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(vars(settings))):
        for name, spelled in spellings().items():
            assert not any(each in text.encode() for each in spelled), name


# --- the whole job --------------------------------------------------------------------------------


class Refuses(BaseHTTPRequestHandler):
    """A server that repeats in its answer what it was asked, as careless ones do."""

    def _answer(self) -> None:
        said = f"{self.requestline}\n{self.headers}".encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Careless(ThreadingHTTPServer):
    """Several at once, and nothing is said of those who hang up."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever hangs up has had enough."""


@pytest.fixture
def careless() -> Iterator[int]:
    """The port of a server that answers everything with status 500 and what it was sent."""
    server = Careless(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def closed() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.job
def test_a_night_in_which_every_receiver_fails_tells_no_secret(tmp_path, sample_feeds, careless):
    """The books are billed; usage API, webhooks, PostgreSQL and notification all fail."""
    data = tmp_path / "data"
    said = run_job(
        ["2026-01-05", "2026-01-19"],
        {
            "FEEDS_URL": sample_feeds,
            "DATA_DIR": data,
            "BOOKS_OPEN_ON": "2026-01-05",
            "POLICY_API_URL": f"http://127.0.0.1:{careless}",
            "SEND_POLICY_ACTIONS": "on",
            "OUTBOX_FROM": "2026-01-05",
            **values(careless),
        },
    )
    text = said.stdout + said.stderr

    assert (data / "published" / "current").exists(), text
    for sent in ("policy_actions", "alerts"):
        waiting = json.loads((data / "outbox" / f"{sent}.json").read_text(encoding="utf-8"))
        assert waiting["counts"]["unanswered"] > 0
    assert "could not be sent to service 1" in text
    assert leaks(data, text) == []


@pytest.mark.slow
@pytest.mark.job
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_night_without_feeds_tells_no_secret(tmp_path, closed, careless, scheme):
    """The feeds' own URL holds a password and a signature; nothing answers, or the wrong thing."""
    data = tmp_path / "data"
    port = careless if scheme == "http" else closed
    password, query = canary("feeds_password"), canary("feeds_query")
    said = run_job(
        ["2026-01-05", "2026-01-05"],
        {
            "FEEDS_URL": f"{scheme}://user:{password}@127.0.0.1:{port}/feeds?sig={query}",
            "USAGE_URL": f"usagebox+http://127.0.0.1:{closed}",
            "DATA_DIR": data,
            **values(careless),
        },
    )
    text = said.stdout + said.stderr

    assert said.returncode == 1, text
    assert leaks(data, text) == []


@pytest.mark.slow
def test_a_job_that_dies_at_its_start_tells_no_secret(tmp_path, closed):
    """An error that nobody expected prints its traceback: with code, never with values."""
    (tmp_path / "data").write_text("not a folder")
    environment = {k: v for k, v in os.environ.items() if k not in SETTING_NAMES}
    said = subprocess.run(
        [sys.executable, "-m", "gpu_credits", "bill", "2026-01-05", "2026-01-05"],
        cwd=PROJECT_ROOT,
        env=environment
        | values(closed)
        | {
            "DATA_DIR": str(tmp_path / "data"),
            "FEEDS_URL": f"s3://user:{canary('feeds_password')}@b/?sig={canary('feeds_query')}",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode != 0
    assert leaks(tmp_path, said.stdout + said.stderr) == []
    assert not re.search("Canary", said.stdout + said.stderr)
