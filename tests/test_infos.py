"""Infos in Gymnasium's layout: `SyncVectorEnv` itself is the measure wherever it loses nothing."""

from __future__ import annotations

import threading
from typing import Any

import envs
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from envpool_protocol.errors import ConfigError
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
        [{"a": True}, None, {"a": False}],
        [{"a": np.True_}, None],
        [{"a": np.True_}, {"a": True}],
        [{"a": True}, {"a": np.True_}],
        [{"a": np.int64(2)}, {"a": 3}],
        [{"a": 2}, {"a": np.int64(3)}, {}],
        [{"a": 0.5}, {"a": 1}, {"a": True}, {"a": np.float32(0.25)}],
        [{"a": np.uint8(200)}, {"a": np.uint8(7)}],
        [{"a": np.complex64(1j)}, None],
        [{"a": 1j}, None],
        [{"a": b"x"}, {"a": None}],
        [{"a": np.str_("x")}, None],
        [{"a": np.datetime64("2020-01-01")}, None],
        [{"a": np.array(1.5)}, {}, {"a": np.array(2.5)}],
        [{"a": 0.5}, {"a": np.array(2.5)}, {"a": np.float64(1)}],
        [{"a": np.zeros(2)}, {"a": np.ones(2, np.float32)}, None],
        [{"a": np.zeros(2)}, {"a": np.ones(2, int)}],
        [{"a": np.array([True, False])}, {}],
        [{"a": np.zeros((0, 2))}, {"a": np.zeros((0, 2))}],
        [{"a": np.array(["ab", "c"])}, {}, {"a": np.array(["d", "ef"])}],
        [{"a": (1, 2)}, {"a": {1}}, {"a": object}],
        [{"a": {"b": None}}, {"a": {"b": 3, "c": np.zeros(2)}}],
        [{1: 2}, {1: 3}],
        [{"a": 1}, {"b": {"a": 2.5, "_x": True}}, {"a": 4, "b": {}}],
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
        ([np.zeros(2, int), np.full(2, 0.5)], np.float64, [[0, 0], [0.5, 0.5]]),
        ([np.array(["a"]), np.array(["bc"])], np.dtype("U2"), [["a"], ["bc"]]),
        ([np.array(1), np.array("a")], object, None),
        ([np.int64(-1), np.uint64(2**63)], object, [-1, 2**63]),
        ([np.zeros(2, int), np.zeros(2, np.uint64)], object, None),
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


# Other layouts


def test_a_list_of_infos_has_other_rows_than_the_batch(make: Any, backend: str) -> None:
    pool = make(envs.Faulty, num_envs=3, backend=backend, infos="list")
    _, infos = pool.reset()
    assert infos == [{"env_id": env, "elapsed_step": 0} for env in range(3)]
    pool.step(np.array([0]), env_id=[1])
    infos = pool.step(np.zeros(3, int), env_id=[2, 1, 0])[4]
    assert infos == [
        {"env_id": 2, "elapsed_step": 1},
        {"env_id": 1, "elapsed_step": 2, "t": 2, "even": True},
        {"env_id": 0, "elapsed_step": 1},
    ]
    assert {type(value) for value in infos[1].values()} == {int, bool}


def test_a_list_of_infos_has_every_episode_in_every_row(make: Any) -> None:
    pool = make(envs.Faulty, num_envs=2, infos="list", episode_stats=True)
    pool.reset()
    pool.step(np.zeros(1, int), env_id=[1])
    for _ in range(4):
        infos = pool.step(np.zeros(2, int))[4]
    assert "episode" not in infos[0]
    assert {key: type(value) for key, value in infos[1]["episode"].items()} == {
        "r": float,
        "l": int,
        "t": float,
    }
    assert (infos[1]["episode"]["r"], infos[1]["episode"]["l"]) == (5, 5)


def test_a_list_of_infos_is_made_of_copies_or_changes_the_envs_dict(make: Any) -> None:
    own = {"array": np.zeros(2), "nested": {"a": 1}}
    pool = make(envs.Faulty, num_envs=1, infos="list")
    pool.reset()
    pool.set_attr("_info_envpool", lambda: own)
    (info,) = pool.step(np.zeros(1, int))[4]
    assert info["array"] is own["array"]
    assert info["nested"] == {"a": 1}
    assert set(own) == {"array", "nested"}


def test_a_masked_reset_has_another_layout(make: Any) -> None:
    pool = make(envs.Faulty, "gymnasium", num_envs=2, infos="list")
    pool.reset()
    _, infos = pool.reset(options={"reset_mask": np.array([True, False])})
    assert infos == [{"env_id": 0, "elapsed_step": 0}, {"env_id": 1, "elapsed_step": 0}]


def test_infos_that_nobody_wants_are_sent_all_the_same(make: Any, backend: str) -> None:
    pool = make(envs.Faulty, num_envs=2, backend=backend, infos="none")
    pool.reset()
    for _ in range(3):
        assert set(pool.step(np.zeros(2, int))[4]) == ENGINE_KEYS
    pool.set_attr("_info_envpool", lambda: {"lock": threading.Lock()})  # could not be sent
    assert set(pool.step(np.zeros(2, int))[4]) == ENGINE_KEYS


def test_infos_that_no_time_step_has_are_sent(make: Any, backend: str) -> None:
    pool = make(envs.Faulty, "dm", num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_info_envpool", lambda: {"lock": threading.Lock()})  # could not be sent
    assert pool.step(np.zeros(2, int)).step_type.tolist() == [1, 1]


def test_a_time_step_has_a_list_of_infos(make: Any) -> None:
    with pytest.raises(ConfigError, match="infos='list': a TimeStep has no info"):
        make(envs.Faulty, "dm", infos="list")


def test_an_info_that_is_no_dict_is_dropped(make: Any, backend: str) -> None:
    from envpool_protocol.errors import EnvError, SpecError

    pool = make(envs.Faulty, num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_info_envpool", lambda: [("a", 1)], env_id=1)
    with pytest.raises(EnvError, match=r"env 1: _info_envpool raised SpecError: .*must be a dict") as caught:
        pool.step(np.zeros(2, int))
    assert isinstance(caught.value.__cause__, SpecError)
