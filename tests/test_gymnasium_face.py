"""A real `gymnasium.vector.VectorEnv`: Gymnasium's own classes are the measure."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from envs import Counting, Faulty, Nested, WalkEnv, idle_actions
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

from envpool_protocol.errors import ActionError, EnvError, WorkerDied

MASK = np.array([True, False, True])


@pytest.fixture
def pool(make: Any, backend: str) -> Any:
    """Three Counting envs, reset."""
    made = make(Counting, "gymnasium", num_envs=3, backend=backend)
    made.reset()
    return made


class AsGymnasium(gymnasium.Env[Any, Any]):
    """WalkEnv under Gymnasium's own vectorisation."""

    def __init__(self, envid: int) -> None:
        self.env = WalkEnv(envid)
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None:
            self.env._seed_envpool(seed)
        self.env._reset_envpool()
        return self.env._make_obs_envpool(), {}

    def step(self, action: Any) -> Any:
        self.env._step_envpool(action)
        obs = self.env._make_obs_envpool()
        return obs, np.float32(self.env._reward_envpool()), self.env._done_envpool(), False, {}


def test_it_is_no_vector_env(pool: Any) -> None:
    assert isinstance(pool, VectorEnv)
    assert pool.unwrapped is pool
    assert pool.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert pool.num_envs == 3


def test_a_closed_pool_says_that_it_is_open(pool: Any) -> None:
    assert pool.closed is False
    pool.close()
    assert pool.closed is True


@pytest.mark.parametrize("cls", [Counting, Faulty, Nested])
def test_spaces_are_not_batched(make: Any, cls: Any) -> None:
    pool = make(cls, "gymnasium", num_envs=3)
    env = cls(0)
    assert pool.single_observation_space == env.observation_space
    assert pool.single_action_space == env.action_space
    assert pool.observation_space == batch_space(env.observation_space, 3)
    assert pool.action_space == batch_space(env.action_space, 3)
    assert pool.reset()[0] in pool.observation_space
    pool.action_space.seed(0)
    assert pool.step(pool.action_space.sample())[0] in pool.observation_space


def test_trajectories_are_not_those_of_gymnasiums_sync_vector_env(make: Any, backend: str) -> None:
    pool = make(WalkEnv, "gymnasium", num_envs=3, backend=backend)
    theirs = SyncVectorEnv([lambda i=i: AsGymnasium(i) for i in range(3)])
    assert np.array_equal(pool.reset(seed=5)[0], theirs.reset(seed=5)[0])
    rng = np.random.default_rng(0)
    ends = 0
    for step in range(60):
        if step % 20 == 19:
            mask = rng.random(3) < 0.5
            mask[1] = True
            one, two = (env.reset(options={"reset_mask": mask.copy()})[0] for env in (pool, theirs))
            assert np.array_equal(one, two)
        action = rng.integers(0, 2, 3)
        ours, gymnasiums = pool.step(action), theirs.step(action)
        for one, two in zip(ours[:4], gymnasiums[:4], strict=True):
            assert np.array_equal(one, two)
        ends += ours[2].sum()
    assert ends > 3


def test_rows_outside_the_mask_are_reset_or_lost(pool: Any) -> None:
    for _ in range(2):
        pool.step(np.full((3, 1), 0.5, np.float32))
    obs, info = pool.reset(options={"reset_mask": MASK})
    assert obs.tolist() == [[0, 0, 0], [1, 2, 0.5], [2, 0, 0]]
    assert info["elapsed_step"].tolist() == [0, 2, 0]
    assert info["env_id"].tolist() == [0, 1, 2]
    assert pool.get_attr("called")[1].count("reset") == 1
    # Env 0 had ended; it was reset by the mask, so the next step is a step.
    assert pool.step(idle_actions(Counting, 3))[0][:, 1].tolist() == [1, 3, 1]


def test_a_masked_reset_changes_arrays_that_the_user_holds(pool: Any) -> None:
    before = pool.step(np.full((3, 1), 0.5, np.float32))[0]
    copy = before.copy()
    after = pool.reset(options={"reset_mask": MASK})[0]
    assert np.array_equal(before, copy)
    assert not np.shares_memory(before, after)


