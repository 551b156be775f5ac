"""How figures, days and states read on a page."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cache

from orchestration.gauges.projection import LEAST_DAYS
from orchestration.gauges.read_models import Alert, Gauge, State

_NO_BREAK = "\u00a0"
_LINE = 60
# They turn the text that follows, so that a name could be read as another one.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

BADGES = {
    State.NEW: "No credits yet",
    State.OVERDRAWN: "Overdrawn",
    State.EMPTY: "Empty",
    State.CAPPED: "Capped",
    State.WARNING: "Getting low",
    State.IDLE: "Not in use",
    State.HEALTHY: "Healthy",
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


def amount(value: Decimal, places: int = 2) -> str:
    """A figure for people: thousands apart, rounded half away from zero, never rounded to nothing."""
    step = Decimal(1).scaleb(-places)
    rounded = value.quantize(step, ROUND_HALF_UP)
    if value and not rounded:
        return f"{'−' if value < 0 else ''}<{_NO_BREAK}{step}"
    return f"{rounded:,}".replace("-", "−")


def percent(share: Decimal) -> str:
    """A share for people, to a tenth of a per cent, never rounded up to a threshold or to all."""
    tenths = (share * 1000).to_integral_value(ROUND_FLOOR)
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
    used = percent(gauge.depletion)
    thresholds = {threshold.kind: threshold for threshold in gauge.thresholds}
    ends = gauge.plan.ends_on if gauge.plan else None
    if gauge.plan is None:
        ahead = "There is no plan."
    elif ends and ends <= gauge.as_of:
        ahead = f"The plan ended on {day(ends)}."
    else:
        ahead = f"The next cycle starts on {day(gauge.cycle_end)}."
    if gauge.state is State.NEW:
        return "No credits have been granted yet. " + ahead
    if gauge.state is State.OVERDRAWN:
        beyond = amount(gauge.overage_in_cycle)
        return (
            f"{beyond} credits were used beyond the wallet in this cycle{_overage(gauge)}. {ahead}"
        )
    if gauge.state is State.EMPTY:
        return f"No credits are left. {ahead}"
    if gauge.state is State.CAPPED:
        return (
            f"{used} of this cycle’s credits are used. From {percent(thresholds['hard_cap'].depletion)} "
            f"on, usage is capped until credits are added. {ahead}"
        )
    if gauge.state is State.WARNING:
        return f"{used} of this cycle’s credits are used. {ahead}"
    if gauge.state is State.IDLE:
        return "No credits were burned in the last 7 days, so there is no pace to project from."
    return None


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
    if gauge.projected_depletion_date and ends and ends != gauge.projected_depletion_date:
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
        "credits a day (overage included). It says how much the pace varied, not what comes."
    )


def burn_down_words(gauge: Gauge) -> str:
    """The burn-down chart in a sentence."""
    first = gauge.days[0]
    words = (
        f"{amount(first.closing)} credits were left at the end of {day(first.date)}, "
        f"{amount(gauge.balance)} at the end of {day(gauge.as_of)}."
    )
    if gauge.balance > 0 and gauge.mean_daily_burn > 0:
        words += f" At the last week’s {amount(gauge.mean_daily_burn)} credits a day "
        if gauge.projected_depletion_date:
            words += f"they run out about {day(gauge.projected_depletion_date)}."
        else:
            words += "they last until they expire."
    return words


def alert_words(alert: Alert) -> str:
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
