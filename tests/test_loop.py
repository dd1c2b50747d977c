"""The plain loop does the work that a pool does: the same rows come out, whichever api the env has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty
from plain_envs import DMEcho, Echo, OldEcho
from test_out import Writes, WritesNested

from envpool_protocol.sources import source_of
from envpool_protocol.spaces import space_from_description
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import env_factory
from envpool_wrap.nested import flattener
from envpool_wrap.tuning.actions import batch, sampled
from envpool_wrap.tuning.loop import Loop

NUM_ENVS = 3
KINDS = [Counting, Faulty, Writes, WritesNested, Echo, OldEcho, DMEcho]


def loop_of(env: Any, **settings: Any) -> tuple[Loop, list[list[Any]]]:
    """A loop, and actions for its envs."""
    source, config = source_of(env), PoolConfig.of({"num_envs": NUM_ENVS, **settings})
    description = source.describe()
    space = space_from_description(description.action_space, "gymnasium")
    return Loop(env_factory(source, description, config), description, config), sampled(space, NUM_ENVS)


@pytest.mark.parametrize("settings", [{}, {"max_episode_steps": 2, "seed": 3}], ids=["free", "limited"])
@pytest.mark.parametrize("env", KINDS)
def test_loop_brings_what_a_pool_brings(
    env: Any, settings: dict[str, Any], pool_of: Callable[..., Any]
) -> None:
    loop, actions = loop_of(env, **settings)
    pool = pool_of(env, num_envs=NUM_ENVS, **settings)
    flatten = flattener(pool._description.spec.obs)
    loop.reset()
    assert_same(loop.obs, flatten(pool.reset()[0]))
    for samples in actions[:12]:
        loop.step(samples)
        obs, reward, terminated, truncated, _ = pool.step(batch(samples))
        assert_same(loop.obs, flatten(obs))
        assert_same([loop.reward, loop.terminated, loop.truncated], [reward, terminated, truncated])


def assert_same(found: Any, wanted: Any) -> None:
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("env", KINDS)
def test_timed_steps_are_steps_and_resets_are_told_apart(env: Any) -> None:
    (plain, actions), (timed, _) = loop_of(env), loop_of(env)
    assert len(timed.reset()) == NUM_ENVS
    plain.reset()
    ends = np.zeros(NUM_ENVS, bool)
    for samples in actions:
        plain.step(samples)
        taken, was_reset = timed.timed_step(samples)
        assert_same(timed.obs, plain.obs)
        assert was_reset == ends.tolist() and min(taken) > 0
        ends = plain.terminated | plain.truncated


def test_one_env_is_stepped_through_its_resets() -> None:
    loop, actions = loop_of(Counting)  # env 1 ends after three steps
    run = loop.stepper(1, [batch[1] for batch in actions])
    loop.envs[1].called.clear()
    run(7)
    assert [loop.envs[1].called.count(hook) for hook in ("reset", "step")] == [2, 7]


def test_what_an_env_raises_says_which_env_it_was() -> None:
    loop, actions = loop_of(Faulty, env_kwargs=[{}, {"fail_in": "_step_envpool"}, {}])
    loop.reset()
    with pytest.raises(ValueError, match="env 1 says no") as caught:
        loop.timed_step(actions[0])
    assert caught.value.__notes__ == [
        "in env 1, stepped in a plain loop with random samples of its action space"
    ]


def test_envs_are_closed_when_one_cannot_be_built_and_when_one_cannot_be_closed(journal: Any) -> None:
    with pytest.raises(ValueError, match="env 2 says no"):
        loop_of(Faulty, env_kwargs=[{"closes": journal}, {"closes": journal}, {"fail_in": "__init__"}])
    assert journal.ids[-2:] == [0, 1]
    loop, _ = loop_of(Faulty, env_kwargs={"closes": journal, "fail_in": "_close_envpool"})
    loop.close()
    assert journal.ids[-3:] == [0, 1, 2]
