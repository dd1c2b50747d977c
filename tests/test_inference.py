"""Old envs without an observation space: it is inferred from one reset."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import envpool_wrap
from envpool_protocol.errors import EnvError, ProtocolError, SpecError
from envpool_protocol.inference import space_of
from envpool_protocol.sources import listed, source_of, thunks

INF = np.inf
LONG = np.iinfo(np.int64)


class Shown:
    """Shows one value after the other, and notes what it was called with."""

    action_space = spaces.Discrete(2)

    def __init__(self, *shown: Any) -> None:
        self.shown, self.calls, self.t = shown or (0.0,), [], 0
        self.closed = 0

    def seed(self, seed: int) -> None:
        self.calls.append(seed)

    def reset(self) -> Any:
        self.calls.append("reset")
        self.t = 0
        return self.shown[0]

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.shown[self.t % len(self.shown)], 0.0, False, {}

    def close(self) -> None:
        self.closed += 1


class LazyFrames:
    """An array only when NumPy asks."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("value", "space"),
    [
        (0.5, spaces.Box(-INF, INF, (), np.float64)),
        (3, spaces.Box(LONG.min, LONG.max, (), np.int64)),
        (True, spaces.Discrete(2)),
        (np.float32(1), spaces.Box(-INF, INF, (), np.float32)),
        (np.bool_(1), spaces.Box(0, 1, (), np.bool_)),
        ([1, 2], spaces.Box(-INF, INF, (2,), np.float64)),
        ([[1, 2.5]], spaces.Box(-INF, INF, (1, 2), np.float64)),
        (np.zeros((2, 2), np.float16), spaces.Box(-INF, INF, (2, 2), np.float16)),
        (np.zeros((4, 4, 3), np.uint8), spaces.Box(0, 255, (4, 4, 3), np.uint8)),
        (np.zeros(3, bool), spaces.Box(0, 1, (3,), np.bool_)),
        (LazyFrames(), spaces.Box(0, 255, (2, 3), np.uint8)),
        (
            (1.0, [2.0]),
            spaces.Tuple([spaces.Box(-INF, INF, (), np.float64), spaces.Box(-INF, INF, (1,), np.float64)]),
        ),
    ],
)
def test_space_of_a_value(value: Any, space: Any) -> None:
    assert space_of(value, "obs") == space


def test_dict_keeps_its_order_and_nests() -> None:
    space = space_of({"z": 1.0, "a": {"b": [1]}}, "obs")
    assert list(space.spaces) == ["z", "a"] and list(space["a"].spaces) == ["b"]


@pytest.mark.parametrize(
    ("value", "place"),
    [(None, "obs"), ("text", "obs"), ({"a": {"b": object()}}, r"obs\.a\.b"), (([[1], [2, 3]],), r"obs\.0")],
)
def test_what_has_no_space_is_told_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(SpecError, match=rf"^{place}: no observation_space, and none can be inferred from"):
        space_of(value, "obs")


def test_only_the_first_live_env_is_probed_and_seeded_for_it() -> None:
    envs = [Shown([1.0, 2.0]), Shown([1.0, 2.0])]
    description = listed(envs).describe()
    assert [env.calls for env in envs] == [[0, "reset"], []] and envs[0].closed == 0
    assert description.spec.obs.leaves[0].shape == (2,)


def test_the_env_that_a_function_made_for_it_is_closed() -> None:
    made: list[Shown] = []

    def make() -> Shown:
        made.append(Shown())
        return made[-1]

    thunks([make, make], None).describe()
    assert [env.closed for env in made] == [1]


def test_a_pool_of_such_envs_on_every_backend(backend: str) -> None:
    fns = [partial(Shown, {"x": 0.5, "on": True}, {"x": 1, "on": False})] * 2
    with envpool_wrap.from_env_fns(fns, "gym", backend=backend, seed=[7, 8]) as pool:
        assert list(pool.observation_space.spaces) == ["x", "on"]
        assert pool.reset()[0]["x"].tolist() == [0.5, 0.5]
        obs = pool.step(np.array([0, 1]))[0]
        assert obs["x"].tolist() == [1, 1] and obs["on"].tolist() == [0, 0]
        assert pool.get_attr("calls") == [[7, "reset"], [8, "reset"]], "these were not probed"


def test_live_envs_start_as_without_the_probe(pool_of: Any) -> None:
    class Noise(Shown):
        def seed(self, seed: int) -> None:
            self.rng = np.random.default_rng(seed)

        def reset(self) -> Any:
            return self.rng.normal(size=2)

    pool = pool_of([Noise(), Noise()], env_name="Noise", seed=5, num_envs=2)
    both = [np.random.default_rng(seed).normal(size=2) for seed in (5, 6)]
    assert np.array_equal(pool.reset()[0], both)


