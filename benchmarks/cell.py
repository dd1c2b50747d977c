"""One cell: an env, a number of envs and a contender, measured beside the loop and the machine's limits.

They take turns in short rounds, and the ratios are those of one round: a machine whose speed changes by the
second is the same for all of them. Runs in a process of its own (jobs.py).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.check import check
from benchmarks.contender import Contender
from benchmarks.contenders import CONTENDERS
from benchmarks.envs import ENVS
from benchmarks.limits import Bare, Ceiling, Memcpy
from benchmarks.loop import Loop
from benchmarks.meters import Tree
from envpool_wrap.tuning.turns import Turn, in_rounds

BINS_PER_OCTAVE = 4  # of the latency histogram


@dataclass(frozen=True)
class Cell:
    """What is measured, and for how long.

    Attributes:
        env, contender: names in their tables.
        num_envs, workers: how many.
        beside: the limits that take turns as well: `"ceiling"` (and lockstep), `"bare"`, `"memcpy"`.
        rounds, seconds: how many rounds, and how long each of them lasts for each that takes its turn.
        alone: seconds for which the pool is left alone, to see what it costs then, and seconds of single
            steps for the latency.
    """

    env: str
    num_envs: int
    contender: str
    workers: int = 2
    beside: tuple[str, ...] = ("ceiling",)
    rounds: int = 15
    seconds: float = 0.15
    alone: float = 2.0

    def run(self) -> dict[str, Any]:
        """What was measured: lists have a value per round, rates are env-steps/s, CPU is µs per env-step."""
        env, tree = ENVS[self.env], Tree()
        actions = env.actions(self.num_envs)
        loop = Loop(env, range(self.num_envs), CONTENDERS[self.contender].autoreset)
        before = tree.pss()
        contender = CONTENDERS[self.contender](env, self.num_envs, self.workers)
        try:
            check(contender, loop, actions)
            own, theirs = _runner(loop.step, actions), _runner(contender.step, actions)
            tree.turn(theirs, contender.rows, self.seconds)
            memory = {"pss_before": before, "pss": tree.pss(), "children": len(tree.children())}
            turns = {
                "loop": lambda: tree.turn(own, self.num_envs, self.seconds),
                "contender": lambda: tree.turn(theirs, contender.rows, self.seconds),
            }
            with contextlib.ExitStack() as limits:
                turns |= self._limits(tree, limits)
                taken = self._take_turns(turns, contender, tree)
            return {
                **{f"{name}_rate": [turn.rate for turn in those] for name, those in taken.items()},
                **{
                    f"{name}_cpu": [turn.cpu for turn in those]
                    for name, those in taken.items()
                    if those[0].cpu
                },
                **memory,
                "idle_percent": tree.idle_percent(self.alone),
                **_latency(theirs, self.alone / 2),
            }
        finally:
            contender.close()

    def _limits(self, tree: Tree, limits: contextlib.ExitStack) -> dict[str, Callable[[], Turn]]:
        """The turns of those that are asked for."""
        env = ENVS[self.env]
        turns: dict[str, Callable[[], Turn]] = {}
        if "ceiling" in self.beside:
            cores = len(os.sched_getaffinity(0))
            autoreset = CONTENDERS[self.contender].autoreset
            ceiling = Ceiling(self.env, self.num_envs, min(cores, max(2, self.workers)), autoreset)
            tree.leave_out.update(ceiling.pids)
            limits.enter_context(ceiling)
            turns["ceiling"] = lambda: ceiling.turn(self.seconds)
            turns["lockstep"] = lambda: ceiling.turn(self.seconds, lockstep=True)
        if "bare" in self.beside:
            bare = Bare(env, env.actions(self.num_envs))
            turns["bare"] = lambda: tree.turn(bare.run, self.num_envs, self.seconds)
        if "memcpy" in self.beside:
            memcpy = Memcpy(env, self.num_envs)
            turns["memcpy"] = lambda: tree.turn(memcpy.run, self.num_envs, self.seconds)
        return turns

    def _take_turns(
        self, turns: dict[str, Callable[[], Turn]], contender: Contender, tree: Tree
    ) -> dict[str, list[Turn]]:
        """In each round all of them, every other time in the opposite order."""
        taken: dict[str, list[Turn]] = {name: [] for name in turns}
        if contender.restless:
            turns = {
                name: turn if name == "contender" else _stopped(tree, turn) for name, turn in turns.items()
            }
        for name, turn in in_rounds(turns, self.rounds):
            taken[name].append(turn)
        return taken


def _runner(step: Callable[[Any], Any], actions: Any) -> Callable[[int], None]:
    batches = itertools.cycle(actions)

    def run(times: int) -> None:
        for _ in range(times):
            step(next(batches))

    return run


def _stopped(tree: Tree, turn: Callable[[], Turn]) -> Callable[[], Turn]:
    """The turn, with the contender's processes stopped."""

    def stopped_turn() -> Turn:
        with _stop(tree.children()):
            return turn()

    return stopped_turn


@contextlib.contextmanager
def _stop(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _latency(run: Callable[[int], None], seconds: float) -> dict[str, Any]:
    """How long single steps take: percentiles in µs, and a histogram of equal ratios, {bin: count}."""
    times: list[int] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter_ns()
        run(1)
        times.append(time.perf_counter_ns() - start)
    microseconds = np.array(times) / 1e3
    bins, counts = np.unique(
        np.floor(BINS_PER_OCTAVE * np.log2(microseconds)).astype(int), return_counts=True
    )
    return {
        "latency_us": {str(p): float(np.percentile(microseconds, p)) for p in (50, 90, 99, 99.9)},
        "latency_bins": {str(at): int(count) for at, count in zip(bins, counts, strict=True)},
    }
