"""The reference portal: one customer, one short session, the right headers, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gauge_scenes import SCENES, Scene, daily, plan, publish

from orchestration.pages.build import build_pages
from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings

pytest.importorskip("itsdangerous", reason="the extra portal is not installed")
pytest.importorskip("uvicorn", reason="the extra portal is not installed")

from asgi_server import Server, served
from itsdangerous.timed import TimestampSigner

from orchestration.pages.portal import gauge_path, portal, session_token

FRESH = datetime(2026, 2, 17, 6, 0, tzinfo=UTC)
SLASHED = "tenant/7 & co"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """Pages of three customers, and a portal that one origin may embed."""
    data = tmp_path_factory.mktemp("data")
    slashed = Scene(SLASHED, "Slashed", daily(900), (plan(50_000),))
    publish(data / "published" / "current", [SCENES["healthy"], SCENES["capped"], slashed])
    settings = Settings(data_dir=data, portal_frame_ancestors="https://portal.example.com")
    build_pages(settings)
    return settings


@pytest.fixture(scope="module")
def client(settings) -> Iterator[Server]:
    with served(portal(settings, clock=lambda: FRESH)) as server:
        yield server


def ask(client: Server, customer: str, token: str | None):
    return client.get(gauge_path(customer), params={"token": token} if token is not None else {})


def test_a_session_shows_its_own_gauge_and_no_other(settings, client):
    token = session_token(settings, "healthy")
    own = ask(client, "healthy", token)
    assert own.status_code == 200
    assert "Ada Labs" in own.text
    other, nobody = ask(client, "capped", token), ask(client, "nobody", token)
    assert other.status_code == nobody.status_code == 404
    assert other.text == nobody.text
    assert {**other.headers, "date": ""} == {**nobody.headers, "date": ""}
    # A session of a customer that has no page, such as one that left.
    assert ask(client, "nobody", session_token(settings, "nobody")).text == nobody.text


def test_the_read_model_is_as_private_as_the_page(settings, client):
    token = session_token(settings, "healthy")
    own = client.get(f"{gauge_path('healthy')}.json", headers={"Authorization": f"Bearer {token}"})
    assert own.json()["customer_name"] == "Ada Labs"
    assert own.json()["is_stale"] is False
    assert client.get(f"{gauge_path('capped')}.json?token={token}").status_code == 404
    assert client.get(f"{gauge_path('healthy')}.json").status_code == 401


def test_an_id_may_hold_anything(settings, client):
    answer = ask(client, SLASHED, session_token(settings, SLASHED))
    assert answer.status_code == 200
    assert "Slashed" in answer.text


@pytest.mark.parametrize("token", [None, "", "nonsense", "a.b.c"])
def test_without_a_session_there_is_nothing(client, token):
    answer = ask(client, "healthy", token)
    assert answer.status_code == 401
    assert "Ada" not in answer.text
    # Whether a customer exists is not told either.
    assert ask(client, "nobody", token).text == answer.text


def test_a_session_that_was_changed_or_signed_elsewhere_is_none(settings, client, tmp_path):
    token = session_token(settings, "healthy")
    body, rest = token.split(".", 1)
    forged = session_token(Settings(data_dir=tmp_path), "healthy")
    for wrong in (f"{body[:-1]}A.{rest}", token[:-1], forged):
        assert ask(client, "healthy", wrong).status_code == 401


def test_a_session_ends(settings, client, monkeypatch):
    start = TimestampSigner.get_timestamp(None)
    token = session_token(settings, "healthy")
    for seconds, status in ((15 * 60, 200), (15 * 60 + 2, 401)):
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _, at=start + seconds: at)
        assert ask(client, "healthy", token).status_code == status


def test_a_new_secret_ends_every_session_and_moves_no_page(settings):
    new = Settings(data_dir=settings.data_dir, portal_secret="x" * 32)
    with served(portal(new, clock=lambda: FRESH)) as client:
        assert ask(client, "healthy", session_token(settings, "healthy")).status_code == 401
        assert ask(client, "healthy", session_token(new, "healthy")).status_code == 200


def test_every_answer_is_private_and_says_who_may_embed_it(settings, client):
    token = session_token(settings, "healthy")
    answers = [
        ask(client, "healthy", token),
        ask(client, "capped", token),
        ask(client, "healthy", None),
        client.get("/"),
        client.get("/nothing"),
        client.post(gauge_path("healthy")),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 401, 200, 404, 405]
    for answer in answers:
        headers = answer.headers
        assert headers["cache-control"] == "private, no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert policy.endswith("; frame-ancestors https://portal.example.com")
    assert "style-src 'sha256-" in answers[0].headers["content-security-policy"]
    with served(portal(Settings(data_dir=settings.data_dir))) as bare:
        policy = bare.get("/").headers["content-security-policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'"


def test_figures_that_should_have_been_renewed_are_called_out_of_date(settings):
    token = session_token(settings, "healthy")
    hidden = '<div class="notice bad" id="stale" hidden>'
    for moment, stale in ((FRESH, False), (datetime(2026, 2, 17, 6, 0, 1, tzinfo=UTC), True)):
        with served(portal(settings, clock=lambda moment=moment: moment)) as client:
            assert (hidden not in ask(client, "healthy", token).text) is stale
            model = client.get(f"{gauge_path('healthy')}.json?token={token}").json()
        assert model["is_stale"] is stale


def test_the_root_says_what_this_is(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "gpu-credits portal link CUSTOMER" in answer.text


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gpu_credits", "portal", *arguments],
        cwd=PROJECT_ROOT,
        env={"DATA_DIR": str(data_dir), "PATH": "", "ENV_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_a_link_of_who_has_a_gauge(settings):
    link = run(settings.data_dir, "link", SLASHED)
    assert link.stdout.startswith(
        "http://127.0.0.1:8000/customers/tenant%2F7%20%26%20co/gauge?token="
    )
    nobody = run(settings.data_dir, "link", "nobody")
    assert nobody.returncode == 2
    assert nobody.stdout == ""
    assert "no gauge of a customer 'nobody', but of capped, healthy, tenant/7" in nobody.stderr
    assert "is healthy meant?" in run(settings.data_dir, "link", "helthy").stderr


@pytest.mark.parametrize("asked", [["serve"], ["link", "healthy"]])
def test_before_the_first_billing_there_is_nothing_to_show(tmp_path, asked):
    refused = run(tmp_path, *asked)
    assert refused.returncode == 1
    assert f"no pages in {tmp_path}/portal/pages yet" in refused.stderr


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("PORTAL_FRAME_ANCESTORS", "https://a.example; script-src *", "a.example;"),
        ("PORTAL_FRAME_ANCESTORS", "http://a.example", "a.example"),
        ("PORTAL_FRAME_ANCESTORS", "https://a.example/path", "a.example"),
        ("PORTAL_FRAME_ANCESTORS", "*", "*"),
        ("PORTAL_SESSION_MINUTES", "0", "0"),
        ("PORTAL_SECRET", "too short to sign", "***"),
        ("TOP_UP_URL", "javascript:alert(1)", "javascript"),
    ],
)
def test_a_wrong_setting_of_the_portal_is_named(monkeypatch, name, value, shown):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as error:
        load_settings()
    assert shown in str(error.value)
    assert "too short to sign" not in str(error.value)
