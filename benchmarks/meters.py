"""CPU time and memory of a process and all that it started. Linux."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from benchmarks.turns import Turn, run_for


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, to the nanosecond; 0 if it has ended.

    psutil's figures come in hundredths of a second, too coarse for short rounds. The clock's number is that
    of clock_getcpuclockid(3).
    """
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def pss_bytes(pid: int) -> int:
    """Proportional set size: each page divided by how many processes share it. 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class Tree:
    """This process and its descendants, without those that are named by `leave_out`."""

    def __init__(self) -> None:
        self.leave_out: set[int] = set()

    def pids(self) -> list[int]:
        """This process first."""
        return [os.getpid(), *self.children()]

    def children(self) -> list[int]:
        """All descendants."""
        found = [child.pid for child in psutil.Process().children(recursive=True)]
        return [pid for pid in found if pid not in self.leave_out]

    def pss(self) -> int:
        """Bytes of all."""
        return sum(map(pss_bytes, self.pids()))

    def turn(self, run: Callable[[int], object], rows: int, seconds: float) -> Turn:
        """Let `run`, which steps `rows` envs each time, run for so long."""
        pids = self.pids()
        before = _cpu(pids)
        times, elapsed = run_for(run, seconds)
        used = _cpu(pids) - before
        steps = times * rows
        return Turn(steps / elapsed, used / steps * 1e6)

    def idle_percent(self, seconds: float) -> float:
        """CPU time while this process sleeps, in percent of one core."""
        pids = self.pids()
        before, start = _cpu(pids), time.perf_counter()
        time.sleep(seconds)
        return 100 * (_cpu(pids) - before) / (time.perf_counter() - start)


def _cpu(pids: Iterable[int]) -> float:
    return sum(map(cpu_seconds, pids))
