"""Seeds: a broken contract stops the job with file, row and column."""

from __future__ import annotations

import gzip
import shutil
from datetime import date, timedelta

import pytest
from conftest import command

from orchestration.gates.needs import needed_feeds
from orchestration.seeds.staging import BookDays, SeedError, check_seeds, stage_seeds
from orchestration.settings import PROJECT_ROOT

ADJUSTMENTS = "adjustment_id,customer_id,posted_on,credits,amount,reason\n"
LAST = date(2026, 3, 31)


@pytest.fixture
def seeds(tmp_path):
    """A copy of the project's seeds, to break."""
    folder = tmp_path / "seeds"
    shutil.copytree(PROJECT_ROOT / "seeds", folder)
    return folder


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_projects_seeds_keep_their_contract_and_staging_twice_changes_nothing(seeds, tmp_path):
    staged = tmp_path / "staged"
    stage_seeds(seeds, staged)
    times = {path: path.stat().st_mtime_ns for path in staged.rglob("*.csv")}
    stage_seeds(seeds, staged)
    assert len(times) == 16
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*.csv")} == times


@pytest.mark.parametrize(
    ("anchor", "opening", "first_cycle"),
    [
        (15, date(2026, 1, 15), date(2026, 1, 15)),
        (15, date(2026, 1, 14), date(2025, 12, 15)),
        (1, date(2026, 3, 31), date(2026, 3, 1)),
        (28, date(2026, 3, 1), date(2026, 2, 28)),
    ],
)
def test_an_adjustment_before_the_first_cycle_is_named(seeds, anchor, opening, first_cycle):
    edit(seeds / "contracts" / "customers.csv", "Frame Forge,5,", f"Frame Forge,{anchor},")
    path = seeds / "contracts" / "adjustments.csv"

    def posted(day):
        path.write_text(f"{ADJUSTMENTS}a,frame-forge,{day},5,,sorry\n", encoding="utf-8")

    posted(first_cycle)
    check_seeds(seeds, BookDays(opening, LAST))
    too_early = first_cycle - timedelta(days=1)
    posted(too_early)
    with pytest.raises(SeedError, match=f"row 2: column posted_on: {too_early} .* {first_cycle}"):
        check_seeds(seeds, BookDays(opening, LAST))
    check_seeds(seeds, BookDays(opening, LAST, of_a_window=True))


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("catalog/plans.csv", "included_credits", "credits", "row 1: column included_credits"),
        ("contracts/customers.csv", "frame-forge,", ",", "row 2: column customer_id is empty"),
        ("contracts/orders.csv", "T", " at ", "column ordered_at: .* is not an instant"),
        ("fleet/facilities.csv", "frankfurt-1", "abilene-1", "stands in row 2 already"),
        ("fleet/clusters.csv", "frankfurt-1", "nowhere", "'nowhere' is not in fleet/facilities"),
        ("catalog/packs.csv", ",burst,", ",bursts,", "'bursts' is none of burst, top_up"),
    ],
)
def test_a_broken_seed_is_named(seeds, tmp_path, file, old, new, problem):
    edit(seeds / file, old, new)
    with pytest.raises(SeedError, match=f"{file}: .*{problem}"):
        stage_seeds(seeds, tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_overlapping_ranges_are_named(seeds, tmp_path):
    rates = seeds / "catalog" / "credit_rates.csv"
    first = rates.read_text(encoding="utf-8").splitlines()[1]
    rates.write_text(rates.read_text(encoding="utf-8") + first + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="column valid_from: overlaps row 2"):
        stage_seeds(seeds, tmp_path / "staged")


def test_a_customer_is_not_called_like_an_id_of_ours(seeds):
    """``acme/2026-01-05`` would share its invoice ids with lines of ``acme``."""
    path = seeds / "contracts" / "customers.csv"
    rows = path.read_text(encoding="utf-8")
    path.write_text(rows + "acme/eu,Fine,1,false\n", encoding="utf-8")
    check_seeds(seeds)
    path.write_text(rows + "acme/2026-01-05/overage,Forged,1,false\n", encoding="utf-8")
    with pytest.raises(SeedError, match=r"column customer_id: .* holds a date behind a slash"):
        check_seeds(seeds)


def test_two_plans_on_one_day_are_named(seeds, tmp_path):
    path = seeds / "contracts" / "subscriptions.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    twin = "twin" + rows[1][rows[1].index(",") :]
    path.write_text("\n".join([*rows, twin]) + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="has the subscription of row 2"):
        stage_seeds(seeds, tmp_path / "staged")


def test_the_last_tier_must_be_open_ended(seeds, tmp_path):
    path = seeds / "catalog" / "price_tiers.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    up_to = header.split(",").index("up_to")
    closed = [row.split(",") for row in rows]
    for cells in closed:
        cells[up_to] = cells[up_to] or "1000"
    path.write_text("\n".join([header, *(",".join(c) for c in closed)]) + "\n", encoding="utf-8")
    with pytest.raises(SeedError, match="column up_to: the last tier must be open-ended"):
        stage_seeds(seeds, tmp_path / "staged")


def test_negative_goodwill_is_named(seeds, tmp_path):
    path = seeds / "contracts" / "adjustments.csv"
    path.write_text(
        f"{ADJUSTMENTS}a,frame-forge,2026-01-20,-5,,oops\n",
        encoding="utf-8",
    )
    with pytest.raises(SeedError, match="row 2: column credits: -5 must be at least 0"):
        stage_seeds(seeds, tmp_path / "staged")


def added(seeds, file, **cells):
    """Add a row to a seed, with the given cells in place of those of its first row."""
    path = seeds / file
    header, first, *_ = path.read_text(encoding="utf-8").splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True)) | cells
    with path.open("a", encoding="utf-8") as rows:
        rows.write(",".join(row[name] for name in header.split(",")) + "\n")


