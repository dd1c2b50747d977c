"""Steps per second of pools, as ratios to a plain Python loop over the same envs, in one run.

    python benchmarks/throughput.py                 the table of RESULTS.md
    python benchmarks/throughput.py --memory        ten million steps: growth of RSS and of references

The loop and the pool take turns in short rounds, so that both see the same machine; a figure is the median of
the rounds' ratios, with the least and the greatest. The loop writes obs, reward and flags into arrays made
once, and resets in the same step.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from envs import ENVS, Noop

import envpool_wrap
from envpool_protocol import CppWrapperGenerator, EnvManager

ROUNDS = 15
SECONDS = 0.15  # of one round
CONFIGS: tuple[dict[str, Any], ...] = (
    {"backend": "inline"},
    {"backend": "thread", "num_threads": 2},
    {"backend": "process", "num_threads": 2},
)


class Loop:
    """A plain loop over envs."""

    def __init__(self, cls: Any, num_envs: int) -> None:
        self.envs = [cls(i) for i in range(num_envs)]
        for env in self.envs:
            env._reset_envpool()
        space = self.envs[0].observation_space
        self.obs = np.zeros((num_envs, *space.shape), space.dtype)
        self.reward = np.zeros(num_envs, np.float32)
        self.done = np.zeros(num_envs, bool)

    def step(self, actions: Any) -> None:
        for i, env in enumerate(self.envs):
            env._step_envpool(actions[i])
            self.obs[i] = env._make_obs_envpool()
            self.reward[i] = env._reward_envpool()
            self.done[i] = env._done_envpool()
            if self.done[i]:
                env._reset_envpool()
                self.obs[i] = env._make_obs_envpool()


def seconds_of(step: Callable[[Any], Any], actions: Any, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        step(actions)
    return time.perf_counter() - start


def compare(name: str, num_envs: int, config: dict[str, Any]) -> list[float]:
    """The ratio of the pool to the loop, round by round."""
    cls = ENVS[name]
    loop = Loop(cls, num_envs)
    actions = np.random.default_rng(0).integers(2, size=num_envs)
    ratios = []
    with envpool_wrap.make(f"{cls.__name__}_wrap", "gym", num_envs=num_envs, **config) as pool:
        pool.reset()
        times = max(1, int(SECONDS / (seconds_of(loop.step, actions, 20) / 20)))
        seconds_of(pool.step, actions, times)
        for _ in range(ROUNDS):
            plain = seconds_of(loop.step, actions, times)
            ratios.append(plain / seconds_of(pool.step, actions, times))
    return ratios


def table() -> None:
    for cls in ENVS.values():
        EnvManager.register_env(cls)
        CppWrapperGenerator.generate_envpool_wrap(cls)
    print("| env | envs | inline | thread × 2 | process × 2 |\n|---|---:|---:|---:|---:|")
    for name in ENVS:
        for num_envs in (8, 64):
            cells = []
            for config in CONFIGS:
                ratios = compare(name, num_envs, config)
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
            print(f"| {name} | {num_envs} | {' | '.join(cells)} |", flush=True)
    for force in (True, False):
        module = CppWrapperGenerator.generate_envpool_wrap(Noop, force=force)
        print(f"{'cold' if force else 'cached'} generation: {module.seconds:.3f} s")


def memory(steps: int = 10_000_000, num_envs: int = 64) -> None:
    """Growth over `steps` env steps, after a tenth of them to warm up."""
    CppWrapperGenerator.generate_envpool_wrap(Noop)
    process = psutil.Process()
    actions = np.zeros(num_envs, np.int64)
    with envpool_wrap.make("Noop_wrap", "gym", num_envs=num_envs) as pool:
        pool.reset()
        batches = steps // num_envs
        seconds_of(pool.step, actions, batches // 10)
        obs = pool.get_attr("obs")[0]
        gc.collect()
        rss, references = process.memory_info().rss, sys.getrefcount(obs)
        seconds = seconds_of(pool.step, actions, batches)
        gc.collect()
        grown = process.memory_info().rss - rss
        held = sys.getrefcount(obs) - references
    print(f"{steps:,} steps in {seconds:.1f} s: RSS grew {grown / 2**20:.2f} MiB, references by {held}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true")
    memory() if parser.parse_args().memory else table()
