"""Energy: kWh above the plan's baseline, as the invoice closed with them."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from fractions import Fraction

from orchestration.explain.books_read import VALID, Gone
from orchestration.explain.exact import ZERO, Row, many, rounded, shown, sum_of
from orchestration.explain.rated_minutes import name_of, print_usage, rows_of
from orchestration.explain.trace import Trace

# What tells a row of closed energy: among it its minutes, since one that was cured since counts as it is.
_CLOSED_KEY = (
    "usage_day",
    "posting_date",
    "cluster",
    "accelerator",
    "model_family",
    "gpu_minutes",
)


def energy_surcharge(trace: Trace) -> list[Row]:
    """Energy above the plan's baseline, with the plan's mark-up."""
    page, line = trace.page, trace.line
    rows = [
        row
        for row in rows_of(trace, "daily.cycle_start = $cycle")
        if not row["is_dedicated"] and row["plan_sku"] == trace.key
    ]
    if not rows:
        raise Gone("no usage of this plan is posted in the cycle any more")
    terms = _terms(trace)
    rows = _as_closed(trace, rows)
    regular = [row for row in rows if not row["is_adjustment"]]
    surcharges = {}
    for name, part in (("all usage", rows), ("regular usage", regular)):
        if name == "all usage" and not line["is_adjustment"]:
            continue
        surcharges[name] = _formula(trace, name, part, terms)
    if line["is_adjustment"]:
        amount = surcharges["all usage"] - surcharges["regular usage"]
        page.say(
            f"  {shown(surcharges['all usage'])} - {shown(surcharges['regular usage'])} "
            f"= {shown(amount)}"
        )
    else:
        amount = surcharges["regular usage"]
    own = [row for row in rows if row["is_adjustment"] == line["is_adjustment"]]
    trace.is_line(sum_of(own, "busy_kwh"), None, amount)

    page.heading("The ledger")
    page.say("  Energy is charged in money: no credits move.")
    print_usage(trace, "Usage, its energy and what that cost", own, ["busy_kwh", "energy_cost"])
    page.each_equals("kWh of each row = minutes / 60 × watts / 1000 × PUE", _kwh(trace, own))
    return own


def _terms(trace: Trace) -> Row:
    """The plan version of the first day of the cycle with this plan: baseline and mark-up."""
    plan = trace.needed(
        "subscription of the plan",
        "select min(greatest(starts_on, $cycle)) as first_day, "
        "max(coalesce(ends_on - 1, date '9999-12-31')) as last_day "
        "from stg_plan_subscriptions where customer_id = $customer "
        "and sku = $key and starts_on < $cycle + interval 1 month "
        "and (next_starts_on is null or next_starts_on > $cycle)",
    )
    first = plan["first_day"]
    if not trace.one(f"select sku from plans where sku = $key and {VALID}", day=first):
        # Booked when the plan is over and has no version any more.
        first = min(first, plan["last_day"])
    trace.page.say(f"  Baseline and mark-up of {trace.key} are those of {first:%Y-%m-%d}.")
    return trace.books.version("plans", trace.key, first)


def _as_closed(trace: Trace, rows: list[Row]) -> list[Row]:
    """The rows with the energy that the invoice closed with, where it is written down."""
    closed = {
        tuple(row[name] for name in _CLOSED_KEY): row
        for row in trace.rows(
            "select * from read_parquet($files, hive_partitioning = false) "
            "where customer_id = $customer and cycle_start = $cycle",
            files=glob.escape(str(trace.books.archive)) + "/final_energy/*.parquet",
        )
    }
    frozen, moved = [], 0
    for row in rows:
        then = closed.get(tuple(row["usage_date" if n == "usage_day" else n] for n in _CLOSED_KEY))
        if then and any(then[name] != row[name] for name in ("busy_kwh", "energy_cost")):
            row = {**row, "busy_kwh": then["busy_kwh"], "energy_cost": then["energy_cost"]}
            moved += 1
        frozen.append(row)
    if moved:
        trace.page.say(
            f"  The energy of {many(Fraction(moved), 'row')} was revised after the invoice closed; "
            "what is charged rests on what it was then."
        )
    return frozen


def _formula(trace: Trace, name: str, rows: list[Row], terms: Row) -> Fraction:
    """The surcharge of some rows: max(0, cost - kWh × baseline) × (1 + markup)."""
    baseline = terms["energy_baseline_per_kwh"] or ZERO
    factor = 1 + (terms["energy_markup_rate"] or ZERO)
    cost, kwh = sum_of(rows, "energy_cost"), sum_of(rows, "busy_kwh")
    excess = cost - kwh * baseline
    trace.page.say(
        f"  {name}: cost {shown(cost)} - {shown(kwh)} kWh × {shown(baseline)} = {shown(excess)}"
    )
    surcharge = max(ZERO, excess) * factor
    trace.page.say(f"  {name}: max(0, {shown(excess)}) × {shown(factor)} = {shown(surcharge)}")
    return surcharge


def _kwh(trace: Trace, rows: list[Row]) -> Iterator[tuple[str, Fraction, Fraction]]:
    watts = {
        (place["cluster"], place["accelerator"]): place["watts"]
        for place in trace.rows(
            "select clusters.cluster, accelerators.accelerator, "
            "cast(accelerators.busy_watts as decimal(18, 3)) "
            "* cast(facilities.pue as decimal(18, 3)) as watts "
            "from clusters inner join facilities using (facility_id) cross join accelerators"
        )
    }
    for row in rows:
        drawn = watts.get((row["cluster"], row["accelerator"]), ZERO)
        kwh = rounded(row["gpu_minutes"] * drawn / 60_000, 6)
        yield name_of(row), kwh, row["busy_kwh"]
