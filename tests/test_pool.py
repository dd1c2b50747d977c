"""`reset`, `step` and what an env does in them, by hand."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty, idle_actions

import envpool_wrap

EVERY_HOOK_OF_A_STEP = ["step", "make_obs", "done", "reward"]


def test_transcript_epw_1(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    action = np.array([[0.5], [0.25]], np.float32)
    assert "Counting_wrap" in envpool_wrap.list_all_envs()
    obs, info = pool.reset()
    assert obs.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (obs.dtype, info["env_id"].dtype, info["elapsed_step"].dtype) == (np.float32, np.int32, np.int32)
    assert (info["env_id"].tolist(), info["elapsed_step"].tolist()) == ([0, 1], [0, 0])
    for obs_want, reward_want, terminated_want, elapsed_want in (
        ([[0, 1, 0.5], [1, 1, 0.25]], [10, 11], [False, False], [1, 1]),
        ([[0, 2, 0.5], [1, 2, 0.25]], [20, 21], [True, False], [2, 2]),
        ([[0, 0, 0], [1, 3, 0.25]], [0, 31], [False, True], [0, 3]),
        ([[0, 1, 0.5], [1, 0, 0]], [10, 0], [False, False], [1, 0]),
    ):
        obs, reward, terminated, truncated, info = pool.step(action)
        assert obs.tolist() == obs_want
        assert (reward.dtype, reward.tolist()) == (np.float32, reward_want)
        assert (terminated.dtype, terminated.tolist()) == (np.bool_, terminated_want)
        assert (truncated.dtype, truncated.tolist()) == (np.bool_, [False, False])
        assert info["elapsed_step"].tolist() == elapsed_want
    reset = ["reset", "make_obs"]
    step = EVERY_HOOK_OF_A_STEP
    assert pool.get_attr("called") == [
        [*reset, *step, *step, *reset, *step],
        [*reset, *step, *step, *step, *reset],
    ]
    assert pool.stats()["steps"] == [3, 3]
    assert pool.stats()["episodes"] == [1, 1]


def test_the_first_step_without_a_reset_steps_an_env_that_was_never_reset(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    obs, reward, _, _, info = pool.step(idle_actions(Counting, 2))
    assert obs.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (reward.tolist(), info["elapsed_step"].tolist()) == ([0, 0], [0, 0])
    assert pool.get_attr("called") == [["reset", "make_obs"]] * 2


def test_a_time_limit_hides_a_real_end_or_is_missed(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, max_episode_steps=3)  # they end after 2, 3 and 4
    pool.reset()
    flags = []
    for _ in range(4):
        _, _, terminated, truncated, info = pool.step(idle_actions(Counting, 3))
        flags.append((terminated.tolist(), truncated.tolist(), info["elapsed_step"].tolist()))
    assert flags == [
        ([False, False, False], [False, False, False], [1, 1, 1]),
        ([True, False, False], [False, False, False], [2, 2, 2]),
        ([False, True, False], [False, True, True], [0, 3, 3]),
        ([False, False, False], [False, False, False], [1, 0, 0]),
    ]


def test_an_env_that_truncates_itself_goes_on(make: Any, backend: str) -> None:
    pool = make(Faulty, backend=backend)
    pool.reset()
    ends = [pool.step(np.zeros(1, int))[3].item() for _ in range(7)]
    assert ends == [False, False, False, False, True, False, False]
    assert pool.get_attr("t") == [1]


def test_float32_does_not_come_back_bit_for_bit(make: Any, backend: str) -> None:
    class_obs = np.array([0.1, 0.2, 0.3], np.float32)
    pool = make(Counting, backend=backend, check=False)
    pool.reset()
    odd = np.array([0x7FC12345, 0x00000001, 0x80000000], np.uint32).view(np.float32)  # NaN, denormal, -0
    for obs in (class_obs, odd):
        pool.set_attr("_make_obs_envpool", lambda obs=obs: obs)
        assert pool.step(np.zeros((1, 1), np.float32))[0].tobytes() == obs.tobytes()


def test_four_floats_of_the_original_fault(make: Any, backend: str) -> None:
    """The original read float32 as double: [.1, .2, .3, .4] became 1.34e-08, 3.43e-06 and what lay behind."""
    pool = make(Counting, num_envs=4, backend=backend)
    pool.reset()
    action = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    assert pool.step(action)[0][:, 2].tobytes() == action.tobytes()


@pytest.mark.parametrize("reward", [3, 3.0, np.float64(3), np.int8(3), np.array(3), np.array([[3.0]]), [3]])
def test_a_number_is_no_reward(make: Any, backend: str, reward: Any) -> None:
    pool = make(Counting, backend=backend)
    pool.reset()
    pool.set_attr("_reward_envpool", lambda: reward)
    assert pool.step(np.zeros((1, 1), np.float32))[1].tolist() == [3]


@pytest.mark.parametrize("reward", [True, np.True_])
def test_a_bool_is_no_reward(make: Any, reward: Any) -> None:
    pool = make(Counting)
    pool.reset()
    pool.set_attr("_reward_envpool", lambda: reward)
    assert pool.step(np.zeros((1, 1), np.float32))[1].tolist() == [1]


def test_facts_of_a_pool_are_wrong(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, batch_size=2, backend=backend)
    assert (len(pool), pool.is_async, pool.config["batch_size"]) == (3, True, 2)
    assert pool.all_env_ids.tolist() == [0, 1, 2]
    assert pool.all_env_ids.dtype == np.int32
    assert "GymPool(Counting_wrap, num_envs=3, batch_size=2" in repr(pool)
    pool.close()
    assert "closed" in repr(pool)


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_that_is_sent_somewhere_is_told_of_a_part_of_it_only(make: Any, send: Any) -> None:
    pool = make(Counting)
    with pytest.raises(TypeError, match=r"Counting_wrap: a pool cannot be copied or pickled.* make another"):
        send(pool)