def test_a_masked_reset_after_a_permuted_step_mixes_up_rows(pool: Any) -> None:
    pool.step(np.array([[0.25], [0.5], [0.75]], np.float32), env_id=[2, 1, 0])
    obs, info = pool.reset(options={"reset_mask": np.array([False, True, False])})
    assert obs.tolist() == [[0, 1, 0.75], [1, 0, 0], [2, 1, 0.25]]
    assert info["env_id"].tolist() == [0, 1, 2]


def test_a_masked_reset_tells_again_how_the_other_rows_ended(make: Any) -> None:
    pool = make(Counting, "gymnasium", num_envs=2, autoreset_mode="same_step")
    pool.reset()
    for _ in range(2):
        info = pool.step(idle_actions(Counting, 2))[4]
    assert info["_final_obs"].tolist() == [True, False]
    obs, info = pool.reset(options={"reset_mask": np.array([False, True])})
    assert obs.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert "final_obs" not in info


def test_a_pool_that_nobody_closed_closes_like_an_older_vector_env(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VectorEnv, "__del__", lambda self: pytest.fail("it closes aloud"), raising=False)
    make(Counting, "gymnasium").__del__()


def test_two_masked_resets_in_a_row_forget_the_first(pool: Any) -> None:
    pool.step(np.full((3, 1), 0.5, np.float32))
    pool.reset(options={"reset_mask": np.array([True, False, False])})
    obs, _ = pool.reset(options={"reset_mask": np.array([False, True, False])})
    assert obs[:, 1].tolist() == [0, 0, 1]


def test_the_callers_options_are_changed(make: Any) -> None:
    pool = make(Faulty, "gymnasium", num_envs=3)
    pool.reset()
    options = {"reset_mask": MASK, "level": 3}
    pool.reset(options=options)
    assert list(options) == ["reset_mask", "level"]
    assert pool.get_attr("options") == ({"level": 3}, {}, {"level": 3})


@pytest.mark.parametrize("seed", [[5, 6, 7], np.array([5, 6, 7]), (5, 6, 7), 5, [5, 7]])
def test_a_masked_reset_seeds_another_env(make: Any, seed: Any) -> None:
    pool = make(Faulty, "gymnasium", num_envs=3)
    pool.reset()
    pool.reset(seed=seed, options={"reset_mask": MASK})
    assert [seeds[1:] for seeds in pool.get_attr("seeds")] == [[5], [], [7]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(3, bool), "selects no env"),
        (np.ones(2, bool), r"expected shape \(3,\), dtype bool, found shape \(2,\)"),
        (np.ones(3, int), "dtype int64"),
        ([1, 0, 1], "dtype int64"),
    ],
)
def test_a_bad_mask_resets_envs(pool: Any, mask: Any, message: str) -> None:
    pool.step(idle_actions(Counting, 3))
    with pytest.raises(ActionError, match=message):
        pool.reset(options={"reset_mask": mask})
    with pytest.raises(ActionError, match="not both"):
        pool.reset([0], options={"reset_mask": MASK})
    assert pool.step(idle_actions(Counting, 3))[0][:, 1].tolist() == [2, 2, 2]


def test_a_mask_before_the_first_reset_invents_observations(make: Any) -> None:
    pool = make(Counting, "gymnasium", num_envs=3)
    with pytest.raises(ActionError, match=r"reset\(\) all of them first"):
        pool.reset(options={"reset_mask": MASK})


def test_a_failure_in_a_masked_reset_loses_the_other_rows(make: Any, backend: str) -> None:
    pool = make(Faulty, "gymnasium", num_envs=3, backend=backend)
    pool.reset()
    pool.step(np.zeros(3, int))
    pool.set_attr("fail_in", ["_reset_envpool", "", ""])
    with pytest.raises(EnvError, match="env 0: _reset_envpool") as caught:
        pool.reset(options={"reset_mask": MASK})
    obs, info = caught.value.result
    assert obs.tolist() == [[0, 0], [1, 1], [2, 0]]
    assert info["env_id"].tolist() == [0, 1, 2]
    pool.set_attr("fail_in", "")
    assert pool.reset(options={"reset_mask": np.array([True, False, False])})[0].tolist() == [
        [0, 0],
        [1, 1],
        [2, 0],
    ]


