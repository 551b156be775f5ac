"""docs/glossary.md: its words are those of the models and the project, and lie where it says."""

from __future__ import annotations

import re

import pytest
import yaml

from orchestration.settings import DBT_PROJECT_DIR, PROJECT_ROOT

TEXT = (PROJECT_ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
OF_BOOKS, OF_JOB = (
    re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", part, re.MULTILINE)[2:]
    for part in TEXT.split("\n## ")[1:]
)


def columns() -> dict[str, set[str]]:
    """The columns of every model, source and seed."""
    found: dict[str, set[str]] = {}
    for path in DBT_PROJECT_DIR.glob("models/**/*.yml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        sources = [table for source in document.get("sources", []) for table in source["tables"]]
        for table in [*document.get("models", []), *document.get("seeds", []), *sources]:
            names = {column["name"] for column in table.get("columns", [])}
            found.setdefault(table["name"], set()).update(names)
    return found


def said() -> str:
    """All that models, sources and seeds say: descriptions, names of tables and columns."""
    parts = [(DBT_PROJECT_DIR / "models" / "docs.md").read_text(encoding="utf-8")]
    for path in DBT_PROJECT_DIR.glob("models/**/*.yml"):
        text = path.read_text(encoding="utf-8")
        if "unit_tests:" not in text:
            parts.append(text)
    return plain(" ".join(parts))


def plain(text: str) -> str:
    return " ".join(re.sub(r"[_\-]", " ", text).lower().split())


SAID, COLUMNS = said(), columns()


@pytest.mark.parametrize("word", [word for word, _, _ in OF_BOOKS])
def test_a_word_of_the_books_is_one_of_the_models(word):
    assert re.search(rf"\b{re.escape(plain(word))}(s|es|ed)?\b", SAID)


@pytest.mark.parametrize("word", [word for word, _, _ in OF_JOB])
def test_a_word_of_the_job_is_one_of_the_project(word):
    folders = {path.name for path in (PROJECT_ROOT / "orchestration").iterdir() if path.is_dir()}
    folders |= {path.name for path in (DBT_PROJECT_DIR / "models").iterdir() if path.is_dir()}
    assert {word, f"{word}s"} & folders or re.search(rf"\b{word}s?\b", SAID)


@pytest.mark.parametrize(("word", "places"), [(word, seen) for word, _, seen in OF_BOOKS + OF_JOB])
def test_a_word_is_seen_where_it_says(word, places):
    named = re.findall(r"`([^`]+)`", places)
    assert named
    for place in named:
        table, _, column = place.partition(".")
        if "/" in place:
            assert (PROJECT_ROOT / place).exists(), place
        else:
            assert not column or column in COLUMNS[table], place
            assert table in COLUMNS, place


@pytest.mark.parametrize("words", [OF_BOOKS, OF_JOB])
def test_words_are_in_order_and_explained_in_few_words(words):
    names = [word for word, _, _ in words]
    assert names == sorted(set(names), key=str.lower)
    for word, meaning, _ in words:
        assert meaning.endswith("."), word
        assert meaning.count(". ") < 2, word
