"""Declared info: typed arrays with masks, and the rest of the dict as it is."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from envs import Telling
from gymnasium import spaces

from envpool_protocol.descriptions import Description, describe_env
from envpool_protocol.errors import EnvError, ProtocolError, SpecError
from envpool_protocol.info_spec import declared_info_space, info_spec
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_wrap.config import PoolConfig
from envpool_wrap.faces.gym import GymPool
from envpool_wrap.registry import find

FULL = {
    "score": 2.5,
    "arm": {"joints": np.array([0.5, -0.5], np.float32), "on": 1},
    "mission": "go",
    "won": True,
}
ZEROS = np.zeros(2, int)
KEYS = {"score", "arm", "mission", "won"}
ENGINE = {"env_id", "players", "elapsed_step"}


@pytest.fixture(params=["compiled", "prebuilt"])
def telling(request: pytest.FixtureRequest, make: Any) -> Any:
    """`telling(env_type="gym", **config)`: a pool of two Telling envs, by either kind of module."""

    def make_pool(env_type: str = "gym", backend: str = "inline", **config: Any) -> Any:
        if request.param == "compiled" or env_type != "gym":
            return make(Telling, env_type, backend, num_envs=2, **config)
        source = source_of(Telling)
        description = source.describe()
        settings = PoolConfig.of({"num_envs": 2, "backend": backend, **config})
        pool = GymPool(source, description, prebuilt_module(description), settings)
        request.addfinalizer(pool.close)
        return pool

    return make_pool


def told(pool: Any, *infos: Any) -> Any:
    """The info of a step in which env i returns infos[i]."""
    for env, info in enumerate(infos):
        pool.set_attr("tell", info, env_id=env)
    return pool.step(ZEROS)[4]


def test_declared_info_is_no_typed_array(telling: Any, backend: str) -> None:
    pool = telling(backend=backend)
    pool.reset()
    info = told(pool, FULL, {"won": np.False_, "arm": {"on": np.int64(0)}})
    assert set(info) == KEYS | {f"_{key}" for key in KEYS} | ENGINE
    for array, dtype, shape in (
        (info["score"], np.float64, (2,)),
        (info["mission"], np.dtype("U8"), (2,)),
        (info["won"], np.bool_, (2,)),
        (info["arm"]["joints"], np.float32, (2, 2)),
        (info["arm"]["on"], np.int64, (2,)),
        *((info[f"_{key}"], np.bool_, (2,)) for key in KEYS),
        *((info["arm"][f"_{key}"], np.bool_, (2,)) for key in ("joints", "on")),
    ):
        assert (array.dtype, array.shape) == (dtype, shape)
        assert not array.flags.owndata  # not a copy
    assert info["score"].tolist() == [2.5, 0]
    assert info["_score"].tolist() == [True, False]
    assert info["mission"].tolist() == ["go", ""]
    assert info["_mission"].tolist() == [True, False]
    assert info["won"].tolist() == [True, False]
    assert info["_won"].tolist() == [True, True]
    assert info["arm"]["joints"].tolist() == [[0.5, -0.5], [0, 0]]
    assert info["arm"]["_joints"].tolist() == [True, False]
    assert info["arm"]["on"].tolist() == [1, 0]
    assert info["arm"]["_on"].tolist() == [True, True]
    assert info["_arm"].tolist() == [True, True]


def test_what_an_env_told_once_is_told_again(telling: Any, backend: str) -> None:
    pool = telling(backend=backend, batch_size=0)
    infos = [pool.reset()[1], told(pool, FULL, FULL), told(pool, {}, FULL), told(pool, FULL, {})]
    infos.append(pool.step(ZEROS)[4])  # a reset
    seen = [info["_score"].tolist() for info in infos]
    assert seen == [[False, False], [True, True], [False, True], [True, False], [False, False]]
    assert [info["score"].tolist() for info in infos] == [[2.5 * there for there in row] for row in seen]
    assert [info["arm"]["_joints"].tolist() for info in infos] == seen


def test_info_of_another_env_comes_with_a_row(telling: Any, backend: str) -> None:
    pool = telling(backend=backend, batch_size=1, num_threads=1)
    pool.async_reset()
    for _ in range(2):
        pool.recv(reset=True)
    for env in range(2):
        pool.set_attr("tell", {"score": env + 0.5, "other": env}, env_id=env)
    pool.send(ZEROS)
    for _ in range(2):
        info = pool.recv()[4]
        assert info["score"].tolist() == info["env_id"] + 0.5
        assert info["other"].tolist() == info["env_id"]


def test_the_rest_of_the_dict_is_lost(telling: Any, backend: str) -> None:
    pool = telling(backend=backend)
    pool.reset()
    own = {**FULL, "extra": "x", "arm": {**FULL["arm"], "torque": 3}}  # type: ignore[dict-item]
    info = told(pool, own, {"arm": {"torque": 4}, "more": {"score": 1}})
    assert info["extra"].tolist() == ["x", None]
    assert info["_extra"].tolist() == [True, False]
    assert info["arm"]["torque"].tolist() == [3, 4]
    assert info["arm"]["_torque"].tolist() == [True, True]
    assert info["arm"]["on"].tolist() == [1, 0]
    assert info["arm"]["_on"].tolist() == [True, False]
    assert info["_arm"].tolist() == [True, True]
    assert info["more"]["score"].tolist() == [0, 1]
    assert pool.get_attr("tell")[0].keys() == own.keys()  # the env's dict is its own
    assert "torque" in pool.get_attr("tell")[0]["arm"]
    info = told(pool, FULL, {})
    assert "extra" not in info
    assert "torque" not in info["arm"]


def test_a_list_of_infos_has_no_declared_info(telling: Any) -> None:
    pool = telling(infos="list")
    pool.reset()
    infos = told(pool, {**FULL, "arm": {**FULL["arm"], "torque": 3}}, {"won": False})  # type: ignore[dict-item]
    assert infos[0].pop("arm")["joints"].tolist() == [0.5, -0.5]
    assert infos[0] == {"score": 2.5, "mission": "go", "won": True, "env_id": 0, "elapsed_step": 1}
    assert infos[1] == {"won": False, "env_id": 1, "elapsed_step": 1}
    assert {type(value) for value in infos[0].values()} == {float, str, bool, int}


def test_declared_info_is_dropped_with_the_undeclared(telling: Any) -> None:
    pool = telling(infos="none")
    pool.reset()
    info = told(pool, {**FULL, "extra": 1}, {})
    assert set(info) == KEYS | {f"_{key}" for key in KEYS} | ENGINE
    assert info["score"].tolist() == [2.5, 0]


def test_a_masked_reset_keeps_the_info_of_rows_that_are_not_reset(make: Any) -> None:
    pool = make(Telling, "gymnasium", num_envs=2)
    pool.reset()
    told(pool, FULL, FULL)
    obs, info = pool.reset(options={"reset_mask": np.array([True, False])})
    assert obs.tolist() == [[0], [1]]
    assert info["elapsed_step"].tolist() == [0, 1]
    assert info["env_id"].tolist() == [0, 1]
    assert info["_score"].tolist() == [False, False]
    assert info["arm"]["joints"].tolist() == [[0, 0], [0, 0]]


def test_info_of_an_episode_that_ended_is_that_of_the_next_one(telling: Any, backend: str) -> None:
    pool = telling(backend=backend, autoreset_mode="same_step")
    pool.reset()
    pool.step(ZEROS[:1], env_id=[0])
    told(pool, FULL, FULL)
    info = told(pool, {**FULL, "extra": 1}, {**FULL, "extra": 2})  # env 0 ends
    assert info["_score"].tolist() == [False, True]
    assert info["_extra"].tolist() == [False, True]
    assert info["_final_info"].tolist() == [True, False]
    final = info["final_info"]
    assert final["score"].tolist() == [2.5, 0]
    assert final["_score"].tolist() == [True, False]
    assert final["arm"]["joints"].tolist() == [[0.5, -0.5], [0, 0]]
    assert final["_arm"].tolist() == final["arm"]["_on"].tolist() == [True, False]
    assert final["mission"].tolist() == ["go", ""]
    assert final["extra"].tolist() == [1, 0]
    info = told(pool, FULL, {})  # env 1 ends, and told nothing
    assert info["final_info"]["_score"].tolist() == [False, False]
    assert info["final_info"]["score"].tolist() == [0, 0]
    assert info["_score"].tolist() == [True, False]
    assert "final_info" not in told(pool, FULL, FULL)


def test_final_info_of_an_earlier_batch_shines_through(telling: Any) -> None:
    pool = telling(autoreset_mode="same_step")
    pool.reset()
    pool.step(ZEROS[:1], env_id=[0])
    for _ in range(12):  # the blocks of batches that are gone are written again
        info = told(pool, FULL, FULL)
        if "final_info" in info:
            going_on = ~info["_final_info"]
            assert going_on.any()
            assert not info["final_info"]["score"][going_on].any()
            assert not info["final_info"]["_score"][going_on].any()
            assert not info["final_info"]["arm"]["joints"][going_on].any()


def test_a_list_has_another_final_info(telling: Any) -> None:
    pool = telling(infos="list", autoreset_mode="same_step")
    pool.reset()
    pool.step(ZEROS[:1], env_id=[0])
    told(pool, FULL, FULL)
    infos = told(pool, {"score": 1.5, "extra": 1}, {"score": 0.5})
    assert infos[0]["final_info"] == {"score": 1.5, "extra": 1}
    assert infos[0]["final_obs"].tolist() == [3]
    assert "score" not in infos[0]
    assert infos[1] == {"score": 0.5, "env_id": 1, "elapsed_step": 2}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"score": "high"}, r"info\.score: cannot turn dtype <U4 into float64"),
        ({"score": [1.0, 2.0]}, r"info\.score: expected shape \(\), dtype float64, found .*2"),
        ({"score": None}, r"info\.score: cannot turn dtype object into float64"),
        ({"won": 1.0}, r"info\.won: cannot turn dtype float64 into bool"),
        (
            {"arm": {"joints": np.zeros(3, np.float32)}},
            r"info\.arm\.joints: expected shape \(2,\).* found shape \(3,\)",
        ),
        ({"arm": {"on": 0.5}}, r"info\.arm\.on: cannot turn dtype float64 into int64"),
        ({"arm": 5}, r"info\.arm: expected a dict, found 5"),
        ({"mission": "far too long"}, r"info\.mission: expected a str of at most 8 characters, found 12"),
        ([("score", 1)], r"must be a dict, found \[\('score', 1\)\]"),
    ],
)
def test_an_info_that_does_not_fit_is_stored(telling: Any, backend: str, info: Any, message: str) -> None:
    pool = telling(backend=backend)
    pool.reset()
    with pytest.raises(EnvError, match="env 1: _info_envpool raised SpecError") as caught:
        told(pool, FULL, info)
    assert caught.match(message)
    result = caught.value.result[4]
    assert result["_score"].tolist() == [True, False]
    assert result["score"].tolist() == [2.5, 0]
    assert not result["_arm"][1]
    assert told(pool, FULL, FULL)["_score"].tolist() == [True, False]  # a reset of env 1
    assert told(pool, FULL, FULL)["_score"].tolist() == [True, True]


def test_declared_info_outlives_no_later_step(telling: Any) -> None:
    pool = telling()
    pool.reset()
    first = told(pool, FULL, FULL)
    told(pool, {}, {})
    assert first["score"].tolist() == [2.5, 2.5]
    assert first["arm"]["_on"].tolist() == [True, True]


def test_the_raw_class_has_no_info_keys(task_id: Any) -> None:
    module = find(task_id(Telling)).module
    spec_class = module._TellingSpec
    values = dict(zip(spec_class._config_keys, spec_class._default_config_values, strict=True))
    spec = spec_class(tuple((values | {"num_envs": 2}).values()))
    pool = module._TellingPool(spec)
    keys = ["info:arm.joints", "info:arm.on", "info:mission", "info:score", "info:won"]
    assert pool._state_keys[-6:] == ["obs", *keys]
    assert len(spec._state_spec) == len(pool._state_keys)
    ids = np.arange(2, dtype=np.int32)
    pool._reset(ids)
    state = dict(zip(pool._state_keys, pool._recv(), strict=True))
    assert state["info:arm.joints"].shape == (2, 2)
    pool._close()


def test_a_time_step_has_declared_info(make: Any) -> None:
    pool = make(Telling, "dm", num_envs=2)
    pool.reset()
    assert pool.step(ZEROS).observation._fields == ("obs", "env_id", "elapsed_step", "players")


# Describing


class Guide(gymnasium.Env[Any, Any]):
    """A gymnasium env that declares info."""

    observation_space = action_space = spaces.Discrete(2)
    info_space = spaces.Dict(level=spaces.Discrete(9))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return 0, {"level": 3, "seed": seed}

    def step(self, action: Any) -> Any:
        return 1, 1.0, False, False, {"level": 4}


class Inner(gymnasium.Wrapper[Any, Any, Any, Any]):
    info_space = spaces.Dict(level=spaces.Discrete(7))


class Unrelated:
    """Has an `env` that is none of its business."""

    info_space = None
    env = Guide()


def test_info_space_is_not_found_through_wrappers() -> None:
    plain = gymnasium.wrappers.TimeLimit(gymnasium.wrappers.OrderEnforcing(Guide()), 5)
    assert declared_info_space(plain) is Guide.info_space
    assert declared_info_space(gymnasium.wrappers.TimeLimit(Inner(Guide()), 5)) is Inner.info_space
    assert declared_info_space(Unrelated()) is None
    assert declared_info_space(gymnasium.make("CartPole-v1")) is None


def test_a_gymnasium_envs_declared_info_is_undeclared() -> None:
    source = source_of(lambda envid: gymnasium.wrappers.TimeLimit(Guide(), 2), "Guide")
    description = source.describe()
    with GymPool(source, description, prebuilt_module(description), PoolConfig.of({"num_envs": 2})) as pool:
        info = pool.reset()[1]
        assert (info["level"].dtype, info["level"].tolist()) == (np.int64, [3, 3])
        assert info["seed"].tolist() == [42, 43]
        info = pool.step(ZEROS)[4]
        assert info["level"].tolist() == [4, 4]
        assert not info["level"].flags.owndata


def test_description_survives_json() -> None:
    description = source_of(Telling).describe()
    assert Description.from_json(description.to_json()) == description
    assert description.spec.info is not None
    names = [leaf.name for leaf in description.spec.info.leaves]
    assert names == ["info.arm.joints", "info.arm.on", "info.mission", "info.score", "info.won"]


ONE = spaces.Discrete(2)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (ONE, "info_space: expected a Dict with a space for each key"),
        (spaces.Dict(a=spaces.Tuple([ONE])), r"info\.a: Tuple has no place in info; use a Dict"),
        (spaces.Dict(env_id=ONE), "info_space: the pool itself writes the key 'env_id'; rename it"),
        (spaces.Dict(final_obs=ONE), "writes the key 'final_obs'"),
        (spaces.Dict({"a": ONE, "_a": ONE}), "the key '_a' is the name of the mask of 'a'"),
        (spaces.Dict(x=spaces.Dict({"a": ONE, "_a": ONE})), "the mask of 'a'"),
        (
            spaces.Dict({"a.b": spaces.Dict(x=ONE), "a": spaces.Dict(b=spaces.Dict(y=ONE))}),
            r"two keys give 'info\.a\.b'",
        ),
        (spaces.Dict(a=spaces.Sequence(ONE)), r"info\.a: the space Sequence is not supported"),
        (5, r"info: got the int 5; .*self\.info_space = "),
    ],
)
def test_an_info_space_that_cannot_work_is_taken(space: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        info_spec(space)


def test_an_info_space_without_a_hook_is_taken() -> None:
    class Silent(Telling):
        pass

    Silent._info_envpool = Telling.__mro__[1]._info_envpool  # type: ignore[attr-defined, method-assign]
    with pytest.raises(ProtocolError, match="has an info_space, and no _info_envpool"):
        describe_env(Silent(0), "Silent")


def test_envs_of_one_pool_declare_different_info(make: Any) -> None:
    other = spaces.Dict(score=spaces.Discrete(3))
    with pytest.raises(EnvError, match=r"info_space of env 1 is Dict.*Telling_wrap has Dict"):
        make(Telling, num_envs=2, env_kwargs=lambda env_id: {"info_space": other} if env_id else {})