PLAN = {"file": "catalog/plans.csv", "sku": "new"}
TIER = {"file": "catalog/price_tiers.csv", "valid_from": "2025-01-01", "valid_to": "2025-02-01"}
PACK = {"file": "catalog/packs.csv", "sku": "new"}
TERM = {"file": "catalog/term_discounts.csv", "min_commit_months": "24"}
SITE = {"file": "fleet/facilities.csv", "facility_id": "new"}
LOT = {"file": "fleet/procurement_lots.csv", "lot_id": "new"}
MARKET = LOT | {"basis": "market", "price_kind": "spot"}
RESERVED = LOT | {"basis": "reserved", "price_per_gpu_hour": "1"}
SUBSCRIPTION = {
    "file": "contracts/subscriptions.csv",
    "subscription_id": "new",
    "starts_on": "2020-01-01",
    "ends_on": "2020-02-01",
}
ORDER = {"file": "contracts/orders.csv", "order_id": "new"}
SHARES = (
    (PLAN, "rollover_min_utilization"),
    (PLAN, "rollover_rate"),
    (TERM, "discount_rate"),
)
NEVER_NEGATIVE = (
    (PLAN, "included_credits"),
    (PLAN, "base_concurrency"),
    (PLAN, "energy_baseline_per_kwh"),
    (PLAN, "energy_markup_rate"),
    (PLAN, "target_gross_margin"),
    (PACK, "included_credits"),
    (PACK, "surcharge_rate"),
    (TIER, "unit_price"),
    (TIER, "flat_fee"),
    (TERM, "min_commit_months"),
    (SITE, "overhead_per_gpu_hour"),
    (SITE, "default_price_per_kwh"),
    (LOT, "capex_per_gpu"),
    (LOT, "salvage_per_gpu"),
    (RESERVED, "price_per_gpu_hour"),
    ({"file": "catalog/accelerators.csv", "accelerator": "new"}, "busy_watts"),
    ({"file": "catalog/accelerators.csv", "accelerator": "new"}, "idle_watts"),
    ({"file": "catalog/credit_rates.csv", "model_family": "new"}, "credits_per_gpu_minute"),
    ({"file": "fleet/pools.csv", "cluster": "fra-overflow"}, "gpu_count"),
    (SUBSCRIPTION, "commit_months"),
)
REFUSED = [
    *((row, column, "-0.1") for row, column in SHARES),
    *((row, column, "1.000001") for row, column in SHARES),
    *((row, column, "-1") for row, column in NEVER_NEGATIVE),
    (PLAN, "pre_alert_depletion", "0"),
    (PLAN, "pre_alert_depletion", "0.96"),
    (PLAN, "hard_cap_depletion", "0"),
    (PLAN, "hard_cap_depletion", "1.01"),
    (PLAN, "target_gross_margin", "1"),
    (PLAN, "energy_markup_rate", "10.1"),
    (PLAN, "valid_to", "2025-11-01"),
    (PACK, "surcharge_rate", "10.1"),
    (PACK, "validity_hours", "0"),
    (PACK, "concurrency_multiplier", "1"),
    (TIER, "unit_price", "1000000"),
    (TIER, "flat_fee", "1000000000"),
    (TIER | {"mode": "package"}, "package_size", "0"),
    (SITE, "pue", "0.99"),
    (SITE, "default_price_per_kwh", "1000000"),
    (LOT, "gpu_count", "0"),
    (LOT, "capex_per_gpu", "1000000000"),
    (LOT, "salvage_per_gpu", "33000.01"),
    (LOT, "useful_life_months", "0"),
    (LOT, "ends_on", "2025-11-01"),
    (RESERVED, "price_per_gpu_hour", "1000000"),
    (SUBSCRIPTION, "quantity", "0"),
    (SUBSCRIPTION, "quantity", "-1"),
    (SUBSCRIPTION, "ends_on", "2020-01-01"),
    (ORDER, "quantity", "0"),
    ({"file": "contracts/customers.csv", "customer_id": "new"}, "billing_anchor_day", "29"),
]


