"""Settings: validated at start, and the README's table says the truth."""

from __future__ import annotations

import re

import pytest

from orchestration.settings import PROJECT_ROOT, Settings, SettingsError, load_settings


def test_the_readme_lists_every_setting_with_its_description():
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| .* \| (.*) \|$", readme, re.MULTILINE))
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
