"""What follows the end of an episode, in each mode, on each backend, behind each face: as stepped by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty
from gymnasium.vector import AutoresetMode

from envpool_protocol.errors import ActionError, EnvError

MODES = ["next_step", "same_step", "disabled"]
LIMIT = 4  # max_episode_steps: some envs end before it, one at it, the others are cut


@dataclass
class ByHand:
    """One env, its hooks called by hand, with an episode's rules written out."""

    env: Any
    mode: str
    elapsed: int = 0
    over: bool = True

    def reset(self) -> dict[str, Any]:
        self.env._reset_envpool()
        self.elapsed, self.over = 0, False
        return self._row(reward=0.0)

    def step(self, action: Any) -> dict[str, Any]:
        if self.over:
            assert self.mode == "next_step"
            return self.reset()
        self.env._step_envpool(action)
        self.elapsed += 1
        row = self._row(
            reward=self.env._reward_envpool(),
            terminated=self.env._done_envpool(),
            truncated=self.env._truncated_envpool() or self.elapsed >= LIMIT,
        )
        self.over = row["terminated"] or row["truncated"]
        if self.over and self.mode == "same_step":
            row |= {"final_obs": row["obs"], "final_t": row["t"]}
            first = self.reset()
            row |= {"obs": first["obs"], "t": first["t"]}
        return row

    def _row(self, reward: float, terminated: bool = False, truncated: bool = False) -> dict[str, Any]:
        return {
            "obs": self.env._make_obs_envpool().copy(),
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "elapsed_step": self.elapsed,
            "t": self.env._info_envpool().get("t"),
        }


