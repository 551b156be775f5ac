"""The machine that figures were measured on, by what it has; never by its name."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str | int | float]:
    """Cores, memory, operating system and versions, and how busy the machine is by now."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    memory = Path("/proc/meminfo").read_text(encoding="utf-8")
    system = Path("/etc/os-release").read_text(encoding="utf-8")
    return {
        "processor": _found(r"model name\s*:\s*(.+)", cpu) or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gb": round(int(_found(r"MemTotal:\s+(\d+)", memory)) / 2**20),
        "system": _found(r'PRETTY_NAME="(.+)"', system),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        **{name: version(name) for name in ("duckdb", "dbt-core", "dagster", "pyarrow")},
        "load_at_start": round(os.getloadavg()[0], 1),
    }


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else ""