def of_cell(case):
    return "-".join([case[0]["file"].split("/")[1].split(".")[0], *case[1:]])


@pytest.mark.parametrize("case", REFUSED, ids=of_cell)
def test_what_is_out_of_range_is_refused(seeds, case):
    row, column, value = case
    added(seeds, **row | {column: value})
    with pytest.raises(SeedError, match=rf"{row['file']}: row \d+: column {column}: .* must be "):
        check_seeds(seeds)


ACCEPTED = [
    *((row, column, "1") for row, column in SHARES),
    *((row, column, "0") for row, column in NEVER_NEGATIVE if column != "capex_per_gpu"),
    (LOT | {"salvage_per_gpu": "0"}, "capex_per_gpu", "0"),
    (PLAN, "pre_alert_depletion", "0.95"),
    (PLAN | {"pre_alert_depletion": "1"}, "hard_cap_depletion", "1"),
    (PLAN, "target_gross_margin", "0.999999"),
    (PLAN, "energy_markup_rate", "10"),
    (PACK, "concurrency_multiplier", "1.000001"),
    (TIER, "unit_price", "999999.999999999"),
    (SITE, "pue", "1"),
    (SITE, "default_price_per_kwh", ""),
    (LOT, "salvage_per_gpu", "33000"),
    (LOT, "useful_life_months", "1"),
    (MARKET, "price_kind", "market_min"),
    (SUBSCRIPTION, "ends_on", "2020-01-02"),
]


@pytest.mark.parametrize("case", ACCEPTED, ids=of_cell)
def test_what_is_just_in_range_is_accepted(seeds, case):
    row, column, value = case
    added(seeds, **row | {column: value})
    check_seeds(seeds)


@pytest.mark.parametrize(
    ("row", "column", "needs"),
    [
        (LOT, "capex_per_gpu", "basis owned"),
        (LOT, "useful_life_months", "basis owned"),
        (RESERVED, "price_per_gpu_hour", "basis reserved"),
        (MARKET, "price_kind", "basis market"),
        (PACK, "concurrency_multiplier", "kind burst"),
        (PACK, "surcharge_rate", "kind burst"),
        (TIER | {"mode": "package"}, "package_size", "mode package"),
    ],
)
def test_what_a_row_needs_because_of_its_kind_may_not_be_empty(seeds, row, column, needs):
    added(seeds, **row | {column: ""})
    with pytest.raises(SeedError, match=f"column {column} is empty; {needs} needs it"):
        check_seeds(seeds)


