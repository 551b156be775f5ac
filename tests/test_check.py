"""``gpu-credits check``: the judges of a night, all that they find at once, and no trace in DATA_DIR."""

from __future__ import annotations

import json
import tempfile
from datetime import date
from pathlib import Path

import pytest
from conftest import run_job

from gpu_credits import starter
from orchestration.errors import PlainError
from orchestration.settings import Settings, SettingsError
from orchestration.sources.arrivals import MissingDeliveries, arrivals, require_arrivals, spans
from orchestration.trial import readiness

FIRST, LAST = starter.OPENS_ON, starter.CLOSES_ON


@pytest.fixture
def own(tmp_path, monkeypatch) -> Settings:
    """The starter as it is written, and a place for scratch folders."""
    starter.write_starter(tmp_path / "own")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return Settings(
        seeds_dir=tmp_path / "own" / "seeds",
        feeds_url=str(tmp_path / "own" / "feeds"),
        data_dir=tmp_path / "own" / "data",
        books_open_on=FIRST,
    )


def usage_file(settings: Settings, day: str) -> Path:
    return Path(settings.feeds_url) / "usage" / f"usage_{day}.jsonl"


def event(event_id: str, **columns: object) -> dict[str, object]:
    return {
        "event_id": event_id,
        "customer_id": "acme",
        "meter": "gpu_minute",
        "quantity": 1,
        "ts": "2026-01-06T08:00:00Z",
        "metadata": {"cluster": "train-1"},
        **columns,
    }


def add(path: Path, *rows: object) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def judged(
    settings: Settings, first: date | None = None, last: date | None = None
) -> tuple[int, str]:
    said: list[str] = []
    code = readiness.judge_readiness(settings, first, last, said.append)
    # Whatever was found: nothing stays, neither in the books nor in the scratch folder.
    assert not settings.data_dir.exists()
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return code, "\n".join(said)


def edit(settings: Settings, seed: str, old: str, new: str) -> None:
    path = settings.seeds_dir / seed
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.job
def test_every_row_is_in_one_figure_and_what_is_not_billed_has_its_line_and_cure(own):
    add(
        usage_file(own, "2026-01-06"),
        *(event(f"fill-{n}") for n in range(60)),
        event("acme-0001"),
        event("globex-0001", customer_id="globex", ts="2026-01-05T10:00:00Z"),
        event("x-1", customer_id="nobody"),
        event("x-2", metadata={"cluster": "train-1", "gpu_type": "T4"}),
        event("x-3", cluster="train-1", metadata={}),
        event("fill-0"),
    )
    usage_file(own, "2026-01-07").rename(usage_file(own, "2026-01-07").with_name("07.jsonl"))
    code, said = judged(own, FIRST, LAST)
    assert code == 1
    rows = {
        line.split()[0]: [int(figure) for figure in line.split()[1:]]
        for line in said.splitlines()
        if line.startswith("  2026-01-0")
    }
    # Delivered, billed, repeated, in conflict, to be cured, set aside.
    assert rows == {"2026-01-05": [2, 2, 0, 0, 0, 0], "2026-01-06": [68, 62, 1, 2, 2, 1]}
    for expected in (
        "1 of 3 delivery days has no usage file",
        f"in {own.feeds_url}/usage: 2026-01-07. Deliver usage_<day>.jsonl",
        "never read, since not called usage_<day>: 07.jsonl",
        "unknown_customer: 1 row in usage_2026-01-06.jsonl, line 65: customer_id nobody is not in",
        "unmapped_accelerator: 1 row in usage_2026-01-06.jsonl, line 66: gpu_type T4",
        "conflict: 1 row in usage_2026-01-06.jsonl, line 63: event_id acme-0001 was delivered",
        "otherwise on 2026-01-05, line 1, which is billed; deliver what is new under an id",
        "missing_cluster: 1 row in usage_2026-01-06.jsonl, line 67: metadata.cluster",
        "cluster stands beside metadata, not in it",
        "Nothing would be billed: put right",
    ):
        assert expected in said


@pytest.mark.job
def test_rows_that_would_not_be_billed_are_a_finding_though_billing_would_go_on(own):
    """Of the days that are there, without being told which: from the opening of the books."""
    add(usage_file(own, "2026-01-06"), *(event(f"e-{n}", customer_id="nobody") for n in range(3)))
    own.data_dir.parent.joinpath("feeds/usage/usage_2026-01-04.jsonl").write_text("{}")
    code, said = judged(own)
    assert code == 1
    assert "3 of 3 days are there: 2026-01-05 to 2026-01-07" in said
    assert "not looked at, outside of 2026-01-05 to 2026-01-07: 2026-01-04" in said
    assert "unknown_customer: 3 rows, the first in usage_2026-01-06.jsonl, line 3" in said
    assert "but for 3 rows: gpu-credits bill 2026-01-05 2026-01-07" in said


