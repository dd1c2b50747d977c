"""Infos in Gymnasium's layout: `SyncVectorEnv` itself is the measure wherever it loses nothing."""

from __future__ import annotations

from typing import Any

import envs
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from envpool_wrap.infos import batch_infos

ENGINE_KEYS = {"env_id", "players", "elapsed_step"}


class Told(gymnasium.Env[Any, Any]):
    """Says one info on reset."""

    observation_space = action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info

    def reset(self, **kwargs: Any) -> Any:
        return 0, self.info


def by_gymnasium(rows: list[dict[str, Any] | None]) -> dict[str, Any]:
    return SyncVectorEnv([lambda info=row: Told(info or {}) for row in rows]).reset()[1]


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert set(ours) == set(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
        return
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    for one, two in zip(ours.ravel(), theirs.ravel(), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}, None, {"a": 3}],
        [{"a": 0.5}, {"b": True}, {}],
        [{"a": np.float32(0.1)}, {"a": np.float32(2)}],
        [{"a": np.int8(3)}, None],
        [{"a": "text"}, {"a": [1, 2]}],
        [{"a": None}, {"b": object}],
        [{"a": np.arange(3)}, {"a": np.arange(3)}, {}],
        [{"a": np.zeros((2, 2), np.float16)}, None],
        [{"a": {"b": 1, "c": {"d": 2.0}}}, {"a": {"b": 3}}, {}],
        [{"a": {}}, {"b": 1}],
    ],
)
def test_the_layout_is_not_gymnasiums(rows: list[Any]) -> None:
    assert_same(batch_infos(rows), by_gymnasium(rows))


_scalars = st.sampled_from([3, 0.25, "x", None])
_infos = st.recursive(
    st.fixed_dictionaries({}, optional={"i": st.just(3), "f": st.just(0.5), "s": st.text(max_size=2)}),
    lambda inner: st.fixed_dictionaries({}, optional={"n": inner, "m": inner, "i": st.integers(0, 9)}),
    max_leaves=4,
)


@given(rows=st.lists(st.one_of(st.none(), _infos), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_some_nesting_has_another_layout(rows: list[Any]) -> None:
    assert_same(batch_infos(rows), by_gymnasium(rows))


@pytest.mark.parametrize(
    ("values", "dtype", "column"),
    [
        ([1, 0.5], np.float64, [1.0, 0.5]),
        ([True, 2], np.int64, [1, 2]),
        ([True, np.True_], np.bool_, [True, True]),
        ([2**70, 1], object, [2**70, 1]),
        ([2**64 - 1, 1], object, [2**64 - 1, 1]),
        ([1, "a"], object, [1, "a"]),
        ([np.zeros(2), np.zeros(3)], object, None),
        ([np.zeros(2), np.zeros(2, int)], object, None),
        ([{"b": 1}, 2], object, [{"b": 1}, 2]),
    ],
)
def test_unlike_values_lose_something_or_raise(values: list[Any], dtype: Any, column: Any) -> None:
    batch = batch_infos([{"a": value} for value in values])
    assert batch["a"].dtype == dtype
    assert column is None or batch["a"].tolist() == column
    assert batch["_a"].tolist() == [True, True]


def test_infos_are_given_to_the_wrong_rows(make: Any, backend: str) -> None:
    pool = make(envs.Faulty, num_envs=3, backend=backend)
    _, info = pool.reset()
    assert set(info) == ENGINE_KEYS
    pool.step(np.array([0]), env_id=[1])
    info = pool.step(np.zeros(3, int), env_id=[2, 1, 0])[4]
    assert set(info) == ENGINE_KEYS | {"t", "_t", "even", "_even"}
    assert info["_t"].tolist() == [False, True, False]
    assert info["t"].tolist() == [0, 2, 0]
    assert info["even"].tolist() == [False, True, False]
    assert info["elapsed_step"].tolist() == [1, 2, 1]


def test_an_info_is_still_there_one_step_later(make: Any, backend: str) -> None:
    pool = make(envs.Faulty, num_envs=1, backend=backend)
    pool.reset()
    seen = ["t" in pool.step(np.array([0]))[4] for _ in range(6)]
    assert seen == [False, True, False, True, False, False]  # the sixth is a reset


def test_an_info_that_is_no_dict_is_dropped(make: Any, backend: str) -> None:
    from envpool_protocol.errors import EnvError, SpecError

    pool = make(envs.Faulty, num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_info_envpool", lambda: [("a", 1)], env_id=1)
    with pytest.raises(
        EnvError, match=r"env 1: _info_envpool raised SpecError: .*must return a dict"
    ) as caught:
        pool.step(np.zeros(2, int))
    assert isinstance(caught.value.__cause__, SpecError)