@pytest.mark.parametrize(
    ("row", "column", "target"),
    [
        (TIER, "sku", "catalog/plans.csv as its charge base asks"),
        (TERM, "sku", "catalog/plans.csv"),
        (LOT, "cluster", "fleet/clusters.csv"),
        (LOT, "accelerator", "catalog/accelerators.csv"),
        (SUBSCRIPTION, "sku", "catalog/plans.csv or catalog/dedicated_clusters.csv"),
        (SUBSCRIPTION, "cluster", "fleet/clusters.csv"),
        (SUBSCRIPTION, "auto_purchase_sku", "catalog/packs.csv"),
        (ORDER, "sku", "catalog/packs.csv"),
        (ORDER, "customer_id", "contracts/customers.csv"),
        ({"file": "fleet/clusters.csv", "cluster": "new"}, "default_accelerator", "catalog/accel"),
        ({"file": "catalog/accelerator_aliases.csv", "alias": "new"}, "accelerator", "catalog/"),
    ],
)
def test_a_reference_to_nothing_is_named_with_where_it_was_looked_for(seeds, row, column, target):
    added(seeds, **row | {column: "nowhere"})
    with pytest.raises(SeedError, match=f"column {column}: 'nowhere' is not in {target}"):
        check_seeds(seeds)


def test_a_currency_is_written_in_capitals(seeds):
    added(seeds, **RESERVED | {"currency": "usd"})
    with pytest.raises(
        SeedError, match=r"column currency: 'usd' is not in capital letters; .*'USD'"
    ):
        check_seeds(seeds)


def test_an_order_of_more_credits_than_the_books_can_hold_is_named(seeds):
    added(seeds, **ORDER | {"sku": "top-up-10k", "quantity": "100000000"})
    with pytest.raises(SeedError, match=r"column quantity: .* 1,000,000,000,000 credits; a grant"):
        check_seeds(seeds)


def test_the_command_says_it_all_before_anything_is_landed(seeds, tmp_path, monkeypatch, capsys):
    """Of every file, with what contracts lack on the days that were asked for."""
    added(seeds, **SITE | {"pue": "0"})
    edit(seeds / "catalog" / "plans.csv", "2025-11-01,2026-02-01", "2025-11-01,2026-01-28")
    edit(seeds / "contracts" / "adjustments.csv", "2026-01-21,2000", "2020-01-21,2000")
    data = tmp_path / "data"
    for name, value in (("SEEDS_DIR", seeds), ("DATA_DIR", data), ("FEEDS_URL", tmp_path)):
        monkeypatch.setenv(name, str(value))

    assert command("bill", "2026-01-20", "2026-01-29") == 2

    said = capsys.readouterr().err
    assert "fleet/facilities.csv: row 5: column pue: 0 must be at least 1" in said
    assert "'studio-50k' has no version of the plan from 2026-01-28 to 2026-01-29" in said
    assert "contracts/adjustments.csv: row 2: column posted_on: 2020-01-21 lies before" in said
    assert not (data / "landing").exists()


UNUSED = {
    "catalog/accelerator_aliases.csv": (),
    "catalog/term_discounts.csv": (),
    "catalog/dedicated_clusters.csv": ("ded-", ",dedicated,"),
    "catalog/packs.csv": (",pack,", "ord-", ",top-up-10k,"),
    "contracts/orders.csv": (),
    "contracts/adjustments.csv": (),
}


@pytest.mark.parametrize("file", UNUSED)
def test_a_seed_of_which_nothing_is_used_may_be_absent(seeds, tmp_path, file):
    (seeds / file).unlink()
    for other in ("catalog/price_tiers.csv", "contracts/orders.csv", "contracts/subscriptions.csv"):
        if UNUSED[file] and (seeds / other).exists():
            with pytest.raises(SeedError, match=f"is not in .*{file}|is not a top-up"):
                check_seeds(seeds)
            rows = (seeds / other).read_text(encoding="utf-8").splitlines(keepends=True)
            unused = [row for row in rows if not any(part in row for part in UNUSED[file])]
            (seeds / other).write_text("".join(unused), encoding="utf-8")
    stage_seeds(seeds, tmp_path / "staged")
    assert len((tmp_path / "staged" / file).read_text(encoding="utf-8").splitlines()) == 1


