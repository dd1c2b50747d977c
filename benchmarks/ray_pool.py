"""Pools in Ray actors beside the way of RayEnvWrapper, with 2 actors of 32 envs each.

    python -m benchmarks.ray_pool                     CartPole as gymnasium makes it
    python -m benchmarks.ray_pool --env pixels        an env of benchmarks/envs.py

They take turns in short rounds, and ratios are those of one round. A markdown table goes to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import statistics
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.envs import ENVS
from envpool_wrap.tuning.turns import in_rounds, take_turn

ACTORS, ENVS_EACH = 2, 32
ROWS = ACTORS * ENVS_EACH
Step = Callable[[Any], Any]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="CartPole-v1", choices=["CartPole-v1", *ENVS])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import ray

    ray.init(num_cpus=4 * ACTORS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    make_env = functools.partial(_make, options.env)
    contenders = {name: make(make_env) for name, make in CONTENDERS.items()}
    print(
        f"{options.env}, {ACTORS} actors of {ENVS_EACH} envs\n\n{_table(contenders, make_env, options)}",
        end="",
    )
    ray.shutdown()


def _make(env: str, row: int) -> Any:
    if env in ENVS:
        return ENVS[env].as_gymnasium(row)
    import gymnasium

    return gymnasium.make(env)


# ---- who is measured: each makes `step(actions)` ----


class Dummy:
    """The actor of RayEnvWrapper: a DummyVecEnv."""

    def __init__(self, make_env: Callable[[int], Any], rows: range) -> None:
        from stable_baselines3.common.vec_env import DummyVecEnv

        self.envs = DummyVecEnv([functools.partial(make_env, row) for row in rows])

    def reset(self) -> Any:
        """What the first reset returns."""
        return self.envs.reset()

    def step(self, actions: Any) -> Any:
        """One object: obs, rewards, dones, infos."""
        return self.envs.step(actions)


def wrapper_way(make_env: Callable[[int], Any]) -> Step:
    """A call and an object per actor and step; all are waited for, taken one by one and stacked."""
    import ray

    host: Any = ray.remote(num_cpus=0)(Dummy)
    shares = [slice(first, first + ENVS_EACH) for first in range(0, ROWS, ENVS_EACH)]
    actors = [host.remote(make_env, range(share.start, share.stop)) for share in shares]
    ray.get([actor.reset.remote() for actor in actors])

    def step(actions: Any) -> Any:
        pending = {
            actor.step.remote(actions[share]): number
            for number, (actor, share) in enumerate(zip(actors, shares, strict=True))
        }
        ready, _ = ray.wait(list(pending), num_returns=len(pending))
        results: list[Any] = [None] * len(pending)
        for reference in ready:
            results[pending[reference]] = ray.get(reference)
        obs, rewards, dones, infos = zip(*results, strict=True)
        return np.concatenate(obs), np.concatenate(rewards), np.concatenate(dones), [*itertools.chain(*infos)]

    return step


def ours(make_env: Callable[[int], Any], fast: bool = True) -> Step:
    """A `RayEnvPool`, with actors on this node asked as such, or as those of other nodes are."""
    from envpool_wrap.actors import lanes
    from envpool_wrap.integrations.ray import RayEnvPool

    with contextlib.ExitStack() as undo:
        if not fast:
            undo.enter_context(mock.patch.object(lanes, "lane_to", lambda actor, *_: lanes.CallLane(actor)))
        pool = RayEnvPool(make_env, ACTORS, ENVS_EACH, autoreset_mode="same_step")
    pool.reset()
    return pool.step


def ours_for_sb3(make_env: Callable[[int], Any]) -> Step:
    """A `WrapperRayVecEnv`: what RayEnvWrapper returns, info dicts included."""
    from envpool_wrap.integrations.ray import WrapperRayVecEnv

    env = WrapperRayVecEnv(make_env, ACTORS, ENVS_EACH)
    env.reset()
    return env.step  # type: ignore[no-any-return]


def empty_calls(make_env: Callable[[int], Any]) -> Step:
    """What Ray alone takes for a call of each actor that does nothing."""
    import ray

    class Idle:
        def answer(self) -> None:
            pass

    host: Any = ray.remote(num_cpus=0)(Idle)
    actors = [host.remote() for _ in range(ACTORS)]
    return lambda actions: ray.get([actor.answer.remote() for actor in actors])


def half_of_it_here(make_env: Callable[[int], Any]) -> Step:
    """One actor's share, stepped by a pool in this process: less no step can take."""
    import envpool_wrap

    fns = [functools.partial(make_env, row) for row in range(ENVS_EACH)]
    pool = envpool_wrap.from_env_fns(fns, "gym", backend="inline", autoreset_mode="same_step")
    pool.reset()
    return lambda actions: pool.step(actions[:ENVS_EACH])


CONTENDERS: dict[str, Callable[[Callable[[int], Any]], Step]] = {
    "RayEnvWrapper's way": wrapper_way,
    "RayEnvPool": ours,
    "WrapperRayVecEnv": ours_for_sb3,
    "RayEnvPool, as between nodes": functools.partial(ours, fast=False),
    "*empty calls*": empty_calls,
    "*one actor's envs, here*": half_of_it_here,
}


def _table(contenders: dict[str, Step], make_env: Callable[[int], Any], options: Any) -> str:
    space = make_env(0).action_space
    space.seed(0)
    batches = itertools.cycle([np.stack([space.sample() for _ in range(ROWS)]) for _ in range(16)])

    def turn(step: Step) -> Any:
        def run(times: int) -> None:
            for _ in range(times):
                step(next(batches))

        return lambda: take_turn(run, ROWS, options.seconds, [os.getpid()])

    turns = {name: turn(step) for name, step in contenders.items()}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for name, its in in_rounds(turns, options.rounds):
        rates[name].append(its.rate)
    base = rates["RayEnvWrapper's way"]
    lines = ["| | µs per step of all envs | env-steps/s | × RayEnvWrapper's way |", "|---|---:|---:|---:|"]
    for name, own in rates.items():
        rate = statistics.median(own)
        ratios = [one / other for one, other in zip(own, base, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        lines.append(f"| {name} | {ROWS / rate * 1e6:.0f} | {rate:,.0f} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
