"""Every field of every feed and seed in words, written from what the job itself goes by: ``docs/inputs.md``.

The seeds' columns come from their contract (``dbt_project/models/_seeds.yml``), their examples from the
sample's seeds; the fields of feeds from ``landing.fields``. ``python -m orchestration.inputs_page`` writes
those parts of the page anew (``make inputs``); a test fails while they say something else.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from orchestration.landing.fields import ALL_FIELDS, USAGE_FIELDS, FeedFields
from orchestration.seeds.contracts import (
    CONTRACTS_FILE,
    Bound,
    Reference,
    SeedContract,
    seed_contracts,
)
from orchestration.settings import PROJECT_ROOT, SAMPLE_SEEDS_DIR

PAGE = PROJECT_ROOT / "docs" / "inputs.md"

_DOC_BLOCK = re.compile(r"{% docs (\w+) %}\s*(.*?)\s*{% enddocs %}", re.DOTALL)
_DOC = re.compile(r"{{ doc\('(\w+)'\) }}")
_KINDS = {
    "string": "text",
    "int": "whole number",
    "date": "day",
    "timestamp": "time, with its offset",
    "boolean": "true or false",
}
_EXAMPLE_ROWS = 2


def inputs_page(text: str) -> str:
    """The page with its parts about feeds and seeds written anew; what people wrote around them stays."""
    for name, parts in (
        ("feeds", map(feed_part, ALL_FIELDS)),
        ("seeds", seed_parts(SAMPLE_SEEDS_DIR)),
    ):
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if text.count(begin) != 1:
            raise ValueError(f"{PAGE.name} must have one {begin.strip()}, and an end after it")
        before, _, rest = text.partition(begin)
        text = before + begin + "\n".join(parts) + end + rest.partition(end)[2]
    return text


def feed_part(feed: FeedFields, heading: str = "###") -> str:
    """What a feed's files and fields are, with rows that may be delivered."""
    examples = _examples_of(feed)
    rows = [
        _row(f"`{name}`", field.kind, feed.needed.get(name, ""), field.meaning, examples[name])
        for name, field in feed.fields.items()
    ]
    return "\n".join(
        [
            f"{heading} {feed.files}\n",
            f"{feed.asked_for} {feed.rows}\n",
            _row("field", "type", "needed", "what it means", "example"),
            _row(*["---"] * 5),
            *rows,
            f"\n```{'jsonl' if feed is USAGE_FIELDS else 'csv'}\n{feed.example}```\n",
        ]
    )


def seed_parts(seeds: Path, heading: str = "###") -> Iterator[str]:
    """What each seed and its columns are, with the first rows that a folder of seeds has of it."""
    described = yaml.safe_load(CONTRACTS_FILE.read_text(encoding="utf-8"))["seeds"]
    for contract, seed in zip(seed_contracts(), described, strict=True):
        file = seeds / contract.file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        examples = _first_values(csv.DictReader(lines))
        rows = [
            _row(
                f"`{column['name']}`",
                _kind_of(contract, column["name"]),
                _needed(contract, column["name"]),
                _meaning(contract, column),
                examples.get(column["name"], ""),
            )
            for column in seed["columns"]
        ]
        absent = " The file may be absent." if contract.optional_file else ""
        key = ", ".join(f"`{name}`" for name in contract.key)
        dated = "; rows of one key may not hold on the same day" if contract.is_dated else ""
        yield "\n".join(
            [
                f"{heading} {contract.file}\n",
                f"{seed['description']} Key: {key}{dated}.{absent}\n",
                _row("column", "type", "needed", "what it means", "example"),
                _row(*["---"] * 5),
                *rows,
                "\n```csv",
                ",".join(contract.types),
                *lines[1 : 1 + _EXAMPLE_ROWS],
                "```\n",
            ]
        )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _examples_of(feed: FeedFields) -> dict[str, str]:
    lines = feed.example.splitlines()
    if feed is not USAGE_FIELDS:
        return _first_values(csv.DictReader(lines))
    events = [json.loads(line) for line in lines]
    return _first_values(
        {key: value for key, value in event.items() if key != "metadata"}
        | {f"metadata.{key}": value for key, value in event["metadata"].items()}
        for event in events
    )


def _first_values(rows: Any) -> dict[str, str]:
    """An example of each column: its first value."""
    found: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            if value not in (None, ""):
                found.setdefault(name, f"`{value}`")
    return found


def _kind_of(contract: SeedContract, column: str) -> str:
    kind = contract.types[column]
    if kind in _KINDS:
        return _KINDS[kind]
    return f"number, {kind.removesuffix(')').rpartition(' ')[2]} decimals"


def _needed(contract: SeedContract, column: str) -> str:
    if column in contract.required:
        return "yes"
    return ", ".join(
        f"if {condition.column} is {condition.value}"
        for condition in contract.conditions
        if column in condition.required
    )


def _meaning(contract: SeedContract, column: Mapping[str, str]) -> str:
    """A column's description, then what its contract demands of its values."""
    name = column["name"]
    sentences = [_DOC.sub(lambda found: _doc_blocks()[found[1]], column["description"])]
    if values := contract.values.get(name):
        sentences.append(f"One of {', '.join(values)}.")
    if bounds := contract.ranges.get(name):
        words = _in_words(bounds)
        sentences.append(f"{words[0].upper()}{words[1:]}.")
    for condition in contract.conditions:
        if bounds := condition.ranges.get(name):
            rows = f"If {condition.column} is {condition.value}"
            sentences.append(f"{rows}: {_in_words(bounds)}.")
    if reference := contract.references.get(name):
        sentences.append(f"As in {_places(reference)}.")
    if name in contract.capitals:
        sentences.append("In capitals.")
    return " ".join(sentences)


def _in_words(bounds: tuple[Bound, ...]) -> str:
    return " and ".join(
        f"{bound.words} "
        + (f"`{bound.limit}`" if isinstance(bound.limit, str) else f"{bound.limit:,f}")
        for bound in bounds
    )


def _places(reference: Reference) -> str:
    folders = {contract.name: contract.folder for contract in seed_contracts()}
    places = (
        f"{folders[table]}/{table}"
        for targets in reference.targets.values()
        for table, _ in targets
    )
    return " or ".join(dict.fromkeys(places))


@cache
def _doc_blocks() -> dict[str, str]:
    """What the blocks of docs.md say, by name, on a line each."""
    text = CONTRACTS_FILE.with_name("docs.md").read_text(encoding="utf-8")
    return {name: " ".join(said.split()) for name, said in _DOC_BLOCK.findall(text)}


if __name__ == "__main__":
    PAGE.write_text(inputs_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
