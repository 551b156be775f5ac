"""Gates: every expectation can fail, fails for the right reason, and says so in a sentence.

Each test changes the landing of three sample weeks as a bug, a broken disk or a strange day would,
and judges it again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Books, days

from orchestration.books.plan import RunPlan, make_plan
from orchestration.gates import suites, verdicts
from orchestration.gates.data_docs import markdown_table
from orchestration.gates.gate import FeedKey, Gate
from orchestration.gates.holds import hold
from orchestration.gates.judge import judge
from orchestration.gates.measures import AMOUNT, plain
from orchestration.gates.needs import Needs, read_needs
from orchestration.gates.price_profile import LANDED
from orchestration.gates.suites import FEEDS, SuiteError, suite
from orchestration.gates.verdicts import Verdict, judge_feeds, measure, refused
from orchestration.landing.files import (
    SNAPSHOTS,
    landed_delivery,
    of_delivery,
    usage_part,
)
from orchestration.night.billing import NothingToBill, billing_run
from orchestration.settings import Settings

DAY = date(2026, 1, 26)
"""The last delivery day, a Monday with three Mondays before it."""
STRICT = {"max_volume_change": Decimal(2), "max_feed_age_days": 2}


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, sample_feeds: Path) -> Settings:
    """Three weeks of deliveries, landed."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("landed"), feeds_url=str(sample_feeds), **STRICT
    )
    Books(settings).land(days("2026-01-05", DAY))
    return settings


@pytest.fixture(scope="module")
def needs(landed: Settings) -> Needs:
    """What the seeds say."""
    return read_needs(landed.seeds_dir, DAY)


@pytest.fixture
def copy(landed: Settings, tmp_path: Path) -> Settings:
    """A landing of its own to change; files are shared until they are replaced."""
    shutil.copytree(landed.landing_dir, tmp_path / "landing", copy_function=os.link)
    return but(landed, data_dir=tmp_path)


def but(settings: Settings, **changes: Any) -> Settings:
    """The same settings but for some."""
    return Settings(**{**settings.model_dump(), **changes})


def plan_of(settings: Settings, first: date = DAY, last: date = DAY) -> RunPlan:
    """The plan of a night over days of which all others were billed."""
    plan = make_plan(settings, first, last)
    assert plan is not None
    return replace(plan, deliveries=tuple(days(first, last)))


def judged(settings: Settings, feed: FeedKey) -> Verdict:
    [verdict] = judge_feeds(settings, [feed], plan_of(settings))
    return verdict


def part(settings: Settings) -> Path:
    """The rows of the last delivery that were used on its own day: most of them."""
    return usage_part(settings.landing_dir, DAY, DAY)


def snapshot(settings: Settings, feed: FeedKey) -> Path:
    return settings.landing_dir / SNAPSHOTS[LANDED[feed]][0]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    with pq.ParquetFile(path) as file:
        table = change(file.read())
    path.unlink()
    pq.write_table(table, path, store_decimal_as_integer=True)


def put(path: Path, column: str, value: Any, rows: int | None = 1) -> None:
    """Set a column of the first rows (all if None) to a value."""

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(column)
        count = table.num_rows if rows is None else rows
        values = [value] * count + table[column].to_pylist()[count:]
        return table.set_column(at, column, pa.array(values, table.schema.field(at).type))

    rewrite(path, change)


def recast(path: Path, column: str, kind: pa.DataType) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(column)
        return table.set_column(at, column, table[column].cast(kind, safe=False))

    rewrite(path, change)


def shift(path: Path, column: str, by: timedelta) -> None:
    """Make the feed older."""

    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(column)
        values = [value - by for value in table[column].to_pylist()]
        return table.set_column(at, column, pa.array(values, table.schema.field(at).type))

    rewrite(path, change)


def keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    rewrite(path, lambda t: t.filter(pa.array([wanted(row) for row in t.to_pylist()])))


def multiply(settings: Settings, column: str, feed: FeedKey, factor: int) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(column)
        values = [value * factor for value in table[column].to_pylist()]
        return table.set_column(at, column, pa.array(values, table.schema.field(at).type))

    rewrite(snapshot(settings, feed), change)


def nowhere(settings: Settings, column: str, value: Any, day: date = DAY) -> None:
    """No row of a delivery has the field any more, in whichever of its files."""
    for path in settings.landing_dir.glob(f"usage/usage_day=*/delivery_day={day}/part.parquet"):
        put(path, column, value, None)


