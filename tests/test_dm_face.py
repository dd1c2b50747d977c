"""dm_env's convention."""

from __future__ import annotations

import pickle
from typing import Any

import dm_env
import numpy as np
import pytest
from envs import Counting, Gated, Nested, idle_actions

import envpool_wrap
from envpool_protocol.errors import EnvError


def test_transcript_epw_1_in_dm_style(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", num_envs=2, backend=backend)
    action = np.array([[0.5], [0.25]], np.float32)
    steps = [pool.reset(), *(pool.step(action) for _ in range(4))]
    assert [step.step_type.tolist() for step in steps] == [[0, 0], [1, 1], [2, 1], [0, 2], [1, 0]]
    assert [step.discount.tolist() for step in steps] == [[1, 1], [1, 1], [0, 1], [1, 0], [1, 1]]
    assert [step.reward.tolist() for step in steps] == [[0, 0], [10, 11], [20, 21], [0, 31], [10, 0]]
    assert steps[3].observation.obs.tolist() == [[0, 0, 0], [1, 3, 0.25]]
    for step in steps:
        assert isinstance(step, dm_env.TimeStep)
        assert step.observation.env_id.tolist() == step.observation.players.env_id.tolist() == [0, 1]
        dtypes = (step.step_type.dtype, step.discount.dtype, step.reward.dtype, step.observation.env_id.dtype)
        assert dtypes == (np.int32, np.float32, np.float32, np.int32)


def test_a_cut_episode_is_discounted_to_zero(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", num_envs=2, max_episode_steps=2, backend=backend)
    pool.reset()
    pool.step(idle_actions(Counting, 2))
    last = pool.step(idle_actions(Counting, 2))
    assert last.step_type.tolist() == [dm_env.StepType.LAST] * 2
    assert last.discount.tolist() == [0, 1]  # env 0 ended in its last step, env 1 was cut


def test_an_array_of_a_time_step_is_overwritten_or_copied(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", num_envs=2, backend=backend)
    steps = [pool.step(idle_actions(Counting, 2)) for _ in range(5)]
    assert [step.observation.obs[1, 1] for step in steps] == [0, 1, 2, 3, 0]
    assert pool.stats()["private_copies"] == 0


def test_subsets_and_short_batches_are_mixed_up(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", num_envs=3, batch_size=2, backend=backend)
    pool.async_reset()
    ids = [pool.recv().observation.env_id.tolist() for _ in range(2)]
    assert sorted(ids[0] + ids[1]) == [0, 1, 2]
    step = pool.step(idle_actions(Counting, 1), [2])
    assert step.observation.obs.tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("cls", [Counting, Gated, Nested])
def test_a_spec_does_not_fit_what_comes_back(
    make: Any, task_id: Any, cls: Any, stats: bool, mode: str
) -> None:
    pool = make(cls, "dm", num_envs=2, episode_stats=stats, autoreset_mode=mode)
    step = pool.reset()
    spec = pool.observation_spec()
    assert step.observation._fields == spec._fields
    settings = {"episode_stats": stats, "autoreset_mode": mode}
    assert envpool_wrap.make_spec(task_id(cls), **settings).observation_spec() == spec

    def validate(one: Any, value: Any) -> None:
        if isinstance(one, dict):
            assert list(one) == list(value)
            for key in one:
                validate(one[key], value[key])
        elif isinstance(one, tuple):
            for inner, part in zip(one, value, strict=True):
                validate(inner, part)
        else:
            one.validate(value[0])

    validate(spec, step.observation)
    pool.reward_spec().validate(step.reward[0])
    pool.discount_spec().validate(step.discount[0])


def test_a_time_step_cannot_be_pickled(make: Any) -> None:
    step = make(Counting, "dm", num_envs=2, episode_stats=True, autoreset_mode="same_step").reset()
    again = pickle.loads(pickle.dumps(step))
    assert type(again.observation) is type(step.observation)
    assert again.observation.episode.l.tolist() == [0, 0]


def test_action_specs_differ_from_the_space(make: Any) -> None:
    action = make(Counting, "dm").action_spec()
    assert (action.shape, action.dtype, action.minimum, action.maximum) == ((1,), np.float32, -1, 1)
    offset = make(Gated, "dm").action_spec()
    assert (offset.minimum, offset.maximum, offset.shape, offset.dtype) == (-2, 2, (), np.int64)
    nested = make(Nested, "dm").action_spec()
    key = next(key for key in nested if key.startswith("odd"))
    assert nested[key].maximum.tolist() == [[1, 2], [3, 4]]
    assert nested["arm"][1]["on"].maximum.tolist() == [1, 1, 1]


def test_a_failure_leaves_no_time_step(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_reward_envpool", lambda: 1 / 0, env_id=1)
    with pytest.raises(EnvError) as caught:
        pool.step(idle_actions(Counting, 2))
    assert caught.value.result.step_type.tolist() == [1, 2]
    assert caught.value.result.observation.obs.tolist() == [[0, 1, 0], [0, 0, 0]]
