"""Hooks as machine code do what they do interpreted: spaces of all kinds, records, helpers, infos, errors."""

from __future__ import annotations

import enum
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from compiled_envs import ENVS, MountainCar, Pendulum
from driven import Driven, hooks
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.random import Random

pytest.importorskip("numba")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture
def drive(folder: Path) -> Callable[..., Driven]:
    """`drive(cls, checked=False, poison=False, **kwargs)`: its class is compiled once per session."""
    return lambda cls, **how: Driven(cls, folder, **how)


def as_leaf(value: Any, like: Any) -> Any:
    """What a row would hold of what an interpreted hook returns."""
    if isinstance(like, dict):
        return {key: as_leaf(value[key], like[key]) for key in like}
    if isinstance(like, tuple):
        return tuple(as_leaf(one, other) for one, other in zip(value, like, strict=True))
    return np.asarray(value).astype(like.dtype).reshape(like.shape)


def assert_equal(one: Any, two: Any) -> None:
    """Bit by bit."""
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, tuple):
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes(), (
            one,
            two,
        )


def observed(env: Any, like: Any) -> Any:
    import inspect

    if "out" not in inspect.signature(env._make_obs_envpool).parameters:
        return as_leaf(env._make_obs_envpool(), like)
    out = zeros(like)
    returned = env._make_obs_envpool(out)
    return as_leaf(out if returned is None else returned, like)


def zeros(like: Any) -> Any:
    if isinstance(like, dict):
        return {key: zeros(value) for key, value in like.items()}
    if isinstance(like, tuple):
        return tuple(map(zeros, like))
    return np.zeros_like(like)


def assert_same_trajectory(driven: Driven, steps: int, seed: int = 3) -> None:
    """The interpreted env beside it goes the same way."""
    env, actions = driven.env, env_actions(driven.env, seed)
    env._seed_envpool(seed)
    driven.seed(seed)
    started = driven.reset()
    env._reset_envpool()
    assert_equal(started, observed(env, started))
    for _ in range(steps):
        action = next(actions)
        obs, reward, terminated, truncated = driven.step(action)
        env._step_envpool(int(action) if isinstance(action, np.int64) else action)
        assert_equal(obs, observed(env, obs))
        assert terminated == bool(env._done_envpool()) and truncated == bool(env._truncated_envpool())
        assert np.float32(reward).tobytes() == np.float32(env._reward_envpool()).tobytes()
        if driven.spec.info is not None:
            info = driven.info
            assert_equal(info, as_leaf(env._info_envpool(), info))
            assert info.keys() == env._info_envpool().keys()
        if terminated or truncated:
            started = driven.reset()
            env._reset_envpool()
            assert_equal(started, observed(env, started))


def env_actions(env: Any, seed: int) -> Any:
    env.action_space.seed(seed)
    while True:
        yield env.action_space.sample()


