"""Gauge pages without a browser: what they say is what is published, and only of their customer."""

from __future__ import annotations

import json
import os
import stat
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
import yaml
from gauge_scenes import AS_OF, SCENES, Scene, daily, plan, publish, tables
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orchestration.night.summary import summarize
from orchestration.pages.build import PAGE, READ_MODEL, build_pages, read_gauges
from orchestration.pages.charts import NARROW, WIDE, burn_down, use_by_day
from orchestration.pages.figures import Rate
from orchestration.pages.finance_page import build_finance_page, finance_figures
from orchestration.pages.gauge_page import content_security_policy, gauge_page
from orchestration.pages.names import WrongKey, page_name, session_secret
from orchestration.pages.projection import pace_range, reached_on, unused
from orchestration.pages.read_models import Gauge, GaugeState
from orchestration.pages.slices import CustomerSlice, ForeignRow, customer_slices
from orchestration.pages.words import amount, percent, plain, rate, rate_words
from orchestration.settings import DBT_PROJECT_DIR, Settings


class Page(HTMLParser):
    """What a page is made of: elements with their attributes, and the text of those with an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[Decimal] = []
        self.times: list[str] = []
        self.text = ""
        self._by_id: dict[str, list[str]] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "data":
            self.data.append(Decimal(attributes["value"]))
        if tag == "time":
            self.times.append(attributes["datetime"])
        if tag not in ("meta", "line", "rect", "path", "circle", "img", "br"):
            self._open.append((tag, attributes.get("id")))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if any(tag == "style" for tag, _ in self._open):
            return
        self.text += data
        for _, name in self._open:
            if name:
                self._by_id.setdefault(name, []).append(data)

    def of(self, name: str) -> str:
        """The text of the element with an id."""
        return " ".join("".join(self._by_id[name]).split())


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """A data folder in which every scene is published."""
    data = tmp_path_factory.mktemp("data")
    publications = data / "published" / "publications"
    publications.mkdir(parents=True)
    publish(publications / "one", SCENES.values())
    (data / "published" / "current").symlink_to("publications/one")
    return Settings(data_dir=data)


@pytest.fixture(scope="module")
def gauges(settings) -> dict[str, Gauge]:
    return {gauge.customer_id: gauge for gauge in read_gauges(settings)}


@pytest.fixture(scope="module")
def pages(gauges) -> dict[str, str]:
    return {customer: gauge_page(gauge) for customer, gauge in gauges.items()}


def published(tmp_path: Path, *scenes: Scene, **settings: str) -> Settings:
    publish(tmp_path / "published" / "current", scenes)
    return Settings(data_dir=tmp_path, **settings)


# What the page says.


@pytest.mark.parametrize(
    ("scene", "state", "badge", "projection"),
    [
        ("healthy", GaugeState.HEALTHY, "Healthy", "Not before they expire"),
        ("sixty", GaugeState.WARNING, "Getting low", "23 Feb 2026"),
        ("capped", GaugeState.CAPPED, "Capped", "16 Feb 2026"),
        ("empty", GaugeState.EMPTY, "Empty", "Nothing left"),
        ("overdrawn", GaugeState.OVERDRAWN, "Overdrawn", "Nothing left"),
        ("idle", GaugeState.IDLE, "Not in use", "No date"),
        ("new", GaugeState.NEW, "No credits yet", "Nothing to run out"),
        ("unlimited", GaugeState.HEALTHY, "Healthy", "23 Mar 2026"),
        ("planless", GaugeState.EMPTY, "Empty", "Nothing left"),
        ("last-day", GaugeState.EXPIRED, "Expired", "Nothing left"),
        ("bought-out", GaugeState.CAPPED, "Capped", "16 Feb 2026"),
        ("beyond", GaugeState.WARNING, "Getting low", "18 Feb 2026"),
    ],
)
def test_every_state_has_its_words(gauges, pages, scene, state, badge, projection):
    page = Page(pages[scene])
    assert gauges[scene].state is state
    assert page.of("state") == badge
    assert page.of("projection").replace("\xa0", " ") == projection


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ("capped", "From 95 % on, usage is capped until credits are added."),
        # What the thresholds say is what the cycle's alerts say.
        ("topped-up", "60 % used crossed on 12 Feb 2026, below it again now; not expected again"),
        ("empty", "60 % used crossed on"),
        # A pace includes what was used beyond the wallet; the published date stays as it is.
        (
            "beyond",
            "12,500.00 credits a day mean of the last 7 days, use beyond the wallet included",
        ),
        ("beyond", "7,142.86 of it from the wallet"),
        (
            "beyond",
            "At the pace of all use, 12,500.00 credits a day, they are gone on 17 Feb 2026.",
        ),
        (
            "beyond",
            "At the last week’s 12,500.00 credits a day, those beyond the wallet included, they run",
        ),
        # Who buys automatically reads what, not a cap.
        (
            "buyer",
            "2,500.00 credits left at this point; Top-up 10K is bought automatically: 10,000.00 "
            "credits for 125.00 USD a pack, as many packs as it takes, 1 left in this cycle",
        ),
        ("bought-out", "No automatic top-up is left in this cycle; 3 were bought."),
        ("bought-out", "usage is capped: no automatic top-up is left in this cycle"),
        # Below zero is a refund.
        ("refunded", "was refunded as credits: 6,000.50 on 10 Feb 2026."),
        # Unused credits expire at the end of a cycle's last day.
        ("last-day", "32,000.00 credits expired unused at the end of 15 Feb 2026; 51.2 % of"),
        ("last-day", "of 65,600.00 in this cycle; 32,000.00 expired unused at the end of the day"),
        ("last-day", "The plan’s next 50,000.00 credits come on 16 Feb 2026."),
        ("healthy", "credits expired unused at the end of 31 Jan 2026; the line shows"),
        # The next grant comes before the wallet is dry.
        ("renewed", "Not counted: 60,000.00 credits of the plan come on 20 Feb 2026, before that."),
        (
            "regulated",
            "Modelled for the busy GPUs in this cycle, by day of use: board power × time",
        ),
        (
            "overdrawn",
            "14,000.00 credits were used beyond the wallet in this cycle; they are billed",
        ),
        ("ended", "ended on 24 Jan 2026"),
        ("new", "No credits have been granted yet."),
        ("planless", "There is no plan."),
        ("unlimited", "any number of GPUs at once, buys top-ups automatically"),
        ("unlimited", "Counting that, the credits are gone on 2 Mar 2026."),
        ("healthy", "up to 8 GPUs at once"),
        ("young", "No range yet: it takes 14 days of use, there are 5."),
        ("sixty", "60 % used crossed on 14 Feb 2026"),
        ("sixty", "95 % used expected about 22 Feb 2026"),
        ("healthy", "After 17 Feb 2026, 06:00 UTC these figures are out of date."),
    ],
)
def test_the_page_says(pages, scene, words):
    text = " ".join(Page(pages[scene]).text.replace("\xa0", " ").split())
    assert words in text


def test_nobody_who_buys_automatically_reads_only_that_usage_is_capped(pages):
    for scene in ("buyer", "unlimited"):
        assert ("usage is capped" in pages[scene]) is (scene == "unlimited")


@pytest.mark.parametrize("scene", ["topped-up", "beyond", "buyer", "empty", "overdrawn", "capped"])
def test_no_threshold_denies_an_alert_of_its_cycle(gauges, pages, scene):
    for alert in gauges[scene].alerts:
        if alert.alert_type in ("pre_alert", "hard_cap"):
            words = Page(pages[scene]).of(alert.alert_type).replace("\xa0", " ")
            assert "crossed on" in words
            assert "% used not" not in words


def test_without_use_beyond_the_wallet_the_pace_is_the_published_one(gauges):
    for gauge in gauges.values():
        if not any(day.overage for day in gauge.days[-7:]):
            assert gauge.mean_daily_use == gauge.mean_daily_burn
            if gauge.balance:
                assert gauge.used_up_on == gauge.projected_depletion_date


def test_the_burn_down_keeps_what_expired_at_a_days_end_and_marks_it(gauges):
    drawing = burn_down(gauges["last-day"], WIDE)
    [line] = [shape for shape in drawing.shapes if shape.style == "line"]
    ends = [float(point.split()[1]) for point in line.places["d"].removeprefix("M").split("L")]
    bottom = max(float(s.places["y1"]) for s in drawing.shapes if s.style == "rule")
    assert max(ends) < bottom - 20
    assert len([shape for shape in drawing.shapes if shape.style == "cross"]) == 2
    assert not [s for s in burn_down(gauges["young"], WIDE).shapes if s.style == "cross"]


def test_a_bar_below_zero_has_a_name(gauges):
    for size in (WIDE, NARROW):
        shapes = use_by_day(gauges["refunded"], size).shapes
        assert [shape.text for shape in shapes if shape.style == "name"] == ["refund"]
        assert not [s for s in use_by_day(gauges["healthy"], size).shapes if s.style == "name"]


def test_waived_overage_is_not_said_to_be_billed(tmp_path):
    scene = Scene("a", use=daily(2000), grants=(plan(20_000),), policy="waive")
    [gauge] = read_gauges(published(tmp_path, scene))
    assert "they are not charged" in gauge_page(gauge)


def test_figures_are_the_published_ones_to_the_cent(settings, pages):
    rows = tables(SCENES.values())
    for row in rows["fuel_gauges"]:
        page = Page(pages[row["customer_id"]])
        for column in ("balance", "mean_daily_burn", "burned_in_cycle"):
            assert row[column] in page.data, (row["customer_id"], column)
        assert page.of("balance") == f"{round(row['balance'] + Decimal('1e-9'), 2):,}"
        if row["projected_depletion_date"] and row["balance"]:
            assert row["projected_depletion_date"].isoformat() in page.times
    for row in rows["credit_balances"]:
        assert row["closing_credits"] in Page(pages[row["customer_id"]]).data
        break
    crossed = [row for row in rows["credit_alerts"] if row["customer_id"] == "overdrawn"]
    assert len(crossed) == 2
    for alert in crossed:
        place = Page(pages["overdrawn"]).of(alert["alert_type"]).replace("\xa0", " ")
        assert f"crossed on {alert['raised_on']:%-d %b %Y}" in place


def test_every_day_and_every_grant_is_on_the_page(gauges, pages):
    gauge, page = gauges["many"], Page(pages["many"])
    for figure in [day.closing for day in gauge.days] + [grant.remaining for grant in gauge.grants]:
        assert figure in page.data
    assert len(gauge.grants) == 26
    assert sum((grant.remaining for grant in gauge.grants), Decimal(0)) == gauge.balance
    assert page.text.count("More GPUs at once") == 40


def test_cost_is_shown_only_where_the_contract_shows_it(tmp_path):
    scenes = [Scene(name, use=daily(900), grants=(plan(50_000),)) for name in ("shown", "hidden")]
    here = published(tmp_path, *scenes, show_cost_to="other, shown")
    shown, hidden = {g.customer_id: g for g in read_gauges(here)}, "cost_per_gpu_minute"
    # 900 credits are 225 minutes and cost 4.50.
    assert shown["shown"].uses[0].cost_per_gpu_minute == Decimal("0.02")
    assert "Cost per GPU minute" in gauge_page(shown["shown"])
    assert shown["hidden"].uses[0].cost_per_gpu_minute is None
    assert "Cost" not in gauge_page(shown["hidden"])
    assert json.loads(shown["hidden"].model_dump_json())["uses"][0][hidden] is None


def test_only_regulated_customers_see_their_energy(gauges, pages):
    assert gauges["healthy"].sites is None
    assert "Renewable" not in pages["healthy"]
    [one, other] = gauges["regulated"].sites
    assert one.kwh == other.kwh == Decimal("71.5")
    assert "60\xa0%" in pages["regulated"]


def test_a_share_counts_only_the_energy_whose_mix_is_known(tmp_path):
    scene = Scene("a", use=daily(900), grants=(plan(50_000),), regulated=True)
    record = [
        {"usage_date": day, "customer_id": "a", "facility_id": "f", "cluster": "c", "region": "r",
         "kwh": kwh, "carbon_kg": None, "mix_kwh": mix, "renewable_kwh": renewable}
        for day, kwh, mix, renewable in (
            (date(2026, 2, 1), Decimal(10), Decimal(10), Decimal(9)),
            (date(2026, 2, 2), Decimal(60), Decimal(30), Decimal(15)),
            (date(2026, 2, 3), Decimal(30), None, None),
            (date(2026, 1, 31), Decimal(999), Decimal(999), Decimal(999)),
        )
    ]  # fmt: skip
    publish(tmp_path / "published" / "current", [scene], compliance_usage=record)
    [gauge] = read_gauges(Settings(data_dir=tmp_path))
    [site] = gauge.sites
    assert (site.kwh, site.kwh_with_share, site.renewable_kwh) == (100, 40, 24)
    assert site.carbon_kg is None
    page = gauge_page(gauge)
    assert "60\xa0%" in page
    assert "not known" in page


# Nothing gets in, and nothing of anybody else.


@pytest.mark.parametrize("scene", SCENES)
def test_a_page_is_static_small_and_asks_for_nothing(pages, scene):
    html = pages[scene]
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "input", "base", "use"}
    assert [tag for tag, _ in page.elements].count("style") == 1
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on") or name == "src"], tag
    assert "http" not in html.replace("http-equiv", "").replace("//www.w3.org", "")
    assert len(html.encode("utf-8")) < 200_000
    [policy] = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy == content_security_policy()


def test_hostile_names_stay_text(gauges, pages):
    page = Page(pages["hostile-markup"])
    assert gauges["hostile-markup"].customer_name in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert page.text.count("<img src=x onerror=alert(1)>") == 2
    text = pages["hostile-text"]
    assert not set(text) & {"\u202e", "\x00", "\x07"}
    assert plain("a\r\nb\x1b\u202ec") == "a  b\ufffdc"


def test_a_page_holds_nothing_of_another_customer(tmp_path):
    canaries = [
        Scene(
            f"canary-{name}-id",
            f"Canary {name} Inc",
            daily(900),
            (plan(50_000),),
            ((f"canary-{name}-cluster", f"canary-{name}-gpu"), ("shared", "H100")),
            plan=f"canary-{name}-plan",
            regulated=True,
            alerts=3,
        )
        for name in ("ada", "bob")
    ]
    here = published(tmp_path, *canaries)
    build_pages(here)
    for own, other in (("ada", "bob"), ("bob", "ada")):
        folder = here.pages_dir / "current" / page_name(here, f"canary-{own}-id")
        for file in (PAGE, READ_MODEL):
            text = (folder / file).read_text(encoding="utf-8").lower()
            assert f"canary-{own}-cluster" in text
            assert other not in text
    names = {path.name for path in (here.pages_dir / "current").resolve().rglob("*")}
    assert not [name for name in names if "canary" in name]


def test_a_slice_takes_no_row_of_another_customer():
    own = CustomerSlice("own", {})
    own.add("days", {"customer_id": "own"})
    with pytest.raises(ForeignRow):
        own.add("days", {"customer_id": "other"})
    assert own.rows["days"] == [{"customer_id": "own"}]


def test_a_customer_that_left_the_seeds_has_no_page_and_stops_none(tmp_path):
    """Its rows stay in the books; fuel_gauges has none for it."""
    left = SCENES["regulated"]
    gauges = tables([SCENES["healthy"]])["fuel_gauges"]
    folder = tmp_path / "published" / "current"
    publish(folder, [SCENES["healthy"], left], fuel_gauges=gauges)
    assert [customer.customer_id for customer in customer_slices(folder)] == ["healthy"]
    page = build_finance_page(Settings(data_dir=tmp_path)).read_text(encoding="utf-8")
    assert "Ada Labs</bdi></a>" in page
    assert "<bdi>regulated</bdi>" in page


# Names, files and sets.


def test_names_are_stable_and_only_to_be_had_with_the_key(tmp_path):
    here, there = Settings(data_dir=tmp_path / "a"), Settings(data_dir=tmp_path / "b")
    name = page_name(here, "ada")
    assert name == page_name(Settings(data_dir=tmp_path / "a", portal_secret="s" * 32), "ada")
    assert len({name, page_name(here, "bob"), page_name(there, "ada")}) == 3
    key = tmp_path / "a" / "portal" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == ["key"]
    assert session_secret(here) not in (name, key.read_bytes().hex())
    key.write_bytes(b"cut off")
    with pytest.raises(WrongKey, match="key"):
        page_name(here, "ada")


def test_a_set_is_switched_whole_and_few_are_kept(tmp_path, monkeypatch):
    here = published(tmp_path, SCENES["healthy"], SCENES["new"])
    first = build_pages(here)
    assert (first.pages, first.as_of, first.states) == (2, AS_OF, {"healthy": 1, "new": 1})
    standing = first.path.resolve()
    with monkeypatch.context() as patch:
        patch.setattr("orchestration.pages.build.gauge_page", lambda gauge: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_pages(here)
    assert first.path.resolve() == standing
    for _ in range(4):
        build_pages(here)
    assert not standing.exists()
    assert len(list((here.pages_dir / "publications").iterdir())) == 3
    names = sorted(path.name for path in first.path.resolve().iterdir() if path.is_dir())
    assert names == sorted(page_name(here, customer) for customer in ("healthy", "new"))


def test_an_empty_publication_has_no_pages_and_says_so(tmp_path):
    here = published(tmp_path)
    assert build_pages(here).pages == 0
    assert "no customer" in build_finance_page(here).read_text(encoding="utf-8")


def test_a_read_model_reads_back_as_it_was_written(settings, gauges):
    build_pages(settings)
    for customer, gauge in gauges.items():
        file = settings.pages_dir / "current" / page_name(settings, customer) / READ_MODEL
        assert Gauge.model_validate_json(file.read_bytes()) == gauge
    assert json.loads(file.read_text(encoding="utf-8"))["balance"] == f"{gauge.balance:f}"


# Finance's page.


def test_finance_sees_everyone_and_lies_outside_the_customers_folder(settings):
    build_pages(settings)
    page = build_finance_page(settings)
    assert settings.pages_dir not in page.parents
    figures = finance_figures(settings.published_dir / "current", "USD")
    used = {name: sum(scene.use, Decimal(0)) for name, scene in SCENES.items() if any(scene.use)}
    assert {row.key for row in figures.customers} == set(used)
    assert round(figures.total.revenue, 2) == round(sum(used.values()) / 100, 2)
    assert figures.total.margin == figures.total.revenue - figures.total.cost
    assert figures.customers[0].key == "huge"
    html = page.read_text(encoding="utf-8")
    read = Page(html)
    assert figures.total.margin in read.data
    assert not {"script", "img"} & {tag for tag, _ in read.elements}
    assert '"><script>' not in html
    links = [attributes["href"] for tag, attributes in read.elements if tag == "a"]
    assert links
    for link in links:
        # As a browser takes it: the dots first, then the link of the folder.
        assert Path(os.path.normpath(page.parent / link)).is_file()


def test_finance_calls_who_is_empty_first(settings):
    figures = finance_figures(settings.published_dir / "current", "USD")
    called = [wallet.customer_id for wallet in figures.wallets]
    assert called[:2] == ["overdrawn", "empty"]
    assert called.index("bought-out") < called.index("capped") < called.index("sixty")
    assert "healthy" not in called


def read_by_people(html: str) -> str:
    return " ".join(Page(html).text.replace("\xa0", " ").split())


def test_finance_reads_what_the_margin_leaves_out_and_what_is_not_billed_or_earned(settings):
    text = read_by_people(build_finance_page(settings).read_text(encoding="utf-8"))
    figures = finance_figures(settings.published_dir / "current", "USD")
    assert figures.total.unallocated > 0
    assert figures.total.after_idle == figures.total.margin - figures.total.unallocated
    february, *_ = figures.months
    for figure in (figures.total.unallocated, figures.total.after_idle, february.after_idle):
        assert amount(figure, 0) in text
    assert "idle time included" not in text
    assert "Dedicated clusters" in text
    assert figures.deferred["dedicated"].closing == Decimal("3124.64")
    [waits] = figures.waiting
    assert (waits.customer_id, waits.reason) == ("topped-up", "no_active_plan")
    assert (waits.rows, waits.gpu_minutes, waits.since) == (3, 180, AS_OF)
    assert "no plan subscription on the day of use, delivered from 15 Feb 2026 on" in text


def test_an_incomplete_month_is_said_to_be_incomplete(tmp_path):
    scenes = [SCENES["healthy"]]
    bridge = [row | {"cost_complete": False} for row in tables(scenes)["margin_bridge"]]
    publish(tmp_path / "published" / "current", scenes, margin_bridge=bridge)
    settings = Settings(data_dir=tmp_path)
    text = read_by_people(build_finance_page(settings).read_text(encoding="utf-8"))
    assert "A market price is missing, so cost is too low" in text
    assert "incomplete" in text


TIED = {"revenue": Decimal("1000.30"), "gross_margin": Decimal("222.56675")}
"""A margin of exactly 22.25 %: rounded down it would be 22.2."""


def summary_of(current: Path, data: Path) -> str:
    """The summary of a publication, whose tables are put into the file that it is read from."""
    (data / "published" / "current").mkdir(parents=True, exist_ok=True)
    (data / "landing" / "deliveries" / "usage").mkdir(parents=True)
    with duckdb.connect(str(data / "published" / "current" / "marts.duckdb")) as marts:
        for table in [path.name for path in current.iterdir() if path.is_dir()]:
            marts.execute(f"create or replace table {table} as from '{current / table}/*.parquet'")
        marts.execute(
            "copy (select 1 as delivered_rows, null as problem, current_date as delivery_day) "
            f"to '{data}/landing/deliveries/usage/one.parquet'"
        )
    (data / "published" / "current" / "manifest.json").write_text(
        json.dumps({"last_delivery_day": str(AS_OF), "first_delivery_day": str(AS_OF)})
    )
    return summarize(Settings(data_dir=data))


def test_margins_read_the_same_on_finances_page_on_the_board_and_in_the_summary(tmp_path):
    [day, *_] = tables([SCENES["healthy"]])["margin_daily"]
    cost = TIED["revenue"] - TIED["gross_margin"]
    unallocated = TIED["revenue"] * Decimal("0.2")
    bridge = TIED | {
        "month": AS_OF.replace(day=1), "breakage_revenue": 0, "amortized_cost": cost,
        "unallocated_cost": unallocated, "margin_after_idle": TIED["gross_margin"] - unallocated,
        "cost_of_other_months": 0, "fleet_cost": cost + unallocated, "cost_complete": True,
    }  # fmt: skip
    current = publish(
        tmp_path / "published" / "current",
        [SCENES["healthy"]],
        margin_daily=[day | TIED | {"posting_date": AS_OF, "amortized_cost": cost}],
        margin_bridge=[bridge],
        gpu_minute_costs=[{"cost_date": AS_OF, "unallocated_cost": unallocated}],
    )
    settings = Settings(data_dir=tmp_path)
    text = read_by_people(build_finance_page(settings).read_text(encoding="utf-8"))
    assert "22.3 % of revenue. After idle 23, 2.3 %" in text

    board = yaml.safe_load((DBT_PROJECT_DIR / "charts" / "finance.yml").read_text(encoding="utf-8"))
    summary = summary_of(current, tmp_path)
    [line] = [line for line in summary.splitlines() if line.startswith("  2026-02 ")]
    assert line.split() == ["2026-02", "1,000.30", "777.73", "222.57", "22.3", "%", "0.00"]
    [line] = [line for line in summary.splitlines() if "after idle" in line]
    assert line.split()[-2:] == ["2.3", "%"]

    with duckdb.connect(str(current / "marts.duckdb")) as marts:
        marts.execute(
            "create table calendar as select day as date_day, date_trunc('month', day) as month_start "
            f"from (select unnest([date '{AS_OF}']) as day)"
        )
        for query in ("headline", "bridge", "accelerators"):
            answer = marts.sql(board["queries"][query])
            [row] = answer.fetchall()
            found = dict(zip(answer.columns, row, strict=True))
            assert f"{found['margin_rate']:.4f}" == "0.2230", query
            if query != "accelerators":
                assert f"{found['margin_after_idle_rate']:.4f}" == "0.0230"


def test_the_summary_says_what_waits_and_what_is_not_earned(settings, tmp_path):
    """Rows, minutes, customer and reason; credits and dedicated fees apart."""
    summary = summary_of(settings.published_dir / "current", tmp_path)
    assert "Not billed yet: 3 rows, 180 GPU minutes wait for a seed edit" in summary
    assert "no_active_plan         topped-up" in summary
    assert "Dedicated clusters              3,124.64" in summary


# The projection.


def days_of(week: int, weeks: int) -> list[int]:
    return [week] * 7 * weeks


def test_the_range_is_of_eight_in_ten_weeks():
    """28 days have 22 weeks; the third and the twentieth of them in order bound the range."""
    use = [day * 7 for day in range(1, 29)]
    weeks = sorted(sum(use[start : start + 7]) for start in range(22))
    found = pace_range(use, weeks[10], 10_000, AS_OF, None)
    assert (found.slowest, found.fastest) == (weeks[2], weeks[19])
    assert found.earliest == AS_OF + timedelta(days=1 + 70_000 // weeks[19])
    assert found.latest == AS_OF + timedelta(days=1 + 70_000 // weeks[2])


@pytest.mark.parametrize(
    ("use", "balance", "expiry", "dates"),
    [
        (days_of(10, 4), 0, None, None),
        (days_of(10, 1) + [10] * 6, 500, None, None),
        (days_of(0, 4), 500, None, None),
        (days_of(10, 2), 500, None, (51, 51)),
        (days_of(10, 2), 500, 51, (51, 51)),
        (days_of(10, 2), 500, 50, (None, None)),
        (days_of(0, 3) + days_of(10, 1), 500, None, (51, None)),
    ],
)
def test_the_range_at_its_edges(use, balance, expiry, dates):
    last = AS_OF + timedelta(days=expiry) if expiry else None
    found = pace_range(use, sum(use[-7:]), balance, AS_OF, last)
    days = found and tuple(day and (day - AS_OF).days for day in (found.earliest, found.latest))
    assert days == dates


@hypothesis_settings(derandomize=True, deadline=None)
@given(
    use=st.lists(st.integers(0, 10**9), min_size=14, max_size=28),
    balance=st.integers(1, 10**12),
)
def test_the_projected_date_lies_within_the_range(use, balance):
    week = sum(use[-7:])
    found = pace_range(use, week, balance, AS_OF, None)
    if week and found:
        projected = AS_OF + timedelta(days=1 + min(balance * 7 // week, 1_000_000))
        assert found.earliest <= projected
        assert found.latest is None or projected <= found.latest


@pytest.mark.parametrize(
    ("grants", "week", "expected"),
    [
        # 10 a day, 100 until day 5: 50 burn, 50 are lost; nothing is left on day 6.
        ([(100, 5)], 70, (50, 5, 6)),
        # The other grant lives on: 30 more last 3 days.
        ([(100, 5), (30, None)], 70, (50, 5, 9)),
        # Burned in order: the first is empty before the second expires.
        ([(20, None), (100, 5)], 70, (70, 5, 6)),
        # Everything burns on its last day.
        ([(50, 5)], 70, None),
        ([(10, None)], 70, None),
        # Nothing burns: all that expires is lost, the rest lasts for good.
        ([(10, 3), (10, None)], 0, (10, 3, None)),
        ([(10, 3), (10, 8)], 0, (20, 3, 9)),
        # The rest runs dry before the second expiry.
        ([(100, 2), (30, 90)], 70, (80, 2, 6)),
    ],
)
def test_what_expires_unused(grants, week, expected):
    days = [(left, AS_OF + timedelta(days=day) if day else None) for left, day in grants]
    found = unused(days, week, AS_OF)
    assert expected == (
        found
        and (
            found.credits,
            (found.first_on - AS_OF).days,
            found.runs_dry_on and (found.runs_dry_on - AS_OF).days,
        )
    )


def test_a_threshold_is_reached_on_the_day_that_burns_the_last_of_what_is_missing():
    assert reached_on(30, 70, AS_OF) == AS_OF + timedelta(days=3)
    assert reached_on(31, 70, AS_OF) == AS_OF + timedelta(days=4)
    assert reached_on(31, 0, AS_OF) is None


# The words.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1234567.895", "1,234,567.90"),
        ("0.005", "0.01"),
        ("0.000001", "<\xa00.01"),
        ("-0.001", "−<\xa00.01"),
        ("-1234.5", "−1,234.50"),
        ("0", "0.00"),
    ],
)
def test_figures_for_people(value, text):
    assert amount(Decimal(value)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ("0.949999", "94.9"),
        ("0.95", "95"),
        ("0.999999", "99.9"),
        ("1", "100"),
        ("-0.2225", "−22.3"),
    ],
)
def test_shares_are_never_rounded_up_to_a_threshold(share, text):
    assert percent(Decimal(share)) == f"{text}\xa0%"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        ("0.2225", "22.3"),
        ("0.22249", "22.2"),
        ("-0.2225", "−22.3"),
        ("-0.22249", "−22.2"),
        ("0.9996", "100"),
    ],
)
def test_ratios_of_money_are_rounded_half_away_from_zero(ratio, text):
    assert rate(Decimal(ratio)) == f"{text}\xa0%"


def recommended(**changes: str | None) -> Rate:
    figures = {
        "credits_per_gpu_minute": "8", "recommended_multiplier": "10.115937",
        "break_even_multiplier": "7.081156", "gross_margin_rate": "0.114856",
        "revenue_per_credit": "0.010823", "amortized_cost_per_gpu_minute": "0.076643",
    } | changes  # fmt: skip
    action = figures.pop("action", "raise")
    return Rate("B200", **{k: v and Decimal(v) for k, v in figures.items()}, action=action)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            recommended(),
            "raise by 26.4 % to 10.116: its credits left a margin of 11.5 %; a GPU minute cost "
            "0.0766 USD, a used credit earned 0.0108",
        ),
        (
            recommended(action="lower", recommended_multiplier="6", gross_margin_rate="0.6"),
            "lower by 25 % to 6.000: its credits left a margin of 60 %; a GPU minute cost "
            "0.0766 USD, a used credit earned 0.0108",
        ),
        (
            recommended(action="keep", recommended_multiplier=None),
            "keep: it earned nothing to go by",
        ),
        (recommended(action="keep", credits_per_gpu_minute=None), "keep: no rate today"),
    ],
)
def test_a_recommended_rate_says_why_and_by_how_much(found, text):
    assert rate_words(found, "USD").replace("\xa0", " ") == text
