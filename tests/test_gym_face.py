"""EnvPool's gym convention."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from envs import Counting, Nested, idle_actions
from gymnasium.vector import AutoresetMode

TYPES = {"env_id": np.int32, "elapsed_step": np.int32}


def test_the_info_is_not_envpools(make, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    for info in (pool.reset([2, 0])[1], pool.step(idle_actions(Counting, 2), [2, 0])[4]):
        assert info["env_id"].tolist() == info["players"]["env_id"].tolist() == [2, 0]
        for key, dtype in TYPES.items():
            assert info[key].dtype == dtype


def test_the_gym_spaces_are_batched(make) -> None:
    pool = make(Counting, num_envs=3)
    assert pool.observation_space == pool.single_observation_space == Counting(0).observation_space
    assert pool.action_space == pool.single_action_space == Counting(0).action_space
    assert isinstance(pool.action_space, gymnasium.spaces.Box)
    assert (pool.num_envs, len(pool)) == (3, 3)
    assert not isinstance(pool, gymnasium.vector.VectorEnv)


def test_metadata_does_not_name_the_autoreset(make) -> None:
    pool = make(Counting)
    assert pool.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert pool.render_mode is None


def test_a_nested_observation_comes_back_flat(make, backend: str) -> None:
    pool = make(Nested, num_envs=2, backend=backend)
    obs, _ = pool.reset()
    assert isinstance(obs["arm"], tuple)
    assert list(obs) == list(pool.observation_space.spaces)
    assert obs["arm"][1]["grip"].shape == (2,)
    assert obs["camera"].shape == (2, 2, 3, 3)


@pytest.mark.parametrize("how", ["step", "recv"])
def test_recv_and_step_differ(make, backend: str, how: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    pool.reset()
    if how == "step":
        result = pool.step(idle_actions(Counting, 2))
    else:
        pool.send(idle_actions(Counting, 2))
        result = pool.recv()
    assert len(result) == 5
    assert result[1].tolist() == [10, 11]
    pool.async_reset()
    assert len(pool.recv(reset=True)) == 2