@pytest.mark.parametrize("cls", ENVS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("checked", [False, True], ids=["", "checked"])
def test_trajectories_are_those_of_the_interpreter(drive: Any, cls: type, checked: bool) -> None:
    assert_same_trajectory(drive(cls, checked=checked), 2000)


# Spaces


class Pair(NamedTuple):
    left: float
    right: float


class Plain(EnvPoolProtocol):
    """What all envs below share."""

    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: Any = spaces.Discrete(3)
    state_envpool = {"t": np.int64, "random": Random}

    def _reset_envpool(self) -> None:
        self.t = 0

    def _step_envpool(self, action: Any) -> None:
        self.t += 1

    def _make_obs_envpool(self) -> Any:
        return np.array([self.t, self.random.uniform()], np.float32)

    def _done_envpool(self) -> bool:
        return self.t >= 10

    def _reward_envpool(self) -> float:
        return 0.5 * self.t


class AllSpaces(Plain):
    """Every kind of leaf on both sides, nested."""

    observation_space = spaces.Dict(
        {
            "box": spaces.Box(-9, 9, (2, 3), np.float64),
            "scalar": spaces.Box(-9, 9, (), np.float32),
            "count": spaces.Discrete(50),
            "inner": spaces.Tuple([spaces.MultiBinary(3), spaces.Dict({"x": spaces.MultiDiscrete([5, 6])})]),
            "flag": spaces.Box(0, 1, (1,), bool),
            "pixels": spaces.Box(0, 255, (4, 4), np.uint8),
        }
    )
    action_space = spaces.Dict(
        {
            "go": spaces.Discrete(4, start=-1),
            "push": spaces.Box(-1, 1, (2, 2), np.float32),
            "inner": spaces.Tuple([spaces.MultiBinary(3), spaces.MultiDiscrete([5, 6])]),
        }
    )
    state_envpool = {
        "box": (np.float64, (2, 3)),
        "bits": (np.int8, 3),
        "two": (np.int64, (2,)),
        "count": np.int64,
        "pixels": (np.uint8, (4, 4)),
    }

    def _reset_envpool(self) -> None:
        self.t = self.count = 0
        self.box[:] = 0.0
        self.bits[:] = 0
        self.two[:] = 0
        self.pixels[:] = 0

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self.count = action["go"] + 1 + self.t
        self.box[:, :2] = action["push"]
        self.box[1, 2] = action["push"][0, 0]
        self.bits[:] = action["inner"][0]
        self.two[:] = action["inner"][1]
        self.pixels[self.t % 4, self.count % 4] += 7

    def _make_obs_envpool(self) -> Any:
        return {
            "box": self.box,
            "scalar": self.box[1, 2],
            "count": self.count,
            "inner": (self.bits, {"x": self.two}),
            "flag": np.array([self.count > 5]),
            "pixels": self.pixels,
        }


class WritesOut(AllSpaces):
    """The same, written where it belongs."""

    def _make_obs_envpool(self, out: Any) -> Any:  # type: ignore[override]
        out["box"][:] = self.box
        out["scalar"][()] = self.box[1, 2]
        out["count"][()] = self.count
        out["inner"][0][:] = self.bits
        out["inner"][1]["x"][:] = self.two
        out["flag"][0] = self.count > 5
        out["pixels"][:, :] = self.pixels


class Tuples(Plain):
    """A row written as tuples."""

    observation_space = spaces.Tuple(
        [spaces.Box(-99, 99, (3,), np.float32), spaces.Box(-9, 9, (2, 2), np.int32)]
    )

    def _make_obs_envpool(self) -> Any:
        return (self.t, 0.5, self.random.uniform()), ((1, 2), (3, self.t))


@pytest.mark.parametrize("cls", [AllSpaces, WritesOut, Tuples, Plain])
@pytest.mark.parametrize("checked", [False, True], ids=["", "checked"])
def test_spaces_of_all_kinds(drive: Any, cls: type, checked: bool) -> None:
    assert_same_trajectory(drive(cls, checked=checked), 100)


# What a hook may name


def twice(x: float) -> float:
    return 2.0 * x


class Inner:
    state_envpool = {"depth": np.float32, "random": Random}

    def __init__(self) -> None:
        self.depth = 0.25

    def dig(self, by: float = 0.1) -> float:
        self.depth += twice(by)
        return self.depth


class Base(Plain):
    STEP = 3
    NAMES = ("a", "b")
    TABLE = np.array([[1.5, 2.5], [3.5, 4.5]])
    state_envpool = {"x": np.float64, "inner": Inner, "flag": bool, "small": np.uint8, "single": np.float32}

    def _reset_envpool(self) -> None:
        self.t = 0
        self.x = 0.0
        self.flag = False
        self.small = 250
        self.single = 0.1

    def _grow(self, by: float, times: int = 2) -> float:
        for _ in range(times):
            self.x += by
        return self.x

    @staticmethod
    def _half(x: float) -> float:
        return x / 2

    @property
    def far(self) -> bool:
        return self.x > 40


class Names(Base):
    """Constants, helpers, static methods, properties, records, methods of a base class."""

    STEP = 4

    def _step_envpool(self, action: Any) -> None:
        Base._step_envpool(self, action)
        self._grow(self._half(self.STEP))
        self._grow(by=Base.STEP, times=1)
        self.x += (
            self.TABLE[self.t % 2, 1] + twice(self.inner.dig()) + self.inner.dig(by=0.5) + math.cos(self.x)
        )
        self.flag = self.far and len(self.NAMES) == 2
        self.small += 3
        self.single *= 1.1
        self.single += self.inner.random.uniform(high=2.0)

    def _make_obs_envpool(self) -> Any:
        return np.array([self.x + self.small, self.single * self.x + self.flag], dtype=np.float32)


class Way(enum.IntEnum):
    UP = 1
    DOWN = -1


def heighten(env: Any, by: float) -> None:
    env.x += by


class MoreNames(Base):
    """Enums, functions of the env, its class, closures, lists, keyword-only arguments, options of a reset."""

    def _reset_envpool(self, level: int = 2) -> None:
        Base._reset_envpool(self)
        self.x = level

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        by = [0.5, 1.5]
        by.append(self.random.uniform())
        heighten(self, by[action])
        if action == Way.UP:
            self.x += type(self).STEP

        def more(x: float) -> float:
            return x + self.STEP

        self.x = more(self.x)
        low, high = self._bounds()
        self.flag = low < self.x <= high and not self.flag
        pair = Pair(self.x, low)
        self.x = pair.left + pair[1]

    def _bounds(self) -> tuple[float, float]:
        return -1.0, 9.0

    def _make_obs_envpool(self) -> Any:
        return np.array([self.x, self.flag], dtype=np.float32)


def test_more_that_hooks_name(drive: Any) -> None:
    assert_same_trajectory(drive(MoreNames), 95)


def test_what_hooks_name(drive: Any) -> None:
    driven = drive(Names)
    assert_same_trajectory(driven, 195)
    assert driven.state["small"] != 250 and driven.state["inner"]["depth"] > 1


class Squares(Plain):
    """Python's power is libm's, in its last bit too."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)

    def _make_obs_envpool(self) -> Any:
        x = self.random.uniform(-3, 3)
        return np.array([x**2, x**3, abs(x) ** 0.5, 1.5**x])


def test_powers_are_pythons(drive: Any) -> None:
    driven = drive(Squares)
    driven.seed(1)
    driven.env._seed_envpool(1)
    for _ in range(20_000):
        obs = driven.reset()
        assert_equal(obs, driven.env._make_obs_envpool())


def test_sine_and_cosine_are_one_call_where_both_are_used() -> None:
    both, one = (hooks(cls).object_code() for cls in (Pendulum, MountainCar))
    assert b"\0envpool_kernel_sincos\0" in both
    assert b"\0envpool_kernel_sincos\0" not in one and b"\0cos\0" in one and b"\0sin\0" not in one


class Whole(Plain):
    """Integer arithmetic, which rounds towards minus infinity."""

    observation_space = spaces.Box(-(2**62), 2**62, (6,), np.int64)

    def _make_obs_envpool(self) -> Any:
        a, b = self.random.integers(-1000, 1000), self.random.integers(1, 50)
        return np.array([a // b, a % b, a // -b, a % -b, int(a / b), round(a / b)])


def test_whole_numbers(drive: Any) -> None:
    assert_same_trajectory(drive(Whole), 2000)


class Differs(Plain):
    """What the documentation says is different."""

    observation_space = spaces.Box(-np.inf, np.inf, (6,), np.float64)
    state_envpool = {"halves": (np.float32, (2,)), "small": (np.uint8, (2,)), "big": np.int64}

    def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
        self.halves[0] = 0.1
        self.small[0] = 255
        self.big = 2**62
        self.big += self.big
        out[0] = self.halves[0] * 0.3
        out[1] = self.small[0] + 1
        out[2] = math.sqrt(self.t - 1.0)
        out[3] = math.log(self.t + 0.0)
        out[4] = float(self.halves[0]) * 0.3
        out[5] = int(self.small[0]) + 1
        if self.big > 0:
            raise ValueError("it wraps around, as in a record")


def test_numbers_that_are_documented_as_different(drive: Any) -> None:
    obs = drive(Differs).reset()
    half = float(np.float32(0.1))
    assert obs[0] == half * 0.3 != float(np.float32(0.1) * 0.3)
    assert obs[1] == 256 and np.isnan(obs[2]) and obs[3] == -np.inf
    assert obs[4] == half * 0.3 and obs[5] == 256, "and what to write instead"


class Told(Plain):
    info_space = spaces.Dict(
        {
            "t": spaces.Discrete(100),
            "more": spaces.Dict({"x": spaces.Box(-9, 9, (2,), np.float32), "absent": spaces.Discrete(2)}),
        }
    )

    def _info_envpool(self) -> dict[str, Any]:
        return {"t": self.t, "more": {"x": np.array([0.5, 1.0 / self.t], np.float32)}}

    def _truncated_envpool(self) -> bool:
        return self.t == 7


def test_declared_infos(drive: Any) -> None:
    driven = drive(Told)
    assert_same_trajectory(driven, 50)
    assert set(driven.info["more"]) == {"x"}, "what the info lacks is masked"
    absent = next(i for i, leaf in enumerate(driven.spec.info.leaves) if leaf.name == "info.more.absent")
    assert driven.info_leaves[absent] == 0


class Takes(Plain):
    """`kwargs` are state."""

    state_envpool = {"size": np.int64, "heights": (np.float64, (3,))}

    def __init__(self, envid: int, size: int = 2, heights: Any = (1.0, 2.0, 3.0)) -> None:
        self.size, self.heights = size, heights

    def _make_obs_envpool(self) -> Any:
        return np.array([self.size, self.heights[self.size]], dtype=np.float32)


def test_arguments_of_the_constructor_are_state(drive: Any) -> None:
    assert_same_trajectory(drive(Takes), 5)
    assert drive(Takes, size=1).reset().tolist() == [1, 2]


# Memory


class Temporaries(Plain):
    """Needs an array that grows with each step: far more than an arena begins with."""

    def _make_obs_envpool(self) -> Any:
        many = np.zeros((self.t + 1) * 10_000)
        for i in range(len(many)):
            many[i] = i
        return np.array([many.sum(), many[::-1][0]], dtype=np.float32)


def test_temporary_arrays_of_any_size(drive: Any) -> None:
    driven = drive(Temporaries)
    for _ in range(2):
        driven.reset()
        before = driven.allocations
        for t in range(1, 30):
            n = (t + 1) * 10_000
            assert driven.step(0)[0].tolist() == [np.float32(n * (n - 1) / 2), n - 1]
    assert driven.allocations == before > 0, "an arena that has grown suffices for the same again"


@pytest.mark.parametrize("cls", [Plain, Tuples, Names, Squares, Told])
def test_an_array_that_is_only_copied_to_its_row_costs_no_memory(drive: Any, cls: type) -> None:
    driven = drive(cls)
    driven.reset()
    for _ in range(20):
        driven.step(0)
    assert driven.allocations == 0


# Errors


class Trouble(Exception):
    pass


class Raises(Plain):
    state_envpool = {"grid": (np.float64, (3,)), "where": np.int64}

    def _reset_envpool(self) -> None:
        self.t = 0
        self.where = 0

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        if action == 0:
            raise Trouble("no such move", 3)
        if action == 1:
            self._deeper(self.t - 1)

    def _deeper(self, none: int) -> None:
        self.grid[0] = 1 / none

    def _done_envpool(self) -> bool:
        if self.t == 3:
            raise ValueError(self.t, 0.5 * self.t, self.t > 1)
        return False


def test_exceptions_are_those_that_hooks_raise(drive: Any) -> None:
    driven = drive(Raises)
    driven.reset()
    with pytest.raises(Trouble) as caught:
        driven.step(0)
    assert caught.value.args == ("no such move", 3) and caught.value.hook == "_step_envpool"  # type: ignore[attr-defined]
    [frame] = traceback.extract_tb(caught.value.__traceback__)[3:]
    assert (frame.filename, frame.name) == (__file__, "_step_envpool")
    assert frame.line == 'raise Trouble("no such move", 3)'
    driven.reset()
    with pytest.raises(ZeroDivisionError, match="division by zero") as divided:
        driven.step(1)
    frames = traceback.extract_tb(divided.value.__traceback__)[3:]
    assert [frame.line for frame in frames] == ["self._deeper(self.t - 1)", "self.grid[0] = 1 / none"]


def test_arguments_that_are_known_at_run_time_only(drive: Any) -> None:
    driven = drive(Raises)
    driven.reset()
    driven.step(2), driven.step(2)
    with pytest.raises(ValueError) as caught:
        driven.step(2)
    assert caught.value.args == (3, 1.5, True) and caught.value.hook == "_done_envpool"  # type: ignore[attr-defined]


class OutOfBounds(Plain):
    state_envpool = {"grid": (np.float64, (3,)), "beyond": np.float64}

    def _step_envpool(self, action: Any) -> None:
        self.grid[action * 50] = 1.0


def test_indices_are_checked_where_that_was_asked_for(drive: Any) -> None:
    driven = drive(OutOfBounds, checked=True)
    driven.reset()
    driven.step(0)
    with pytest.raises(IndexError, match="index is out of bounds") as caught:
        driven.step(1)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "self.grid[action * 50] = 1.0"
