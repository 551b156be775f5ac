"""How figures, days and states read on a page."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cache

from orchestration.pages.figures import Rate
from orchestration.pages.projection import LEAST_DAYS
from orchestration.pages.read_models import Gauge, GaugeState, RaisedAlert, Threshold

_NO_BREAK = "\u00a0"
_LINE = 60
# They turn the text that follows, so that a name could be read as another one.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

BADGES = {
    GaugeState.NEW: "No credits yet",
    GaugeState.OVERDRAWN: "Overdrawn",
    GaugeState.EMPTY: "Empty",
    GaugeState.EXPIRED: "Expired",
    GaugeState.CAPPED: "Capped",
    GaugeState.WARNING: "Getting low",
    GaugeState.IDLE: "Not in use",
    GaugeState.HEALTHY: "Healthy",
}
SOURCES = {
    "plan": "Plan",
    "top_up": "Top-up",
    "burst_pack": "Burst pack",
    "auto_purchase": "Automatic top-up",
    "rollover": "Rolled over",
    "adjustment": "Goodwill",
    "refund": "Refund",
}
WAITING = {
    "unknown_customer": "the customer is not in contracts/customers",
    "unknown_cluster": "the cluster is not in fleet/clusters",
    "unmapped_accelerator": "the GPU’s spelling is not in the catalog",
    "no_active_plan": "no plan subscription on the day of use",
    "no_credit_rate": "no credit rate on the day of use",
}
DEFERRED = {"credits": "Credits", "dedicated": "Dedicated clusters"}


def amount(value: Decimal, places: int = 2) -> str:
    """A figure for people: thousands apart, rounded half away from zero, never rounded to nothing."""
    step = Decimal(1).scaleb(-places)
    rounded = value.quantize(step, ROUND_HALF_UP)
    if value and not rounded:
        return f"{'−' if value < 0 else ''}<{_NO_BREAK}{step}"
    return f"{rounded:,}".replace("-", "−")


def percent(share: Decimal) -> str:
    """A share of a whole, to a tenth of a per cent, never rounded up to a threshold or to all."""
    return _tenths(share, ROUND_FLOOR)


def rate(ratio: Decimal) -> str:
    """A ratio of money, to a tenth of a per cent, rounded half away from zero like all money.

    The one rounding of margins: finance's page and the summary call it, the board does the same in
    SQL (dbt_project/charts/finance.yml).
    """
    return _tenths(ratio, ROUND_HALF_UP)


def _tenths(share: Decimal, rounding: str) -> str:
    tenths = (share * 1000).to_integral_value(rounding)
    text = f"{tenths / 10:,.1f}".removesuffix(".0").replace("-", "−")
    return f"{text}{_NO_BREAK}%"


@cache
def day(moment: date) -> str:
    """A day for people, without a locale."""
    return f"{moment.day}{_NO_BREAK}{moment:%b} {moment.year}"


def instant(moment: datetime) -> str:
    """An instant for people, in UTC."""
    return f"{day(moment.date())}, {moment:%H:%M}{_NO_BREAK}UTC"


def plain(text: str) -> str:
    """A text without what could garble a page: line breaks and other controls, turned directions."""
    return "".join(
        " " if char in "\t\n\r\v\f" else "\ufffd" if unicodedata.category(char) == "Cc" else char
        for char in text
        if char not in _DIRECTIONS
    )


def short(text: str) -> str:
    """A text of a line at most, within a sentence."""
    return text if len(text) <= _LINE else text[: _LINE - 1] + "…"


def notice(gauge: Gauge) -> str | None:
    """What the state means for the customer, where it isn't simply well."""
    ahead = _ahead(gauge)
    if gauge.state is GaugeState.NEW:
        return "No credits have been granted yet. " + ahead
    if gauge.state is GaugeState.OVERDRAWN:
        beyond = amount(gauge.overage_in_cycle)
        return (
            f"{beyond} credits were used beyond the wallet in this cycle{_overage(gauge)}. {ahead}"
        )
    if gauge.state is GaugeState.EMPTY:
        return f"No credits are left. {ahead}"
    if gauge.state is GaugeState.EXPIRED:
        return (
            f"{amount(gauge.expired_today)} credits expired unused at the end of "
            f"{day(gauge.as_of)}; {percent(gauge.depletion)} of the cycle’s had been used. {ahead}"
        )
    if gauge.state is GaugeState.CAPPED:
        return f"{_used(gauge)} {_capped(gauge)} {ahead}"
    if gauge.state is GaugeState.WARNING:
        buys = purchase_words(gauge)
        at = percent(_hard_cap(gauge).depletion)
        return f"{_used(gauge)} {f'At {at} used, {buys}. ' if buys else ''}{ahead}"
    if gauge.state is GaugeState.IDLE:
        return "No credits were burned in the last 7 days, so there is no pace to project from."
    return None


def _used(gauge: Gauge) -> str:
    return f"{percent(gauge.depletion)} of this cycle’s credits are used."


