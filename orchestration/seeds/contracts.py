"""What every seed must look like, as ``dbt_project/models/_seeds.yml`` describes it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import yaml

from orchestration.settings import DBT_PROJECT_DIR

CONTRACTS_FILE = DBT_PROJECT_DIR / "models" / "_seeds.yml"

Row = dict[str, Any]
"""A typed row of a seed, with its line in the file as ``row``; an empty cell is None."""
Tables = Mapping[str, list[Row]]
"""The rows of every seed, by its name."""

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "at least": operator.ge,
    "at most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
    "after": operator.gt,
}


@dataclass(frozen=True)
class Bound:
    """One end of a range, as in ``at least 0`` or ``after starts_on``."""

    words: str
    limit: Decimal | str
    """A number, or another column of the row."""

    @classmethod
    def read(cls, text: str) -> Bound:
        """Read a bound as the contract spells it."""
        words, limit = text.rsplit(" ", 1)
        if words not in _HOLDS:
            raise ValueError(f"{text!r} is no bound of a range")
        return cls(words, limit if limit[0].isalpha() else Decimal(limit))

    def holds(self, value: Any, row: Row) -> bool:
        """Whether a value keeps to it; an empty column bounds nothing."""
        limit = row[self.limit] if isinstance(self.limit, str) else self.limit
        return limit is None or _HOLDS[self.words](value, limit)

    def said_of(self, row: Row) -> str:
        """The bound in words, with the value of the column that it names."""
        if isinstance(self.limit, str):
            return f"{self.words} {self.limit} ({shown(row[self.limit])})"
        return f"{self.words} {self.limit:,f}"


@dataclass(frozen=True)
class Reference:
    """Where the values of a column must stand.

    Attributes:
        by: another column, whose value says which of ``targets`` counts; None if all do.
        targets: table and column, one of which must have the value.
    """

    by: str | None
    targets: Mapping[str | None, tuple[tuple[str, str], ...]]

    @classmethod
    def read(cls, described: list[str] | dict[str, Any]) -> Reference:
        """Read a reference as the contract spells it."""
        if isinstance(described, list):
            return cls(None, {None: _columns(described)})
        targets: dict[str | None, tuple[tuple[str, str], ...]] = {
            value: _columns(names) for value, names in described.items() if value != "by"
        }
        return cls(described["by"], targets)

    def of(self, row: Row) -> tuple[tuple[str, str], ...]:
        """The targets that count for a row; none if its ``by`` column says nothing."""
        return self.targets.get(row[self.by] if self.by else None, ())


@dataclass(frozen=True)
class Condition:
    """What holds besides for the rows whose ``column`` has ``value``."""

    column: str
    value: str
    required: tuple[str, ...]
    ranges: Mapping[str, tuple[Bound, ...]]


@dataclass(frozen=True)
class SeedContract:
    """What a seed file must look like."""

    name: str
    folder: str
    types: dict[str, str]
    key: tuple[str, ...]
    required: frozenset[str]
    values: dict[str, list[str]]
    capitals: frozenset[str]
    ranges: Mapping[str, tuple[Bound, ...]]
    references: Mapping[str, Reference]
    conditions: tuple[Condition, ...]
    optional_file: bool

    @property
    def file(self) -> str:
        """Where it lies below the folder of the seeds."""
        return f"{self.folder}/{self.name}.csv"

    @property
    def is_dated(self) -> bool:
        """Whether its rows hold for a range of days, valid_to exclusive."""
        return "valid_from" in self.types

    def missing_from(self, row: Row) -> Iterator[tuple[str, str]]:
        """The columns that the row's other values ask for and that are empty, each with why."""
        for condition in self.conditions:
            if row[condition.column] == condition.value:
                for column in condition.required:
                    if row[column] is None:
                        yield column, f"{condition.column} {condition.value}"

    def bounds_on(self, row: Row) -> Iterator[tuple[str, tuple[Bound, ...]]]:
        """The columns of a row that are bounded, each with its bounds."""
        yield from self.ranges.items()
        for condition in self.conditions:
            if row[condition.column] == condition.value:
                yield from condition.ranges.items()


@cache
def seed_contracts() -> tuple[SeedContract, ...]:
    """Read the contracts of all seeds."""
    document = yaml.safe_load(CONTRACTS_FILE.read_text(encoding="utf-8"))
    return tuple(_contract(seed["name"], seed["config"]) for seed in document["seeds"])


def shown(value: Any) -> str:
    """A value as people write it in a seed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _contract(name: str, config: dict[str, Any]) -> SeedContract:
    meta, types = config["meta"], config["column_types"]
    dated = {"valid_to": "after valid_from"} if "valid_from" in types else {}
    return SeedContract(
        name=name,
        folder=meta["folder"],
        types=types,
        key=tuple(meta["key"]),
        required=frozenset(meta["required"]),
        values=meta.get("values", {}),
        capitals=frozenset(meta.get("capitals", ())),
        ranges=_ranges(dated | meta.get("ranges", {})),
        references={
            column: Reference.read(described)
            for column, described in meta.get("references", {}).items()
        },
        conditions=tuple(map(_condition, meta.get("where", ()))),
        optional_file=meta.get("optional_file", False),
    )


def _ranges(described: dict[str, str]) -> dict[str, tuple[Bound, ...]]:
    return {
        column: tuple(map(Bound.read, text.split(" and "))) for column, text in described.items()
    }


def _condition(described: dict[str, Any]) -> Condition:
    [(column, value)] = [
        item for item in described.items() if item[0] not in ("required", "ranges")
    ]
    return Condition(
        column, value, tuple(described["required"]), _ranges(described.get("ranges", {}))
    )


def _columns(names: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((table, column) for table, _, column in (name.partition(".") for name in names))