def rare_then_gone(settings: Settings) -> None:
    """Every row of the days before has a metered energy cost, none of the last day."""
    for back in range(1, 5):
        nowhere(settings, "energy_cost_micro", 10**6, DAY - timedelta(days=back))
    nowhere(settings, "energy_cost_micro", None)


def unnamed_corrections(settings: Settings) -> None:
    put(part(settings), "corrects_event_id", "e-1", 5)
    nowhere(settings, "kind", "usage")


def few_rows(settings: Settings) -> None:
    record = landed_delivery(settings.landing_dir, "usage", DAY)
    path = of_delivery(settings.landing_dir, "deliveries", "usage", DAY)
    path.unlink()
    pq.write_table(replace(record, delivered_rows=record.delivered_rows // 4).record(), path)


def old_rows_only(settings: Settings) -> None:
    for back in range(3):
        usage_part(settings.landing_dir, DAY - timedelta(days=back), DAY).unlink()


def half_billed(settings: Settings, feed: FeedKey) -> None:
    """Twice as many rows were billed before: half of the history is gone."""
    billed = settings.warehouse_dir / "billed" / SNAPSHOTS[LANDED[feed]][0].replace("/", "_")
    billed.parent.mkdir(parents=True)
    with pq.ParquetFile(snapshot(settings, feed)) as file:
        table = file.read()
    pq.write_table(pa.concat_tables([table, table]), billed)


def last_week_missing(settings: Settings, feed: FeedKey, column: str) -> None:
    """All but a tenth of the last week's rows."""

    def change(table: pa.Table) -> pa.Table:
        kept = []
        for number, value in enumerate(table[column].to_pylist()):
            day = value if type(value) is date else value.date()
            kept.append(not DAY - timedelta(days=7) < day <= DAY or number % 10 == 0)
        return table.filter(pa.array(kept))

    rewrite(snapshot(settings, feed), change)


Case = tuple[FeedKey, str, Callable[[Settings], Any]]


def cases() -> Iterator[Case]:
    """Every expectation, and a change of the landing that breaks it."""
    usage: dict[str, Callable[[Settings], Any]] = {
        "columns_and_types": lambda s: recast(part(s), "quantity_micro", pa.float64()),
        "kind_is_there": unnamed_corrections,
        "gpu_type_is_there": lambda s: nowhere(s, "gpu_type", None),
        "model_family_is_there": lambda s: nowhere(s, "model_family", None),
        "energy_cost_is_there": rare_then_gone,
        "duration_s_is_there": lambda s: nowhere(s, "duration_us", 0),
        "slices_fit_the_fleet": lambda s: put(part(s), "quantity_micro", 10**17),
        "every_landed_row_is_there": lambda s: part(s).unlink(),
        "rows_as_usual": few_rows,
        "rows_within_limit": few_rows,
        "newest_row_is_recent": old_rows_only,
        "newest_row_within_limit": old_rows_only,
        "customers_are_known": lambda s: put(part(s), "customer_id", "nobody", 100),
        "clusters_are_known": lambda s: put(part(s), "cluster", "nowhere", 100),
        "accelerators_are_known": lambda s: put(part(s), "gpu_type", "B9000", 100),
    }
    yield from (("usage", name, change) for name, change in usage.items())
    times = {
        "energy_price": "interval_start",
        "energy_mix": "ts_utc",
        "gpu_price": "observed_at",
        "fx_rate": "rate_date",
    }
    for key, column in times.items():
        feed: FeedKey = key  # type: ignore[assignment]

        def old(settings: Settings, feed: FeedKey = feed, column: str = column) -> None:
            shift(snapshot(settings, feed), column, timedelta(days=40))

        def gone(settings: Settings, feed: FeedKey = feed, column: str = column) -> None:
            last_week_missing(settings, feed, column)

        def dropped(settings: Settings, feed: FeedKey = feed) -> None:
            rewrite(snapshot(settings, feed), lambda table: table.drop(["sequence"]))

        def halved(settings: Settings, feed: FeedKey = feed) -> None:
            half_billed(settings, feed)

        def lost(settings: Settings, feed: FeedKey = feed) -> None:
            rewrite(snapshot(settings, feed), lambda table: table.slice(1))

        yield feed, "columns_and_types", dropped
        yield feed, "every_landed_row_is_there", lost
        yield feed, "rows_as_usual", gone
        yield feed, "rows_within_limit", gone
        yield feed, "history_stays", halved
        yield feed, "newest_row_is_recent", old
        yield feed, "newest_row_within_limit", old
    energy = "energy_price"
    mix = "energy_mix"
    yield (
        energy,
        "prices_are_of_the_usual_size",
        lambda s: multiply(s, "price_per_kwh", energy, 1000),
    )
    yield (
        energy,
        "wanted_is_there",
        lambda s: keep(snapshot(s, energy), lambda r: r["zone"] != "SE2"),
    )
    for name, column, value in (
        ("carbon_is_not_negative", "carbon_gco2_kwh_lca", -1),
        ("carbon_is_plausible", "carbon_gco2_kwh_lca", 2001),
        ("renewable_is_not_negative", "renewable_pct", -1),
        ("renewable_is_a_share", "renewable_pct", 101),
    ):
        yield (
            mix,
            name,
            lambda s, column=column, value=value: put(snapshot(s, mix), column, Decimal(value)),
        )
    gpu, fx = "gpu_price", "fx_rate"
    yield (
        gpu,
        "prices_are_not_negative",
        lambda s: put(snapshot(s, gpu), "price_per_gpu_hour", Decimal("-0.000000001")),
    )
    yield (
        gpu,
        "prices_are_plausible",
        lambda s: put(snapshot(s, gpu), "price_per_gpu_hour", Decimal(1001)),
    )
    yield (
        gpu,
        "wanted_is_there",
        lambda s: keep(
            snapshot(s, gpu), lambda r: (r["provider"], r["price_kind"]) != ("cumulus", "spot")
        ),
    )
    yield (
        fx,
        "rates_do_not_jump",
        lambda s: slip_the_point(snapshot(s, fx)),
    )
    yield fx, "wanted_is_there", lambda s: keep(snapshot(s, fx), lambda r: r["currency"] != "EUR")


def slip_the_point(path: Path) -> None:
    """The last rates of each currency lose their decimal point."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        newest = max(row["rate_date"] for row in rows if row["rate_date"] <= DAY)
        for row in rows:
            if row["rate_date"] == newest:
                row["usd_per_unit"] /= 10
        return pa.Table.from_pylist(rows, schema=table.schema)

    rewrite(path, change)


CASES = list(cases())


def test_the_sample_passes_every_gate(landed):
    verdicts = judge_feeds(landed, FEEDS, plan_of(landed, date(2026, 1, 5)))
    failed = [f"{v.feed}: {f}" for v in verdicts for f in v.findings if not f.passed]
    # GPU prices are weekly: older than the strict limit of these tests, and of no other.
    assert [line.partition(" (")[0] for line in failed] in (
        [],
        ["gpu_price: newest_row_within_limit"],
    )


def test_every_expectation_is_shown_to_fail(landed):
    shown = {(feed, name) for feed, name, _ in CASES}
    assert shown == {(feed, gate.name) for feed in FEEDS for gate in suite(feed, landed)}


@pytest.mark.parametrize(("feed", "name", "change"), CASES, ids=[f"{f}-{n}" for f, n, _ in CASES])
def test_an_expectation_fails_when_it_should(copy, needs, feed, name, change):
    [gate] = [gate for gate in suite(feed, copy) if gate.name == name]
    change(copy)
    [finding] = judge([gate], measure(copy, feed, needs, plan_of(copy)))
    assert not finding.passed
    assert finding.stops is (finding.gate.level == "error")
    sentence = str(finding)
    assert finding.gate.expected in sentence
    assert finding.found in sentence
    assert sentence.endswith(finding.gate.cure)


def test_a_finding_names_what_is_wrong_where_exactly(copy):
    put(snapshot(copy, "gpu_price"), "price_per_gpu_hour", Decimal("-0.000000001"))
    [finding] = [
        f for f in judged(copy, "gpu_price").findings if f.gate.name == "prices_are_not_negative"
    ]
    assert finding.found.startswith("-0.000000001 for ")


def test_a_column_of_another_type_is_named(copy):
    recast(part(copy), "quantity_micro", pa.float64())
    finding = judged(copy, "usage").findings[0]
    assert "quantity_micro double" in finding.found
    # What cannot be read is not measured.
    found = {f.gate.name: f for f in judged(copy, "usage").findings}
    assert found["every_landed_row_is_there"].measured == 0
    assert found["slices_fit_the_fleet"].measured == 0


def test_an_unreadable_file_is_named(copy):
    path = part(copy)
    path.unlink()
    path.write_bytes(b"PAR1 and nothing else")
    assert "part.parquet is unreadable" in judged(copy, "usage").findings[0].found


def test_the_largest_numbers_that_can_be_landed_are_judged(copy):
    """A bad row never stops a good one: not even by being too large to multiply."""
    huge, tiny = Decimal("999999999.999999999"), Decimal("0.000000001")
    put(part(copy), "quantity_micro", 10**18 - 1, None)
    put(part(copy), "meter", "gpu_hour", None)
    put(snapshot(copy, "energy_price"), "price_per_kwh", huge, None)
    put(snapshot(copy, "gpu_price"), "price_per_gpu_hour", huge, None)
    put(snapshot(copy, "fx_rate"), "usd_per_unit", huge, None)
    put(snapshot(copy, "fx_rate"), "usd_per_unit", tiny, 100)
    verdicts = judge_feeds(but(copy, max_feed_age_days=None), FEEDS, plan_of(copy))
    assert [verdict.stops for verdict in verdicts] == [[]] * 5
    warned = {f.gate.name for verdict in verdicts for f in verdict.findings if not f.passed}
    assert warned == {
        "slices_fit_the_fleet",
        "prices_are_of_the_usual_size",
        "prices_are_plausible",
        "rates_do_not_jump",
    }


DECIMAL_LIMITS = [
    (feed, gate)
    for feed in FEEDS
    for gate in suite(feed, Settings(max_volume_change=Decimal("2.3"), max_feed_age_days=1))
    if any(isinstance(limit, Decimal) for limit in gate.limits.values())
]


@pytest.mark.parametrize(
    ("feed", "gate"), DECIMAL_LIMITS, ids=[f"{f}-{g.name}" for f, g in DECIMAL_LIMITS]
)
def test_a_decimal_limit_is_exact(feed, gate):
    """What is just at the limit holds, a millionth beyond it doesn't."""
    [limit] = gate.limits.values()
    beyond = Decimal("0.000001") if gate.expected.startswith("at most") else Decimal("-0.000001")
    rows = {"of": ["at", "beyond"], gate.measure: amounts(str(limit), str(limit + beyond))}
    [finding] = judge([gate], pa.table(rows))
    assert finding.found == f"{plain(limit + beyond)} for beyond"


def test_a_field_that_no_row_is_to_have_any_more_can_be_accepted(copy):
    nowhere(copy, "gpu_type", None)
    assert judged(copy, "usage").stops
    accepted = but(copy, accepted_fields_gone="gpu_type")
    assert not judged(accepted, "usage").stops


def test_a_field_that_only_some_rows_have_may_be_missing(copy):
    """A third of the rows of the days before has it: a day without it is no surprise."""
    rows = pq.read_metadata(part(copy)).num_rows
    for back in range(1, 5):
        day = DAY - timedelta(days=back)
        put(usage_part(copy.landing_dir, day, day), "energy_cost_micro", 10**6, rows // 3)
    nowhere(copy, "energy_cost_micro", None)
    assert not judged(copy, "usage").stops


def test_an_unknown_field_cannot_be_accepted(landed):
    with pytest.raises(ValueError, match="gpu is none of kind, gpu_type"):
        but(landed, accepted_fields_gone="gpu")


def test_a_first_week_has_nothing_to_compare_and_says_so(landed):
    plan = plan_of(landed, date(2026, 1, 5), date(2026, 1, 11))
    [verdict] = judge_feeds(landed, ["usage"], plan)
    [usual] = [f for f in verdict.findings if f.gate.name == "rows_as_usual"]
    assert usual.passed
    assert usual.found == "nothing to compare yet"


def test_volume_is_compared_with_the_same_weekday(landed):
    [verdict] = judge_feeds(landed, ["usage"], plan_of(landed))
    [row] = verdict.profile.to_pylist()
    mondays = [
        landed_delivery(landed.landing_dir, "usage", d) for d in days(DAY - timedelta(21), DAY)
    ]
    counts = sorted(record.delivered_rows for record in mondays[0:21:7])
    assert row["usual_rows"] == counts[1]
    more, less = sorted([row["delivered_rows"], counts[1]], reverse=True)
    assert abs(row["change"] * less - more) < Decimal("0.001")


def test_without_limits_a_strange_day_only_warns(copy):
    few_rows(copy)
    lenient = but(copy, max_volume_change=None, max_feed_age_days=None)
    verdict = judged(lenient, "usage")
    assert not verdict.stops
    assert [f.gate.name for f in verdict.findings if not f.passed] == ["rows_as_usual"]


# What a suite file may say.

ENTRY = """
- name: rows_as_usual
  check: volume
  level: warning
  promise: The last week has about as many rows as the four weeks before
  cure: Check that the feed is whole
  type: ExpectColumnPairValuesAToBeGreaterThanB
  kwargs: {column_A: 2.5, column_B: change, or_equal: true, ignore_row_if: either_value_is_missing}
"""


def suite_of(folder: Path, text: str) -> tuple[Gate, ...]:
    """The suite of a feed of which one file says something else."""
    shutil.copytree(Path(suites.__file__).parent, folder, dirs_exist_ok=True)
    (folder / "every_price_feed.yml").write_text(text, encoding="utf-8")
    return suite("energy_mix", Settings(), folder)


def test_a_threshold_is_changed_in_a_suite_file(tmp_path):
    [gate] = [g for g in suite_of(tmp_path, ENTRY) if g.name == "rows_as_usual"]
    assert (gate.measure, gate.expected) == ("change", "at most 2.5")
    [finding] = judge([gate], pa.table({"of": ["a", "b"], "change": amounts("2.5", "2.500001")}))
    assert finding.found == "2.500001 for b"


def amounts(*texts: str) -> pa.Array:
    return pa.array([Decimal(text) for text in texts], AMOUNT)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("level: warning", "level: warn", "rows_as_usual: level: Input should be 'error' or"),
        ("check: volume", "check: size", "rows_as_usual: check: Input should be 'schema'"),
        ("cure:", "remedy:", "rows_as_usual: cure: Field required; remedy: Extra inputs"),
        ("- name: rows_as_usual", "- name: yes", "True: name: Input should be a valid string"),
        ("rows_as_usual", "columns_and_types", "an entry of every_feed.yml has that name"),
        ("Check that the feed", "Check: the feed", "the file: it is not YAML"),
        ("column_A: 2.5", "max_value: 2.5", "max_value is 2.5, and only whole numbers are exact"),
        ("column_A: 2.5", "column_A: MOST", "rows_as_usual: no number can be set as MOST"),
        ("column_A: 2.5", "column_A: DATA_DIR", "no number can be set as DATA_DIR"),
        ("column_B: change", "column_B: chang", "chang is no measure; measured are 2.5, change"),
        ("type: Expect", "type: Expects", "Great Expectations has no ExpectsColumnPair"),
        ("or_equal", "or_equals", "Great Expectations does not take it"),
        (ENTRY, "rows_as_usual: 3", "the file: it is no list of entries"),
        (ENTRY, "- rows_as_usual", "entry 1: 'rows_as_usual' is no entry"),
    ],
)
def test_a_wrong_suite_file_is_named_with_its_entry_and_the_cure(tmp_path, before, after, said):
    assert before in ENTRY
    with pytest.raises(SuiteError) as refusal:
        judge(
            [g for g in suite_of(tmp_path, ENTRY.replace(before, after)) if "usual" in g.name],
            pa.table({"of": ["a"], "change": amounts("1")}),
        )
    where, _, wrong = str(refusal.value).partition(", ")
    assert where == "orchestration/gates/suites/every_price_feed.yml"
    assert said in wrong
    assert wrong.endswith(("docs/checks.md shows an entry.", "in quotes.", "Rename one of them."))


# What was found decides whether anything is billed.


def test_what_passed_is_not_judged_again_until_it_changes(copy, monkeypatch):
    lenient = but(copy, max_feed_age_days=None)
    plan = plan_of(lenient)
    assert refused(lenient, plan) == []
    asked: list[str] = []

    def judge(feed_gates, profile):
        asked.append(feed_gates[1].name)
        raise AssertionError("judged again")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "judge", judge)
        assert refused(lenient, plan) == []
        assert asked == []
        # Another delivery, another expectation, another content: each is judged.
        more = replace(plan, deliveries=(DAY - timedelta(days=1), DAY))
        stricter = but(lenient, max_volume_change=Decimal(3))
        for settings, asks in ((lenient, more), (stricter, plan)):
            with pytest.raises(AssertionError, match="judged again"):
                refused(settings, asks)
        put(snapshot(copy, "fx_rate"), "usd_per_unit", Decimal("1.5"))
        with pytest.raises(AssertionError, match="judged again"):
            refused(lenient, plan)