def _hard_cap(gauge: Gauge) -> Threshold:
    [hard_cap] = [threshold for threshold in gauge.thresholds if threshold.kind == "hard_cap"]
    return hard_cap


def _capped(gauge: Gauge) -> str:
    """What the hard cap means for a customer who has reached it."""
    words = (
        f"From {percent(_hard_cap(gauge).depletion)} on, usage is capped until credits are added."
    )
    buys = gauge.automatic
    if buys and buys.left == 0:
        words += f" No automatic top-up is left in this cycle; {buys.bought} were bought."
    elif buys:
        words += f" With the next use, {purchase_words(gauge)}."
    return words


def _ahead(gauge: Gauge) -> str:
    """What happens next without anybody's doing: a grant, or a cycle, or nothing."""
    if gauge.coming:
        return (
            f"The plan’s next {amount(gauge.coming.credits)} credits come on "
            f"{day(gauge.coming.granted_on)}."
        )
    ends = gauge.plan.ends_on if gauge.plan else None
    if gauge.plan is None:
        return "There is no plan."
    if ends and ends <= gauge.as_of:
        return f"The plan ended on {day(ends)}."
    if ends and ends <= gauge.cycle_end:
        return f"The plan ends on {day(ends)}."
    return f"The next cycle starts on {day(gauge.cycle_end)}."


def purchase_words(gauge: Gauge) -> str | None:
    """What is bought at the hard cap, as a clause; None if nothing can be any more."""
    buys = gauge.automatic
    if buys is None or buys.left == 0:
        return None
    price = f" for {amount(buys.price)} {gauge.currency}" if buys.price is not None else ""
    left = "without a limit" if buys.left is None else f"{buys.left} left in this cycle"
    return (
        f"{short(plain(buys.name))} is bought automatically: {amount(buys.credits)} credits"
        f"{price} a pack, as many packs as it takes, {left}"
    )


def threshold_words(gauge: Gauge, threshold: Threshold) -> str:
    """What happens at a threshold."""
    if threshold.kind == "pre_alert":
        return "pre-alert"
    if gauge.automatic is None:
        return "usage is capped"
    buys = purchase_words(gauge)
    return buys or "usage is capped: no automatic top-up is left in this cycle"


def pace_words(gauge: Gauge) -> str | None:
    """When the credits are gone at the pace of all use, where that isn't the wallet's own pace."""
    if gauge.balance <= 0 or gauge.mean_daily_use == gauge.mean_daily_burn:
        return None
    pace = f"At the pace of all use, {amount(gauge.mean_daily_use)} credits a day,"
    if gauge.used_up_on is None:
        return f"{pace} they expire before they are used up."
    return f"{pace} they are gone on {day(gauge.used_up_on)}."


def coming_words(gauge: Gauge) -> str | None:
    """The plan's next grant, beside the day on which the credits run out without it."""
    if gauge.coming is None:
        return None
    words = (
        f"{amount(gauge.coming.credits)} credits of the plan come on {day(gauge.coming.granted_on)}"
    )
    out = gauge.projected_depletion_date
    if out and gauge.balance > 0 and gauge.coming.granted_on <= out:
        return f"Not counted: {words}, {'before that' if gauge.coming.granted_on < out else 'that day'}."
    return f"{words}."


def refund_words(gauge: Gauge) -> str | None:
    """What bars below zero mean; None where there are none."""
    below = sorted({use.date for use in gauge.use_days if use.credits < 0})
    if not below:
        return None
    refunds = {entry.date: entry.refunded for entry in gauge.days if entry.refunded > 0}
    given = [f"{amount(refunds[moment])} on {day(moment)}" for moment in below if moment in refunds]
    words = "Below zero: corrections took back use of earlier days"
    if not given:
        return words + "."
    more = f" and {len(given) - 3} more" if len(given) > 3 else ""
    return f"{words}; what outweighed the day’s use was refunded as credits: {', '.join(given[:3])}{more}."


def expiry_words(gauge: Gauge) -> str | None:
    """What expired within the burn-down chart, where it has marks; None if nothing did."""
    expired = [entry for entry in gauge.days if entry.expired > 0]
    if not expired:
        return None
    last = expired[-1]
    earlier = ", others before that" if len(expired) > 1 else ""
    return (
        f"×: {amount(last.expired)} credits expired unused at the end of {day(last.date)}{earlier}; "
        "the line shows what was there until then."
    )


def range_words(gauge: Gauge) -> str | None:
    """Between which days the credits run out; None where there is nothing to run out."""
    if gauge.balance <= 0 or not gauge.days:
        return None
    paces = gauge.projected_range
    if paces is None:
        if len(gauge.days) < LEAST_DAYS:
            return f"No range yet: it takes {LEAST_DAYS} days of use, there are {len(gauge.days)}."
        return None
    if paces.earliest and paces.latest:
        if paces.earliest == paces.latest:
            return f"On {day(paces.earliest)} at every pace of the last weeks."
        return f"Between {day(paces.earliest)} and {day(paces.latest)}."
    if paces.earliest:
        until = "until they expire" if gauge.last_expiry_on else "for good"
        return f"As early as {day(paces.earliest)}; at the slowest pace they last {until}."
    return "Even at the fastest pace of the last weeks they last until they expire."


