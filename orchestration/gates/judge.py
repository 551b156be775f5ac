"""Great Expectations judges the measures of a feed; what it finds is put into sentences.

The frames are backed by Arrow, so that decimals stay decimals. The package is imported when there
is something to judge: it takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import Any

import pyarrow as pa

from orchestration.gates.gate import Gate
from orchestration.gates.measures import AMOUNT, plain
from orchestration.gates.suites import SuiteError

_STORES = {
    "expectations_store": "ExpectationsStore",
    "validation_results_store": "ValidationResultsStore",
    "checkpoint_store": "CheckpointStore",
    "validation_definition_store": "ValidationDefinitionStore",
}
_IN_MEMORY = {
    "config_version": 4,
    "stores": {
        name: {"class_name": kind, "store_backend": {"class_name": "InMemoryStoreBackend"}}
        for name, kind in _STORES.items()
    },
    **{f"{name}_name": name for name in _STORES},
    # None, for which it would make a folder outside DATA_DIR.
    "data_docs_sites": {},
    "progress_bars": {"globally": False},
    "analytics_enabled": False,
}
SHOWN = 3
"""How many of the rows that break an expectation a sentence names."""


@dataclass(frozen=True)
class Finding:
    """What came of one expectation.

    Attributes:
        passed: whether it holds.
        measured: how many rows of the profile it was judged by; 0 if there was nothing to compare.
        found: the values that break it and where, or in which range the values lie.
    """

    gate: Gate
    passed: bool
    measured: int
    found: str

    @property
    def stops(self) -> bool:
        """Whether nothing may be billed because of it."""
        return not self.passed and self.gate.level == "error"

    def __str__(self) -> str:
        gate = self.gate
        if self.passed:
            return f"{gate.name}: {self.found}"
        return (
            f"{gate.name} ({gate.level}): {gate.promise}: expected {gate.measure} {gate.expected}, "
            f"found {self.found}. {gate.cure}"
        )


def judge(gates: Sequence[Gate], profile: pa.Table) -> list[Finding]:
    """Judge a profile by the gates, in their order.

    Args:
        gates: expectations over columns of the profile.
        profile: what each row measures stands in its first column, ``of``.
    """
    _put_off("scipy.stats")
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral", project_config=_IN_MEMORY)
    frame = _with_limits(profile, gates).to_pandas(types_mapper=pd.ArrowDtype)
    batch = (
        context.data_sources.add_pandas("landing")
        .add_dataframe_asset("profile")
        .add_batch_definition_whole_dataframe("whole")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    suite = gx.ExpectationSuite("gates", [_expectation(gate, set(frame.columns)) for gate in gates])
    validated = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["of"]}
    )
    configured = ((result.expectation_config, result) for result in validated.results)
    results = {how.meta["gate"]: result for how, result in configured if how and how.meta}
    return [_finding(gate, results[gate.name], profile) for gate in gates]


def _expectation(gate: Gate, columns: set[str]) -> Any:
    """The expectation that an entry of a suite file stands for."""
    import great_expectations.expectations as gxe

    for column in gate.pair or [str(gate.kwargs.get("column"))]:
        if column not in columns:
            wrong = f"{column} is no measure; measured are {', '.join(sorted(columns))}"
            raise SuiteError(gate.file, gate.name, wrong)
    kind = getattr(gxe, gate.type, None)
    if kind is None:
        raise SuiteError(gate.file, gate.name, f"Great Expectations has no {gate.type}")
    severity = {"error": "critical", "warning": "warning"}[gate.level]
    try:
        return kind(**gate.kwargs, severity=severity, meta={"gate": gate.name})
    except ValueError as error:
        # What it says has many lines.
        wrong = f"Great Expectations does not take it: {' '.join(str(error).split())}"
        raise SuiteError(gate.file, gate.name, wrong) from None


def _put_off(name: str) -> None:
    """Have a module of a package loaded when something in it is first used.

    Great Expectations imports it for statistics that no gate asks for, and loading it takes as long
    as all the gates of a night.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    package, _, attribute = name.rpartition(".")
    sys.modules[name] = module
    spec.loader.exec_module(module)
    setattr(sys.modules[package], attribute, module)


def _with_limits(profile: pa.Table, gates: Sequence[Gate]) -> pa.Table:
    for gate in gates:
        for name, limit in gate.limits.items():
            if name not in profile.column_names:
                kind = AMOUNT if isinstance(limit, Decimal) else pa.int64()
                profile = profile.append_column(name, pa.array([limit] * profile.num_rows, kind))
    return profile


def _finding(gate: Gate, result: Any, profile: pa.Table) -> Finding:
    if "element_count" not in result.result:
        # An expectation that cannot be judged does not hold.
        return Finding(gate, False, 0, f"nothing that can be judged: {result.exception_info}")
    broken = result.result["unexpected_index_list"]
    if broken:
        named = [f"{plain(row[gate.measure])} for {row['of']}" for row in broken[:SHOWN]]
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        return Finding(gate, False, len(broken), ", ".join(named) + more)
    values = [value for value in profile[gate.measure].to_pylist() if value is not None]
    if not values:
        return Finding(gate, bool(result.success), 0, "nothing to compare yet")
    low, high = min(values), max(values)
    found = plain(low) if low == high else f"{plain(low)} to {plain(high)}"
    return Finding(gate, bool(result.success), len(values), found)
