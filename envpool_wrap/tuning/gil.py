"""Whether envs release the GIL: two of them stepped by two threads at once, against one alone.

Beside them, work that never holds it shows what a second core is worth at that moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

from envpool_wrap.tuning.turns import run_for

ROUNDS = 4
_DATA = bytes(1 << 16)
_SWITCH = 0.0005  # seconds that a thread keeps the GIL from others: little beside a turn

Run = Callable[[int], object]


def side_by_side(runs: Sequence[Run], seconds: float) -> tuple[list[float], list[float]]:
    """What two threads gain, and what hashing gains from a second core, one value per round.

    1: as much as one alone; 2: twice that.

    Args:
        runs: two functions that step an env of their own so many times.
        seconds: for all rounds together.
    """
    each = seconds / (ROUNDS * 5)
    with _switching_often():
        rounds = [(_gain(runs, runs, each), _gain([_hash] * 2, [_hash], each)) for _ in range(ROUNDS)]
    return [envs for envs, _ in rounds], [hashing for _, hashing in rounds]


def _gain(runs: Sequence[Run], alone: Sequence[Run], seconds: float) -> float:
    return _rate(runs, seconds) / mean(_rate([run], seconds) for run in alone)


def _rate(runs: Sequence[Run], seconds: float) -> float:
    """Calls per second of all together, each in a thread of its own, from a common start to the last end."""
    started = threading.Barrier(len(runs))

    def go(run: Run) -> tuple[int, float, float]:
        started.wait()
        start = time.perf_counter()
        times, elapsed = run_for(run, seconds)
        return times, start, start + elapsed

    with ThreadPoolExecutor(len(runs)) as threads:
        taken = list(threads.map(go, runs))
    first, last = min(start for _, start, _ in taken), max(end for _, _, end in taken)
    return sum(times for times, _, _ in taken) / (last - first)


@contextlib.contextmanager
def _switching_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _hash(times: int) -> None:
    for _ in range(times):
        hashlib.sha256(_DATA).digest()
