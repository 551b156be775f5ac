"""The package as people install it: built, put into an empty environment, billed with elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SETTING_NAMES, differences, run_job

from orchestration.settings import PROJECT_ROOT

pytestmark = [pytest.mark.job, pytest.mark.slow]

FIRST, LAST = "2026-01-05", "2026-01-07"
PYTHONS = ("python3.11", "python3.12", "python3.13")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in SETTING_NAMES}
    kept.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


@pytest.fixture(scope="module")
def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        pytest.skip("no uv is installed: nothing builds the wheel")
    return found


@pytest.fixture(scope="module")
def wheel(uv, tmp_path_factory) -> Path:
    """Built from the files that Git has, as from a fresh checkout."""
    tree = tmp_path_factory.mktemp("tree")
    listed = run("git", "ls-files", "-z", cwd=PROJECT_ROOT).stdout
    for name in filter(None, listed.split("\0")):
        source = PROJECT_ROOT / name
        if source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tree / name)
    run(uv, "build", "--quiet", "--wheel", "--out-dir", tree / "dist", tree, cwd=tree)
    [built] = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def books_of_the_checkout(sample_feeds, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("checkout")
    done = run_job(
        [FIRST, LAST], {"DATA_DIR": data, "FEEDS_URL": sample_feeds, "BOOKS_OPEN_ON": FIRST}
    )
    assert done.returncode == 0, done.stderr
    return data / "published" / "current"


def interpreter(name: str) -> str | None:
    """A Python of that name that runs: a name on the path may be a version manager's placeholder."""
    kept = (Path.home() / ".pyenv" / "versions").glob(f"*/bin/{name}")
    for found in filter(None, (shutil.which(name), *map(str, kept))):
        if not subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode:
            return found
    return None


@pytest.mark.parametrize("name", PYTHONS)
def test_the_wheel_bills_the_sample_from_an_empty_folder(
    uv, wheel, sample_feeds, books_of_the_checkout, tmp_path, name
):
    python = interpreter(name)
    if not python:
        pytest.skip(f"{name} is not installed")
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    constraints = ("--constraints", PROJECT_ROOT / "requirements.lock")
    into = ("--python", tmp_path / "venv" / "bin" / "python")
    run(uv, "pip", "install", "--quiet", *into, wheel, *constraints, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = tmp_path / "venv" / "bin" / "gpu-credits"
    settings = {"FEEDS_URL": str(sample_feeds), "BOOKS_OPEN_ON": FIRST}
    done = run(program, "bill", FIRST, LAST, cwd=elsewhere, **settings)
    assert "Published: books as of 2026-01-07" in done.stdout
    assert differences(books_of_the_checkout, elsewhere / "data" / "published" / "current") == []
