"""What `GymEnvInf` costs beside its pool: `python -m benchmarks.running_envs`. Needs torch and tensordict.

Both step the same CartPoles with the same actions, in turns, in this process; episodes end as they do. The
ratio is that of the medians of all rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import envpool_wrap

SIZES = [8, 64, 256]
ROUNDS, STEPS = 41, 100


def main() -> None:
    """A table, by number of envs and backend."""
    import torch

    torch.set_num_threads(1)
    print("| envs | backend | pool, µs a step | GymEnvInf, µs | more, µs | ratio |")
    print("|---:|---|---:|---:|---:|---:|")
    for num_envs in SIZES:
        for backend in ("inline", "process"):
            pool, inf = (statistics.median(times) for times in measured(num_envs, backend))
            times = " | ".join(f"{seconds * 1e6:.0f}" for seconds in (pool, inf, inf - pool))
            print(f"| {num_envs} | {backend} | {times} | {pool / inf:.2f} |")


def measured(num_envs: int, backend: str) -> tuple[list[float], list[float]]:
    """Seconds of a step in each round: of the pool, and of GymEnvInf."""
    import torch
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    from envpool_wrap.integrations.rlstructures import DictTensor, GymEnvInf

    settings: dict[str, Any] = {"backend": backend, "seed": 0, "infos": "none"}
    actions = np.random.default_rng(0).integers(0, 2, (STEPS, num_envs))
    policy_outputs = [DictTensor({"action": torch.from_numpy(row)}) for row in actions]
    pool = envpool_wrap.from_env_fns([CartPoleEnv] * num_envs, "gym", autoreset_mode="same_step", **settings)
    with pool, GymEnvInf([CartPoleEnv] * num_envs, **settings) as inf:
        pool.reset()
        inf.reset()
        bare: list[float] = []
        adapted: list[float] = []
        for _ in range(ROUNDS):
            bare.append(_seconds(pool.step, actions))
            adapted.append(_seconds(inf.step, policy_outputs))
    return bare[1:], adapted[1:]


def _seconds(step: Callable[[Any], Any], actions: Any) -> float:
    start = time.perf_counter()
    for action in actions:
        step(action)
    return (time.perf_counter() - start) / len(actions)


if __name__ == "__main__":
    main()