def expiring_words(gauge: Gauge) -> str | None:
    """What expires unused at the pace of the last week; None if nothing does."""
    lost = gauge.expiring
    if lost is None:
        return None
    words = (
        f"At this pace {amount(lost.credits)} credits are not used before they expire, "
        f"from {day(lost.first_on)} on."
    )
    ends = lost.runs_out_on
    if gauge.used_up_on and ends and ends != gauge.used_up_on:
        words += f" Counting that, the credits are gone on {day(ends)}."
    return words


def range_method(gauge: Gauge) -> str | None:
    """How the range came about, so that nobody takes it for more than it is."""
    paces = gauge.projected_range
    if paces is None:
        return None
    if paces.slowest_daily == paces.fastest_daily:
        return f"Range: the pace of a week did not vary in the last {paces.history_days} days."
    return (
        f"Range: of the paces of every 7 days in a row within the last {paces.history_days} days, "
        f"8 of 10 lay between {amount(paces.slowest_daily)} and {amount(paces.fastest_daily)} "
        "credits a day (use beyond the wallet included). It says how much the pace varied, not what comes."
    )


def burn_down_words(gauge: Gauge) -> str:
    """The burn-down chart in a sentence."""
    first = gauge.days[0]
    words = (
        f"{amount(first.closing)} credits were left at the end of {day(first.date)}, "
        f"{amount(gauge.balance)} at the end of {day(gauge.as_of)}."
    )
    if gauge.balance > 0 and gauge.mean_daily_use > 0:
        beyond = (
            ", those beyond the wallet included,"
            if gauge.mean_daily_use > gauge.mean_daily_burn
            else ""
        )
        words += f" At the last week’s {amount(gauge.mean_daily_use)} credits a day{beyond} "
        if gauge.used_up_on:
            words += f"they run out about {day(gauge.used_up_on)}."
        else:
            words += "they last until they expire."
    return words


def alert_words(alert: RaisedAlert) -> str:
    """What an alert says."""
    at = f" at {percent(alert.threshold)} used" if alert.threshold is not None else ""
    return {
        "pre_alert": f"Pre-alert{at}",
        "hard_cap": f"Hard cap{at}",
        "auto_purchase": "A top-up was bought automatically",
        "burst_cap": "More GPUs at once than the plan admits",
    }.get(alert.alert_type, alert.alert_type)


def _overage(gauge: Gauge) -> str:
    policy = gauge.plan.overage_policy if gauge.plan else None
    return {"bill": "; they are billed as overage", "waive": "; they are not charged"}.get(
        policy or "", ""
    )


def rate_words(found: Rate, currency: str) -> str:
    """What to do with a credit rate, by how much, and why."""
    now, wanted = found.credits_per_gpu_minute, found.recommended_multiplier
    if now is None or wanted is None:
        return f"{found.action}: {'no rate today' if now is None else 'it earned nothing to go by'}"
    words = found.action
    if found.action != "keep" and now > 0:
        words += f" by {rate(abs(wanted - now) / now)} to {amount(wanted, 3)}"
    if found.gross_margin_rate is not None:
        words += f": its credits left a margin of {rate(found.gross_margin_rate)}"
    cost, earned = found.amortized_cost_per_gpu_minute, found.revenue_per_credit
    if cost is not None and earned is not None:
        words += (
            f"; a GPU minute cost {amount(cost, 4)} {currency}, a used credit earned "
            f"{amount(earned, 4)}"
        )
    return words


def warned_words(control: str, count: int, total: Decimal) -> str:
    """How often a control warns, and what it counted; a share is not summed."""
    said = {
        "curable_share": f"{count} deliveries with more rows that wait than WARN_CURABLE_SHARE",
        "energy_price_conflicts": f"{total:,.0f} energy prices were delivered again as others",
        "market_price_missing": f"{total:,.0f} GPU days without a market price",
        "no_pool_minutes": f"{total:,.0f} GPU minutes without a pool",
        "busy_above_capacity": f"{total:,.0f} pool days with more minutes than GPUs have",
        "energy_price_missing": f"{total:,.0f} hours of sites without a delivered energy price",
        "lots_cover_pools": f"{count} pools whose lots have another number of GPUs",
        "price_is_zero": f"{count} prices in use are 0",
        "seed_edits_waiting": f"{count} edits of catalog or fleet wait for days of open cycles",
        "dedicated_without_gpus": f"{count} dedicated fees for a cluster without GPUs",
    }
    return said.get(control, f"{count} of them, {amount(total)} in all")
