"""Nested actions and observations: what goes in is what the env gets, what it returns is what comes out."""

from __future__ import annotations

import copy
import sysconfig
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import envs
import numpy as np
import pytest
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from hypothesis import given, settings
from hypothesis import strategies as st

import envpool_wrap
from envpool_protocol.errors import ActionError, EnvError, SpecError
from envpool_protocol.spaces import space_spec
from envpool_wrap.nested import builder, flattener

SPACE = envs.Nested(0).action_space
SPEC = space_spec(SPACE, "action")
ODD = 'odd "key" \\ é'


def samples(seed: int, rows: int) -> list[Any]:
    space = copy.deepcopy(SPACE)
    space.seed(seed)
    return [space.sample() for _ in range(rows)]


def batched(values: list[Any]) -> Any:
    return concatenate(SPACE, values, create_empty_array(SPACE, len(values)))


def unbatched(batch: Any, rows: int) -> list[Any]:
    return list(iterate(batch_space(SPACE, rows), batch))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for member in value for leaf in leaves(member)] if isinstance(value, tuple) else [value]


def assert_same(one: Any, two: Any) -> None:
    """The same nesting, and the same bytes in every leaf."""
    assert type(one) is type(two) or not isinstance(one, dict | tuple)
    for a, b in zip(leaves(one), leaves(two), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def but(value: Any, **changes: Any) -> Any:
    return {**value, **changes}


# flattener and builder


def test_a_leaf_changes_places_between_flatten_and_build() -> None:
    value = samples(0, 1)[0]
    flat = flattener(SPEC)(value)
    assert len(flat) == len(SPEC.leaves)
    assert_same(builder(SPEC)(flat), value)
    assert all(a is b for a, b in zip(leaves(builder(SPEC)(flat)), leaves(value), strict=True))


@pytest.mark.parametrize("kind", [OrderedDict, MappingProxyType])
def test_another_kind_of_mapping_is_refused(kind: Any) -> None:
    value = samples(0, 1)[0]
    assert len(flattener(SPEC)(kind(value))) == len(SPEC.leaves)


def test_a_list_is_refused_for_a_tuple() -> None:
    value = samples(0, 1)[0]
    flattener(SPEC)(but(value, arm=list(value["arm"])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [1, 2], r"action: expected a dict with the keys \['arm', 'camera', .* found list of 2"),
        (lambda v: None, "action: expected a dict .* found NoneType"),
        (lambda v: but(v, extra=1), "action: expected a dict .* found a dict with the keys .*'extra'"),
        (lambda v: {k: v[k] for k in v if k != "half"}, "action: expected a dict"),
        (lambda v: {("x" if k == "half" else k): v[k] for k in v}, "action: expected a dict"),
        (lambda v: but(v, arm=v["arm"][:1]), r"action\.arm: expected a tuple of 2.* found tuple of 1"),
        (lambda v: but(v, arm=v["arm"][0]), r"action\.arm: expected a tuple of 2.* found"),
        (lambda v: but(v, arm=(v["arm"][0], {})), r"action\.arm\.1: expected a dict"),
    ],
)
def test_a_wrongly_nested_action_is_sent(make: Any, change: Any, message: str) -> None:
    pool = make(envs.Nested, num_envs=2)
    pool.reset()
    good = batched(samples(0, 2))
    with pytest.raises(ActionError, match=message):
        pool.step(change(good))
    assert_same(pool.step(good)[0], good)


# the whole way


@pytest.mark.parametrize("backend", ["inline", "thread"])
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_nested_value_is_changed_on_the_way(task_id: Any, backend: str, seed: int, rows: int) -> None:
    with envpool_wrap.make(task_id(envs.Nested), "gym", num_envs=rows, backend=backend) as pool:
        pool.reset()
        for step in range(3):
            values = samples(seed + step, rows)
            obs = pool.step(batched(values))[0]
            for env_id, echoed in enumerate(unbatched(obs, rows)):
                assert_same(echoed, values[env_id])


def test_the_env_gets_something_else_than_its_space_says(make: Any, backend: str) -> None:
    pool = make(envs.Nested, num_envs=2, backend=backend)
    pool.reset()
    values = samples(3, 2)
    pool.step(batched(values))
    for action, value in zip(pool.get_attr("action"), values, strict=True):
        assert list(action) == list(SPACE.spaces)
        assert SPACE.contains(
            {**action, "arm": (action["arm"][0], dict(action["arm"][1], grip=value["arm"][1]["grip"]))}
        )
        assert type(action["arm"]) is tuple
        assert type(action["arm"][1]["grip"]) is int
        for array, dtype, shape in (
            (action["camera"], np.uint8, (2, 3, 3)),
            (action["arm"][0], np.float64, ()),
            (action["arm"][1]["on"], np.int8, (3,)),
            (action[ODD], np.int64, (2, 2)),
            (action["half"], np.float16, (2,)),
        ):
            assert type(array) is np.ndarray
            assert (array.dtype, array.shape) == (dtype, shape)
            assert array.flags.writeable
            assert array.flags.c_contiguous
        assert_same(action, value)


