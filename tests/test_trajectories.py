"""The same numbers everywhere: on each backend, with any number of workers and any batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from envs import Counting, Pole, WalkEnv
from hypothesis import given, settings
from hypothesis import strategies as st

import envpool_wrap


def by_hand(cls: Any, env_id: int, seed: int, actions: list[Any], limit: int | None) -> list[Any]:
    """The rows of one env, stepped in a plain loop: a reset and then one row per action."""
    env = cls(env_id)
    env._seed_envpool(seed)
    env._reset_envpool()
    rows = [(env._make_obs_envpool().tolist(), 0.0, False, False, 0)]
    elapsed, over = 0, False
    for action in actions:
        if over:
            env._reset_envpool()
            elapsed, over = 0, False
            rows.append((env._make_obs_envpool().tolist(), 0.0, False, False, 0))
            continue
        elapsed += 1
        env._step_envpool(action)
        obs, terminated = env._make_obs_envpool().tolist(), env._done_envpool()
        truncated = limit is not None and elapsed >= limit
        over = terminated or truncated
        rows.append((obs, float(np.float32(env._reward_envpool())), terminated, truncated, elapsed))
    return rows


def played(pool: Any, plans: list[Any]) -> list[list[Any]]:
    """Rows per env from its reset on; env i gets the actions of `plans[i]` one by one, when idle."""
    rows: list[list[Any]] = [[] for _ in plans]

    def take(obs: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> list[int]:
        ids = info["env_id"].tolist()
        for row, env_id in enumerate(ids):
            facts = (reward[row], terminated[row], truncated[row], info["elapsed_step"][row])
            rows[env_id].append((obs[row].tolist(), *(fact.item() for fact in facts)))
        return ids

    if not pool.stats()["in_flight"]:
        pool.async_reset()
    while pool.stats()["in_flight"]:
        ids = [i for i in take(*pool.recv()) if len(rows[i]) <= len(plans[i])]
        if ids:
            pool.send(np.array([plans[i][len(rows[i]) - 1] for i in ids]), ids)
    return rows


STEPS = {Counting: 12, WalkEnv: 12, Pole: 30}  # several episodes; a pole falls after some twenty steps


def plans_of(cls: Any, seed: int, num_envs: int) -> list[Any]:
    """Actions for each env."""
    rng, steps = np.random.default_rng(seed), STEPS[cls]
    return [
        rng.uniform(-1, 1, (steps, 1)).astype(np.float32) if cls is Counting else rng.integers(0, 2, steps)
        for _ in range(num_envs)
    ]


@pytest.mark.parametrize("cls", STEPS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_where_and_how_an_env_runs_changes_its_trajectory(task_id: Any, cls: Any, data: Any) -> None:
    num_envs = data.draw(st.integers(1, 6), "num_envs")
    backend = data.draw(st.sampled_from(["inline", "thread"]), "backend")
    batch_size = data.draw(st.integers(0, num_envs), "batch_size")
    sync = batch_size in (0, num_envs)
    config = {
        "backend": backend,
        "num_threads": 0 if backend == "inline" else data.draw(st.sampled_from([1, 2, 3, 8]), "threads"),
        "caller_steps": data.draw(st.sampled_from(["auto", True, False] if sync else ["auto", False])),
        "batch_size": batch_size,
        "max_episode_steps": data.draw(st.sampled_from([None, 1, 2, 5]), "limit"),
    }
    seed = data.draw(st.integers(0, 2**31), "seed")
    plans = plans_of(cls, seed, num_envs)
    with envpool_wrap.make(task_id(cls), "gym", num_envs=num_envs, seed=seed, **config) as pool:
        rows = played(pool, plans)
    for env_id, plan in enumerate(plans):
        assert rows[env_id] == by_hand(cls, env_id, seed + env_id, list(plan), config["max_episode_steps"])


@pytest.mark.parametrize("cls", STEPS)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("batch_size", "caller_steps"), [(0, True), (0, False), (2, False)])
def test_another_process_changes_a_trajectory(
    make: Any, cls: Any, workers: int, batch_size: int, caller_steps: bool
) -> None:
    config = {"num_threads": workers, "batch_size": batch_size, "caller_steps": caller_steps}
    limit = STEPS[cls] // 3
    pool = make(cls, num_envs=5, backend="process", max_episode_steps=limit, **config)

    @given(seed=st.integers(0, 2**31))
    @settings(max_examples=6, deadline=None, database=None)
    def check(seed: int) -> None:
        plans = plans_of(cls, seed, 5)
        pool._send_reset(None, seed, None)
        rows = played(pool, plans)
        for env_id, plan in enumerate(plans):
            assert rows[env_id] == by_hand(cls, env_id, seed + env_id, list(plan), limit)

    check()
