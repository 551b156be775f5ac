"""Replays, but for the billing: scenarios, what is read of the books, the comparison, how it reads.

``test_replay_books.py`` bills.
"""

from __future__ import annotations

import hashlib
import html.parser
import inspect
import json
import os
import re
import shutil
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from conftest import command, days

from orchestration import landing
from orchestration.books.warehouse import WriterBusy, writer_lock
from orchestration.landing.files import usage_part
from orchestration.seeds.staging import SeedError
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.arrivals import MissingDeliveries
from orchestration.sources.folder import FolderSource
from orchestration.store.durable import put
from orchestration.trial import books_apart as apart
from orchestration.trial import replay as run
from orchestration.trial.books_apart import (
    NotBilled,
    land_feeds,
    landed_days,
    link_landed,
    settings_apart,
)
from orchestration.trial.compare import TABLES, Billed, compare, read_comparison
from orchestration.trial.comparison_page import page
from orchestration.trial.comparison_pictures import pictures
from orchestration.trial.history import import_history
from orchestration.trial.scenario import (
    Scenario,
    ScenarioError,
    lay_over,
    plain_name,
    read_scenarios,
)
from orchestration.trial.texts import markdown

SEEDS = PROJECT_ROOT / "seeds"
FIRST, LAST = date(2026, 1, 5), date(2026, 1, 7)


# --- scenarios ----------------------------------------------------------------------------------


def scenario(folder: Path, name: str = "credit_rates", old: str = "", new: str = "") -> Path:
    """A scenario that changes one text in one seed of the catalog."""
    text = (SEEDS / "catalog" / f"{name}.csv").read_text(encoding="utf-8")
    assert old in text
    path = folder / "catalog" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_a_scenario_lies_over_the_seeds_of_today(tmp_path):
    [found] = read_scenarios([scenario(tmp_path / "dear", old="H100,*,5.0", new="H100,*,9.0")])
    lay_over(SEEDS, found, tmp_path / "out")
    changed = [
        path.name
        for path in sorted((tmp_path / "out").rglob("*.csv"))
        if path.read_bytes() != (SEEDS / path.relative_to(tmp_path / "out")).read_bytes()
    ]
    assert changed == ["credit_rates.csv"]
    assert len(list((tmp_path / "out").rglob("*.csv"))) == len(list(SEEDS.rglob("*.csv")))


def test_a_broken_scenario_is_named_with_file_row_and_column(tmp_path):
    folder = scenario(tmp_path / "broken", old="H100,*,5.0", new="H100,*,five")
    [found] = read_scenarios([folder])
    with pytest.raises(SeedError) as refused:
        lay_over(SEEDS, found, tmp_path / "out")
    assert "Scenario broken" in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "catalog/credit_rates.csv: row 2: column credits_per_gpu_minute: 'five'" in str(
        refused.value
    )


def test_a_misspelt_file_is_refused_because_it_would_change_nothing(tmp_path):
    folder = scenario(tmp_path / "typo")
    (folder / "catalog" / "credit_rates.csv").rename(folder / "catalog" / "credit_rate.csv")
    with pytest.raises(ScenarioError, match=r"catalog/credit_rate\.csv, which is no seed"):
        read_scenarios([folder])