def test_what_failed_is_judged_again_and_passes_once_it_is_put_right(copy):
    few_rows(copy)
    plan = plan_of(copy)
    [problem] = [line for line in refused(copy, plan) if line.startswith("usage")]
    assert "rows_within_limit (error)" in problem
    assert "raise MAX_VOLUME_CHANGE" in problem
    accepted = but(copy, max_volume_change=Decimal(5), max_feed_age_days=None)
    assert refused(accepted, plan) == []


def test_nothing_is_billed_past_a_failed_gate(copy):
    """Whatever starts a billing: the plan takes the delivery in, and the gates are asked."""
    part(copy).unlink()
    with (
        pytest.raises(
            NothingToBill, match=r"failed their checks.*usage: every_landed_row_is_there \(error\)"
        ),
        billing_run(copy, DAY, DAY),
    ):
        pytest.fail("billed")
    assert not (copy.landing_dir / "run").exists()
    # A later night takes the delivery in again, and is refused as well.
    early = date(2026, 1, 5)
    with (
        pytest.raises(NothingToBill, match="every_landed_row_is_there"),
        billing_run(copy, early, early),
    ):
        pytest.fail("billed")


def test_a_failed_check_holds_every_billing_until_it_passes(copy):
    """A run may leave the check out, or be the next night's: the failure was written down."""
    lenient = but(copy, max_feed_age_days=None)
    hold(lenient, "landed_equals_engine", "acme on 2026-01-26: 3 events landed, the engine has 4")
    with (
        pytest.raises(NothingToBill, match="landed_equals_engine: acme on 2026-01-26"),
        billing_run(lenient, DAY, DAY),
    ):
        pytest.fail("billed")
    hold(lenient, "landed_equals_engine", None)
    assert refused(lenient, plan_of(lenient)) == []


