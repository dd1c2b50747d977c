"""Values of observations outside of their space: found, told, and when nobody looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from echo import DEEP, NESTED, Echo, assert_same_value, batched, row_of, samples
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import envpool_wrap
from envpool_protocol import _core
from envpool_protocol.checks import ALWAYS
from envpool_protocol.errors import EnvError, SpecError
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_protocol.space_kinds import Bounds
from envpool_protocol.spaces import space_bounds, space_description
from envpool_protocol.spec import DTYPES
from envpool_wrap.config import PoolConfig
from envpool_wrap.faces.gym import GymPool

INF, NAN = np.inf, np.nan
HINT = (
    "Observations are checked for the first 100 steps of each env; check=False turns that off, "
    "check=True checks all"
)


class Answers(Echo):
    """Returns what it was built with, whatever it is sent."""

    def __init__(self, envid: int, space: Any, answer: Any) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.first, self.answer = None, answer

    def _make_obs_envpool(self) -> Any:
        return self.answer


def pool_of(
    cls: type, num_envs: int = 1, check: Any = "auto", autoreset_mode: str = "next_step", **kwargs: Any
) -> Any:
    """A pool of the prebuilt module."""
    source = source_of(cls, "Env", kwargs)
    settings = {"num_envs": num_envs, "check": check, "autoreset_mode": autoreset_mode, "backend": "inline"}
    config = PoolConfig.of(settings)
    description = source.describe()
    return GymPool(source, description, prebuilt_module(description), config)


def outcome(space: Any, answer: Any, **config: Any) -> SpecError | None:
    """What the first reset raises when the env returns `answer`."""
    with pool_of(Answers, space=space, answer=answer, **config) as pool:
        try:
            pool.reset()
        except EnvError as error:
            assert error.hook == "_make_obs_envpool"
            assert isinstance(error.__cause__, SpecError)
            return error.__cause__
    return None


def box(low: Any, high: Any, shape: Any = (3,), dtype: Any = np.float32) -> Any:
    ends = (np.resize(np.asarray(end, dtype), shape) for end in (low, high))
    return spaces.Box(*ends, dtype=dtype)


PER_ELEMENT = box([0, -INF, -1], [1, 5, INF])


@pytest.mark.parametrize(
    ("space", "answer", "message"),
    [
        (box(0, 1), [0, 0.5, 1.5], r"obs: 1\.5 at \[2\] is outside of 0\.0 to 1\.0\. " + HINT),
        (box(0, 1), [-0.1, 9, 9], r"obs: -0\.1 at \[0\] is outside of 0\.0 to 1\.0"),
        (box(0, 1), [0, NAN, 0], r"obs: nan at \[1\] is outside of 0\.0 to 1\.0"),
        (box(-INF, INF), [0, 0, NAN], r"obs: nan at \[2\] is outside of -inf to inf"),
        (box(0, INF), [0, NAN, -1], r"obs: nan at \[1\] is outside of 0\.0 to inf"),
        (box(0, INF), [0, 1, -1], r"obs: -1\.0 at \[2\] is outside of 0\.0 to inf"),
        (box(-INF, 0), [-INF, 0, INF], r"obs: inf at \[2\] is outside of -inf to 0\.0"),
        (PER_ELEMENT, [0.5, 6, -2], r"obs: 6\.0 at \[1\] is outside of -inf to 5\.0"),
        (PER_ELEMENT, [0.5, -99, -2], r"obs: -2\.0 at \[2\] is outside of -1\.0 to inf"),
        (box(0, 1, (2, 2)), [[0, 1], [0, 2]], r"obs: 2\.0 at \[1, 1\] is outside"),
        (box(0, 1, ()), 2.0, r"obs: 2\.0 is outside of 0\.0 to 1\.0"),
        (box(0, 9, (2,), np.uint8), np.array([9, 10], np.uint8), r"obs: 10 at \[1\] is outside of 0 to 9"),
        (box(-5, 127, (2,), np.int8), np.array([-6, 0], np.int8), r"obs: -6 at \[0\] is outside of -5 to"),
        (
            box(0, 2**63, (1,), np.uint64),
            np.array([2**63 + 1], np.uint64),
            r"obs: 9223372036854775809 at \[0\] is outside of 0 to 9223372036854775808",
        ),
        (box(1, 1, (2,), bool), np.array([True, False]), r"obs: False at \[1\] is outside of True to True"),
        (box(0, 1, (2,), np.float16), np.array([1, 1.001], np.float16), r"obs: 1\.001 at \[1\] is outside"),
        (
            box(0, INF, (2,), np.float16),
            np.array([6e-8, -6e-8], np.float16),
            r"obs: -6e-08 at \[1\] is outside",
        ),
        (box(-INF, INF, (2,), np.float16), np.array([INF, NAN], np.float16), r"obs: nan at \[1\]"),
        (box(-INF, INF, (2,), np.float64), np.array([0, NAN]), r"obs: nan at \[1\]"),
        (spaces.Discrete(3, start=-1), 2, r"obs: 2 is outside of -1 to 1"),
        (spaces.Discrete(3, start=-1), -2, r"obs: -2 is outside of -1 to 1"),
        (
            spaces.MultiDiscrete([2, 3], start=[5, -1]),
            np.array([6, 2]),
            r"obs: 2 at \[1\] is outside of -1 to 1",
        ),
        (spaces.MultiBinary(3), np.array([0, 1, 2], np.int8), r"obs: 2 at \[2\] is outside of 0 to 1"),
        (
            spaces.Text(5, charset="abc"),
            "abd",
            r"obs: 'd' at 2 of 'abd' is none of the characters 'abc'\. Obs",
        ),
        (spaces.Text(5, min_length=2), "a", r"obs: 'a' has 1 characters; expected at least 2"),
        (spaces.Text(5, min_length=1), "", r"obs: '' has 0 characters; expected at least 1"),
        (spaces.Text(5, charset=""), "a", r"obs: 'a' at 0 of 'a' is none of the characters ''"),
        (
            spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), box(0, 1)])),
            {"a": (0, [0, 0, 7])},
            r"obs\.a\.1: 7\.0 at \[2\]",
        ),
    ],
)
def test_a_value_outside_of_its_space_is_returned(space: Any, answer: Any, message: str) -> None:
    error = outcome(space, answer)
    with pytest.raises(SpecError, match=f"^{message}"):
        raise error or AssertionError("nothing was raised")
    assert outcome(space, answer, check=False) is None


@pytest.mark.parametrize(
    ("space", "answer"),
    [
        (box(0, 1), [0, 1, 0.5]),
        (box(-INF, INF), [INF, -INF, 0]),
        (box(0, 1, (0, 3)), np.zeros((0, 3), np.float32)),
        (PER_ELEMENT, [0, -INF, INF]),
        (box(0, 2**64 - 1, (1,), np.uint64), np.array([2**64 - 1], np.uint64)),
        (box(-(2**63), 2**63 - 1, (1,), np.int64), np.array([-(2**63)])),
        (spaces.Discrete(2**63 - 1), 2**63 - 2),
        (spaces.Discrete(2**63 - 1, start=-(2**62)), 2**62 - 2),
        (spaces.Text(3, charset="é\U0001f600\ud800"), "\ud800é"),
        (spaces.Text(3, min_length=0), ""),
    ],
)
def test_a_value_at_its_bound_is_refused(space: Any, answer: Any) -> None:
    assert outcome(space, answer) is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.filterwarnings("ignore:obs. an env returned dtype")
def test_a_bound_that_was_rounded_in_the_cast_refuses_itself(dtype: Any) -> None:
    for bound in (0.1, 1 / 3, 1e-3, 2.4, np.pi):
        space = spaces.Box(-bound, bound, (2,), dtype)
        assert outcome(space, np.array([bound, -bound])) is None
        assert outcome(space, np.array([np.nextafter(dtype(bound), dtype(9)), 0], dtype)) is not None


def bounds_of(space: Any) -> list[Bounds | None]:
    return space_bounds(space_description(space))


def test_a_leaf_that_holds_any_value_is_looked_at() -> None:
    for name in DTYPES:
        dtype = np.dtype(name)
        if dtype.kind == "f":
            assert bounds_of(spaces.Box(-INF, INF, (2,), dtype)) == [Bounds()]
        else:
            least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            assert bounds_of(box(least, most, (2,), dtype)) == [None]


def test_bounds_that_are_all_the_same_take_much_memory() -> None:
    (bounds,) = bounds_of(spaces.Box(0, 1, (84, 84, 4)))
    assert bounds is not None
    assert len(bounds.low) == len(bounds.high) == 4


def _wrong(space: Any, value: Any) -> bool:
    return outcome(space, value) is not None


@given(st.sampled_from([name for name in DTYPES if name != "bool"]), st.data())
@settings(max_examples=150, deadline=None)
def test_numpy_and_the_engine_disagree(name: str, data: Any) -> None:
    dtype = np.dtype(name)
    raw = data.draw(st.lists(st.binary(min_size=24, max_size=24), min_size=3, max_size=3))
    ends = np.stack([np.frombuffer(piece, dtype)[:3] for piece in raw[:2]])
    ends = np.sort(np.where(ends == ends, ends, np.zeros_like(ends)), axis=0)
    value = np.frombuffer(raw[2], dtype)[:3]
    space = spaces.Box(ends[0], ends[1], (3,), dtype)
    assert _wrong(space, value) == (not ((value >= ends[0]) & (value <= ends[1])).all())


@given(NESTED, st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_a_sample_of_a_space_is_refused(space: Any, seed: int) -> None:
    assert outcome(space, samples(space, seed, 1)[0]) is None


# When


class Late(Echo):
    """Leaves its space at its step `at`."""

    def __init__(self, envid: int, at: int) -> None:
        super().__init__(envid, spaces.Discrete(3))
        self.t, self.at = 0, at + envid

    def _step_envpool(self, action: Any) -> None:
        self.t += 1

    def _make_obs_envpool(self) -> Any:
        return 7 if self.t == self.at else 0


def first_error(pool: Any, steps: int) -> tuple[int, Any] | None:
    pool.reset()
    for step in range(1, steps + 1):
        try:
            pool.step(np.zeros(len(pool), int))
        except EnvError as error:
            return step, error
    return None


@pytest.mark.parametrize(
    ("check", "at", "found"),
    [("auto", 100, True), ("auto", 101, False), (True, 300, True), (False, 1, False)],
)
def test_steps_are_checked_for_another_time(check: Any, at: int, found: bool) -> None:
    with pool_of(Late, check=check, at=at) as pool:
        error = first_error(pool, at + 2)
        assert (error is not None) == found
        if error:
            assert error[0] == at
    assert CHECKED[check] in str(error and error[1]) or not found


CHECKED = {
    "auto": HINT,
    True: "Observations are checked for all steps; check=False turns that off",
    False: "",
}


def test_the_last_observation_of_an_episode_is_not_checked_where_it_is_reset_at_once() -> None:
    with pool_of(Late, at=2, autoreset_mode="same_step") as pool:
        pool.set_attr("_done_envpool", lambda: True)
        pool.set_attr("_reset_envpool", lambda: None)
        pool.reset()
        pool.step(np.zeros(1, int))
        with pytest.raises(EnvError, match="obs: 7 is outside"):
            pool.step(np.zeros(1, int))


def test_a_reset_after_the_first_hundred_steps_is_checked() -> None:
    with pool_of(Late, at=-1) as pool:
        assert first_error(pool, 100) is None
        pool.set_attr("at", 101)
        pool.set_attr("t", 101)
        pool.reset()
        assert pool.step(np.zeros(1, int))[0].tolist() == [0]


def test_the_error_of_a_compiled_module_names_another_env(echo_task: Any, backend: str) -> None:
    values = samples(DEEP, 0, 3)
    wrong = {**values[1], "a": ({**values[1]["a"][0], "c": np.array([0.5, 8, 0], np.float32)}, "xy")}
    with envpool_wrap.make(echo_task(DEEP), "gym", num_envs=3, backend=backend) as pool:
        pool.reset()
        pool.set_attr("first", wrong, env_id=1)
        message = (
            r"env 1: _make_obs_envpool raised SpecError: obs\.a\.0\.c: 8\.0 at \[1\] is outside of -1\.0 to"
        )
        with pytest.raises(EnvError, match=message) as caught:
            pool.reset()
        assert caught.value.result[0]["a"][0]["c"][1].tolist() == [0, 0, 0]
        with pytest.raises(EnvError, match=message):
            pool.step(batched(DEEP, values))  # a reset, of this env
        pool.set_attr("first", values[1], env_id=1)
        pool.step(batched(DEEP, values))
        assert_same_value(row_of(pool.step(batched(DEEP, values))[0], 1), values[1])


def test_always_is_a_number_of_steps_that_an_env_may_take() -> None:
    assert ALWAYS == 2**63 - 1
    _core.RowRules(check_steps=ALWAYS, bounds=[None], keep_infos=True, watch_random=False)
