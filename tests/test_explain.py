"""A line's explanation adds up for every kind of line, and says so when a figure is not right.

The sample is billed once, with smaller plans than its own so that every kind of line occurs in three
weeks, and with a few deliveries of our own: what was delivered twice must be shown once.
"""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest
from conftest import Books, command

from orchestration.explain import NothingToExplain, explain
from orchestration.explain.books_read import tier_prices
from orchestration.explain.exact import as_decimal, rounded, shown, spread
from orchestration.explain.printout import Comparison
from orchestration.sample import generate_sample
from orchestration.settings import PROJECT_ROOT, Settings

FIRST, LAST = date(2026, 1, 19), date(2026, 2, 8)
EVERY_KIND = {
    ("adjustment", False),
    ("auto_purchase", False),
    ("base_credits", False),
    ("burst_pack", False),
    ("burst_surcharge", False),
    ("burst_surcharge", True),
    ("credit_usage", False),
    ("credit_usage", True),
    ("dedicated_cluster", False),
    ("energy_surcharge", False),
    ("energy_surcharge", True),
    ("expiry", False),
    ("overage", False),
    ("overage", True),
    ("rollover", False),
    ("term_discount", False),
    ("top_up", False),
}
LATE_BURST = "night-owl-studio/2026-02-01/burst_surcharge/weekend-burst/0.0042/adjustment"
LATE_USAGE = "night-owl-studio/2026-02-01/credit_usage/ost-green/A100/encore/adjustment"
FAILED = "DOES NOT ADD UP"


def late(event_id: str, quantity: float, ts: str, meter: str = "gpu_minute", **other: str) -> dict:
    """A row of Night Owl's cycle of January, which closed on 4 February."""
    return {
        "event_id": event_id,
        "customer_id": "night-owl-studio",
        "meter": meter,
        "quantity": quantity,
        "ts": ts,
        "metadata": {"cluster": "ost-green", "gpu_type": "A100", "model_family": "encore"},
        **other,
    }


def deliver(feeds: Path, day: str, rows: list[dict]) -> int:
    """Add rows to the end of a delivery; returns the line number of the first."""
    path = feeds / "usage" / f"usage_{day}.jsonl.gz"
    delivered = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines = [*delivered, *(json.dumps(row) for row in rows)]
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return len(delivered) + 1


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's seeds with plans so small that packs are bought, credits roll over and run out."""
    folder = tmp_path_factory.mktemp("explain") / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", folder)
    plans = folder / "catalog" / "plans.csv"
    text = plans.read_text()
    text = text.replace(",0.60,0.95,0.80,", ",0.10,0.30,0.05,")
    plans.write_text(text.replace("studio-50k,Studio 50K,50000,", "studio-50k,Studio 50K,9000,"))
    return folder


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weeks of the sample, and late rows for an hour within Night Owl's burst window."""
    folder = tmp_path_factory.mktemp("explain") / "feeds"
    generate_sample(folder, FIRST, LAST)
    return folder


@pytest.fixture(scope="module")
def first_line(feeds: Path) -> int:
    """Delivers rows that are accepted once, although they come more often; where the first is."""
    burst = late("encore-burst", 12, "2026-01-17T10:05:00Z", "gpu_hour")
    number = deliver(
        feeds,
        "2026-02-06",
        [
            burst,
            late("encore-seconds", 100, "2026-01-17T10:10:00Z", "gpu_second"),
            late("encore-taken", 7, "2026-01-17T10:20:00Z", customer_id="chat-harbor"),
            late("encore-back", -1.5, "2026-01-17T10:30:00Z")
            | {"kind": "correction", "corrects_event_id": "encore-burst"},
        ],
    )
    deliver(
        feeds,
        "2026-02-07",
        [
            burst,
            late("encore-burst", 999, "2026-01-20T10:00:00Z"),
            late("encore-taken", 50, "2026-01-17T10:40:00Z"),
            late("encore-lost", 50, "2026-01-17T10:50:00Z")
            | {"metadata": {"cluster": "ost-green", "gpu_type": "no such GPU"}},
        ],
    )
    return number


@pytest.fixture(scope="module")
def billed(
    tmp_path_factory: pytest.TempPathFactory, seeds: Path, feeds: Path, first_line: int
) -> Books:
    """The one billing of this module."""
    folder = tmp_path_factory.mktemp("explain") / "data"
    books = Books(
        Settings(data_dir=folder, seeds_dir=seeds, feeds_url=str(feeds), books_open_on=FIRST)
    )
    books.bill(FIRST, LAST)
    return books


