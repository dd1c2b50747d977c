"""Gymnasium's own vector wrappers over pools and over SyncVectorEnv: same seeds, same actions, same results.

What a pool adds (`env_id`, `elapsed_step`, `players`) is left out, and times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector as wrappers

import envpool_wrap

NUM_ENVS = 3
MODES = list(AutoresetMode)
OURS = {"env_id", "elapsed_step", "players"}


class Chatty(gymnasium.Env[Any, Any]):
    """Draws lengths and observations from `np_random`; infos of many kinds that come and go."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(-10.0, 10.0, (2, 2), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.t, self.length = 0, int(self.np_random.integers(2, 9))
        return self._obs(), {"length": self.length, "words": {"start": "go"}}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.t >= self.length
        info: dict[str, Any] = {"t": self.t, "action": np.array(action)}
        if self.t % 2:
            info["odd"] = {"half": self.t / 2, "really": True}
        return self._obs(), float(self.np_random.normal(0, 5)), over and self.length % 2 == 0, over, info

    def _obs(self) -> Any:
        return self.np_random.uniform(-9, 9, (2, 2)).astype(np.float32)

    def render(self) -> Any:
        return np.full((4, 6, 3), self.t, np.uint8)


class Apart(Chatty):
    """The same, with a Dict observation."""

    observation_space = spaces.Dict({"a": Chatty.observation_space, "b": spaces.Discrete(9)})  # type: ignore[assignment]

    def _obs(self) -> Any:
        return {"a": super()._obs(), "b": int(self.np_random.integers(9))}


def cartpole() -> Any:
    return gymnasium.make("CartPole-v1", disable_env_checker=True)


def both(env_fn: Callable[[], Any], backend: str, mode: AutoresetMode) -> tuple[VectorEnv, VectorEnv]:
    env_fns = [env_fn] * NUM_ENVS
    pool = envpool_wrap.from_env_fns(env_fns, env_type="gymnasium", backend=backend, autoreset_mode=mode)
    return pool, SyncVectorEnv(env_fns, autoreset_mode=mode)


def assert_same(one: Any, other: Any, where: str) -> None:
    if isinstance(other, dict):
        assert one.keys() - OURS == other.keys() - OURS, where
        for key in other.keys() - OURS:
            if key not in ("t", "_t") or where != "info.episode":
                assert_same(one[key], other[key], f"{where}.{key}")
        return
    if isinstance(other, list | tuple) or (isinstance(other, np.ndarray) and other.dtype == object):
        assert len(one) == len(other), where
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}[{index}]")
        return
    if isinstance(other, np.ndarray):
        assert one.dtype == other.dtype, where
    assert np.array_equal(one, other), (where, one, other)


def drive(pool: Any, theirs: Any, mode: AutoresetMode, steps: int = 60) -> int:
    """Step both, compare everything; how many episodes ended."""
    pool.action_space.seed(3)
    assert pool.observation_space == theirs.observation_space
    assert pool.action_space == theirs.action_space
    for one, other, name in zip(pool.reset(seed=5), theirs.reset(seed=5), ("obs", "info"), strict=True):
        assert_same(one, other, name)
    ended = 0
    for _ in range(steps):
        actions = pool.action_space.sample()
        names = ("obs", "reward", "terminated", "truncated", "info")
        ours, others = pool.step(actions), theirs.step(actions)
        for one, other, name in zip(ours, others, names, strict=True):
            assert_same(one, other, name)
        over = np.asarray(ours[2]) | np.asarray(ours[3])
        ended += int(over.sum())
        if mode is AutoresetMode.DISABLED and over.any():
            # A dict each: SyncVectorEnv and Gymnasium's wrapper take the mask out of the one they are given.
            results = [vector.reset(options={"reset_mask": over.copy()}) for vector in (pool, theirs)]
            assert_same(results[0][0], results[1][0], "obs of a masked reset")
    return ended


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("env_fn", [Chatty, Apart, cartpole])
def test_sync_vector_env_gives_something_else(backend: str, env_fn: Any, mode: AutoresetMode) -> None:
    pool, theirs = both(env_fn, backend, mode)
    with pool:
        assert drive(pool, theirs, mode) > 0


WRAPPERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "ClipAction": (Chatty, wrappers.ClipAction),
    "ClipReward": (Chatty, lambda env: wrappers.ClipReward(env, -1.0, 1.0)),
    "DictInfoToList": (Chatty, wrappers.DictInfoToList),
    "DtypeObservation": (Chatty, lambda env: wrappers.DtypeObservation(env, np.float64)),
    "FilterObservation": (Apart, lambda env: wrappers.FilterObservation(env, ["a"])),
    "FilterObservation, FlattenObservation": (
        Apart,
        lambda env: wrappers.FlattenObservation(wrappers.FilterObservation(env, ["b", "a"])),
    ),
    "FlattenObservation": (Apart, wrappers.FlattenObservation),
    "NormalizeObservation": (Chatty, wrappers.NormalizeObservation),
    "NormalizeReward": (Chatty, wrappers.NormalizeReward),
    "RescaleAction": (Chatty, lambda env: wrappers.RescaleAction(env, *np.float32([-2, 2]))),
    "RescaleObservation": (Chatty, lambda env: wrappers.RescaleObservation(env, *np.float32([0, 1]))),
    "ReshapeObservation": (Chatty, lambda env: wrappers.ReshapeObservation(env, (4,))),
}
REFUSED = {(name, AutoresetMode.SAME_STEP) for name in WRAPPERS if name.endswith("Observation")}
REFUSED.add(("NormalizeObservation", AutoresetMode.DISABLED))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of DtypeObservation's space
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_gives_something_else(name: str, mode: AutoresetMode) -> None:
    env_fn, wrap = WRAPPERS[name]
    pool, theirs = both(env_fn, "inline", mode)
    if (name, mode) in REFUSED:
        for vector in (pool, theirs):
            with pytest.raises((AssertionError, ValueError), match=r"(?i)same.?step|NEXT_STEP"):
                wrap(vector)
        return
    assert drive(wrap(pool), wrap(theirs), mode) > 0


# Not with autoreset disabled: SyncVectorEnv takes the mask out of the caller's dict, and the wrapper then
# begins every env's episode anew. See the next test.
@pytest.mark.parametrize("mode", MODES[:2], ids=lambda mode: mode.name.lower())
def test_record_episode_statistics_gives_something_else(backend: str, mode: AutoresetMode) -> None:
    pool, theirs = (wrappers.RecordEpisodeStatistics(vector) for vector in both(cartpole, backend, mode))
    assert drive(pool, theirs, mode) > 0
    assert list(pool.return_queue) == list(theirs.return_queue)
    assert list(pool.length_queue) == list(theirs.length_queue)
    pool.close()


def test_a_masked_reset_takes_the_mask_from_the_callers_dict() -> None:
    pool, _ = both(Chatty, "inline", AutoresetMode.DISABLED)
    env = wrappers.RecordEpisodeStatistics(pool)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    options = {"reset_mask": np.array([True, False, False])}
    pool.reset(options=options)
    assert options["reset_mask"].tolist() == [True, False, False]
    env.reset(options=options)
    assert env.episode_lengths.tolist() == [0, 1, 1]  # with SyncVectorEnv the wrapper zeroes them all


@pytest.mark.integration
def test_numpy_to_torch_gives_something_else(backend: str) -> None:
    pool, theirs = (wrappers.NumpyToTorch(one) for one in both(cartpole, backend, AutoresetMode.NEXT_STEP))
    ours, others = pool.reset(seed=5), theirs.reset(seed=5)
    for number in range(40):
        for one, other in zip(ours[:-1], others[:-1], strict=True):
            assert one.dtype == other.dtype
            assert_same(one.numpy(), other.numpy(), f"step {number}")
        actions = torch_of(np.array([number % 2, 1, 0]))
        ours, others = pool.step(actions), theirs.step(actions)
    pool.close()


def torch_of(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)


@pytest.mark.integration
def test_record_video_records_nothing(backend: str, tmp_path: Any) -> None:
    pytest.importorskip("moviepy")
    env_fns = [lambda: Chatty("rgb_array")] * NUM_ENVS
    pool = envpool_wrap.from_env_fns(env_fns, env_type="gymnasium", backend=backend, render_mode="rgb_array")
    env = wrappers.RecordVideo(pool, str(tmp_path / "videos"), episode_trigger=lambda number: number == 0)
    env.reset(seed=1)
    for _ in range(15):
        env.step(env.action_space.sample())
    env.close()
    assert list(tmp_path.glob("videos/*.mp4"))