def test_an_action_that_the_env_keeps_is_overwritten_later(make: Any, backend: str) -> None:
    pool = make(envs.Nested, num_envs=2, backend=backend)
    pool.reset()
    kept = []
    for step in range(5):
        pool.step(batched(samples(step, 2)))
        kept.append(pool.get_attr("action"))
    for step, actions in enumerate(kept):
        for action, value in zip(actions, samples(step, 2), strict=True):
            assert_same(action, value)


class Keeper:
    """A step that keeps views of its actions, in whatever process."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def __call__(self, action: Any) -> None:
        self.kept.append((action[:1], memoryview(action)))

    @property
    def views(self) -> list[float]:
        return [float(view[0]) for view, _ in self.kept]

    @property
    def memories(self) -> list[float]:
        return [memory[0] for _, memory in self.kept]


class Spoiler:
    """A step that changes all that can be changed of its action."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, action: Any) -> None:
        self.seen.append((action.shape, action.flags.writeable, action.tolist()))
        action[0] = 9.0
        action.flags.writeable = False
        action.resize((1, 1), refcheck=False)


def test_a_view_of_an_action_that_the_env_keeps_is_overwritten_later(make: Any, backend: str) -> None:
    pool = make(envs.Counting, backend=backend)
    pool.reset()
    pool.set_attr("_step_envpool", Keeper())
    for value in (0.25, 0.5, 0.75):
        pool.step(np.array([[value]], np.float32))
    assert pool.get_attr("_step_envpool.views") == [[0.25, 0.5, 0.75]]
    assert pool.get_attr("_step_envpool.memories") == [[0.25, 0.5, 0.75]]


def test_what_one_env_does_to_its_action_shows_in_the_next_one(make: Any, backend: str) -> None:
    pool = make(envs.Counting, backend=backend)
    pool.reset()
    pool.set_attr("_step_envpool", Spoiler())
    sent = np.array([[0.5]], np.float32)
    for _ in range(3):
        pool.step(sent)
    assert pool.get_attr("_step_envpool.seen") == [[((1,), True, [0.5])] * 3]
    assert sent.tolist() == [[0.5]]


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="reference counts do not tell who holds it there",
)
def test_an_action_array_that_nobody_keeps_is_made_anew_each_step(make: Any) -> None:
    seen = []
    pool = make(envs.Counting, backend="inline")
    pool.reset()
    pool.set_attr("_step_envpool", lambda action: seen.append(action.__array_interface__["data"][0]))
    for _ in range(10):
        pool.step(np.zeros((1, 1), np.float32))
    assert len(set(seen)) == 1


# observations that do not fit


class Torn(dict[str, Any]):
    """Its members cannot be had."""

    def __getitem__(self, key: str) -> Any:
        raise OSError(f"no {key} today")


def test_an_error_of_a_member_is_taken_for_its_absence(make: Any) -> None:
    pool = make(envs.Nested, num_envs=2)
    value = Torn(samples(0, 1)[0])
    with pytest.raises(EnvError, match=r"raised OSError: no .* today"):
        answer(pool, value)