@pytest.fixture
def copied(billed: Books, tmp_path: Path) -> Settings:
    """A data folder to spoil: publication and landing copied, the warehouse the same."""
    of_billed = billed.settings
    shutil.copytree(of_billed.published_dir, tmp_path / "published", symlinks=True)
    shutil.copytree(of_billed.landing_dir, tmp_path / "landing")
    (tmp_path / "warehouse").symlink_to(of_billed.warehouse_dir)
    return Settings(data_dir=tmp_path, seeds_dir=of_billed.seeds_dir)


def test_a_correction_after_the_close_names_its_event_and_its_line(billed: Books) -> None:
    """The closed cycle's invoice keeps its line; the current one carries the adjustment."""
    [correction] = billed.rows(
        "select kind, corrects_event_id, usage_date, posting_date, is_adjustment, gpu_minutes, "
        "invoice_line_id from usage_corrections where event_id = 'encore-back'"
    )
    assert correction == (
        "correction",
        "encore-burst",
        date(2026, 1, 17),
        date(2026, 2, 6),
        True,
        Decimal("-1.5"),
        LATE_USAGE,
    )
    assert billed.rows(
        f"select is_adjustment from invoice_lines where invoice_line_id = '{LATE_USAGE}'"
    ) == [(True,)]


def lines_of(billed: Books) -> dict[tuple[str, bool], str]:
    """A line of each kind, one with a quantity if there is any."""
    rows = billed.rows(
        "select line_type, is_adjustment, min_by(invoice_line_id, (quantity = 0, invoice_line_id)) "
        "from invoice_lines group by all"
    )
    return {(line_type, is_adjustment): line_id for line_type, is_adjustment, line_id in rows}


def test_every_kind_of_line_occurs(billed: Books) -> None:
    assert set(lines_of(billed)) == EVERY_KIND


@pytest.mark.parametrize("kind", sorted(EVERY_KIND), ids=lambda kind: kind[0] + "-late" * kind[1])
def test_a_line_of_every_kind_adds_up(billed: Books, kind: tuple[str, bool]) -> None:
    line_id = lines_of(billed)[kind]

    explained = explain(billed.settings, line_id)

    assert explained.adds_up, explained.text
    assert FAILED not in explained.text
    assert "equals the line: yes" in explained.text
    assert explained.text.endswith("Every step adds up.")


@pytest.mark.parametrize("kind", sorted(EVERY_KIND), ids=lambda kind: kind[0] + "-late" * kind[1])
def test_a_page_is_the_same_as_data(billed: Books, kind: tuple[str, bool]) -> None:
    """A table has one step of its own, every comparison two exact figures, a sum its rows."""
    explained = explain(billed.settings, lines_of(billed)[kind])

    compared = [comparison for step in explained.steps for comparison in step.comparisons]
    assert len(compared) >= explained.text.count(": yes")
    assert all(step.adds_up for step in explained.steps)
    for step in explained.steps:
        assert step.section in explained.text
        assert step.title in explained.text
        assert all(sentence in explained.text for sentence in step.said)
        assert len({tuple(row) for row in step.rows}) <= 1
        assert not [cell for row in step.rows for cell in row.values() if isinstance(cell, float)]
    assert {type(c.actual) for c in compared} | {type(c.expected) for c in compared} == {Decimal}


def test_a_prorated_plan_is_worked_out_by_hand(billed: Books) -> None:
    """Agri Scan starts on 20 January, 21 of the 31 days of its cycle: 9,000 × 0.012 × 21 / 31."""
    text = explain(billed.settings, "agri-scan/2026-01-10/base_credits/sub-agri-scan").text

    assert "tier 1, 0 on: 9,000 × 0.012 = 108" in text
    assert "108 × 21 of 31 days = 73.161290322581..." in text
    assert "amount 73.16 equals the line: yes" in text
    assert "quantity 6,096.774194 equals the line: yes" in text


def test_a_late_hour_in_a_burst_window_is_worked_out_by_hand(billed: Books) -> None:
    """12 h, 100 s and -1.5 min make 720.166667 min, 240.166667 above 60 × 8 GPUs; 2.6 credits each.

    All of it lies in the window (limit × (2 - 1)); 0.012 × 0.35 = 0.0042 a credit.
    """
    explained = explain(billed.settings, LATE_BURST)

    assert explained.adds_up, explained.text
    row = next(line for line in explained.text.splitlines() if "2026-01-17 10:00" in line)
    assert row.split()[4:8] == ["720.166667", "480", "240.166667", "240.166667"]
    assert "quantity 624.433334 equals the line: yes" in explained.text
    assert "amount 2.62 equals the line: yes" in explained.text


