"""Shows what was measured: ``python -m benchmarks.report`` rewrites the figures in the document.

Every table of ``docs/performance.md`` between ``<!-- name -->`` and ``<!-- end -->``, and its
picture, come from ``benchmarks/results``; the sentences around them are written by people.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from benchmarks.history import LATE_NIGHT, NIGHT
from benchmarks.night import RESULTS, SIZES
from orchestration.pages.pictures import GREY, Kind, bars
from orchestration.settings import PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "performance.md"
PICTURE = PROJECT_ROOT / "docs" / "performance.svg"

Results = dict[str, dict[str, Any]]

STAGES = {
    "land_usage": "landing of usage",
    "land_prices": "landing of prices",
    "gates": "gates",
    "bill": "dbt: plan, models, tests",
    "publish": "publication",
    "pages": "gauge pages, finance's page",
}
TURNS = {
    "event pass": "the job's event pass (dbt)",
    "limit, days": "limit: one query, by the day",
    "limit, hours": "limit: one query, by the hour",
    "polars": "polars",
    "pandas": "pandas",
    "spark": "Spark, local",
    "landing": "the job's landing",
    "limit, landing": "limit: JSON to Parquet",
}


def results() -> Results:
    """Everything that was measured, by the name of its file."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("*.json"))
    }


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _nights(found: Results) -> list[dict[str, Any]]:
    return [found[size] for size in SIZES if size in found]


def _size(night: dict[str, Any]) -> str:
    return f"{night['events'] / 1e6:g} M"


def _median(night: dict[str, Any], name: str) -> float:
    return statistics.median(night["turns_of"][name]["cpu_s"])


def machines(found: Results) -> str:
    """The machine and the versions, and how busy it was."""
    rows = []
    for name, night in found.items():
        if not (m := night.get("machine")):
            continue
        rows.append(
            [
                name,
                f"{m['processor']}, {m['cores']} cores, {m['memory_gb']} GB",
                f"{m['system']}, Linux {m['kernel']}",
                f"{m['python']}, {m['duckdb']}, {m['dbt-core']}, {m['dagster']}, {m['pyarrow']}",
                f"{m['load_at_start']}",
            ]
        )
    versions = "Python, DuckDB, dbt, Dagster, pyarrow"
    return _table(["figures", "machine", "system", versions, "load at the start"], rows)


def stages(found: Results) -> str:
    """Every stage of every night."""
    rows = []
    for night in _nights(found):
        for stage, label in STAGES.items():
            rows.append([_size(night), label, *_figures(night["stages"][stage])])
        rows.append([_size(night), "**the whole night**, `make bill`", *_figures(night["whole"])])
    return _table(["lines", "stage", "wall s", "CPU s", "peak MB", "lines a CPU second"], rows)


def _figures(stage: dict[str, Any]) -> list[str]:
    return [
        f"{stage['wall_s']:,.1f}",
        f"{stage['cpu_s']:,.1f}",
        f"{stage['peak_mb']:,}",
        f"{stage['rows_per_cpu_s']:,}",
    ]


def dbt(found: Results) -> str:
    """What dbt did, by group, in CPU seconds."""
    nights = _nights(found)
    groups = list(dict.fromkeys(group for night in nights for group in night["dbt"]))
    rows = [[group, *(f"{night['dbt'].get(group, 0):.1f}" for night in nights)] for group in groups]
    return _table(["CPU seconds of dbt", *map(_size, nights)], rows)


def turns(found: Results) -> str:
    """The event pass and landing, beside their limits and peers."""
    rows = []
    for night in _nights(found):
        for name, label in TURNS.items():
            turn = night["turns_of"].get(name)
            if turn is None:
                continue
            if "skipped" in turn:
                rows.append([_size(night), label, "not run: " + turn["skipped"], "", "", ""])
                continue
            limit = _limit_of(name)
            spent, least = _median(night, name), _median(night, limit)
            rows.append(
                [
                    _size(night),
                    label,
                    f"{spent:.2f}",
                    f"{len(turn['cpu_s'])}",
                    f"{turn['peak_mb']:,}",
                    f"{spent / least:.1f}",
                ]
            )
    return _table(["lines", "what", "CPU s, median", "of", "peak MB", "times its limit"], rows)


def _limit_of(name: str) -> str:
    """What a turn is held against: the peers do their work by the day, the job by the hour."""
    if "landing" in name:
        return "limit, landing"
    return "limit, hours" if name in ("event pass", "limit, hours") else "limit, days"


