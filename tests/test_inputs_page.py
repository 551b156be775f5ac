"""docs/inputs.md says what the code goes by, and its examples are taken in as they stand."""

from __future__ import annotations

import re
from datetime import date

import pyarrow as pa
import pytest

from orchestration import inputs_page, landing, sample
from orchestration.landing.event_lines import DAYS_BACK, KINDS, KNOWN_KEYS, LIMIT
from orchestration.landing.fields import ALL_FIELDS, USAGE_FIELDS, FeedFields
from orchestration.landing.files import SNAPSHOTS
from orchestration.landing.price_rules import CARBON, ENERGY, FX, GPU
from orchestration.seeds.contracts import seed_contracts
from orchestration.seeds.coverage import BookDays
from orchestration.seeds.staging import check_seeds
from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT
from orchestration.sources.folder import FolderSource

PAGE = inputs_page.PAGE.read_text(encoding="utf-8")
DAY = date(2026, 1, 31)
LAND = {
    "energy": landing.land_energy_prices,
    "carbon": landing.land_energy_mix,
    "gpu": landing.land_gpu_prices,
    "fx": landing.land_fx_rates,
}


def test_the_page_is_written_from_the_code_of_today():
    assert inputs_page.inputs_page(PAGE) == PAGE, "docs/inputs.md is stale: make inputs"


def test_the_page_needs_its_marks():
    with pytest.raises(ValueError, match="<!-- feeds -->"):
        inputs_page.inputs_page("# Inputs\n")


def test_every_field_of_usage_is_on_it():
    known = {
        key.replace("/", "").replace(".", "metadata."): kind for key, kind in KNOWN_KEYS.items()
    }
    assert set(USAGE_FIELDS.fields) == set(known)
    for name, field in USAGE_FIELDS.fields.items():
        kind = "number" if known[name] == pa.float64() else "time" if name == "ts" else "text"
        assert field.kind == kind, name
    assert USAGE_FIELDS.needed == {
        "event_id": "yes",
        "corrects_event_id": "if `kind` is not usage",
        "customer_id": "yes",
        "meter": "yes",
        "quantity": "yes",
        "ts": "yes",
        "metadata.cluster": "yes",
    }
    assert all(kind in USAGE_FIELDS.fields["kind"].meaning for kind in KINDS)


@pytest.mark.parametrize("feed", [ENERGY, CARBON, GPU, FX], ids=lambda feed: feed.name)
def test_every_column_of_the_other_feeds_is_on_it(feed):
    [said] = [fields for fields in ALL_FIELDS if fields.name == feed.name]
    assert set(said.fields) == {*feed.required, *feed.may_be_empty, *feed.optional}
    assert {name for name, needed in said.needed.items() if needed == "yes"} == set(feed.required)
    landed = SNAPSHOTS[feed.name][1]
    for name, field in said.fields.items():
        if name in landed.names:
            kind = landed.field(name).type
            assert field.kind == (
                "time"
                if pa.types.is_timestamp(kind)
                else "number"
                if pa.types.is_decimal(kind)
                else "whole number"
                if pa.types.is_integer(kind)
                else "text"
            ), name


@pytest.mark.parametrize("feed", ALL_FIELDS, ids=lambda feed: feed.name)
def test_its_examples_are_landed_whole(feed: FeedFields, tmp_path):
    assert f"```{'jsonl' if feed is USAGE_FIELDS else 'csv'}\n{feed.example}```" in PAGE
    folder = tmp_path / "feeds" / feed.name
    folder.mkdir(parents=True)
    place = tmp_path / "landing"
    landing.prepare_landing(place)
    source = FolderSource(str(tmp_path / "feeds"))
    if feed is USAGE_FIELDS:
        (folder / f"usage_{DAY}.jsonl").write_text(feed.example)
        delivery = landing.land_usage(source, DAY, place)
    else:
        (folder / feed.files.partition("/")[2].replace("*", "DE-LU")).write_text(feed.example)
        delivery = LAND[feed.name](source, place)
    header = 0 if feed is USAGE_FIELDS else 1
    assert delivery.problem is None
    assert delivery.rejected_rows == 0, delivery.rejected_by_reason
    assert delivery.landed_rows == len(feed.example.splitlines()) - header


def test_a_day_without_use_is_delivered_as_it_says(tmp_path):
    [line] = set(re.findall(r'`(\{"kind": [^`]*\})`', USAGE_FIELDS.rows))
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / f"usage_{DAY}.jsonl").write_text(line)
    landing.prepare_landing(tmp_path / "landing")
    delivery = landing.land_usage(FolderSource(str(tmp_path)), DAY, tmp_path / "landing")
    assert (delivery.problem, delivery.rejected_rows) == (None, 0)


def test_its_seeds_are_the_samples_and_keep_their_contract():
    books = BookDays(sample.OPENS_ON, sample.CLOSES_ON)
    assert check_seeds(inputs_page.SAMPLE_SEEDS_DIR, books)["customers"]
    for contract in seed_contracts():
        [part] = re.findall(rf"### {contract.file}\n(.*?)```csv\n(.*?)```", PAGE, re.DOTALL)
        table, rows = part
        names = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        assert names == list(contract.types)
        lines = (
            (inputs_page.SAMPLE_SEEDS_DIR / contract.file).read_text(encoding="utf-8").splitlines()
        )
        assert rows.splitlines() == lines[: len(rows.splitlines())]
        needed = set(
            re.findall(r"^\| `(\w+)` \| [^|]* \| yes \|.*`[^`]+` \|$", table, re.MULTILINE)
        )
        assert needed == contract.required, "a needed column has no example"


def test_every_reason_of_a_bad_row_is_on_it():
    said = set(
        re.findall(r"^\| `(\w+)(?:<field>)?` \|", PAGE.partition("bad row")[2], re.MULTILINE)
    )
    rules = [
        PROJECT_ROOT / f"orchestration/landing/{name}.py" for name in ("event_lines", "price_rules")
    ]
    landed = "".join(path.read_text(encoding="utf-8") for path in rules)
    curable = (DBT_PROJECT_DIR / "models/usage/int_kinds_of_use.sql").read_text(encoding="utf-8")
    known = set(re.findall(r"then '(\w+_\w+|malformed)'", landed)) - {"missing_tz"}
    known |= set(re.findall(r"then '(\w+_\w+)'", curable))
    reasons = {name for name in said if name not in {c for s in seed_contracts() for c in s.types}}
    assert reasons == known | {"missing_"}


def test_its_limits_are_those_of_the_code():
    limits = PAGE.partition("\nLimits: ")[2].partition("\n")[0]
    assert f"{LIMIT:,} a row" in limits
    assert f"more than {DAYS_BACK} days before" in PAGE
    rules = (PROJECT_ROOT / "orchestration/landing/price_rules.py").read_text(encoding="utf-8")
    assert "_MOST_PER_KWH = 10**6\n_MOST_PER_GPU_HOUR = 10**6\n_MOST_OF_A_MIX = 10**9\n" in rules
    assert "not between 0.000000001 and 1000000000)" in rules
