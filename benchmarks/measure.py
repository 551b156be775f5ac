"""What a command takes: wall and CPU seconds, and the most memory, with everything it starts.

CPU is the kernel's account of the process and its children. Memory is looked at every 50 ms: the
resident sets of the whole tree at one moment, or the largest one ever held by a single process,
whichever is more. Linux only.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.settings import PROJECT_ROOT

_EVERY_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(RuntimeError):
    """A measured command failed; the message ends with what it said."""


@dataclass(frozen=True)
class Measured:
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_mb: int
    said: str
    trace: list[tuple[float, float]] = field(repr=False, default_factory=list)
    """Moments (seconds since the epoch) and the CPU seconds spent by then."""

    def cpu_between(self, start: float, end: float) -> float:
        """CPU seconds between two moments, to about a hundredth of a second."""
        return self._cpu_at(end) - self._cpu_at(start)

    def _cpu_at(self, moment: float) -> float:
        at = bisect_left(self.trace, (moment, 0.0))
        if at in (0, len(self.trace)):
            return self.trace[min(at, len(self.trace) - 1)][1] if self.trace else 0.0
        (t0, cpu0), (t1, cpu1) = self.trace[at - 1], self.trace[at]
        return cpu0 + (cpu1 - cpu0) * (moment - t0) / (t1 - t0)


def measure(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a command to its end and say what it took.

    Raises:
        Failed: it did not end with status 0.
    """
    trace: list[tuple[float, float]] = []
    peak_kb = 0
    done = threading.Event()

    def watch(pid: int) -> None:
        nonlocal peak_kb
        while not done.is_set():
            held, largest, cpu = _looked_at(pid)
            peak_kb = max(peak_kb, held, largest)
            trace.append((time.time(), cpu))
            done.wait(_EVERY_SECONDS)

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=PROJECT_ROOT,
            env=dict(os.environ, **(environment or {})),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        watcher = threading.Thread(target=watch, args=(process.pid,))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise Failed(
            f"{' '.join(map(str, command))} ended with {process.returncode}:\n{text[-3000:]}"
        )
    # Of a process that is gone there is nothing to see, so a look may be lower than one before it.
    for n in range(1, len(trace)):
        trace[n] = (trace[n][0], max(trace[n][1], trace[n - 1][1]))
    # A JVM is left to itself by who started it, so it is in no account but what was seen of it.
    cpu_s = max(used.ru_utime + used.ru_stime, trace[-1][1])
    return Measured(wall_s, cpu_s, peak_kb >> 10, text, trace)


def _looked_at(root: int) -> tuple[int, int, float]:
    """Of a process and all below it: memory held now, the most one ever held (kB), CPU seconds."""
    held, largest, ticks = 0, 0, 0
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            numbers = (
                Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            )
            children = [
                child.read_text(encoding="utf-8")
                for child in Path(f"/proc/{pid}/task").glob("*/children")
            ]
        except OSError:
            continue
        now, ever = (_kb(name, status) for name in ("VmRSS", "VmHWM"))
        held, largest = held + now, max(largest, ever)
        # Of itself, and of the children that it has waited for.
        ticks += sum(map(int, numbers[11:15]))
        waiting += [int(child) for listed in children for child in listed.split()]
    return held, largest, ticks / _TICKS


def _kb(name: str, status: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) if found else 0