def targets(found: Results) -> str:
    """Every target of speed and scale, what was measured, and whether it is met."""
    rows = [
        [name, target, said, "" if met is None else ("met" if met else "**missed**")]
        for name, target, (said, met) in _targets(found)
    ]
    return _table(["target", "at most", "measured", ""], rows)


Verdict = tuple[str, bool | None]
_UNKNOWN: Verdict = ("not measured", None)


def _targets(found: Results) -> list[tuple[str, str, Verdict]]:
    nights = _nights(found)
    large = found.get("10m") or (nights[-1] if nights else None)
    return [
        ("event pass at 10 M lines", "1.5 x the limit query", _event_pass(large)),
        ("whole night at 10 M lines", "2.5 x the limit + 15 CPU s", _whole(large)),
        ("peak memory at 50 M lines", "4 GiB, spilling", _memory(found.get("50m"))),
        ("ten times the events, 1 M to 10 M", "11 x", _tenfold(found)),
        ("a night after 400 days, against 30", "1.1 x", _history(found)),
        ("late usage of one old day", "that day, not the days between", _late(found)),
        ("365-day backfill, one run, against 30 days", "1.2 x 365/30", _backfill(found)),
        ("ledger day of 100,000 customers", "2 CPU s", _ledger(found)),
        ("landing JSONL.gz, with rejection", "at least 300,000 rows a CPU s", _landing(large)),
        ("fixed part of a night", "15 CPU s", _start(found)),
    ]


def _event_pass(night: dict[str, Any] | None) -> Verdict:
    if not night:
        return _UNKNOWN
    spent, day = _median(night, "event pass"), _median(night, "limit, days")
    hour = _median(night, "limit, hours")
    said = (
        f"{spent / hour:.1f} x ({spent:.1f} against {hour:.1f} CPU s; {spent / day:.1f} x by day)"
    )
    return _at(night) + said, spent / hour <= 1.5


def _at(night: dict[str, Any]) -> str:
    return "" if night["events"] == 10_000_000 else f"at {_size(night)}: "


def _whole(night: dict[str, Any] | None) -> Verdict:
    if not night:
        return _UNKNOWN
    limit = sum(_median(night, name) for name in ("limit, hours", "limit, landing"))
    spent = night["whole"]["cpu_s"]
    allowed = 2.5 * limit + 15
    said = f"{spent:.0f} CPU s; limit with reading JSON {limit:.1f}, so {allowed:.0f} allowed"
    return _at(night) + said, spent <= allowed


def _memory(night: dict[str, Any] | None) -> Verdict:
    if not night:
        return _UNKNOWN
    peak = max(stage["peak_mb"] for stage in [*night["stages"].values(), night["whole"]])
    return f"{peak:,} MB at memory_limit {night['memory_limit']}", peak <= 4096


def _tenfold(found: Results) -> Verdict:
    if not {"1m", "10m"} <= set(found):
        return _UNKNOWN
    factor = found["10m"]["whole"]["cpu_s"] / found["1m"]["whole"]["cpu_s"]
    return f"{factor:.1f} x", factor <= 11


def _history(found: Results) -> Verdict:
    if "history" not in found:
        return _UNKNOWN
    short, long = found["history"]["cpu_s"][NIGHT]
    return f"{long / short:.2f} x ({long:.1f} against {short:.1f} CPU s)", long <= 1.1 * short


def _late(found: Results) -> Verdict:
    if "history" not in found:
        return _UNKNOWN
    spent = found["history"]["cpu_s"]
    night, late = (spent[kind][1] for kind in (NIGHT, LATE_NIGHT))
    one = spent["backfill"][1] / found["history"]["days"][1]
    said = (
        f"{late - night:.1f} CPU s more than a night without it ({night:.1f}); in a backfill a day "
        f"is {one:.1f}, and 390 lie between"
    )
    return said, late <= 1.1 * night


def _backfill(found: Results) -> Verdict:
    if "backfill" in found:
        days = {int(n): taken["cpu_s"] for n, taken in found["backfill"]["days"].items()}
    elif "history" in found:
        days = dict(
            zip(found["history"]["days"], found["history"]["cpu_s"]["backfill"], strict=True)
        )
    else:
        return _UNKNOWN
    (few, short), (many, long) = sorted(days.items())
    said = f"{many} against {few} days: {long / short:.1f} x ({long:.0f} against {short:.0f} CPU s)"
    return said, long / short <= 1.2 * many / few