def rows_of(result: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The rows of a gym batch as `ByHand` gives them, by env id."""
    obs, reward, terminated, truncated, info = result
    rows = []
    for row in np.argsort(info["env_id"]):
        found = {
            "obs": obs[row],
            "reward": float(reward[row]),
            "terminated": bool(terminated[row]),
            "truncated": bool(truncated[row]),
            "elapsed_step": int(info["elapsed_step"][row]),
            "t": _masked(info, "t", row),
        }
        if "final_obs" in info and info["_final_obs"][row]:
            assert info["_final_info"][row]
            found |= {"final_obs": info["final_obs"][row], "final_t": _masked(info["final_info"], "t", row)}
        rows.append(found)
    return rows


def _masked(info: dict[str, Any], key: str, row: int) -> Any:
    """Infos of resets are those of `_info_envpool` after a step only: hooks have none of their own."""
    return int(info[key][row]) if key in info and info[f"_{key}"][row] else None


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]], where: str) -> None:
    for env, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.keys() == other.keys(), (where, env)
        for key, value in other.items():
            assert np.array_equal(one[key], value), (where, env, key, one, other)


@pytest.mark.parametrize("face", ["gym", "gymnasium"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", [Counting, Faulty])
def test_episodes_differ_from_envs_stepped_by_hand(
    make: Any, backend: str, cls: Any, mode: str, face: str
) -> None:
    config = {"max_episode_steps": LIMIT, "autoreset_mode": mode}
    pool = make(cls, face, backend, num_envs=4, **config)
    envs = [ByHand(cls(env), mode) for env in range(4)]
    obs, _ = pool.reset()
    assert_same([{"obs": one} for one in obs], [{"obs": env.reset()["obs"]} for env in envs], "reset")
    for number in range(30):
        actions = np.full((4, 1), number / 30, np.float32) if cls is Counting else np.zeros(4, int)
        expected = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        for row in expected:
            if cls is Faulty and row["elapsed_step"] == 0:
                row["t"] = None
            if mode == "same_step" and "final_obs" in row:
                row["t"] = None
        assert_same(rows_of(pool.step(actions)), expected, f"step {number}")
        ended = [i for i, env in enumerate(envs) if env.over]
        if mode == "disabled" and ended:
            if face == "gym":
                obs, info = pool.reset(env_id=ended)
                assert info["env_id"].tolist() == ended
            else:
                mask = np.isin(np.arange(4), ended)
                obs, info = pool.reset(options={"reset_mask": mask})
                others = [row["obs"] for row in expected]
                assert all(np.array_equal(obs[i], others[i]) for i in range(4) if not mask[i])
                obs = obs[mask]
            for i, one in zip(ended, obs, strict=True):
                assert np.array_equal(one, envs[i].reset()["obs"])


@pytest.mark.parametrize("mode", MODES)
def test_an_asynchronous_pool_has_other_episodes(make: Any, backend: str, mode: str) -> None:
    config = {"max_episode_steps": LIMIT, "autoreset_mode": mode}
    pool = make(Counting, "gym", backend, num_envs=5, batch_size=2, **config)
    envs = [ByHand(Counting(env), mode) for env in range(5)]
    pool.async_reset()
    seen = dict.fromkeys(range(5), 0)
    while min(seen.values()) < 20:
        result = pool.recv()
        ids = result[-1]["env_id"]
        assert len(ids) == 2
        to_reset = []
        for row, found in zip(sorted(ids.tolist()), rows_of(result), strict=True):
            env = envs[row]
            expected = env.reset() if (env.over and mode == "disabled") or not seen[row] else env.step([0.5])
            if mode == "same_step" and "final_obs" in expected:
                expected["t"] = None
            assert_same([found], [expected], f"env {row}, row {seen[row]}")
            seen[row] += 1
            if mode == "disabled" and env.over:
                to_reset.append(row)
        stepped = [int(one) for one in ids if int(one) not in to_reset]
        if to_reset:
            pool._send_reset(to_reset, None, None)
        if stepped:
            pool.send(np.full((len(stepped), 1), 0.5, np.float32), stepped)


def test_a_batch_without_an_end_has_finals(make: Any, backend: str) -> None:
    pool = make(Counting, "gymnasium", backend, num_envs=2, autoreset_mode="same_step")
    pool.reset()
    *_, info = pool.step(np.zeros((2, 1), np.float32))
    assert not [key for key in info if "final" in key]


def test_rows_that_go_on_have_no_final_obs_of_their_own(make: Any, backend: str) -> None:
    pool = make(Counting, "gym", backend, num_envs=3, autoreset_mode="same_step")
    pool.reset()
    for _ in range(2):
        obs, _, terminated, _, info = pool.step(np.ones((3, 1), np.float32))
    assert terminated.tolist() == [True, False, False]
    assert info["final_obs"].tolist() == [[0, 2, 1], [1, 2, 1], [2, 2, 1]]
    assert obs.tolist() == [[0, 0, 0], [1, 2, 1], [2, 2, 1]]


def test_gymnasium_gets_final_obs_as_it_gives_them(make: Any) -> None:
    pool = make(Counting, "gymnasium", num_envs=2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert pool.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    pool.reset()
    for _ in range(2):
        *_, info = pool.step(np.ones((2, 1), np.float32))
    assert info["final_obs"].dtype == object
    assert info["final_obs"][0].tolist() == [0, 2, 1]
    assert info["final_obs"][1] is None
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [True, False]


def test_dm_time_steps_lose_the_last_observation(make: Any, backend: str) -> None:
    pool = make(Counting, "dm", backend, num_envs=2, autoreset_mode="same_step")
    pool.reset()
    for _ in range(2):
        ts = pool.step(np.ones((2, 1), np.float32))
    assert ts.step_type.tolist() == [2, 1]
    assert ts.discount.tolist() == [0, 1]
    assert ts.observation.obs.tolist() == [[0, 0, 0], [1, 2, 1]]
    assert ts.observation.final_obs.tolist() == [[0, 2, 1], [1, 2, 1]]
    assert ts.observation._fields == pool.observation_spec()._fields
    assert not hasattr(make(Counting, "dm", num_envs=2).reset().observation, "final_obs")


@pytest.mark.parametrize("hook", ["_reset_envpool", "_make_obs_envpool"])
def test_a_reset_that_fails_in_the_same_step_is_taken_for_the_end(make: Any, backend: str, hook: str) -> None:
    config = {"autoreset_mode": "same_step", "max_episode_steps": 2, "num_envs": 2}
    pool = make(Faulty, "gym", backend, **config)
    pool.reset()
    pool.step(np.zeros(2, int))
    pool.set_attr("fail_at", 0, env_id=1)
    pool.set_attr("fail_in", hook, env_id=1)
    with pytest.raises(EnvError) as caught:
        pool.step(np.zeros(2, int))
    assert [(error.env_id, error.hook) for error in caught.value.errors] == [(1, hook)]
    obs, reward, terminated, truncated, info = caught.value.result
    assert obs.tolist() == [[0, 0], [0, 0]]
    assert reward.tolist() == [1, 0]
    assert (terminated.tolist(), truncated.tolist()) == ([False, False], [True, True])
    assert info["final_obs"].tolist() == [[0, 2], [0, 0]]
    assert info["_final_obs"].tolist() == [True, True]
    pool.set_attr("fail_in", "", env_id=1)
    obs, *_, info = pool.step(np.zeros(2, int))
    assert obs.tolist() == [[0, 1], [1, 0]]  # env 1 resets now
    assert info["elapsed_step"].tolist() == [1, 0]


def test_disabled_steps_an_env_whose_episode_is_over(make: Any, backend: str) -> None:
    pool = make(Counting, "gym", backend, num_envs=3, autoreset_mode="disabled")
    ones = np.ones((3, 1), np.float32)
    with pytest.raises(ActionError, match=r"env_id 0, 1, 2: no episode is going on .*reset\(env_id="):
        pool.step(ones)
    pool.reset()
    pool.step(ones)
    pool.step(ones)
    with pytest.raises(ActionError, match=r"env_id 0: no episode is going on"):
        pool.step(ones)
    assert pool.stats()["in_flight"] == 0
    assert pool.step(ones[:2], [2, 1])[0].tolist() == [[2, 3, 1], [1, 3, 1]]  # nothing was sent before
    pool.reset(env_id=[0])
    assert pool.step(ones[:1], [0])[0].tolist() == [[0, 1, 1]]


def test_disabled_goes_on_with_an_env_that_failed(make: Any, backend: str) -> None:
    config = {"env_kwargs": {"fail_in": "_step_envpool"}, "autoreset_mode": "disabled"}
    pool = make(Faulty, "gym", backend, num_envs=2, **config)
    pool.reset()
    with pytest.raises(EnvError):
        pool.step(np.zeros(2, int))
    with pytest.raises(ActionError, match="no episode is going on"):
        pool.step(np.zeros(2, int))
    assert pool.reset()[0].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("kept", [False, True])
def test_autoreset_forgets_the_options_or_keeps_them_unasked(
    make: Any, backend: str, mode: str, kept: bool
) -> None:
    config = {"autoreset_mode": mode, "max_episode_steps": 1, "keep_options": kept}
    pool = make(Faulty, "gym", backend, num_envs=2, **config)
    pool.reset(options={1: {"level": 3}})
    assert pool.get_attr("options") == [{}, {"level": 3}]
    for _ in range(2 if mode == "next_step" else 1):
        pool.step(np.zeros(2, int))
    assert pool.get_attr("options") == [{}, {"level": 3} if kept else {}]
    pool.set_attr("options", {}, env_id=1)
    for _ in range(2 if mode == "next_step" else 1):
        pool.step(np.zeros(2, int))
    assert pool.get_attr("options")[1] == ({"level": 3} if kept else {})
    pool.reset()
    assert pool.get_attr("options") == [{}, {}]
    for _ in range(2):
        pool.step(np.zeros(2, int))
    assert pool.get_attr("options") == [{}, {}]


def test_an_env_changes_the_options_that_are_kept(make: Any) -> None:
    pool = make(Faulty, max_episode_steps=1, autoreset_mode="same_step", keep_options=True)
    pool.reset(options={"level": 3})
    pool.get_attr("options")[0]["level"] = 4  # inline: the env's own dict
    pool.step(np.zeros(1, int))
    assert pool.get_attr("options") == [{"level": 3}]


def test_seeds_by_env_id_go_to_other_envs(make: Any, backend: str) -> None:
    pool = make(Faulty, "gym", backend, num_envs=3)
    pool.reset(seed={2: 7, 0: 5})
    assert [seeds[-1] for seeds in pool.get_attr("seeds")] == [5, 43, 7]
    pool.reset([1, 2], seed={2: 9})
    assert [seeds[-1] for seeds in pool.get_attr("seeds")] == [5, 43, 9]
    for given in ({"seed": {3: 1}}, {"options": {3: {}}}, {"env_id": [0], "seed": {1: 1}}):
        with pytest.raises(ActionError, match="which is not reset"):
            pool.reset(**given)