def test_events_are_shown_once_with_file_and_line(billed: Books, first_line: int) -> None:
    """Left out: the repetition, the conflicts (one over two usage days), the id that another
    customer had claimed first, the row that waits for a seed edit."""
    text = explain(billed.settings, LATE_USAGE).text

    _, _, events = text.partition("The delivered events")
    shown_events = [line.split() for line in events.splitlines() if "encore-" in line]
    file_name = "usage_2026-02-06.jsonl.gz"
    assert shown_events == [
        f"2026-01-17 {file_name} line {first_line + number} {rest}".split()
        for number, rest in [
            (0, "encore-burst 12.0 gpu_hour 720.000000"),
            (1, "encore-seconds 100.0 gpu_second 1.666667"),
            (3, "encore-back (correction of encore-burst) -1.5 gpu_minute -1.500000"),
        ]
    ]
    assert "minutes of all events 720.166667 equals the rows of usage: yes" in text


def test_few_events_are_printed_and_all_are_summed(billed: Books) -> None:
    line_id = lines_of(billed)["credit_usage", False]

    few, none = (explain(billed.settings, line_id, events=n, rows=n).text for n in (2, 0))

    [(events, minutes)] = billed.rows(
        "select sum(event_count), sum(usage_daily.gpu_minutes) from usage_daily join invoice_lines as lines "
        "using (customer_id, cycle_start, cluster, accelerator, model_family, is_adjustment) "
        f"where invoice_line_id = '{line_id}'"
    )
    assert f"... and {events - 2:,} more" in few
    assert f"... and {events:,} more" in none
    for text in (few, none):
        assert f"minutes of all events {shown(Fraction(minutes))} equals" in text


SPOILED = {
    "the amount": (
        "update invoice_lines set amount = amount + 0.01 where invoice_line_id = $id",
        "base_credits",
        "amount is",
    ),
    "a transfer": (
        "update credit_ledger set credits = credits + 0.000001 where kind = 'burn' "
        "and transfer_id = (select min(transfer_id) from credit_ledger where kind = 'burn' "
        "and customer_id = (select customer_id from invoice_lines where invoice_line_id = $id))",
        "base_credits",
        "in - out",
    ),
    "minutes of usage": (
        "update usage_daily set gpu_minutes = gpu_minutes + 1 where (customer_id, cluster, "
        "accelerator, model_family) = (select (customer_id, cluster, accelerator, model_family) "
        "from invoice_lines where invoice_line_id = $id)",
        "credit_usage",
        "minutes of all events is",
    ),
    "a row of usage": (
        "delete from usage_daily where (customer_id, cluster, accelerator, model_family) = "
        "(select (customer_id, cluster, accelerator, model_family) from invoice_lines "
        "where invoice_line_id = $id) and usage_date = (select max(usage_date) from usage_daily)",
        "credit_usage",
        "GPU minutes is",
    ),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_spoiled_publication_does_not_add_up(
    billed: Books,
    copied: Settings,
    spoiled: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sql, line_type, said = SPOILED[spoiled]
    line_id = lines_of(billed)[line_type, False]
    with duckdb.connect(str(copied.published_dir / "current" / "marts.duckdb")) as marts:
        [(changed,)] = marts.execute(sql, {"id": line_id}).fetchall()
    assert changed

    monkeypatch.setenv("DATA_DIR", str(copied.data_dir))
    code = command("explain", "--", line_id)

    text = capsys.readouterr().out
    assert code == 1
    assert f"{FAILED}: {said}" in text
    assert text.rstrip().splitlines()[-1].startswith((FAILED, "A final invoice"))


def test_both_figures_are_named(billed: Books, copied: Settings) -> None:
    """Agri Scan's 73.16, published as 80.00."""
    line_id = "agri-scan/2026-01-10/base_credits/sub-agri-scan"
    with duckdb.connect(str(copied.published_dir / "current" / "marts.duckdb")) as marts:
        marts.execute("update invoice_lines set amount = 80 where invoice_line_id = $1", [line_id])

    explained = explain(copied, line_id)

    assert not explained.adds_up
    assert f"{FAILED}: amount is 73.16, the line is 80.00" in explained.text
    [failed] = [c for step in explained.steps for c in step.comparisons if not c.adds_up]
    assert failed == Comparison("amount", "the line", Decimal("73.16"), Decimal(80), False)
    assert [step.title for step in explained.steps if not step.adds_up] == ["The arithmetic"]


def test_a_lost_event_does_not_add_up(copied: Settings) -> None:
    """Method: one of the days that the landing keeps is gone."""
    part = "usage/usage_day=2026-01-17/delivery_day=2026-02-06/part.parquet"
    (copied.landing_dir / part).unlink()

    explained = explain(copied, LATE_USAGE)

    assert not explained.adds_up
    assert f"{FAILED}: minutes of all events is" in explained.text
    assert "the rows of usage is 720.166667" in explained.text


def test_an_unknown_id_gets_the_closest_ones(
    billed: Books, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(billed.settings.data_dir))

    code = command("explain", "agri-scan/2026-01-10/base_credits/sub-agri-scam")

    said = capsys.readouterr()
    assert code == 2
    assert not said.out
    assert "  agri-scan/2026-01-10/base_credits/sub-agri-scan\n" in said.err


@pytest.mark.parametrize(
    "hostile", ["", "' or 1=1 --", "x'; drop table invoice_lines; --", "$line_id", "\x1b[31m\n"]
)
def test_a_hostile_id_is_only_unknown(billed: Books, hostile: str) -> None:
    with pytest.raises(NothingToExplain) as refused:
        explain(billed.settings, hostile)

    assert "\x1b" not in str(refused.value)


def test_nothing_published_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert command("explain", "any") == 2
    assert "Nothing is published" in capsys.readouterr().err


def test_a_warehouse_ahead_of_the_publication_is_not_explained(
    billed: Books, copied: Settings
) -> None:
    """Method: the publication of another billing, as after one that did not publish."""
    manifest = copied.published_dir / "current" / "manifest.json"
    published = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(published | {"billing_id": "another"}))

    with pytest.raises(NothingToExplain, match="not the one that was published"):
        explain(copied, LATE_USAGE)


def test_a_warehouse_of_another_release_is_not_explained(billed: Books, copied: Settings) -> None:
    manifest = copied.published_dir / "current" / "manifest.json"
    published = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(published | {"settings": published["settings"] | {"layout": 2}}))

    with pytest.raises(NothingToExplain, match="built by another release"):
        explain(copied, LATE_USAGE)


