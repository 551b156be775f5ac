"""What is on this machine is spoken to directly, whatever proxy the environment names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from receiver import action, misbehaving, publish
from test_notify import Receiver

from orchestration.addresses import is_on_this_machine
from orchestration.night.failures import FailedRun
from orchestration.night.notify import notify
from orchestration.outbox.actions import send_actions
from orchestration.settings import Settings
from orchestration.sources.services.session import PoliteSession

DAY = "2026-01-21"


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A proxy that is asked for everything, and that nobody may ask for this machine."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        # Said once, so that it is put back after what the tests do to it.
        monkeypatch.setenv("NO_PROXY", "")
        yield address


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:8123/x", True),
        ("https://127.9.9.9/", True),
        ("http://localhost:3000", True),
        ("http://[::1]:8080/", True),
        ("https://localhost.example.com", False),
        ("https://127.0.0.1.example.com", False),
        ("https://[2001:db8::1]/", False),
        ("https://example.com/127.0.0.1", False),
    ],
)
def test_what_is_on_this_machine(url: str, is_here: bool) -> None:
    assert is_on_this_machine(url) is is_here


def test_actions_reach_a_receiver_on_this_machine(tmp_path: Path) -> None:
    with misbehaving() as api:
        publish(tmp_path, DAY, actions=[action("a", "notify", DAY)])
        settings = Settings(
            data_dir=tmp_path,
            policy_api_url=api.url,
            send_policy_actions=True,
            outbox_from=date.fromisoformat(DAY),
        )
        send_actions(settings)
        assert len(api.asked) == 1


def test_a_service_elsewhere_is_asked_through_the_proxy(proxy: str) -> None:
    """The rule is about this machine and nothing else."""
    session = PoliteSession(retries=0)
    with pytest.raises(OSError, match="proxy"):
        session.get("https://usage.example.com")


@pytest.mark.parametrize("others", ["", "internal.example.com"])
def test_people_are_told_through_a_service_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, others: str
) -> None:
    monkeypatch.setenv("NO_PROXY", others)
    service = Receiver()
    warned: list[str] = []
    try:
        notify(
            Settings(notify_urls=service.url),
            FailedRun("run", DAY, DAY, ("it failed",)),
            log=lambda _: None,
            warn=warned.append,
        )
        assert not warned
        assert len(service.messages) == 1
    finally:
        service.close()
