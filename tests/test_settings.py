"""Settings: validated at start, and their documentation says the truth."""

from __future__ import annotations

import re

import pytest

from orchestration import renamed
from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings


def test_the_documentation_lists_every_setting_with_its_description():
    page = (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| .* \| (.*) \|$", page, re.MULTILINE))
    described = {
        name.upper(): re.sub(r" \(default: .*\)", "", field.description)
        for name, field in Settings.model_fields.items()
    }
    assert listed == described


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOOKS_OPEN_ON", "2026-13-01"),
        ("DAYS_UNTIL_CLOSE", "-1"),
        ("NORMAL_UTILIZATION", "1.2"),
        ("REPORTING_CURRENCY", "dollars"),
        ("DUCKDB_MEMORY_LIMIT", "plenty"),
        ("SEEDS_DIR", "/nowhere/at/all"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as error:
        load_settings()
    assert value in str(error.value)


def test_an_empty_setting_is_no_setting(monkeypatch):
    monkeypatch.setenv("BOOKS_OPEN_ON", "")
    assert load_settings().books_open_on is None


def test_an_old_name_is_read_and_says_the_new_one_once(monkeypatch, caplog):
    monkeypatch.setenv("DELIVERY_FROM", "2026-01-05")
    monkeypatch.setenv("policy_delivery", "on")
    monkeypatch.setenv("POLICY_API_URL", "https://usage.example.com")
    renamed.say_once.cache_clear()
    for settings in (load_settings(), load_settings()):
        assert (str(settings.outbox_from), settings.send_policy_actions) == ("2026-01-05", True)
    assert [record.getMessage() for record in caplog.records] == [
        "The setting DELIVERY_FROM is called OUTBOX_FROM now; the old name goes next.",
        "The setting POLICY_DELIVERY is called SEND_POLICY_ACTIONS now; the old name goes next.",
    ]
    monkeypatch.setenv("DELIVERY_FROM", "tomorrow")
    with pytest.raises(SettingsError, match="OUTBOX_FROM='tomorrow'"):
        load_settings()


def test_a_setting_under_both_names_is_refused(monkeypatch):
    monkeypatch.setenv("DELIVERY_FROM", "2026-01-05")
    monkeypatch.setenv("OUTBOX_FROM", "2026-01-05")
    with pytest.raises(SettingsError, match="DELIVERY_FROM is called OUTBOX_FROM now, and both"):
        load_settings()
    monkeypatch.setenv("DELIVERY_FROM", "")
    assert str(load_settings().outbox_from) == "2026-01-05"
