"""What dbt promises about the published tables, in the terms of a database server: keys and readers.

Nothing is promised here that a test of the night does not hold the tables to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.publication.parts import Mart
from orchestration.publication.publish import marts_of

CUSTOMER_ID = "customer_id"

# A test of what the run rebuilt (dbt_project/macros/rebuilt.sql): the rest passed it when it was.
_REBUILT = re.compile(r"\w+ (in \(__rebuilt_(days|cycles)__\)|>= __(ledger|rebuilt)_from__)")


@dataclass(frozen=True)
class ForeignKey:
    """A column whose values all stand in a column of another table."""

    column: str
    table: str
    target: str


@dataclass(frozen=True)
class Contract:
    """A published table and what holds in it."""

    mart: Mart
    never_null: frozenset[str]
    keys: tuple[tuple[str, ...], ...]
    """Columns that identify a row together."""
    references: tuple[ForeignKey, ...]
    for_customers: tuple[str, ...]
    """The columns that a customer may read, of its own rows; none if the table is internal."""

    @property
    def primary_key(self) -> tuple[str, ...] | None:
        """The first key that is never NULL."""
        return next((key for key in self.keys if self.never_null.issuperset(key)), None)


def contracts_of(manifest: Mapping[str, Any]) -> list[Contract]:
    """The contracts of the public models of a dbt manifest, by name.

    A table is for customers when the ``meta`` of its model says ``audience: customer`` and it has a
    ``customer_id``; a column of it is not when its own ``meta`` names another audience.
    """
    marts = {mart.name: mart for mart in marts_of(manifest)}
    models = {
        node["unique_id"]: node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["name"] in marts
    }
    tests: dict[str, list[Mapping[str, Any]]] = {unique_id: [] for unique_id in models}
    for node in manifest["nodes"].values():
        if _holds_for_every_row(node) and node["attached_node"] in models:
            tests[node["attached_node"]].append(node)
    keys = {
        unique_id: tuple(key for test in found for key in _keys(test))
        for unique_id, found in tests.items()
    }
    return sorted(
        (
            Contract(
                mart=marts[model["name"]],
                never_null=frozenset(name for test in tests[id_] for name in _never_null(test)),
                keys=keys[id_],
                references=tuple(
                    ForeignKey(test["column_name"], models[target]["name"], column)
                    for test in tests[id_]
                    for target, column in _targets(test)
                    if (column,) in keys.get(target, ())
                ),
                for_customers=_for_customers(model),
            )
            for id_, model in models.items()
        ),
        key=lambda contract: contract.mart.name,
    )


def _holds_for_every_row(node: Mapping[str, Any]) -> bool:
    """Whether a test lets nothing be published over a single row that breaks it."""
    where = node["config"].get("where")
    return (
        node["resource_type"] == "test"
        and "test_metadata" in node
        and node["config"]["enabled"]
        and node["config"]["severity"].lower() == "error"
        and (not where or _REBUILT.fullmatch(where) is not None)
        and node["config"]["error_if"] == "!= 0"
    )


def _never_null(test: Mapping[str, Any]) -> list[str]:
    arguments = test["test_metadata"]["kwargs"]
    match test["test_metadata"]["name"]:
        case "key":
            return [*arguments["columns"], *arguments.get("required", ())]
        case "never_null":
            return list(arguments["columns"])
        case "not_null":
            return [test["column_name"]]
        case _:
            return []


def _keys(test: Mapping[str, Any]) -> list[tuple[str, ...]]:
    match test["test_metadata"]["name"]:
        case "key":
            return [tuple(test["test_metadata"]["kwargs"]["columns"])]
        case "unique":
            return [(test["column_name"],)]
        case _:
            return []


def _targets(test: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The model and column that hold every value of the tested column."""
    if test["test_metadata"]["name"] != "relationships":
        return []
    column = test["test_metadata"]["kwargs"]["field"]
    return [
        (target, column)
        for target in test["depends_on"]["nodes"]
        if target != test["attached_node"]
    ]


def _for_customers(model: Mapping[str, Any]) -> tuple[str, ...]:
    columns = model["columns"]
    if model["config"]["meta"].get("audience") != "customer" or CUSTOMER_ID not in columns:
        return ()
    return tuple(
        name
        for name, column in columns.items()
        if column["config"]["meta"].get("audience", "customer") == "customer"
    )