def test_a_generated_module_of_such_a_class(pool_of: Any) -> None:
    pool = pool_of(Shown, "generated", num_envs=2)
    assert pool.reset()[0].tolist() == [0, 0] and pool.observation_space.shape == ()


def test_the_later_resets_of_old_gym_are_probed_too() -> None:
    class Later(Shown):
        def reset(self, seed: Any = None) -> Any:
            self.calls.append(seed)
            return np.zeros(2, np.float32), {"not": "obs"}

    env = Later()
    space = listed([env]).describe().observation_space
    assert env.calls == [0] and (space["shape"], space["dtype"]) == ([2], "float32")


def test_spaces_are_old_gyms_if_the_action_space_is() -> None:
    gym = pytest.importorskip("gym")

    class Old(Shown):
        action_space = gym.spaces.Discrete(2)

    with envpool_wrap.from_env_fns([Old], "gym") as pool:
        assert type(pool.action_space) is gym.spaces.Discrete
        assert type(pool.observation_space) is gym.spaces.Box


@pytest.mark.parametrize(
    ("later", "found"),
    [(np.zeros(3), r"shape \(3,\)"), ({"x": 1.0}, r"found \{'x'"), ([1, "a"], "dtype <U")],
)
def test_observations_of_another_shape_are_errors_of_their_env(later: Any, found: str) -> None:
    with envpool_wrap.from_env_fns([partial(Shown, [1.0, 2.0], later)], "gym", backend="inline") as pool:
        pool.reset()
        with pytest.raises(EnvError, match=found) as caught:
            pool.step(np.array([0]))
        assert isinstance(caught.value.__cause__, SpecError)
        assert pool.step(np.array([0]))[0].tolist() == [[1, 2]]


def test_a_reset_that_raises_tells_why_there_was_one() -> None:
    class Raising(Shown):
        def reset(self) -> Any:
            raise OSError("no such robot")

    with pytest.raises(ProtocolError, match=r"was reset, which raised OSError: no such robot") as caught:
        source_of(Raising).describe()
    assert "Set observation_space in __init__" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_without_an_action_space_an_env_is_refused_and_not_reset() -> None:
    env = Shown()
    env.action_space = None  # type: ignore[assignment]
    with pytest.raises(ProtocolError, match="Shown has no action_space; set it"):
        listed([env]).describe()
    assert env.calls == []


def test_gymnasium_envs_have_to_say_what_they_observe() -> None:
    import gymnasium

    class Silent(gymnasium.Env[Any, Any]):
        action_space = spaces.Discrete(2)

    silent = type(
        "Silent", (Silent,), {"reset": lambda self, **_: (0, {}), "step": lambda self, action: None}
    )
    with pytest.raises(ProtocolError, match="Silent has no observation_space; set it"):
        source_of(silent).describe()


# env_info


class Told(Shown):
    """Takes env_info."""

    def reset(self, env_info: Any = "nothing") -> Any:
        self.calls.append(env_info)
        return 0.0


@pytest.mark.parametrize("kind", ["generated", "prebuilt"])
def test_options_are_given_as_env_info_where_reset_calls_them_so(kind: str, pool_of: Any) -> None:
    pool = pool_of(Told, kind, num_envs=2, seed=3)
    pool.reset(options=[{"length": 2}, {"length": 3}])
    pool.reset()
    pool.reset([1], options={"length": 4})
    told = pool.get_attr("calls")
    assert told == [[3, {"length": 2}, "nothing"], [4, {"length": 3}, "nothing", {"length": 4}]]


def test_options_win_over_env_info(pool_of: Any) -> None:
    class Both(Shown):
        def reset(self, options: Any = None, env_info: Any = None) -> Any:
            self.calls.append(OrderedDict(options=options, env_info=env_info))
            return 0.0

    pool = pool_of(Both, num_envs=1, seed=3)
    pool.reset(options={"length": 2})
    assert pool.get_attr("calls")[0][-1] == {"options": {"length": 2}, "env_info": None}


def test_a_wrapper_that_passes_all_on_takes_what_its_env_takes(pool_of: Any) -> None:
    class Around:
        def __init__(self) -> None:
            self.env, self.action_space = Told(), Told.action_space

        def seed(self, seed: int) -> None:
            self.env.seed(seed)

        def reset(self, **kwargs: Any) -> Any:
            return self.env.reset(**kwargs)

        def step(self, action: Any) -> Any:
            return self.env.step(action)

    pool = pool_of(Around, num_envs=1, seed=3)
    pool.reset(options={"length": 2})
    assert pool.get_attr("env.calls") == [[3, {"length": 2}]]