def test_a_link_out_of_the_seeds_is_not_followed_and_a_linked_folder_is(seeds, tmp_path):
    """Whoever edits seeds must not have the job read, and quote, what it may read."""
    secret = tmp_path / "secret.csv"
    secret.write_text("top,secret\nhush,hush\n", encoding="utf-8")
    customers = seeds / "contracts" / "customers.csv"
    kept = customers.read_text(encoding="utf-8")
    customers.unlink()
    customers.symlink_to(secret)
    with pytest.raises(SeedError, match=r"contracts/customers\.csv: is a link that leads") as error:
        check_seeds(seeds)
    assert "secret" not in str(error.value).replace("is a link", "")

    customers.unlink()
    within = seeds / "contracts" / "version-2.csv"
    within.write_text(kept, encoding="utf-8")
    customers.symlink_to(within.name)
    shutil.move(seeds / "fleet", tmp_path / "fleet")
    (seeds / "fleet").symlink_to(tmp_path / "fleet")
    check_seeds(seeds)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace(",", ";").encode(), "row 1: its cells are separated by semicolons; "),
        (lambda t: t.replace(",", "\t").encode(), "row 1: its cells are separated by tabs; save"),
        (lambda t: t.encode("utf-16"), "is UTF-16 text, which is not UTF-8; save it as CSV"),
        (lambda t: t.encode("utf-16-be"), "is not UTF-8; save it as"),
        (lambda t: t.replace("Frame", "Fr\xe4me").encode("latin-1"), "is not UTF-8; save it as"),
        (lambda t: b"PK\x03\x04" + t.encode(), "is a spreadsheet or an archive; save it as CSV"),
        (lambda t: gzip.compress(t.encode()), "is compressed with gzip; unpack it"),
        (
            lambda t: t.replace("customer_id", "Customer_ID", 1).encode(),
            "row 1: column customer_id is missing; it is written 'Customer_ID' there",
        ),
        (lambda t: t.replace("Frame Forge", "Frame, Forge").encode(), "row 2: has 5 cells for 4 "),
        (lambda t: b"top secret,secret\n" + t.encode(), "row 1: names none of its columns; its "),
    ],
    ids=range(10),
)
def test_a_file_saved_as_something_else_says_what_it_is_and_what_to_do(seeds, change, said):
    path = seeds / "contracts" / "customers.csv"
    path.write_bytes(change(path.read_text(encoding="utf-8")))
    with pytest.raises(SeedError, match=rf"contracts/customers\.csv: ({said})") as error:
        check_seeds(seeds)
    assert "secret" not in str(error.value)
    # Nothing refers to what could not be read.
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "".join(f"{line},,\n" for line in t.splitlines()),
        lambda t: t + ",,,\n\n  ,,,\n",
        lambda t: t.replace("customer_id,customer_name", " customer_id , customer_name"),
    ],
    ids=["columns beside the table", "rows below the table", "blanks in the header"],
)
def test_what_a_spreadsheet_leaves_empty_says_nothing(seeds, change):
    path = seeds / "contracts" / "customers.csv"
    expected = check_seeds(seeds)["customers"]
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert check_seeds(seeds)["customers"] == expected


def test_a_value_is_quoted_in_part_and_a_broken_column_does_not_fill_the_screen(seeds):
    path = seeds / "contracts" / "customers.csv"
    with path.open("a", encoding="utf-8") as rows:
        rows.writelines(f"c{n},{n},{'9' * 5000},false\n" for n in range(1000))
    with pytest.raises(SeedError, match="and 800 problems more") as error:
        check_seeds(seeds)
    assert max(map(len, str(error.value).splitlines())) < 300


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({}, {"gpu", "fx"}),
        ({"fleet/facilities.csv": (",0.105\n", ",\n")}, {"energy", "gpu", "fx"}),
        ({"fleet/procurement_lots.csv": (",EUR\n", ",USD\n")}, {"gpu"}),
        ({"fleet/procurement_lots.csv": (",market,", ",reserved,")}, {"fx"}),
    ],
)
def test_a_feed_is_needed_only_if_the_seeds_need_it(seeds, edits, expected):
    for file, (old, new) in edits.items():
        path = seeds / file
        text = path.read_text(encoding="utf-8").replace(old, new)
        if new == ",reserved,":
            text = "\n".join(
                line.replace(",reserved,,,,,", ",reserved,,,,1,") for line in text.splitlines()
            )
        path.write_text(text, encoding="utf-8")
    assert needed_feeds(seeds, "USD") == expected
