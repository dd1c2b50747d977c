"""The main job, end to end: register, generate, compile and step two envs, next to a plain Python loop.

Shows progress bars on a terminal, plain lines elsewhere.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from half_cheetah import HalfCheetah
from my_env import MyEnv
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import envpool_wrap as envpool
from envpool_protocol import CppWrapperGenerator, EnvManager

NUM_ENVS = 16
BATCHES = 1000
ROUNDS = 10  # the loop and the pool take turns, so that both see the same machine


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere a line when the work starts and one when it ends."""
    if not sys.stdout.isatty():
        print(f"{what} ...", flush=True)
        yield lambda done: None
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
        bar.update(task, completed=total)


def generate(cls: type) -> str:
    """Register an env and compile its module."""
    EnvManager.register_env(cls)
    with progress(f"compiling {cls.__name__}", total=100) as advance:

        def report(line: str) -> None:
            step = re.match(r"\[(\d+)/(\d+)\]", line)
            advance(10 + 90 * int(step[1]) // int(step[2]) if step else 5)

        module = CppWrapperGenerator.generate_envpool_wrap(cls, report=report)
    how = "was compiled already" if module.cached else f"compiled in {module.seconds:.1f} s"
    print(f"{module.task_id} {how}")
    return module.task_id


class Loop:
    """The same envs stepped by a plain Python loop into arrays made once."""

    def __init__(self, cls: Any, max_episode_steps: int) -> None:
        self.envs = [cls(i) for i in range(NUM_ENVS)]
        self.limit, self.elapsed = max_episode_steps, [0] * NUM_ENVS
        space = self.envs[0].observation_space
        self.obs = np.zeros((NUM_ENVS, *space.shape), space.dtype)
        self.reward = np.zeros(NUM_ENVS, np.float32)
        self.done = np.zeros(NUM_ENVS, bool)
        for i, env in enumerate(self.envs):
            env._seed_envpool(i)
            self.reset(i)

    def reset(self, i: int) -> None:
        self.envs[i]._reset_envpool()
        self.obs[i] = self.envs[i]._make_obs_envpool()
        self.elapsed[i] = 0

    def step(self, actions: Any) -> None:
        for i, env in enumerate(self.envs):
            env._step_envpool(actions[i])
            self.obs[i] = env._make_obs_envpool()
            self.done[i] = env._done_envpool()
            self.reward[i] = env._reward_envpool()
            self.elapsed[i] += 1
            if self.done[i] or self.elapsed[i] >= self.limit:
                self.reset(i)


def race(cls: type, task_id: str, env_type: str, max_episode_steps: int) -> None:
    """Step a pool and the loop in turns and print steps per second of both."""
    loop = Loop(cls, max_episode_steps)
    ratios, pool_rates, loop_rates = [], [], []
    with envpool.make(task_id, env_type, num_envs=NUM_ENVS, max_episode_steps=max_episode_steps) as pool:
        pool.reset()
        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (BATCHES // ROUNDS, NUM_ENVS, *loop.envs[0].action_space.shape))
        actions = actions.astype(np.float32)
        with progress(f"stepping {task_id} ({env_type})", total=ROUNDS) as advance:
            for done in range(ROUNDS):
                loop_rates.append(rate(loop.step, actions))
                pool_rates.append(rate(pool.step, actions))
                ratios.append(pool_rates[-1] / loop_rates[-1])
                advance(done + 1)
        backend = pool.config["backend"]
    print(
        f"{task_id}, {env_type}, {NUM_ENVS} envs, {BATCHES} batches, {backend}: "
        f"{statistics.median(pool_rates):,.0f} steps/s; plain loop {statistics.median(loop_rates):,.0f}; "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def rate(step: Callable[[Any], Any], actions: Any) -> float:
    """Env steps per second over one pass through the batches of `actions`."""
    start = time.perf_counter()
    for batch in actions:
        step(batch)
    return len(actions) * NUM_ENVS / (time.perf_counter() - start)


def main() -> None:
    for cls, limit in ((MyEnv, 200), (HalfCheetah, 1000)):
        task_id = generate(cls)
        for env_type in ("gym", "dm"):
            race(cls, task_id, env_type, limit)
    print("all envs:", ", ".join(envpool.list_all_envs()))


if __name__ == "__main__":
    main()
