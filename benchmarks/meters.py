"""CPU time and memory of a process and all that it started. Linux."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

from envpool_wrap.tuning.meters import cpu_seconds, pss_bytes
from envpool_wrap.tuning.turns import Turn, take_turn


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
        return take_turn(run, rows, seconds, self.pids())

    def idle_percent(self, seconds: float) -> float:
        """CPU time while this process sleeps, in percent of one core."""
        pids = self.pids()
        before, start = sum(map(cpu_seconds, pids)), time.perf_counter()
        time.sleep(seconds)
        return 100 * (sum(map(cpu_seconds, pids)) - before) / (time.perf_counter() - start)