def _ledger(found: Results) -> Verdict:
    if "customers" not in found:
        return _UNKNOWN
    customers = found["customers"]
    days = customers["ledger_days"]
    step = customers["ledger"]["int_grant_days"] / days
    said = (
        f"{step:.1f} CPU s to step the wallets by a day; {customers['groups']['ledger']:.1f} with "
        f"the cycle's charges and lines, a night that steps {days} days"
    )
    return said, step <= 2


def _landing(night: dict[str, Any] | None) -> Verdict:
    if not night:
        return _UNKNOWN
    spent, least = _median(night, "landing"), _median(night, "limit, landing")
    rate, possible = night["events"] / spent, night["events"] / least
    return f"{_at(night)}{rate:,.0f} (the limit: {possible:,.0f})", rate >= 300_000


def _start(found: Results) -> Verdict:
    if "start" not in found:
        return _UNKNOWN
    spent = found["start"]["smallest_night_cpu_s"]
    return f"{spent:.1f} CPU s for a night of 500 lines", spent <= 15


def start(found: Results) -> str:
    """Where the fixed part of a night goes."""
    if "start" not in found:
        return "not measured"
    smallest = found["start"]
    rows = [
        ["start-up of the job, no dbt manifest yet", f"{smallest['without_manifest_cpu_s']:.1f}"],
        ["start-up of the job, with a manifest", f"{smallest['with_manifest_cpu_s']:.1f}"],
        *([f"{STAGES[name]}, by itself", f"{cpu:.1f}"] for name, cpu in smallest["stages"].items()),
        *([f"of it dbt: {group}", f"{cpu:.1f}"] for group, cpu in smallest["dbt"].items()),
        [
            "**the whole night** of 500 lines, `make bill`",
            f"{smallest['smallest_night_cpu_s']:.1f}",
        ],
    ]
    return _table(["fixed part", "CPU s"], rows)


def capacity(found: Results) -> str:
    """What nights of other sizes would take on such a machine, as a line through two measured."""
    nights = _nights(found)
    if len(nights) < 2:
        return "Two sizes have to be measured."
    small, large = nights[-2:]
    more = (large["events"] - small["events"]) / 1e6
    each = (large["whole"]["cpu_s"] - small["whole"]["cpu_s"]) / more
    fixed = large["whole"]["cpu_s"] - each * large["events"] / 1e6
    disk = large["landed_mb"] * 1e6 / large["events"]
    rows = [
        [
            f"{millions:,} M",
            f"{(fixed + each * millions) / 3600:,.2f}",
            f"{disk * millions / 1024:,.1f}",
        ]
        for millions in (1, 10, 50, 100, 1_000)
    ]
    said = (
        f"From {_size(small)} and {_size(large)} lines, of {small['customers']:,} and "
        f"{large['customers']:,} customers: {each:.1f} CPU seconds and {disk:.0f} MB of landing "
        "per million lines. What lies outside the two is a line drawn on, not measured."
    )
    return said + "\n\n" + _table(["lines a night", "CPU hours", "GB landed a day"], rows)


SECTIONS: dict[str, Callable[[Results], str]] = {
    section.__name__: section
    for section in (machines, targets, stages, dbt, turns, start, capacity)
}


def written(text: str, found: Results) -> str:
    """The document with every table made anew."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        if text.count(begin) != 1:
            raise ValueError(f"{DOCUMENT.name} must have one {begin.strip()}, and an end after it")
        before, _, rest = text.partition(begin)
        text = before + begin + section(found) + end + rest.partition(end)[2]
    return text


def picture(found: Results) -> str:
    """The event pass and landing beside their limits and peers, in CPU seconds per million lines."""
    kinds = [Kind("the job", "s1"), Kind("limit", "s3"), Kind("peer", GREY)]
    groups: list[tuple[str, list[Decimal | None]]] = []
    for night in _nights(found):
        groups.append((f"{_size(night)} lines", []))
        for name, label in TURNS.items():
            if not night["turns_of"].get(name, {}).get("cpu_s"):
                continue
            kind = 0 if label.startswith("the job") else 1 if name.startswith("limit") else 2
            bar: list[Decimal | None] = [None] * len(kinds)
            bar[kind] = Decimal(_median(night, name) * 1_000_000 / night["events"])
            groups.append((label, bar))
    return bars("Event pass and landing", "CPU seconds per million lines", kinds, groups, places=2)


def main() -> None:
    """Rewrite the document and its picture."""
    found = results()
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), found), encoding="utf-8")
    if _nights(found):
        PICTURE.write_text(picture(found), encoding="utf-8")
    print(DOCUMENT.relative_to(PROJECT_ROOT))


if __name__ == "__main__":
    main()
