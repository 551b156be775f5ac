"""docs/quickstart.md: its commands run one after the other, and print what stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SETTING_NAMES

from orchestration.settings import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
_PROGRAMS = {"gpu-credits": "-m gpu_credits", "python": ""}


@pytest.fixture
def shell(tmp_path) -> dict[str, str]:
    """The environment of somebody who installed the project: its command and its Python are there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in _PROGRAMS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        program.chmod(0o755)
    dropped = {*SETTING_NAMES, "ENV_FILE", "DAGSTER_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PATH": f"{programs}:{kept['PATH']}", "PYTHONPATH": str(PROJECT_ROOT)}


@pytest.mark.job
@pytest.mark.slow
def test_its_commands_print_what_it_says(shell, tmp_path):
    folder, said, run = tmp_path / "elsewhere", "", []
    folder.mkdir()
    for kind, block in BLOCKS:
        if kind == "text":
            printed = [_plain(line) for line in said.splitlines()]
            for line in block.splitlines():
                assert _plain(line) in printed, f"after {run[-1]}, expected {line!r} in\n{said}"
            said = ""
            continue
        for line in block.splitlines():
            folder, output = _run(line, folder, shell, tmp_path / "cwd")
            said += output
            run.append(line)
    assert {line.split()[1] for line in run if line.startswith("gpu-credits")} == {
        "init",
        "check",
        "bill",
        "explain",
        "replay",
    }


def _plain(line: str) -> str:
    """A line without what only aligns it, such as a space that does not break."""
    return " ".join(line.split())


def _run(line: str, folder: Path, shell: dict[str, str], cwd: Path) -> tuple[Path, str]:
    """Run a line in a folder; returns the folder it leads to, and what it printed."""
    done = subprocess.run(
        ["bash", "-c", f"{line}\nstatus=$?; pwd > {shlex.quote(str(cwd))}; exit $status"],
        cwd=folder,
        env=shell,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return Path(cwd.read_text().strip()), done.stdout