@pytest.mark.parametrize(
    ("number", "places", "expected"),
    [("0.005", 2, "0.01"), ("-0.005", 2, "-0.01"), ("0.0049999", 2, "0"), ("2.5", 0, "3")],
)
def test_halves_are_rounded_away_from_zero(number: str, places: int, expected: str) -> None:
    assert rounded(Fraction(number), places) == Fraction(expected)


@pytest.mark.parametrize(
    ("number", "least", "expected"),
    [
        ("1234567.5", 0, "1,234,567.5"),
        ("600", 2, "600.00"),
        ("-0.000001", 0, "-0.000001"),
        ("1/3", 0, "0.333333333333..."),
        ("0", 0, "0"),
    ],
)
def test_numbers_are_shown_in_full(number: str, least: int, expected: str) -> None:
    assert shown(Fraction(number), least) == expected


@pytest.mark.parametrize(
    "number", ["0", "-600", "0.125", "1/3", "98765432109876543210987654321.000000000000001"]
)
def test_a_number_as_data_loses_no_digit(number: str) -> None:
    exact = as_decimal(Fraction(number))

    assert Fraction(exact) == Fraction(number)
    assert isinstance(exact, Fraction if number == "1/3" else Decimal)


def test_what_rounding_leaves_over_goes_to_the_largest_weight() -> None:
    """0.000001 over three equal rows: the first gets it; over 1 : 2 the second."""
    unit, one = Fraction(1, 10**6), Fraction(1)

    assert spread(unit, [one, one, one]) == [unit, 0, 0]
    assert spread(unit, [one, 2 * one]) == [0, unit]
    assert spread(Fraction(0), []) == []


@pytest.mark.parametrize(
    ("mode", "units", "expected"),
    [
        # Tiers (0, 10] at 2 and above at 1, a flat fee of 5 in each; packages of 4.
        ("graduated", 0, 0),
        ("graduated", 10, 25),
        ("graduated", 11, 31),
        ("volume", 10, 25),
        ("volume", 11, 16),
        ("package", 9, 11),
        ("package", 11, 8),
    ],
)
def test_tiers_cover_up_to_their_last_unit(mode: str, units: int, expected: int) -> None:
    tiers = [
        {
            "mode": mode,
            "tier": number,
            "from_units": first,
            "up_to_units": last,
            "unit_price": Fraction(price),
            "flat_fee": Fraction(5),
            "package_size": Fraction(4),
        }
        for number, first, last, price in [
            (1, Fraction(0), Fraction(10), 2),
            (2, Fraction(10), None, 1),
        ]
    ]

    assert sum(price for _, price in tier_prices(tiers, Fraction(units))) == expected
