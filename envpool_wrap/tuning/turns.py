"""Those that are compared take turns, in short rounds, so that all of them see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from envpool_wrap.tuning.meters import cpu_seconds

_BETWEEN_LOOKS = 0.001  # seconds of work between two looks at the clock
_MOST = 1_000_000  # calls between them


@dataclass(frozen=True)
class Turn:
    """What one turn brought.

    Attributes:
        rate: env-steps per second.
        cpu: CPU time per env-step of all processes that took part, in µs; None where it was not taken.
    """

    rate: float
    cpu: float | None = None


def run_for(run: Callable[[int], object], seconds: float) -> tuple[int, float]:
    """Call `run(times)` again and again for that long: how many times in all, and the seconds they took."""
    start = time.perf_counter()
    done, times = 0, 1
    while True:
        run(times)
        done += times
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done, elapsed
        times = max(1, int(min(_MOST, done / elapsed * _BETWEEN_LOOKS)))


def take_turn(run: Callable[[int], object], rows: int, seconds: float, pids: Iterable[int]) -> Turn:
    """Let `run`, which steps `rows` envs each time, run for so long; its CPU time is that of `pids`."""
    pids = list(pids)
    before = sum(map(cpu_seconds, pids))
    times, elapsed = run_for(run, seconds)
    used = sum(map(cpu_seconds, pids)) - before
    steps = times * rows
    return Turn(steps / elapsed, used / steps * 1e6)


def in_rounds(turns: Mapping[str, Callable[[], Turn]], rounds: int) -> Iterator[tuple[str, Turn]]:
    """Each of `turns` once per round, every other round in the opposite order."""
    for number in range(rounds):
        names = list(turns)
        for name in names if number % 2 == 0 else reversed(names):
            yield name, turns[name]()