def test_wrong_seeds_and_wrong_feeds_are_named_in_one_go(own):
    edit(own, "catalog/price_tiers.csv", "team-10k,overage", "team-10k,overrage")
    edit(own, "contracts/subscriptions.csv", "sub-globex,globex", "sub-globex,globbex")
    usage_file(own, "2026-01-06").write_text('{"event_id": "x"}\n{"event_id": 1}\n')
    usage_file(own, "2026-01-07").write_text("")
    (Path(own.feeds_url) / "gpu" / "gpu_prices.csv").write_text("when,price\n1,2\n")
    code, said = judged(own)
    assert code == 2
    for expected in (
        "catalog/price_tiers.csv: row 3: column charge: 'overrage' is none of base, overage",
        "contracts/subscriptions.csv: row 3: column customer_id: 'globbex' is not in",
        "usage_2026-01-06.jsonl: 100.0% of its rows are incurable",
        "usage_2026-01-07.jsonl: it is empty",
        "gpu_prices.csv, line 1: the header lacks the columns observed_at",
        "usage_2026-01-06.jsonl, line 1: customer_id",
        "correct the seeds",
    ):
        assert expected in said


def test_a_feed_folder_that_is_not_there_is_said_with_what_is_wrong_in_the_seeds(own):
    edit(own, "fleet/pools.csv", ",4,", ",many,")
    gone = own.apart(feeds_url=f"{own.feeds_url}/gone")
    code, said = judged(gone)
    assert code == 2
    assert f"FEEDS_URL='{own.feeds_url}/gone' is not a folder" in said
    assert "fleet/pools.csv: row 2: column gpu_count: 'many' is not a whole number" in said


def test_a_feed_folder_without_usage_is_named(own):
    for day in (5, 6, 7):
        usage_file(own, f"2026-01-0{day}").unlink()
    code, said = judged(own)
    assert code == 1
    assert f"no delivery is in {own.feeds_url}/usage" in said


def test_the_days_of_an_engine_have_to_be_named(own):
    with pytest.raises(PlainError, match="FROM and TO") as error:
        judged(own.apart(usage_url="usagebox+http://127.0.0.1:1"))
    assert error.value.exit_code == 2


def test_missing_days_are_grouped_with_what_lies_there_instead(own):
    usage_file(own, "2026-01-06").rename(usage_file(own, "2026-01-06").with_suffix(".JSONL"))
    require_arrivals(own, FIRST, FIRST)
    with pytest.raises(MissingDeliveries) as error:
        require_arrivals(own, FIRST, date(2026, 2, 1))
    assert error.value.exit_code == 1
    assert str(error.value).startswith(
        f"26 of 28 delivery days have no usage file in {own.feeds_url}/usage: 2026-01-06, "
        "2026-01-08 to 2026-02-01; there is usage_2026-01-06.JSONL. Deliver"
    )
    assert arrivals(own.apart(usage_url="usagebox+http://127.0.0.1:1")) is None
    with pytest.raises(SettingsError, match=f"FEEDS_URL='{own.feeds_url}/no' is not a folder"):
        require_arrivals(own.apart(feeds_url=f"{own.feeds_url}/no"), FIRST, FIRST)


def test_runs_of_days_are_named_by_their_ends():
    days = [date(2026, 1, day) for day in (1, 2, 3, 5, 9, 10)]
    assert spans(days) == "2026-01-01 to 2026-01-03, 2026-01-05, 2026-01-09 to 2026-01-10"
    alternate = [date(2026, 1, day) for day in range(1, 31, 2)]
    assert spans(alternate).endswith("2026-01-15 and 7 more")


def test_a_billing_of_missing_days_begins_nothing(own):
    done = run_job(
        ["2026-01-05", "2026-01-09"],
        {"SEEDS_DIR": own.seeds_dir, "FEEDS_URL": own.feeds_url, "DATA_DIR": own.data_dir},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "Nothing was billed. 2 of 5 delivery days have no usage file in /"
    )
    assert len(done.stderr.splitlines()) == 1
    assert not own.data_dir.exists()


@pytest.mark.job
def test_a_billing_that_fails_ends_in_what_is_wrong_without_noise(own):
    add(usage_file(own, "2026-01-06"), {"event_id": "x"})
    done = run_job(
        ["2026-01-05", "2026-01-07"],
        {"SEEDS_DIR": own.seeds_dir, "FEEDS_URL": own.feeds_url, "DATA_DIR": own.data_dir},
    )
    assert done.returncode == 1
    failed, problem = done.stderr.splitlines()
    assert failed.startswith("GPU credit billing failed for deliveries 2026-01-05 to 2026-01-07.")
    assert "usage_2026-01-06.jsonl: 33.3% of its rows are incurable" in problem
    for noise in ("Dependencies", "nanobind", "dbt command", "Traceback"):
        assert noise not in done.stdout + done.stderr
