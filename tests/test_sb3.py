"""`SB3VecEnv` beside Stable-Baselines3's own DummyVecEnv: same envs, seeds and actions, same results.

Needs the extra `sb3`: `make test-all`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from envs import Counting, Faulty, Telling, WalkEnv
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

import envpool_wrap
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    NothingPendingError,
    PoolClosedError,
    SpecError,
    UnknownEnvError,
)

with warnings.catch_warnings():  # what these libraries say while they are imported is not ours
    warnings.simplefilter("ignore")
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.monitor import Monitor

    from envpool_wrap.integrations.sb3 import SB3VecEnv

pytestmark = pytest.mark.integration
NUM_ENVS = 3


class AsGymnasium(gymnasium.Env[Any, Any]):
    """A hook env as DummyVecEnv takes it."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        if seed is not None:
            self.env._seed_envpool(seed)
        self.env._reset_envpool(**(options or {}))
        return np.array(self.env._make_obs_envpool()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.env._step_envpool(action)
        obs = np.array(self.env._make_obs_envpool())
        ended = self.env._done_envpool(), self.env._truncated_envpool()
        return obs, self.env._reward_envpool(), *ended, dict(self.env._info_envpool())


class Scene(gymnasium.Env[Any, Any]):
    """Draws everything; ends terminated, truncated or both; infos of both kinds; `level` is an option."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 7}
    observation_space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (4, 5, 1), np.uint8), "arm": spaces.Box(-1, 1, (2,), np.float64)}
        | {"door": spaces.Discrete(3), "keys": spaces.MultiBinary(4), "dials": spaces.MultiDiscrete([2, 5])}
    )
    action_space = spaces.MultiDiscrete([3, 4])

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.level = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.level = (options or {}).get("level", self.level)
        self.t, self.length = 0, int(self.np_random.integers(1, 7))
        return self._obs(), {"level": self.level, "length": self.length}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over, how = self.t >= self.length, self.length % 3
        info = {"t": self.t, "inner": {"action": np.array(action)}} if self.t % 2 else {}
        return self._obs(), float(self.np_random.normal()), over and how != 0, over and how != 1, info

    def _obs(self) -> Any:
        draw = self.np_random
        obs = {"camera": draw.integers(0, 256, (4, 5, 1), np.uint8), "arm": draw.uniform(-1, 1, 2)}
        obs |= {"door": int(draw.integers(3)), "keys": draw.integers(0, 2, 4, np.int8)}
        return obs | {"dials": draw.integers(0, [2, 5])}

    def render(self) -> Any:
        return np.full((4, 6, 3), self.t, np.uint8)

    def only_here(self, value: int) -> int:
        return value + self.level


class Film(Scene):
    """Its camera alone."""

    observation_space = Scene.observation_space["camera"]  # type: ignore[assignment]

    def _obs(self) -> Any:
        return super()._obs()["camera"]


class Meter(Scene):
    """Its arm alone."""

    observation_space = Scene.observation_space["arm"]  # type: ignore[assignment]

    def _obs(self) -> Any:
        return super()._obs()["arm"]


@pytest.fixture
def sb3() -> Iterator[Callable[..., Any]]:
    """`sb3(envs, **config)`: an SB3VecEnv, inline unless told otherwise, that is closed after the test."""
    made: list[Any] = []

    def make_env(envs: Any, **config: Any) -> Any:
        made.append(SB3VecEnv(envs, **({"backend": "inline"} | config)))
        return made[-1]

    yield make_env
    for env in made:
        env.close()


def dummy(env_fn: Callable[..., Any]) -> Any:
    """`env_fn(i)` for each i in a DummyVecEnv."""
    return vec_env.DummyVecEnv([lambda i=i: env_fn(i) for i in range(NUM_ENVS)])


def assert_same(one: Any, other: Any, where: str) -> None:
    if isinstance(other, dict):
        assert isinstance(one, dict) and one.keys() == other.keys(), (where, one, other)
        for key in other:
            if (where, key) != ("episode", "t"):  # seconds
                assert_same(one[key], other[key], key)
    elif isinstance(other, list):
        assert isinstance(one, list) and len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where} {i}")
    elif isinstance(other, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        assert np.array_equal(one, other), (where, one, other)
    else:
        assert one == other, (where, one, other)
        assert isinstance(one, bool) == isinstance(other, bool), where


def assert_plays_alike(ours: Any, other: Any, steps: int = 120) -> list[str]:
    """Step both, and return how the episodes ended."""
    space = other.action_space
    space.seed(3)
    assert ours.observation_space == other.observation_space and ours.action_space == space
    ends: list[str] = []
    for seed in (7, None):  # the second reset goes on from where the generators are
        if seed is not None:
            assert list(ours.seed(seed)) == list(other.seed(seed))
        assert_same(ours.reset(), other.reset(), "obs")
        assert_same(ours.unwrapped.reset_infos, other.unwrapped.reset_infos, "reset_infos")
        for _ in range(steps):
            actions = np.stack([space.sample() for _ in range(NUM_ENVS)])
            ours.step_async(actions)
            obs, rewards, dones, infos = ours.step_wait()
            assert_same([obs, rewards, dones, infos], list(other.step(actions)), "step")
            assert_same(ours.unwrapped.reset_infos, other.unwrapped.reset_infos, "reset_infos")
            cuts = [infos[i]["TimeLimit.truncated"] for i in np.flatnonzero(dones)]
            ends += ["truncated" if cut else "terminated" for cut in cuts]
    other.close()
    return ends


# ---- the same as DummyVecEnv ----


@pytest.mark.parametrize("backend", ["inline", "process"])
@pytest.mark.parametrize("limit", [None, 15])
def test_steps_of_a_gymnasium_id(backend: str, limit: int | None, sb3: Any, registry: None) -> None:
    ours = sb3(
        envpool_wrap.register("CartPole-v1"), num_envs=NUM_ENVS, backend=backend, max_episode_steps=limit
    )
    ends = assert_plays_alike(ours, dummy(lambda i: gymnasium.make("CartPole-v1", max_episode_steps=limit)))
    assert set(ends) == ({"terminated", "truncated"} if limit else {"terminated"})


@pytest.mark.parametrize("backend", ["inline", "process"])
@pytest.mark.parametrize(("cls", "limit"), [(WalkEnv, 9), (Faulty, None)])
def test_steps_of_hooks(backend: str, cls: Any, limit: int | None, sb3: Any, task_id: Any) -> None:
    ours = sb3(task_id(cls), num_envs=NUM_ENVS, backend=backend, max_episode_steps=limit)

    def env_fn(i: int) -> Any:
        env = AsGymnasium(cls(i))
        return env if limit is None else TimeLimit(env, limit)

    assert "truncated" in assert_plays_alike(ours, dummy(env_fn))


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_steps_of_a_dict_of_spaces(backend: str, sb3: Any) -> None:
    ours = sb3([Scene] * NUM_ENVS, backend=backend)
    assert set(assert_plays_alike(ours, dummy(lambda i: Scene()))) == {"terminated", "truncated"}


@pytest.mark.parametrize("env_type", ["gym", "gymnasium"])
def test_steps_of_a_pool_of_either_face(env_type: str, make: Any) -> None:
    pool = make(WalkEnv, env_type, num_envs=NUM_ENVS, autoreset_mode="same_step", max_episode_steps=9)
    ours = SB3VecEnv(pool)
    assert ours.pool is pool
    assert_plays_alike(ours, dummy(lambda i: TimeLimit(AsGymnasium(WalkEnv(i)), 9)))


def test_make_vec_env_with_one_argument_changed() -> None:
    settings: dict[str, Any] = {"n_envs": NUM_ENVS, "seed": 5}
    with_ours = make_vec_env("CartPole-v1", vec_env_cls=SB3VecEnv, **settings)
    assert_plays_alike(with_ours, make_vec_env("CartPole-v1", **settings))
    with_ours.close()


@pytest.mark.parametrize(
    ("cls", "wrap"),
    [
        (Scene, vec_env.VecMonitor),
        (Meter, vec_env.VecNormalize),
        (Scene, lambda env: vec_env.VecNormalize(env, norm_obs_keys=["arm"])),
        (Film, lambda env: vec_env.VecFrameStack(env, 3)),
        (Film, lambda env: vec_env.VecFrameStack(vec_env.VecTransposeImage(env), 2)),
        (Scene, lambda env: vec_env.VecExtractDictObs(env, "arm")),
        (Scene, vec_env.VecCheckNan),
    ],
    ids=["monitor", "normalize", "normalize-dict", "stack", "transpose-stack", "extract", "check-nan"],
)
def test_wrappers(cls: Any, wrap: Callable[[Any], Any], sb3: Any) -> None:
    assert_plays_alike(wrap(sb3([cls] * NUM_ENVS)), wrap(dummy(lambda i: cls())))


def test_options_reach_one_reset(sb3: Any) -> None:
    ours, other = sb3([Scene] * NUM_ENVS), dummy(lambda i: Scene())
    for env in (ours, other):
        env.seed(0)
        env.set_options([{"level": 4}, {}, {"level": 6}])
        env.reset()
        assert [info["level"] for info in env.reset_infos] == [4, 0, 6]
        env.set_options({"level": 9})
        env.reset()
        assert env.get_attr("level") == [9] * NUM_ENVS
        env.set_attr("level", 1)
        env.reset()
        assert env.get_attr("level") == [1] * NUM_ENVS
    ours.set_options([{"level": 4}])
    with pytest.raises(ActionError, match="list of 1 for 3 envs"):
        ours.reset()


def test_frames(sb3: Any) -> None:
    def env_fn() -> Any:
        return Scene(render_mode="rgb_array")

    ours, other = sb3([env_fn] * NUM_ENVS), dummy(lambda i: env_fn())
    assert ours.render_mode == other.render_mode == "rgb_array"
    assert ours.metadata == other.metadata
    for env in (ours, other):
        env.seed(1)
        env.reset()
        env.step(np.zeros((NUM_ENVS, 2), np.int64))
    assert_same(list(ours.get_images()), list(other.get_images()), "images")
    assert_same(ours.render(), other.render(), "render")
    assert ours.render().shape == (8, 12, 3)


def test_frames_without_render_mode(sb3: Any, task_id: Any) -> None:
    ours = sb3([Scene] * 2)
    assert ours.render_mode is None
    with pytest.warns(UserWarning, match="render_mode is None"):
        assert ours.get_images() == [None, None]
    hooks = sb3(task_id(Counting), num_envs=2)  # what has _render_envpool needs none
    hooks.reset()
    assert hooks.render_mode == "rgb_array"
    assert hooks.render().max() == 1
    assert sb3(task_id(WalkEnv)).render_mode is None


# ---- the envs ----


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_attributes_and_methods_by_index(backend: str, sb3: Any) -> None:
    env = sb3([lambda: TimeLimit(Scene(), 5)] * NUM_ENVS, backend=backend)
    assert env.has_attr("only_here") and env.has_attr("level") and not env.has_attr("nowhere")
    env.set_attr("level", 3, indices=[0, -1])
    assert env.get_attr("level") == [3, 0, 3] == env.get_attr("level", range(3))
    assert env.get_attr("level", 1) == [0] and env.get_attr("level", np.array([2])) == [3]
    assert env.env_method("only_here", 10) == [13, 10, 13]
    assert env.env_method("only_here", value=1, indices=[2, 1]) == [4, 1]
    assert env.env_method("only_here", 1, indices=[]) == []
    assert env.env_is_wrapped(TimeLimit) == [True] * 3 and env.env_is_wrapped(Monitor, 0) == [False]
    with pytest.raises(AttributeError, match="nowhere"):
        env.get_attr("nowhere")
    with pytest.raises(IndexError):
        env.get_attr("level", 3)


def test_an_attribute_of_some_envs_is_none_of_all(sb3: Any) -> None:
    assert not sb3([Film, lambda: TimeLimit(Film(), 5)]).has_attr("_max_episode_steps")


def test_asking_for_a_wrapper_imports_nothing_in_the_workers(sb3: Any, task_id: Any) -> None:
    env = sb3(task_id(Counting), num_envs=2, backend="process", caller_steps=False)
    assert env.env_is_wrapped(Monitor) == [False, False]
    env.set_attr("imported", lambda: "stable_baselines3" in sys.modules)
    assert env.env_method("imported") == [False, False]


def test_wrapped_and_unwrapped(sb3: Any) -> None:
    env = sb3([Scene] * 2)
    wrapped = vec_env.VecMonitor(env)
    assert env.unwrapped is env is wrapped.unwrapped
    assert wrapped.pool is env.pool  # found through wrappers
    assert env.getattr_depth_check("pool", already_found=True).endswith("SB3VecEnv")
    assert env.getattr_depth_check("pool", already_found=False) is None
    assert "num_envs=2" in repr(env)


# ---- calls in order, and out of it ----


def test_seeds_of_the_pool_count_until_there_are_others(sb3: Any, task_id: Any) -> None:
    env, again = (sb3(task_id(WalkEnv), num_envs=2, seed=11) for _ in range(2))
    first = env.reset()
    assert np.array_equal(first, again.reset())
    assert env.seed(11) == [11, 12]
    assert np.array_equal(env.reset(), first)
    assert not np.array_equal(env.reset(), first)  # a seed counts once


def test_reset_cancels_a_step(sb3: Any, task_id: Any) -> None:
    env = sb3(task_id(Counting), num_envs=2)
    env.reset()
    env.step_async(np.zeros((2, 1), np.float32))
    assert env.reset()[:, 1].tolist() == [0, 0]
    with pytest.raises(NothingPendingError):
        env.step_wait()
    assert env.step(np.zeros((2, 1), np.float32))[0][:, 1].tolist() == [1, 1]


def test_closing_closes_the_pool(make: Any, sb3: Any, task_id: Any) -> None:
    pool = make(Counting, num_envs=2, autoreset_mode="same_step")
    for env in (SB3VecEnv(pool), sb3(task_id(Counting), num_envs=2, backend="process")):
        env.close()
        env.close()
        with pytest.raises(PoolClosedError):
            env.reset()


def test_results_are_kept_while_others_come(sb3: Any) -> None:
    env = sb3([Scene] * 2)
    env.reset()
    actions = np.zeros((2, 2), np.int64)
    kept = [env.step(actions) for _ in range(20)]
    seen = [(obs["arm"].copy(), rewards.copy()) for obs, rewards, _, _ in kept]
    for _ in range(20):
        env.step(actions)
    for (obs, rewards, _, _), (arm, sums) in zip(kept, seen, strict=True):
        assert np.array_equal(obs["arm"], arm) and np.array_equal(rewards, sums)
    dicts = [info for *_, infos in kept for info in infos]
    assert len({id(info) for info in dicts}) == len(dicts)


# ---- infos that pools add ----


def test_episode_statistics_are_where_sb3_looks_for_them(sb3: Any) -> None:
    ours, other = sb3([Scene] * NUM_ENVS, episode_stats=True), vec_env.VecMonitor(dummy(lambda i: Scene()))
    for env in (ours, other):
        env.seed(2)
        env.reset()
    for _ in range(40):
        actions = np.zeros((NUM_ENVS, 2), np.int64)
        for mine, theirs in zip(ours.step(actions)[-1], other.step(actions)[-1], strict=True):
            assert ("episode" in mine) == ("episode" in theirs)
            if "episode" in mine:
                assert mine["episode"]["l"] == theirs["episode"]["l"]
                assert mine["episode"]["r"] == pytest.approx(theirs["episode"]["r"], abs=1e-5)
    assert all("episode" not in info for info in ours.reset_infos)


def test_declared_info_of_the_step_and_of_the_reset_are_kept_apart(sb3: Any, task_id: Any) -> None:
    env = sb3(task_id(Telling), num_envs=2)
    env.reset()
    env.set_attr("tell", {"score": 2.5, "arm": {"on": 1}, "note": "hm"}, indices=1)
    for _ in range(3):
        *_, infos = env.step(np.zeros(2, np.int64))
    assert infos[0].keys() == {"TimeLimit.truncated", "terminal_observation"}
    told = {key: infos[1][key] for key in ("score", "arm", "note")}
    assert told == {"score": 2.5, "arm": {"on": 1}, "note": "hm"}
    assert env.reset_infos == [{}, {}]
    *_, infos = env.step(np.zeros(2, np.int64))
    assert infos[1].keys() == {"score", "arm", "note", "TimeLimit.truncated"}


def test_infos_that_workers_drop(sb3: Any) -> None:
    env = sb3([Scene] * 2, infos="none", backend="process")
    env.reset()
    assert env.reset_infos == [{}, {}]
    keys = {key for _ in range(20) for info in env.step(np.zeros((2, 2), np.int64))[-1] for key in info}
    assert keys == {"TimeLimit.truncated", "terminal_observation"}


# ---- what goes wrong ----


def test_an_env_that_raises(sb3: Any, task_id: Any) -> None:
    fails = {"fail_in": "_step_envpool", "fail_at": 2}
    env = sb3(task_id(Faulty), num_envs=2, env_kwargs=[{}, fails])
    env.reset()
    env.step([0, 0])
    with pytest.raises(EnvError, match="env 1 says no") as raised:
        env.step([0, 0])
    obs, rewards, dones, infos = raised.value.result
    assert obs.tolist() == [[0, 2], [0, 0]] and rewards.tolist() == [1, 0] and dones.tolist() == [False, True]
    assert infos[0] == {"t": 2, "even": True, "TimeLimit.truncated": False}
    assert infos[1]["TimeLimit.truncated"] and infos[1]["terminal_observation"].tolist() == [0, 0]
    assert env.step([0, 0])[0].tolist() == [[0, 3], [1, 0]]


def test_an_env_that_is_restarted_ends_its_episode(sb3: Any, task_id: Any) -> None:
    fails = {"fail_in": "_step_envpool", "fail_at": 2}
    env = sb3(task_id(Faulty), num_envs=2, env_kwargs=[{}, fails], on_error="restart")
    env.reset()
    env.step([0, 0])
    *_, dones, infos = env.step([0, 0])
    assert dones.tolist() == [False, True] and infos[1]["TimeLimit.truncated"]


def test_pools_that_do_not_fit_are_refused_and_left_open(make: Any) -> None:
    for match, env_type, config in (
        (
            "batch_size=2 with num_envs=4 is an asynchronous pool.*make it with batch_size=0",
            "gym",
            {"batch_size": 2},
        ),
        (
            "autoreset_mode='next_step'.*make the pool with autoreset_mode='same_step'",
            "gym",
            {"autoreset_mode": "next_step"},
        ),
        ("autoreset_mode='disabled'.*same_step", "gymnasium", {"autoreset_mode": "disabled"}),
        ("TimeStep has no info; make it with env_type='gym'", "dm", {}),
    ):
        pool = make(Counting, env_type, num_envs=4, **({"autoreset_mode": "same_step"} | config))
        with pytest.raises(ConfigError, match=match):
            SB3VecEnv(pool)
        pool.reset()


def test_settings_that_do_not_fit(make: Any, task_id: Any) -> None:
    task = task_id(Counting)
    for match, config in (
        ("Nearest: 'num_envs'", {"num_env": 4}),
        ("asynchronous", {"num_envs": 4, "batch_size": 2}),
        ("autoreset_mode='next_step'", {"autoreset_mode": "next_step"}),
    ):
        with pytest.raises(ConfigError, match=match):
            SB3VecEnv(task, **{"backend": "inline"} | config)
    pool = make(Counting, autoreset_mode="same_step")
    with pytest.raises(ConfigError, match=r"settings \['num_envs'\] for a pool that is there"):
        SB3VecEnv(pool, num_envs=2)
    with pytest.raises(UnknownEnvError, match="Nearest: 'Counting_wrap'"):
        SB3VecEnv("Countin_wrap")
    with pytest.raises(ConfigError, match="expected a task id, a pool or a list of functions"):
        SB3VecEnv(gymnasium.make("CartPole-v1"))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(2),)),
        spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}),
        spaces.Dict({"a": spaces.Tuple((spaces.Discrete(2),))}),
        spaces.Text(5),
    ],
    ids=["tuple", "nested", "tuple in dict", "text"],
)
def test_observation_spaces_that_sb3_does_not_have(space: Any) -> None:
    open_envs: list[Any] = []

    class Odd(Scene):
        observation_space = space

        def __init__(self) -> None:
            super().__init__()
            open_envs.append(self)

        def _obs(self) -> Any:
            return space.sample()

        def close(self) -> None:
            open_envs.remove(self)

    told = "Stable-Baselines3 takes Box, Discrete, MultiBinary, MultiDiscrete, or one Dict of these"
    with pytest.raises(SpecError, match=told) as raised:
        SB3VecEnv([Odd], backend="inline")
    assert open_envs == [] and raised.tb  # which holds the pool


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "envpool_wrap.integrations.sb3")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
        with pytest.raises(ImportError, match=r"pip install --upgrade 'envpool-wrapper\[sb3\]'"):
            importlib.import_module("envpool_wrap.integrations.sb3")
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda package: "2.5.0")
        with pytest.raises(ImportError, match=r"stable_baselines3 2\.5\.0 is too old, 2\.6 works"):
            importlib.import_module("envpool_wrap.integrations.sb3")


def test_a_simulator_that_is_batched_already_is_taken(monkeypatch: Any) -> None:
    from simulators import Points

    from envpool_wrap import registry
    from envpool_wrap.integrations.batched import register_batched

    monkeypatch.setattr(registry, "MAKERS", {})
    register_batched("Points", Points)
    with pytest.raises(ConfigError, match=r"SB3VecEnv takes pools of envs.*ElegantRLVecEnv"):
        SB3VecEnv("Points")