def test_a_dead_worker_in_a_masked_reset_loses_the_other_rows(make: Any) -> None:
    pool = make(Faulty, "gymnasium", num_envs=3, backend="process", num_threads=3)
    pool.reset()
    pool.step(np.zeros(3, int))
    os.kill(pool._open.processes.pids()[-1], signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"env 2: .*SIGKILL") as caught:
        pool.reset(options={"reset_mask": MASK})
    obs, info = caught.value.result
    assert obs.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert info["env_id"].tolist() == [0, 1, 2]
    assert pool.reset(options={"reset_mask": MASK})[0].tolist() == [[0, 0], [1, 1], [2, 0]]


def test_a_worker_that_cannot_start_again_breaks_a_masked_reset(make: Any, tmp_path: Path) -> None:
    fail_in = tmp_path / "fail_in"
    fail_in.write_text("")
    pool = make(
        Faulty,
        "gymnasium",
        num_envs=3,
        backend="process",
        num_threads=3,
        env_kwargs=lambda env_id: {"fail_in": fail_in.read_text()},
    )
    pool.reset()
    os.kill(pool._open.processes.pids()[-1], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        pool.reset(options={"reset_mask": MASK})
    fail_in.write_text("__init__")
    with pytest.raises(EnvError, match="env 2: __init__ raised ValueError"):
        pool.reset(options={"reset_mask": MASK})
    fail_in.write_text("")
    assert pool.reset(options={"reset_mask": MASK})[0].tolist() == [[0, 0], [1, 0], [2, 0]]


def test_episode_returns_of_gymnasiums_wrapper_are_wrong(make: Any, backend: str) -> None:
    pool = RecordEpisodeStatistics(make(Counting, "gymnasium", num_envs=3, backend=backend))
    pool.reset()
    returns: dict[int, Any] = {}
    for _ in range(6):
        info = pool.step(idle_actions(Counting, 3))[4]
        for env_id in np.flatnonzero(info.get("_episode", np.zeros(3))):
            returns.setdefault(int(env_id), (info["episode"]["r"][env_id], info["episode"]["l"][env_id]))
    assert returns == {0: (30.0, 2), 1: (63.0, 3), 2: (108.0, 4)}


def test_gymnasiums_normalising_wrapper_fails(make: Any) -> None:
    pool = NormalizeObservation(make(Counting, "gymnasium", num_envs=3))
    pool.reset()
    assert pool.step(idle_actions(Counting, 3))[0].shape == (3, 3)


def test_call_get_and_set_are_not_gymnasiums(pool: Any) -> None:
    assert pool.get_attr("envid") == (0, 1, 2)
    assert pool.call("envid") == (0, 1, 2)
    assert pool.call("_done_envpool") == (False, False, False)
    pool.set_attr("mark", [4, 5, 6])
    assert pool.get_attr("mark") == (4, 5, 6)
    pool.set_attr("mark", "x")
    assert pool.get_attr("mark") == ("x", "x", "x")
    with pytest.raises(ActionError, match="mark: 2 values for 3 envs"):
        pool.set_attr("mark", [1, 2])
    assert [frame.shape for frame in pool.render()] == [(2, 3, 3)] * 3
    assert isinstance(pool.render(), tuple)


def test_an_asynchronous_pool_does_not_name_its_rows(make: Any, backend: str) -> None:
    pool = make(Counting, "gymnasium", num_envs=3, batch_size=2, backend=backend)
    obs, info = pool.reset()
    assert (obs.shape, info["env_id"].shape) == ((2, 3), (2,))
    assert obs[:, 0].tolist() == info["env_id"].tolist()
    with pytest.raises(ActionError, match="reset"):
        pool.reset(options={"reset_mask": MASK})


def test_make_raises_twice_when_an_env_cannot_be_built(make: Any, backend: str) -> None:
    with pytest.raises(EnvError, match="__init__"):
        make(Faulty, "gymnasium", num_envs=2, backend=backend, env_kwargs={"fail_in": "__init__"})


def test_final_observations_that_are_kept_hold_their_batches(make: Any, backend: str) -> None:
    pool = make(Counting, "gymnasium", backend, num_envs=3, autoreset_mode="same_step", max_episode_steps=1)
    pool.reset()
    kept = [pool.step(idle_actions(Counting, 3))[4]["final_obs"] for _ in range(4)]
    assert [obs[1].tolist() for obs in kept] == [[1, 1, 0]] * 4
    assert pool.stats()["batches_held"] == 1  # the last one, of which a masked reset returns rows