def answer(pool: Any, value: Any) -> Any:
    """The observation that comes back when env 0 returns `value`."""
    pool.reset()
    pool.set_attr("answer", value, env_id=0)
    try:
        return pool.step(batched(samples(1, 2)))[0]
    finally:
        pool.set_attr("answer", None, env_id=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: {k: v[k] for k in v if k != "half"}, r"obs: .*4 members, found \['arm', 'camera', 'odd"),
        (
            lambda v: {("x" if k == "half" else k): v[k] for k in v},
            "obs: expected .*member 'half', found .*'x'",
        ),
        (lambda v: but(v, extra=1), "obs: expected a container with 4 members, found .*'extra'"),
        (lambda v: 5, "obs: expected a container with 4 members, found 5"),
        (lambda v: but(v, arm=v["arm"][:1]), r"obs\.arm: expected a container with 2 members, found \("),
        (lambda v: but(v, arm=(*v["arm"], 1)), r"obs\.arm: expected a container with 2 members, found \("),
        (lambda v: but(v, arm=None), r"obs\.arm: expected a container with 2 members, found None"),
        (lambda v: but(v, half=None), r"obs\.half: expected shape \(2,\), dtype float16, found None\n"),
        (
            lambda v: but(v, half=[1.0]),
            r"obs\.half: expected shape \(2,\), dtype float16, found shape \(1,\)",
        ),
        (
            lambda v: but(v, half=[[1], [2, 3]]),
            r"obs\.half: expected shape \(2,\), dtype float16, found rows of",
        ),
        (lambda v: but(v, half="ab"), r"obs\.half: expected shape \(2,\).* found 'ab'\n"),
        (lambda v: but(v, half=["a", "b"]), r"obs\.half: cannot turn dtype <U1 into float16"),
        (lambda v: but(v, half=[1j, 2]), r"obs\.half: cannot turn dtype complex128 into float16"),
        (lambda v: but(v, half=[None, 1.0]), r"obs\.half: cannot turn dtype object into float16"),
        (
            lambda v: but(v, camera=v["camera"].T),
            r"obs\.camera: expected shape \(2, 3, 3\).* found shape \(3, 3, 2\)",
        ),
        (lambda v: but(v, camera=v["camera"] * 1.0), r"obs\.camera: cannot turn dtype float64 into uint8"),
        (
            lambda v: but(v, camera=np.full((2, 3, 3), 256)),
            r"obs\.camera: values from 256 to 256 do not fit in uint8",
        ),
        (
            lambda v: but(v, camera=np.full((2, 3, 3), -1)),
            r"obs\.camera: values from -1 to -1 do not fit in uint8",
        ),
        (
            lambda v: but(v, arm=(np.zeros(1), v["arm"][1])),
            r"obs\.arm\.0: expected shape \(\).* found shape \(1,\)",
        ),
        (
            lambda v: but(v, arm=(0.0, but(v["arm"][1], grip=0.5))),
            r"obs\.arm\.1\.grip: cannot turn dtype float64",
        ),
        (
            lambda v: but(v, arm=(0.0, but(v["arm"][1], grip=2**70))),
            r"obs\.arm\.1\.grip: .* does not fit in int64",
        ),
        (
            lambda v: but(v, arm=(0.0, but(v["arm"][1], on=[1.0] * 3))),
            r"obs\.arm\.1\.on: cannot turn dtype float64",
        ),
    ],
)
def test_an_observation_that_does_not_fit_is_cut_to_fit(
    make: Any, backend: str, change: Any, message: str
) -> None:
    pool = make(envs.Nested, num_envs=2, backend=backend)
    with pytest.raises(EnvError, match="env 0: _make_obs_envpool raised SpecError") as caught:
        answer(pool, change(samples(0, 1)[0]))
    assert isinstance(caught.value.__cause__, SpecError)
    assert caught.match(message)
    assert_same(unbatched(caught.value.result[0], 2)[1], samples(1, 2)[1])
    assert not any(np.any(leaf) for leaf in leaves(unbatched(caught.value.result[0], 2)[0]))


@pytest.mark.parametrize(
    "same",
    [
        lambda v: but(v, camera=v["camera"].tolist()),
        lambda v: but(v, camera=np.asfortranarray(v["camera"])),
        lambda v: but(v, camera=v["camera"][::-1].copy()[::-1]),
        lambda v: but(v, half=v["half"].astype(">f2")),
        lambda v: but(v, half=tuple(v["half"])),
        lambda v: but(v, arm=list(v["arm"])),
        lambda v: but(v, arm=(float(v["arm"][0]), v["arm"][1])),
        lambda v: but(v, arm=(v["arm"][0], but(v["arm"][1], grip=int(v["arm"][1]["grip"])))),
        lambda v: but(v, arm=(v["arm"][0], but(v["arm"][1], grip=np.array(v["arm"][1]["grip"])))),
        lambda v: but(v, arm=(v["arm"][0], but(v["arm"][1], on=[bool(x) for x in v["arm"][1]["on"]]))),
        lambda v: OrderedDict(reversed(list(v.items()))),
    ],
)
def test_another_form_of_the_same_observation_is_refused(make: Any, backend: str, same: Any) -> None:
    pool = make(envs.Nested, num_envs=2, backend=backend)
    value = samples(5, 1)[0]
    assert_same(unbatched(answer(pool, same(value)), 2)[0], value)


def test_an_observation_that_is_cast_is_not_told_or_told_again(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_protocol.casts._told", set())
    pool = make(envs.Counting, num_envs=2, backend="inline")
    pool.reset()
    pool.set_attr("_make_obs_envpool", lambda: np.array([0.1, 0.2, 1 / 3]))
    with pytest.warns(
        UserWarning, match="obs: an env returned dtype float64 for a leaf of dtype float32"
    ) as told:
        obs = pool.step(np.zeros((2, 1), np.float32))[0]
        pool.step(np.zeros((2, 1), np.float32))
    assert len(told) == 1
    assert obs.tolist() == np.array([[0.1, 0.2, 1 / 3]] * 2, np.float32).tolist()


def test_ints_that_fit_are_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_protocol.casts._told", {("obs.camera", "int64", "uint8")})
    value = but(samples(0, 1)[0], camera=np.full((2, 3, 3), 255))
    obs = answer(make(envs.Nested, num_envs=2), value)
    assert obs["camera"].dtype == np.uint8
    assert (obs["camera"][0] == 255).all()
