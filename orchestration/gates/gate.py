"""A gate: one expectation of Great Expectations over one measure of a feed's profile, as data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

Level = Literal["error", "warning"]
Check = Literal["schema", "ranges", "volume", "freshness", "unmapped_share"]
FeedKey = Literal["usage", "energy_price", "energy_mix", "gpu_price", "fx_rate"]

OPTIONAL_FIELDS = ("kind", "gpu_type", "model_family", "energy_cost", "duration_s")
"""Fields that a row of usage may do without."""


class Gate(BaseModel):
    """An entry of a suite file; ``docs/checks.md`` says how one is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    """Unique within its feed."""
    check: Check
    """The asset check that it belongs to."""
    level: Level
    promise: str
    """What holds when it passes, as the beginning of a sentence."""
    cure: str
    type: str
    """The class in ``great_expectations.expectations``."""
    kwargs: dict[str, Any]
    file: str
    limits: dict[str, Decimal | int] = {}
    """The columns in ``kwargs`` that are no measures but numbers or settings, each with its value."""

    @field_validator("kwargs")
    @classmethod
    def _exact(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """A number in place of a column stays exact; Great Expectations makes others into floats."""
        exact = {}
        for name, value in kwargs.items():
            of_pair = name in ("column_A", "column_B")
            if isinstance(value, float) and not of_pair:
                raise ValueError(
                    f"{name} is {value}, and only whole numbers are exact there: compare a pair of "
                    "columns (ExpectColumnPairValuesAToBeGreaterThanB), one of them a number"
                )
            exact[name] = str(value) if of_pair else value
        return exact

    @property
    def pair(self) -> list[str]:
        """The two columns that are compared, if any are."""
        return [self.kwargs[name] for name in ("column_A", "column_B") if name in self.kwargs]

    @property
    def measure(self) -> str:
        """The column of the profile that is judged: of two measures the one that may not be more."""
        if not self.pair:
            return str(self.kwargs.get("column"))
        return self.pair[0] if self._is_first_judged() else self.pair[-1]

    @property
    def expected(self) -> str:
        """What the measure should be, in figures."""
        if self.pair:
            one, other = (str(self.limits.get(column, column)) for column in self.pair)
            if self.type.endswith("Equal"):
                return f"equal to {other}"
            return f"at least {other}" if self._is_first_judged() else f"at most {one}"
        words = {"min_value": "at least", "max_value": "at most"}
        given = ((name, value) for name, value in self.kwargs.items() if name != "column")
        return " and ".join(f"{words.get(name, name)} {value}" for name, value in given)

    def _is_first_judged(self) -> bool:
        return self.type.endswith("Equal") or self.pair[-1] in self.limits
