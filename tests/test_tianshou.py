"""Tianshou's collector over a pool. Needs tianshou: `make test-all`."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest

pytestmark = pytest.mark.integration

NUM_ENVS, STEPS, SEED = 3, 120, 7


@pytest.fixture(scope="module")
def data() -> Any:
    with warnings.catch_warnings():  # what these libraries say while they are imported is not ours
        warnings.simplefilter("ignore")
        return pytest.importorskip("tianshou.data", exc_type=ImportError)


@pytest.fixture
def policy(data: Any) -> Any:
    import torch
    from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
    from tianshou.utils.net.common import Net

    torch.manual_seed(0)  # of all that may be drawn, some balance the pole for longer than the test steps
    space = gymnasium.spaces.Discrete(2)
    return DiscreteActorPolicy(actor=Net(state_shape=(4,), action_shape=2), action_space=space)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["disabled", "next_step"])
@pytest.mark.parametrize("backend", ["inline", "process"])
def test_a_collector_stores_other_steps_than_those_of_the_plain_env(
    mode: str, backend: str, data: Any, policy: Any, pool_of: Any
) -> None:
    pool = pool_of("CartPole-v1", num_envs=NUM_ENVS, seed=SEED, autoreset_mode=mode, backend=backend)
    buffer = data.VectorReplayBuffer(NUM_ENVS * STEPS, NUM_ENVS)
    collector = data.Collector(policy, pool, buffer)
    collector.reset()
    for _ in range(2):  # the second goes on where the first ended
        collector.collect(n_step=NUM_ENVS * STEPS // 2)
    for env, steps in enumerate(buffer.buffers):
        plain = gymnasium.make("CartPole-v1")
        obs, _ = plain.reset(seed=SEED + env)
        assert len(steps) == STEPS and steps.done.sum() > 0
        for step in (steps[at] for at in range(STEPS)):
            assert np.array_equal(step.obs, obs)
            obs, reward, terminated, truncated, _ = plain.step(step.act)
            assert np.array_equal(step.obs_next, obs)
            assert (step.rew, step.terminated, step.truncated) == (reward, terminated, truncated)
            assert step.info.env_id == env
            if terminated or truncated:
                obs, _ = plain.reset()


@pytest.mark.filterwarnings("ignore")
def test_an_asynchronous_pool_passes_for_a_synchronous_one(data: Any, policy: Any, pool_of: Any) -> None:
    collector = data.Collector(policy, pool_of("CartPole-v1", num_envs=4, batch_size=2))
    with pytest.raises(ValueError, match="AsyncCollector"):
        collector.collect(n_step=4)
