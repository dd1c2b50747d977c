"""Whether envs release the GIL: two of them stepped by two threads at once, against one alone.

Beside them, work that never holds it shows what a second core is worth at that moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

from envpool_wrap.tuning.turns import run_for

ROUNDS = 5
_DATA = bytes(1 << 16)

Run = Callable[[int], object]


def side_by_side(runs: Sequence[Run], seconds: float) -> tuple[list[float], list[float]]:
    """What the threads gain, and what hashing gains from a second core, one value per round.

    1: as much as one alone; 2: twice that.

    Args:
        runs: two functions that step an env of their own so many times.
        seconds: for all rounds together.
    """
    each = seconds / (ROUNDS * 6)
    rounds = [(_gain(runs, each), _gain([_hash, _hash], each)) for _ in range(ROUNDS)]
    return [envs for envs, _ in rounds], [hashing for _, hashing in rounds]


def _gain(runs: Sequence[Run], seconds: float) -> float:
    alone = mean(_rate([run], seconds) for run in runs)
    return _rate(runs, seconds) / alone


def _rate(runs: Sequence[Run], seconds: float) -> float:
    """Calls per second of all, each in a thread of its own."""
    with ThreadPoolExecutor(len(runs)) as threads:
        taken = threads.map(lambda run: run_for(run, seconds), runs)
        return sum(times / elapsed for times, elapsed in taken)


def _hash(times: int) -> None:
    for _ in range(times):
        hashlib.sha256(_DATA).digest()
