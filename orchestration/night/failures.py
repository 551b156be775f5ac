"""What failed in a run of the job: read from its events, put into sentences that name a cure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PARTITION = "dagster/partition"
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_PUBLISHED = ("published", "marts")


@dataclass(frozen=True)
class FailedRun:
    """A run that did not succeed.

    Attributes:
        first: the first delivery day asked for; "" if the run had none.
        last: the last one.
        problems: failed checks, then failed steps, each as a sentence.
        has_published: whether it published before it failed; None if that is not known.
    """

    run_id: str
    first: str
    last: str
    problems: tuple[str, ...]
    has_published: bool | None = False

    @property
    def title(self) -> str:
        """One line that says what failed."""
        if not self.first:
            return "GPU credit billing failed"
        days = self.first if self.first == self.last else f"{self.first} to {self.last}"
        return f"GPU credit billing failed for deliveries {days}"

    @property
    def outcome(self) -> str:
        """What readers see now."""
        if self.has_published:
            return "The books were published; what follows on them did not succeed."
        if self.has_published is None:
            return "Whether it published is not known; the manifest of published/current says it."
        return "Not published; what was published before stays as it was."

    @property
    def message(self) -> str:
        """All that someone needs who has to put it right."""
        problems = "\n".join(f"- {problem}" for problem in self.problems) or "- no reason is known"
        again = (
            f"make bill FROM={self.first} TO={self.last}, or the same days in the Dagster UI"
            if self.first
            else "start the run again in the Dagster UI"
        )
        return (
            f"{self.outcome}\n\nRun {self.run_id}\n{problems}\n\n"
            f"Put right what is named, then: {again}."
        )


def published_by(published_dir: Path) -> str | None:
    """The run whose books readers see now; "" if nothing is published, None if that cannot be read."""
    try:
        manifest = json.loads((published_dir / "current" / "manifest.json").read_text("utf-8"))
        return str(manifest["run_id"])
    except FileNotFoundError:
        return None if (published_dir / "current").is_symlink() else ""
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def failed_run(
    run_id: str, tags: Mapping[str, str], events: Iterable[Any], published_dir: Path | None = None
) -> FailedRun:
    """What failed in a run.

    Args:
        tags: the run's; they say which delivery days it was asked for.
        events: its Dagster events.
        published_dir: where its books are published; without it, whether it published is known only
            if its events say that it did, or never began to.
    """
    checks: list[str] = []
    bare: list[str] = []
    steps: list[str] = []
    whole: list[str] = []
    has_published = began_to_publish = False
    for event in events:
        kind = event.event_type_value
        if kind == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity.value == "ERROR":
                named = f"check {check.check_name} of {'/'.join(check.asset_key.path)} failed"
                if check.description:
                    checks.append(f"{named}: {check.description}")
                else:
                    bare.append(named)
        elif kind == "STEP_FAILURE":
            steps += _step_problem(event)
        elif kind == "STEP_START":
            began_to_publish |= event.step_key == "__".join(_PUBLISHED)
        elif kind == "ASSET_MATERIALIZATION":
            has_published |= tuple(event.asset_key.path) == _PUBLISHED
        elif kind == "PIPELINE_FAILURE" and event.message:
            whole.append(event.message)
    # The switch comes before the event that tells of it: between them, the run may have died.
    unsure = began_to_publish and not has_published
    seen = published_by(published_dir) if unsure and published_dir else None
    # A test of dbt says only that it failed; the step that it stopped says of what.
    problems = [*checks, *(steps or bare)] or whole
    return FailedRun(
        run_id=run_id,
        first=tags.get(_RANGE[0]) or tags.get(_PARTITION, ""),
        last=tags.get(_RANGE[1]) or tags.get(_PARTITION, ""),
        # Of a run that failed in a step, the run's own message only says that a step failed.
        problems=tuple(dict.fromkeys(problems)),
        has_published=(None if seen is None else seen == run_id) if unsure else has_published,
    )


def _step_problem(event: Any) -> list[str]:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return [failure.user_failure_data.description]
    if not failure.error:
        return []
    innermost = failure.error
    while innermost.cause:
        innermost = innermost.cause
    if innermost.cls_name == "DagsterAssetCheckFailedError":
        # The check has said so itself.
        return []
    if innermost.cls_name == "DagsterExecutionInterruptedError":
        return ["it was interrupted"]
    return [f"{event.step_key}: {innermost.message.strip()}"]