def test_what_is_no_scenario_is_refused(tmp_path):
    with pytest.raises(ScenarioError, match="is not a folder"):
        read_scenarios([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScenarioError, match="changes nothing"):
        read_scenarios([tmp_path / "empty"])
    with pytest.raises(ScenarioError, match="No scenario"):
        read_scenarios([])
    with pytest.raises(ScenarioError, match="Two scenarios have one name: a"):
        read_scenarios([scenario(tmp_path / "1" / "a"), scenario(tmp_path / "2" / "a")])


@pytest.mark.parametrize("name", [".hidden", "with space", "a'b", "x+y", "äh"])
def test_a_name_that_cannot_stand_in_a_query_or_a_path_is_refused(tmp_path, name):
    with pytest.raises(ScenarioError, match="letters, digits"):
        read_scenarios([scenario(tmp_path / name)])


@pytest.mark.parametrize("url", ["s3://bucket/old-system/", "/data/old-system", "old-system"])
def test_history_is_named_after_the_end_of_its_address(url):
    assert plain_name(url) == "old-system"


def test_the_end_of_an_address_must_be_a_name():
    with pytest.raises(ScenarioError):
        plain_name("s3://")


@pytest.mark.parametrize("kind", ["file", "folder", "round in circles", "nowhere", "pipe"])
def test_a_scenario_is_not_read_from_outside_of_its_folder(tmp_path, kind):
    """Whoever proposes a scenario could have the replay quote any file that it may read."""
    secret = tmp_path / "secret" / "credit_rates.csv"
    secret.parent.mkdir()
    secret.write_text("root:s3cr3t\n", encoding="utf-8")
    folder = scenario(tmp_path / "sly", "price_tiers")
    seed = folder / "catalog" / "credit_rates.csv"
    if kind == "folder":
        shutil.rmtree(folder / "catalog")
        seed.parent.symlink_to(secret.parent)
    elif kind == "pipe":
        os.mkfifo(seed)
    else:
        seed.symlink_to({"file": secret, "nowhere": tmp_path / "no"}.get(kind, seed))
    with pytest.raises(
        ScenarioError, match=r"catalog/credit_rates\.csv is no file in that"
    ) as found:
        read_scenarios([folder])
    assert "s3cr3t" not in str(found.value)
    # Also if it was put there after it was looked at.
    with pytest.raises(ScenarioError, match="is no file in that folder"):
        lay_over(SEEDS, Scenario("sly", folder), tmp_path / "out")


def test_a_link_within_a_scenario_is_followed(tmp_path):
    folder = scenario(tmp_path / "dear", old="H100,*,5.0", new="H100,*,9.0")
    (folder / "catalog" / "credit_rates.csv").rename(folder / "rates")
    (folder / "catalog" / "credit_rates.csv").symlink_to(folder / "rates")
    (tmp_path / "link").symlink_to(folder)
    [found] = read_scenarios([tmp_path / "link"])
    lay_over(SEEDS, found, tmp_path / "out")
    assert "H100,*,9.0" in (tmp_path / "out/catalog/credit_rates.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "history",
    [
        "{data}",
        "{data}/staging/old",
        "{data}/staging/../staging/old/usage",
        "file://{data}/x",
        "{link}",
    ],
)
def test_the_books_are_no_history_of_their_own(tmp_path, history):
    """An import begins by removing the earlier one of its name."""
    data = tmp_path / "data"
    kept = data / "staging" / "old" / "usage" / "usage_2026-01-05.jsonl"
    kept.parent.mkdir(parents=True)
    kept.touch()
    (tmp_path / "old").symlink_to(data / "staging" / "old")
    asked = history.format(data=data, link=tmp_path / "old")
    with pytest.raises(ScenarioError, match="where the job keeps its own books"):
        import_history(Settings(data_dir=data), asked, FIRST, LAST)
    assert kept.exists()


def test_books_of_an_import_are_not_written_through_a_link(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "data" / "staging").mkdir(parents=True)
    (tmp_path / "data" / "staging" / "old").symlink_to(tmp_path / "old")
    with pytest.raises(ScenarioError, match="is a link"):
        import_history(Settings(data_dir=tmp_path / "data"), str(tmp_path / "old"), FIRST, LAST)
    assert list((tmp_path / "old").iterdir()) == []


# --- what is read of the books ------------------------------------------------------------------


def test_settings_apart_have_no_folder_of_the_books(tmp_path):
    """Folders are worked out once; those of the books must not be handed on."""
    books = Settings(
        data_dir=tmp_path / "books", feeds_url="s3://somewhere", send_policy_actions=False
    )
    of_books = {
        name: getattr(books, name)
        for name, value in inspect.getmembers(Settings)
        if isinstance(value, cached_property) and isinstance(getattr(books, name), Path)
    }
    assert len(of_books) >= 9
    other = settings_apart(books, tmp_path / "apart", FIRST)
    for name, path in of_books.items():
        assert getattr(other, name).relative_to(tmp_path / "apart")
        assert path.relative_to(tmp_path / "books")
    assert other.feeds_url == "s3://somewhere"
    assert other.books_open_on == FIRST
    assert other.dbt_environment()["DATA_DIR"] == str(tmp_path / "apart")


def test_settings_apart_name_nobody_who_is_told_anything(tmp_path):
    """Addresses that are read from stay; every other one is gone, also one that is new."""
    books = Settings(
        data_dir=tmp_path,
        usage_url="usagebox+https://usage.example.com",
        policy_api_url="https://api.example.com",
        send_policy_actions=True,
        alert_webhook_secret="whsec_" + "A" * 32,
        alert_webhook_urls="https://hooks.example.com/1",
        notify_urls="jsons://hooks.example.com",
        publish_postgres_url="postgresql://user:password@db.example.com/books",
    )
    other = settings_apart(books, tmp_path / "apart", FIRST)
    addresses = {name for name in Settings.model_fields if name.endswith(("_url", "_urls"))}
    read_from = {"feeds_url", "usage_url", "energy_price_url", "energy_mix_url", "top_up_url"}
    assert {name: getattr(other, name) for name in read_from} == {
        name: getattr(books, name) for name in read_from
    }
    assert not any(getattr(other, name) for name in addresses - read_from)
    assert not other.send_policy_actions


@pytest.fixture(scope="module")
def landed(tmp_path_factory, sample_feeds):
    """The landing of four days."""
    place = tmp_path_factory.mktemp("landed") / "landing"
    landing.prepare_landing(place)
    source = FolderSource(str(sample_feeds))
    for day in days("2026-01-05", "2026-01-08"):
        landing.land_usage(source, day, place)
    for land in (
        landing.land_energy_prices,
        landing.land_energy_mix,
        landing.land_gpu_prices,
        landing.land_fx_rates,
    ):
        land(source, place)
    return place


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file's bytes and time of change."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_window_is_linked_and_nothing_else(landed, tmp_path):
    before = snapshot(landed)
    link_landed(landed, tmp_path / "landing", days(FIRST, LAST))
    assert snapshot(landed) == before
    assert landed_days(tmp_path / "landing", days("2026-01-01", "2026-01-31")) == days(FIRST, LAST)

    def rows(place: Path, window: bool) -> int:
        where = " where delivery_day between '2026-01-05' and '2026-01-07'" if window else ""
        [(count,)] = duckdb.sql(
            f"select count(*) from read_parquet('{place}/usage/*/*/part.parquet')" + where
        ).fetchall()
        return count

    assert rows(tmp_path / "landing", window=False) == rows(landed, window=True) > 1000
    for name in ("energy/prices.parquet", "fx/rates.parquet", "deliveries/gpu/all.parquet"):
        assert (tmp_path / "landing" / name).samefile(landed / name)


def test_a_link_keeps_what_it_was_given_when_the_day_is_landed_again(landed, tmp_path):
    place = Path(shutil.copytree(landed, tmp_path / "books"))
    link_landed(place, tmp_path / "landing", [FIRST])
    linked = usage_part(tmp_path / "landing", FIRST, FIRST)
    assert linked.samefile(usage_part(place, FIRST, FIRST))
    content = linked.read_bytes()
    again = tmp_path / "again.parquet"
    again.write_bytes(b"landed again")
    put(again, usage_part(place, FIRST, FIRST))
    assert linked.read_bytes() == content


def test_where_files_cannot_be_linked_they_are_copied(landed, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    link_landed(landed, tmp_path / "landing", [FIRST])
    copied = usage_part(tmp_path / "landing", FIRST, FIRST)
    assert copied.read_bytes() == usage_part(landed, FIRST, FIRST).read_bytes()
    assert not copied.samefile(usage_part(landed, FIRST, FIRST))


def test_feeds_without_any_usable_delivery_are_a_problem_with_a_reason(tmp_path, sample_feeds):
    settings = Settings(data_dir=tmp_path, seeds_dir=SEEDS, feeds_url=str(sample_feeds))
    with pytest.raises(NotBilled, match=r"usage_2020-01-01\.jsonl: the file is missing"):
        land_feeds(settings, days("2020-01-01", "2020-01-02"))


def test_history_that_is_not_there_is_named_at_once(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(ScenarioError, match=f"HISTORY={tmp_path}/gone is not a folder"):
        import_history(settings, str(tmp_path / "gone"), FIRST, LAST)
    (tmp_path / "old").mkdir()
    with pytest.raises(MissingDeliveries, match=f"no usage file in {tmp_path}/old/usage: "):
        import_history(settings, str(tmp_path / "old"), FIRST, LAST)
    assert not settings.data_dir.exists()


def test_prices_that_history_lacks_come_from_the_feeds(tmp_path, sample_feeds):
    (tmp_path / "history" / "usage").mkdir(parents=True)
    (tmp_path / "history" / "fx").mkdir()
    shutil.copy(
        sample_feeds / "usage" / "usage_2026-01-05.jsonl.gz", tmp_path / "history" / "usage"
    )
    (tmp_path / "history" / "fx" / "fx_rates.csv").write_text(
        "date,currency,usd_per_unit\n2026-01-01,EUR,1.5\n"
    )
    settings = Settings(data_dir=tmp_path / "data", seeds_dir=SEEDS, feeds_url=str(sample_feeds))
    land_feeds(settings, [FIRST], instead=FolderSource(str(tmp_path / "history")))

    def count(name: str) -> int:
        [(rows,)] = duckdb.sql(
            f"select count(*) from read_parquet('{settings.landing_dir / name}')"
        ).fetchall()
        return rows

    assert count("fx/rates.parquet") == 1
    assert count("energy/prices.parquet") > 100


# --- the comparison -----------------------------------------------------------------------------

BIG = Decimal("9007199254740993.000001")
"""A double would lose its last digits."""
HOSTILE = "a|b`c<script>alert(1)</script>\n@all [x](javascript:1)"

_MARTS = {
    "invoices": {
        "customer_id": "varchar",
        "cycle_start": "date",
        "cycle_end": "date",
        "total": "decimal(18, 2)",
    },
    "invoice_lines": {
        "customer_id": "varchar",
        "cycle_start": "date",
        "line_type": "varchar",
        "quantity": "decimal(38, 6)",
        "amount": "decimal(18, 2)",
    },
    "margin_daily": {
        "customer_id": "varchar",
        "accelerator": "varchar",
        **dict.fromkeys(
            ("gpu_minutes", "credits", "revenue", "amortized_cost", "gross_margin"),
            "decimal(38, 6)",
        ),
    },
    "margin_monthly": {"breakage_revenue": "decimal(38, 6)"},
    "usage_daily": {
        "cluster": "varchar",
        "accelerator": "varchar",
        "model_family": "varchar",
        "gpu_minutes": "decimal(38, 6)",
        "credits": "decimal(38, 6)",
    },
}
_WAITING = pa.schema(
    [
        *(
            (name, pa.string())
            for name in (
                *("reason", "customer_id", "cluster"),
                *("gpu_type", "accelerator", "model_family"),
            )
        ),
        ("rows", pa.int64()),
        ("gpu_minutes", pa.decimal128(38, 6)),
    ]
)
CYCLE = (date(2026, 1, 5), date(2026, 2, 5))


def billed(folder: Path, waiting: list[tuple] = (), **rows: list[tuple]) -> Billed:
    """A publication with these rows; a mart that is not named is empty."""
    with duckdb.connect(":memory:") as connection:
        for mart, columns in _MARTS.items():
            (folder / mart).mkdir(parents=True)
            connection.execute(
                f"create table {mart} ({', '.join(f'{c} {t}' for c, t in columns.items())})"
            )
            if rows.get(mart):
                marks = ", ".join("?" * len(columns))
                connection.executemany(f"insert into {mart} values ({marks})", rows[mart])
            connection.table(mart).write_parquet(str(folder / mart / "part-0.parquet"))
    manifest = {"settings": {"books_open_on": str(FIRST)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    table = pa.Table.from_pylist(
        [dict(zip(_WAITING.names, row, strict=True)) for row in waiting], schema=_WAITING
    )
    return Billed(folder, table)


def sides(root: Path) -> tuple[Billed, dict[str, Billed]]:
    """Two customers before; after, one pays more, one has gone, one has come."""
    margin = [
        ("calm", "H100", 10, 50, 5, 2, 3),
        ("gone", "A100", 4, 10, BIG, Decimal("1.5"), BIG - Decimal("1.5")),
    ]
    before = billed(
        root / "before",
        waiting=[
            ("no_credit_rate", "calm", "c1", "tpu", "TPU", "llm", 3, Decimal("1.5")),
            ("unknown_customer", HOSTILE, "c1", "", "H100", "llm", 1, Decimal(2)),
        ],
        invoices=[("calm", *CYCLE, Decimal("0.30")), ("gone", *CYCLE, Decimal("100.00"))],
        invoice_lines=[("calm", CYCLE[0], "overage", 3, Decimal("0.30"))],
        margin_daily=margin,
        margin_monthly=[(Decimal("0.000001"),)],
        usage_daily=[("c1", "H100", "llm", 3, 1), ("c1", "A100", "llm", 4, 10)],
    )
    same = billed(
        root / "same",
        waiting=[
            ("no_credit_rate", "calm", "c1", "tpu", "TPU", "llm", 3, Decimal("1.5")),
            ("unknown_customer", HOSTILE, "c1", "", "H100", "llm", 1, Decimal(2)),
        ],
        invoices=[("gone", *CYCLE, Decimal("100.00")), ("calm", *CYCLE, Decimal("0.30"))],
        invoice_lines=[("calm", CYCLE[0], "overage", 3, Decimal("0.30"))],
        margin_daily=list(reversed(margin)),
        margin_monthly=[(Decimal("0.000001"),)],
        usage_daily=[("c1", "H100", "llm", 3, 1), ("c1", "A100", "llm", 4, 10)],
    )
    dear = billed(
        root / "dear",
        waiting=[("unknown_customer", HOSTILE, "c1", "", "H100", "llm", 1, Decimal(2))],
        invoices=[("calm", *CYCLE, Decimal("0.50")), (HOSTILE, *CYCLE, Decimal("7.00"))],
        invoice_lines=[("calm", CYCLE[0], "overage", 5, Decimal("0.50"))],
        margin_daily=[("calm", "H100", 10, 55, 5, 2, 3), (HOSTILE, "H100", 1, 1, BIG, 0, BIG)],
        usage_daily=[("c1", "H100", "llm", 3, 2), (HOSTILE, "H100", "llm", 1, 1)],
    )
    return before, {"same": same, "dear": dear}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("comparison")
    before, after = sides(root / "it's [here]")
    target = root / "out's [here]"
    target.mkdir()
    compare(before, after, FIRST, LAST, "USD", target)
    return target


@pytest.fixture(scope="module")
def tables(comparison) -> dict:
    return read_comparison(comparison)


def of(rows: list[dict], name: str, *columns: str) -> list[tuple]:
    return [tuple(row[c] for c in columns) for row in rows if row["scenario"] == name]


def test_every_table_is_there_as_parquet_and_csv(comparison):
    assert {path.name for path in comparison.iterdir()} == {
        f"{table}.{kind}" for table in TABLES for kind in ("parquet", "csv")
    }
    assert "9007199254740993.000001" in (comparison / "accelerators.csv").read_text()


def test_who_pays_more_is_worked_out_from_both_sides(tables):
    columns = ("customer_id", "invoiced_before", "invoiced_after", "invoiced_difference", "pays")
    assert of(tables["customers"], "dear", *columns) == [
        (HOSTILE, Decimal(0), Decimal(7), Decimal(7), "more"),
        ("calm", Decimal("0.30"), Decimal("0.50"), Decimal("0.20"), "more"),
        ("gone", Decimal(100), Decimal(0), Decimal(-100), "less"),
    ]
    rates = dict(of(tables["customers"], "dear", "customer_id", "invoiced_difference_rate"))
    assert rates == {HOSTILE: None, "calm": Decimal("0.666667"), "gone": Decimal(-1)}


def test_amounts_are_exact_beyond_what_a_double_holds(tables):
    columns = (
        "accelerator",
        "gross_margin_before",
        "gross_margin_after",
        "gross_margin_difference",
    )
    assert of(tables["accelerators"], "dear", *columns) == [
        ("A100", BIG - Decimal("1.5"), 0, Decimal("1.5") - BIG),
        ("H100", 3, BIG + 3, BIG),
    ]


def test_a_rate_is_rounded_half_away_from_zero_and_empty_for_nothing(tables):
    assert of(
        tables["workloads"],
        "dear",
        "accelerator",
        "credits_per_gpu_minute_before",
        "credits_per_gpu_minute_after",
    ) == [
        ("H100", Decimal("0.333333"), Decimal("0.666667")),
        ("H100", None, Decimal(1)),
        ("A100", Decimal("2.5"), None),
    ]


def test_usage_that_waits_says_what_it_lacks(tables):
    columns = ("reason", "lacks", "rows_before", "rows_after", "gpu_minutes_difference")
    assert of(tables["unmapped_workloads"], "dear", *columns) == [
        ("unknown_customer", HOSTILE, 1, 1, 0),
        ("no_credit_rate", "TPU / llm", 3, 0, Decimal("-1.5")),
    ]


def test_the_same_rows_in_another_order_are_no_difference(tables):
    assert {
        (before, after)
        for before, after in of(
            tables["changed_tables"], "same", "rows_only_before", "rows_only_after"
        )
    } == {(0, 0)}
    assert of(tables["changed_tables"], "dear", "table_name", "rows_only_after")[0] == (
        "invoice_lines",
        1,
    )
    [same] = [row for row in tables["summary"] if row["scenario"] == "same"]
    assert not any(value for name, value in same.items() if name.endswith("_difference"))


def test_scenarios_stand_in_the_order_in_which_they_were_named(tables):
    assert [row["scenario"] for row in tables["summary"]] == ["same", "dear"]


# --- how it reads -------------------------------------------------------------------------------


def test_no_name_ends_a_cell_a_line_or_its_code_in_markdown(tables):
    text = markdown(tables)
    for line in text.splitlines():
        if line.startswith("|"):
            heads = line.count("|")
        assert not line.startswith("|") or line.count("|") == heads
        # Outside of code there is no name.
        assert "script" not in re.sub(r"`[^`]*`", "", line)
        assert "@all" not in re.sub(r"`[^`]*`", "", line)
    assert "same: no difference, in no row of any published table" in text
    assert "of 3 customers 2 pay more and 1 pay less" in text


def test_so_many_rows_are_shown_and_it_says_where_the_others_are(tmp_path, monkeypatch):
    names = [f"customer-{n:02}" for n in range(20)]
    before = billed(tmp_path / "before", invoices=[(n, *CYCLE, Decimal(1)) for n in names])
    after = billed(tmp_path / "after", invoices=[(n, *CYCLE, Decimal(2)) for n in names])
    (tmp_path / "out").mkdir()
    compare(before, {"dear": after}, FIRST, LAST, "USD", tmp_path / "out")
    text = markdown(read_comparison(tmp_path / "out"))
    assert "`customer-14`" in text
    assert "`customer-15`" not in text
    assert "5 more in `customers.csv`." in text
    monkeypatch.setattr("orchestration.trial.comparison_page.ROWS", 2)
    monkeypatch.setattr("orchestration.trial.comparison_page.MOST", 19)
    text = page(read_comparison(tmp_path / "out"), {})
    assert "<summary>17 more</summary>" in text
    assert "customer-18" in text
    assert "customer-19" not in text
    assert '1 more in <a href="customers.csv">' in text


class Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_runs_nothing_asks_for_nothing_and_escapes_names(tables):
    drawn = pictures(tables)
    text = page(tables, drawn)
    tags = Tags(text)
    kinds = {tag for tag, _ in tags.found}
    assert not kinds & {"script", "iframe", "link", "object", "form"}
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    for tag, attributes in tags.found:
        assert not any(name.startswith("on") for name in attributes)
        assert "style" not in attributes
        if tag == "img":
            assert attributes["src"].startswith("data:image/svg+xml;base64,")
            assert attributes["alt"]
        if tag == "a":
            assert attributes["href"] in {f"{table}.csv" for table in TABLES}
    [policy] = [a["content"] for _, a in tags.found if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_pictures_hold_the_scenarios_and_escape_names(tables):
    drawn = pictures(tables)
    assert set(drawn) == {"margin_by_accelerator", "who_pays_more"}
    for svg in drawn.values():
        assert "dear" in svg
        assert "<script" not in svg
    assert "today" in drawn["margin_by_accelerator"]


# --- the run, billing left out ------------------------------------------------------------------


@pytest.fixture
def replayed(tmp_path, landed, monkeypatch):
    """Books that are landed, a scenario, and a billing that only notes with what it was asked."""
    data = tmp_path / "data"
    shutil.copytree(landed, data / "landing")
    for name in (
        "warehouse/warehouse.duckdb",
        "archive/x/none.parquet",
        "published/p/marts.duckdb",
    ):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(name.encode())
    asked: list[Settings] = []
    before, after = sides(tmp_path / "publications")
    found = {"before": before, "after/dear": after["dear"]}

    def bill_apart(settings, first, last, run_id):
        asked.append(settings)
        side = str(settings.data_dir.relative_to(data / "replays" / "dear" / "work"))
        # As dbt does, while the lock of the books must be free.
        with writer_lock(Settings(data_dir=data), patience=0):
            assert landed_days(settings.landing_dir, days(first, last)) == days(FIRST, LAST)
        return found[side].published

    monkeypatch.setattr(run, "bill_apart", bill_apart)
    monkeypatch.setattr(
        run,
        "waiting",
        lambda s: found[str(s.data_dir.relative_to(data / "replays" / "dear" / "work"))].waiting,
    )
    settings = Settings(data_dir=data, seeds_dir=SEEDS, feeds_url=str(tmp_path / "no feeds"))
    folder = scenario(tmp_path / "dear", old="H100,*,5.0", new="H100,*,9.0")
    return settings, folder, asked


def test_a_replay_publishes_a_comparison_and_leaves_the_books_alone(replayed):
    settings, folder, asked = replayed
    books = ("landing", "warehouse", "archive", "published")
    before = {name: snapshot(settings.data_dir / name) for name in books}
    said: list[str] = []
    current = run.replay(settings, [folder], FIRST, LAST, say=said.append)
    assert {name: snapshot(settings.data_dir / name) for name in books} == before
    root = settings.data_dir / "replays" / "dear"
    assert current == root / "current"
    assert sorted(path.name for path in root.iterdir()) == [
        "current",
        "publications",
        "writer.lock",
    ]
    assert sorted(path.name for path in current.iterdir()) == sorted(
        [
            *(f"{table}.{kind}" for table in TABLES for kind in ("csv", "parquet")),
            *("comparison.md", "index.html", "manifest.json"),
            *("margin_by_accelerator.svg", "who_pays_more.svg"),
        ]
    )
    manifest = json.loads((current / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["scenarios"] == ["dear"]
    assert manifest["first_delivery_day"] == "2026-01-05"
    assert manifest["row_counts"]["customers"] == 3
    assert [sentence.split(" in ")[0] for sentence in said] == [
        "Billed with today's seeds",
        "Billed with scenario dear",
    ]
    assert {settings.books_open_on for settings in asked} == {FIRST}


def test_each_side_bills_with_its_own_seeds(replayed, monkeypatch):
    settings, folder, _ = replayed
    seeds = {}
    bill = run.bill_apart

    def noting(side, *others):
        rates = (side.seeds_dir / "catalog" / "credit_rates.csv").read_text(encoding="utf-8")
        plans = (side.seeds_dir / "catalog" / "plans.csv").read_bytes()
        assert plans == (SEEDS / "catalog" / "plans.csv").read_bytes()
        seeds[side.data_dir.name] = rates.splitlines()[1]
        return bill(side, *others)

    monkeypatch.setattr(run, "bill_apart", noting)
    run.replay(settings, [folder], FIRST, LAST)
    assert seeds == {"before": "H100,*,5.0,2025-11-01,", "dear": "H100,*,9.0,2025-11-01,"}


def test_a_side_that_cannot_be_billed_is_named_and_what_was_published_stays(replayed, monkeypatch):
    settings, folder, _ = replayed
    current = run.replay(settings, [folder], FIRST, LAST)
    published = current.resolve()
    bill = run.bill_apart

    def failing(side, *others):
        if side.data_dir.name == "dear":
            raise NotBilled("control wallet_flow of 2026-01-05: expected 1, found 2")
        return bill(side, *others)

    monkeypatch.setattr(run, "bill_apart", failing)
    with pytest.raises(NotBilled, match="Not replayed, scenario dear: control wallet_flow"):
        run.replay(settings, [folder], FIRST, LAST)
    assert current.resolve() == published
    assert not (current.parent / "work").exists()


def test_a_window_with_a_gap_is_not_replayed(replayed, monkeypatch):
    """The plan of the billing says so; nothing of dbt has run by then."""
    settings, folder, _ = replayed
    monkeypatch.setattr(run, "bill_apart", apart.bill_apart)
    with pytest.raises(NotBilled, match=r"today's seeds: Delivery days are missing .* 2026-01-09"):
        run.replay(settings, [folder], FIRST, date(2026, 1, 9))


def test_two_replays_of_one_scenario_do_not_meet(replayed, monkeypatch):
    settings, folder, _ = replayed
    monkeypatch.setattr("orchestration.books.warehouse.PATIENCE_SECONDS", 0)
    monkeypatch.setattr(run, "writer_lock", lambda settings: writer_lock(settings, patience=0))
    with (
        writer_lock(Settings(data_dir=settings.data_dir / "replays" / "dear")),
        pytest.raises(WriterBusy, match="replays/dear"),
    ):
        run.replay(settings, [folder], FIRST, LAST)


# --- the commands -------------------------------------------------------------------------------


def test_markdown_is_all_that_the_command_prints(replayed, monkeypatch, capsys):
    settings, folder, _ = replayed
    monkeypatch.setattr("orchestration.settings.load_settings", lambda: settings)
    asked = [str(folder), "--from", str(FIRST), "--to", str(LAST)]
    assert command("replay", *asked, "--format", "markdown") == 0
    said = capsys.readouterr()
    assert said.out.startswith("### Replay of 2026-01-05 to 2026-01-07: dear\n")
    assert "index.html" not in said.out
    assert "Billed with" in said.err
    assert command("replay", *asked) == 0
    assert "index.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotBilled("no"), 1), (WriterBusy("no"), 1), (ScenarioError("no"), 2), (SeedError("no"), 2)],
)
def test_the_exit_code_says_whose_fault_it_is(monkeypatch, capsys, error, code):
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(run, "replay", failing)
    assert command("replay", "x", "--from", "2026-01-05", "--to", "2026-01-07") == code
    assert "no" in capsys.readouterr().err


def test_a_window_that_ends_before_it_begins_is_refused(capsys):
    assert command("replay", "x", "--from", "2026-01-07", "--to", "2026-01-05") == 2
    assert "lies before" in capsys.readouterr().err