# What people read.


HOSTILE = "<img src=x onerror=alert(1)>|\n`x`"


def test_values_of_a_feed_never_become_markup(copy):
    put(snapshot(copy, "energy_mix"), "zone", HOSTILE)
    put(snapshot(copy, "energy_mix"), "carbon_gco2_kwh_lca", Decimal(-1))
    verdict = judged(copy, "energy_mix")
    page = (copy.data_docs_dir / "2026-01-26" / "energy_mix.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x" in page

    table = markdown_table(verdict.findings)
    assert "\\<img" in table
    assert all(line.startswith("| ") and line.endswith(" |") for line in table.splitlines())
    assert len(table.splitlines()) == 2 + len(verdict.findings)


def test_a_feed_of_too_many_or_too_long_names_is_still_judged_and_readable(copy):
    """A thousand zones, one of a million letters; the worst value is in none of the first."""
    path = snapshot(copy, "energy_mix")
    with pq.ParquetFile(path) as file:
        [row, *_] = file.read().slice(0, 1).to_pylist()
    rows = [{**row, "zone": f"Z{number:04}"} for number in range(1000)]
    rows[0]["zone"] = "A" * 1_000_000
    rows[999]["carbon_gco2_kwh_lca"] = Decimal(2001)
    rewrite(path, lambda table: pa.Table.from_pylist(rows, schema=table.schema))
    verdict = judged(copy, "energy_mix")
    [finding] = [f for f in verdict.findings if f.gate.name == "carbon_is_plausible"]
    assert finding.found == "2001 for the 800 others"
    page = copy.data_docs_dir / "2026-01-26" / "energy_mix.html"
    assert page.stat().st_size < 100_000


def test_data_docs_open_without_a_network_and_list_every_judgement(copy):
    judge_feeds(copy, FEEDS, plan_of(copy))
    pages = sorted(copy.data_docs_dir.rglob("*.html"))
    assert [page.name for page in pages] == [
        *sorted([f"{feed}.html" for feed in FEEDS]),
        "index.html",
    ]
    index = (copy.data_docs_dir / "index.html").read_text(encoding="utf-8")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text
        if page.name != "index.html":
            assert f"2026-01-26/{page.name}" in index


def test_data_docs_of_long_ago_are_removed(copy):
    for back in range(50):
        old = copy.data_docs_dir / (DAY - timedelta(days=1 + back)).isoformat()
        old.mkdir(parents=True)
        (old / "usage.txt").write_text("passed: 1 expectations", encoding="utf-8")
    judged(copy, "usage")
    kept = sorted(path.name for path in copy.data_docs_dir.iterdir() if path.is_dir())
    assert len(kept) == 35
    assert kept[-1] == DAY.isoformat()
