"""The real EnvPool's registry and Python layer over our raw classes. Needs envpool: `make test-all`."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from echo import Echo as EchoHooks
from echo import batched, samples
from envs import Counting, Gated, Pole, Telling
from gymnasium import spaces
from plain_envs import ECHOED, Echo

import envpool_wrap
from envpool_protocol import records
from envpool_protocol.descriptions import describe_env
from envpool_protocol.errors import ConfigError, EnvError, PoolClosedError, SpecError
from envpool_protocol.spaces import leaf_spaces
from envpool_wrap.registry import find

pytestmark = pytest.mark.integration

NUM_ENVS, STEPS = 3, 12
DICTS = spaces.Dict(
    camera=spaces.Box(0, 255, (2, 3), np.uint8),
    arm=spaces.Dict(grip=spaces.Discrete(4, start=-1), on=spaces.MultiBinary(3), at=spaces.Box(-1, 1, (1,))),
)


@pytest.fixture(scope="module")
def envpool() -> ModuleType:
    """EnvPool, with our envs in it."""
    pytest.importorskip("envpool", exc_type=ImportError)
    import envpool

    import envpool_wrap.integrations.envpool  # noqa: F401

    return envpool


@pytest.fixture
def theirs(envpool: ModuleType) -> Iterator[Callable[..., Any]]:
    """`theirs(task_id, env_type="gym", backend="inline", **config)`: EnvPool's, closed after the test."""
    pools: list[Any] = []

    def make(task_id: str, env_type: str = "gym", backend: str = "inline", **config: Any) -> Any:
        pools.append(envpool.make(task_id, env_type=env_type, backend=backend, **config))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def in_dicts(value: Any) -> Any:
    """EnvPool's layer has a dict with the keys "0", "1", ... for a tuple."""
    if isinstance(value, tuple):
        value = {str(index): member for index, member in enumerate(value)}
    return {key: in_dicts(member) for key, member in value.items()} if isinstance(value, dict) else value


def assert_same(one: Any, two: Any) -> None:
    """The same keys, and in each leaf the same dtype, shape and bytes."""
    if isinstance(two, dict):
        assert isinstance(one, dict) and one.keys() == two.keys()
        for key in two:
            assert_same(one[key], two[key])
        return
    assert (one.dtype, one.shape) == (two.dtype, two.shape)
    assert one.tobytes() == two.tobytes()


def assert_same_result(their: Any, own: Any) -> None:
    """(obs, info), or the five of a step. Theirs has no masks in info, and what ends is not also cut."""
    assert_same(their[0], in_dicts(own[0]))
    assert_same(their[-1], without_masks(own[-1]))
    if len(own) == 2:
        assert len(their) == 2
        return
    _, reward, terminated, truncated, _ = own
    assert_same(their[1], reward)
    assert_same(their[2], terminated)
    assert_same(their[3], truncated & ~terminated)


def without_masks(info: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_masks(value) if isinstance(value, dict) else value
        for key, value in info.items()
        if not key.startswith("_")
    }


def actions(pool: Any, rows: int = NUM_ENVS) -> list[Any]:
    """One batch per step, as our pools take it."""
    space = pool.spec.gymnasium_action_space
    return [batched(space, samples(space, step, rows)) for step in range(STEPS)]


def sent(action: Any) -> Any:
    """The same for EnvPool's layer."""
    return {"action": in_dicts(action)} if isinstance(action, dict | tuple) else action


@pytest.mark.parametrize("env_type", ["gym", "gymnasium"])
@pytest.mark.parametrize("cls", [Counting, Gated, Pole, Telling], ids=lambda cls: cls.__name__)
def test_their_layer_gives_other_values(
    cls: type, env_type: str, theirs: Any, make: Any, task_id: Any
) -> None:
    config = {"num_envs": NUM_ENVS, "seed": 7, "max_episode_steps": 4}
    own, their = make(cls, infos="none", **config), theirs(task_id(cls), env_type, **config)
    assert isinstance(their, gymnasium.vector.VectorEnv)
    assert their.metadata["autoreset_mode"] == own.metadata["autoreset_mode"]
    assert len(their) == len(own) == their.num_envs
    assert_same_result(their.reset(), own.reset())
    ends = 0
    for action in actions(own):
        result = own.step(action)
        ends += (result[2] | result[3]).sum()
        assert_same_result(their.step(sent(action)), result)
    assert ends > 0  # else nothing was compared where episodes end
    assert_same_result(their.reset(), own.reset())


@pytest.mark.parametrize("cls", [Counting, Pole])
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_their_layer_gives_other_values_from_workers(
    cls: type, backend: str, theirs: Any, make: Any, task_id: Any
) -> None:
    config = {"num_envs": NUM_ENVS, "seed": 7, "backend": backend, "num_threads": 2}
    own, their = make(cls, **config), theirs(task_id(cls), **config)
    assert_same_result(their.reset(), own.reset())
    for action in actions(own):
        assert_same_result(their.step(action), own.step(action))


def test_an_env_with_an_api_of_its_own_is_lost_in_their_layer(theirs: Any, pool_of: Any) -> None:
    config = {"num_envs": NUM_ENVS, "seed": [3, 1, 2]}
    own = pool_of(Echo, "generated", env_name="Shown", infos="none", **config)
    their = theirs("Shown_wrap", **config)
    assert their.config["env_seed"] == [3, 1, 2]
    assert_same_result(their.reset(), own.reset())
    for action in actions(own):
        assert_same_result(their.step(sent(action)), own.step(action))


@pytest.mark.parametrize("space", [DICTS, ECHOED], ids=["dicts", "tuples"])
def test_nested_values_change_on_their_way(space: Any, theirs: Any, echo_task: Any) -> None:
    task_id = echo_task(space)
    with envpool_wrap.make_gym(task_id, num_envs=2, backend="inline") as own:
        their = theirs(task_id, num_envs=2)
        assert_same_result(their.reset(), own.reset())
        for action in actions(own, 2):
            assert_same_result(their.step(sent(action)), own.step(action))


def test_nested_values_change_on_their_way_to_time_steps(theirs: Any, echo_task: Any) -> None:
    task_id = echo_task(DICTS)
    with envpool_wrap.make_gym(task_id, num_envs=2, backend="inline") as own:
        their = theirs(task_id, "dm", num_envs=2)
        own.reset(), their.reset()
        for action in actions(own, 2):
            obs, ts = own.step(action)[0], their.step(sent(action))
            assert_same(ts.observation.camera, obs["camera"])
            assert_same(ts.observation.arm._asdict(), obs["arm"])


@pytest.mark.parametrize("cls", [Counting, Gated, Pole, Telling], ids=lambda cls: cls.__name__)
def test_their_time_steps_have_other_values(cls: type, theirs: Any, make: Any, task_id: Any) -> None:
    config = {"num_envs": NUM_ENVS, "seed": 7, "max_episode_steps": 4}
    own, their = make(cls, "dm", **config), theirs(task_id(cls), "dm", **config)

    def compare(one: Any, two: Any) -> None:
        for name in ("step_type", "reward", "discount"):
            assert_same(getattr(one, name), getattr(two, name))
        assert_same(one.observation.obs, two.observation.obs)
        assert_same(one.observation.env_id, two.observation.env_id)
        assert_same(one.observation.players.env_id, two.observation.players.env_id)

    compare(their.reset(), own.reset())
    for action in actions(own):
        compare(their.step(action), own.step(action))


@pytest.mark.parametrize("env_type", ["gym", "dm"])
def test_a_subset_is_another_one_in_their_layer(env_type: str, theirs: Any, make: Any, task_id: Any) -> None:
    own, their = make(Counting, num_envs=NUM_ENVS), theirs(task_id(Counting), env_type, num_envs=NUM_ENVS)
    some = np.array([2, 0], np.int32)
    for call, args in [
        ("reset", ()),
        ("step", (np.ones((2, 1), np.float32), some)),
        ("reset", (some[:1],)),
        ("step", (np.ones((2, 1), np.float32), some)),
    ]:
        one, two = getattr(their, call)(*args), getattr(own, call)(*args)
        if env_type == "gym":
            assert_same_result(one, two)
        else:
            assert_same(one.observation.obs, two[0])
            assert_same(one.observation.env_id, two[-1]["env_id"])


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_an_asynchronous_pool_mixes_envs_up(backend: str, theirs: Any, make: Any, task_id: Any) -> None:
    config = {"num_envs": 4, "seed": 7, "backend": backend}
    own, their = make(Counting, **config), theirs(task_id(Counting), batch_size=2, **config)
    assert their.is_async and their.config["batch_size"] == 2
    steps = [own.reset()] + [own.step(np.full((4, 1), 0.5, np.float32)) for _ in range(10)]
    their.async_reset()
    seen = [0] * 4
    for _ in range(20):
        obs, reward, _, _, info = their.recv()
        assert len(obs) == 2
        for row, env in enumerate(info["env_id"].tolist()):
            if seen[env] < len(steps):
                assert_same(obs[row], steps[seen[env]][0][env])
                assert seen[env] == 0 or reward[row] == steps[seen[env]][1][env]
            seen[env] += 1
        their.send(np.full((2, 1), 0.5, np.float32), info["env_id"])
    assert min(seen) > 1


@pytest.mark.parametrize("cls", [Counting, Gated, Pole], ids=lambda cls: cls.__name__)
def test_their_spec_has_other_spaces(cls: type, envpool: ModuleType, make: Any, task_id: Any) -> None:
    own, spec = make(cls).spec, envpool.make_spec(task_id(cls), num_envs=5)
    assert spec.config.num_envs == spec.config.batch_size == 5
    assert spec.gymnasium_observation_space == own.gymnasium_observation_space
    assert spec.gymnasium_action_space == own.gymnasium_action_space
    assert spec.observation_spec().obs.shape == own.gymnasium_observation_space.shape
    assert spec.action_spec().dtype == own.gymnasium_action_space.dtype


@pytest.mark.parametrize("space", [DICTS, ECHOED], ids=["dicts", "tuples"])
def test_a_nested_space_has_other_leaves_in_their_spec(
    space: Any, envpool: ModuleType, echo_task: Any
) -> None:
    spec = envpool.make_spec(echo_task(space), num_envs=1)
    assert leaf_spaces(spec.gymnasium_observation_space) == leaf_spaces(space)
    assert leaf_spaces(spec.gymnasium_action_space) == leaf_spaces(space)
    assert list(spec.gymnasium_action_space) == ["action"]


def test_bounds_of_a_matrix_have_no_shape_in_their_spec(
    envpool: ModuleType, theirs: Any, echo_task: Any
) -> None:
    lows, highs = np.float32([[0, 1], [2, 3]]), np.float32([[9, 8], [7, 6]])
    task_id = echo_task(spaces.Box(lows, highs))
    spec = envpool.make_spec(task_id, num_envs=2)
    pool = theirs(task_id, "dm")
    for one in (spec.observation_spec().obs, spec.action_spec(), pool.observation_spec().obs):
        assert (one.minimum.tolist(), one.maximum.tolist()) == (lows.tolist(), highs.tolist())
    assert spec.state_array_spec["discount"].maximum == 1


def test_data_of_their_layer_is_outside_of_its_space(theirs: Any, echo_task: Any) -> None:
    pool = theirs(echo_task(DICTS), num_envs=2)
    obs, _ = pool.reset()
    batch = gymnasium.vector.utils.batch_space(pool.observation_space, 2)
    assert batch.contains(obs)


def test_a_setting_is_lost_in_their_config(theirs: Any, make: Any, task_id: Any) -> None:
    config = {"num_envs": 4, "batch_size": 2, "seed": 5, "max_episode_steps": 9, "timeout": 2.0}
    own, their = make(Counting, **config).config, theirs(task_id(Counting), **config).config
    settled = {"num_threads", "caller_steps"}  # what "auto" stands for is settled later
    assert {key: their[key] for key in own if key not in settled} == {
        key: value for key, value in own.items() if key not in settled
    }
    assert {"base_path", "env_seed", "gym_reset_return_info"} <= their.keys()


def test_a_setting_that_their_layer_has_no_place_for_is_ignored(envpool: ModuleType, task_id: Any) -> None:
    name = task_id(Counting)
    for setting in (
        {"autoreset_mode": "same_step"},
        {"on_error": "restart"},
        {"episode_stats": True},
        {"infos": "list"},
    ):
        with pytest.raises(ConfigError, match=rf"{next(iter(setting))}=.*envpool_wrap\.make"):
            envpool.make(name, "gym", num_envs=2, **setting)
    with pytest.raises(ConfigError, match="Nearest: 'inline'"):
        envpool.make(name, "gym", num_envs=2, backend="inlin")


def test_an_env_is_missing_from_their_list(
    envpool: ModuleType, task_id: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = task_id(Counting)
    assert name in envpool.list_all_envs() and "CartPole-v1" in envpool.list_all_envs()
    record = records.load(name)
    assert record is not None
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
    for _ in range(2):  # generated again, it is entered once
        records.save(replace(record, task_id="Later_wrap"))
    assert envpool.list_all_envs().count("Later_wrap") == 1
    monkeypatch.delitem(envpool.registration.registry.specs, "Later_wrap")


def test_keys_are_lost_in_their_layer(envpool: ModuleType, echo_task: Any) -> None:
    from envpool_wrap.integrations.envpool import _check_names

    with pytest.raises(SpecError, match=r"dm API .* '_0'; rename it"):
        envpool.make(echo_task(ECHOED), "dm", num_envs=1)
    dotted, twice = (
        describe_env(EchoHooks(0, spaces.Dict({key: spaces.Discrete(2)})), "Keys")
        for key in ("a.b", "env_id")
    )
    with pytest.raises(SpecError, match=r"obs: .* the key 'a\.b' apart"):
        _check_names(dotted, "gymnasium")
    with pytest.raises(SpecError, match="'env_id'"):
        _check_names(twice, "dm")
    _check_names(twice, "gymnasium")


def test_an_error_of_an_env_is_lost_in_their_layer(theirs: Any, task_id: Any) -> None:
    pool = theirs(task_id(Counting), num_envs=2, env_kwargs=[{}, {"ends_after": "soon"}])
    pool.reset()
    with pytest.raises(EnvError, match="env 1: _done_envpool raised TypeError"):
        pool.step(np.zeros((2, 1), np.float32))


@pytest.mark.parametrize("env_type", ["gym", "dm"])
def test_close_leaves_workers_behind(env_type: str, envpool: ModuleType, task_id: Any, journal: Any) -> None:
    pool = envpool.make(
        task_id(Counting), env_type, num_envs=2, backend="process", env_kwargs={"closes": journal}
    )
    pool.reset()
    pool.close()
    assert sorted(journal.ids) == [0, 1]
    pool.close()
    with pytest.raises(PoolClosedError):
        pool.reset()


def test_frames_are_those_of_other_envs(theirs: Any, task_id: Any, pool_of: Any) -> None:
    pool = theirs(task_id(Counting), num_envs=3, render_mode="rgb_array", render_env_id=2)
    pool.reset()
    assert (pool.render() == np.full((1, 2, 3, 3), 2, np.uint8)).all()
    assert pool.render([1, 0])[:, 0, 0, 0].tolist() == [1, 0]
    with pytest.raises(ConfigError, match="camera 3"):
        pool.render(camera_id=3)
    pool_of(Echo, "generated", env_name="Shown")
    shown = theirs("Shown_wrap", num_envs=1, render_mode="rgb_array")  # which its constructor takes
    shown.reset()
    assert shown.render().shape == (1, 2, 3, 3)


def test_xla_fails_deep_inside(envpool: ModuleType, task_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from envpool_wrap.integrations.envpool import _class

    lax = ModuleType("envpool.python.lax")  # needs jax, which is not part of the extra
    lax.XlaMixin = type("XlaMixin", (), {"xla": lambda self: self._xla()})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, lax.__name__, lax)
    name = task_id(Counting)
    made = _class.__wrapped__(find(name).module, name, "gymnasium")
    pool = made(envpool.make_spec(name, num_envs=1))
    with pytest.raises(NotImplementedError, match="use send and recv"):
        pool.xla()
    pool.close()


MAKE = """
assert "Counting_wrap" in envpool.list_all_envs()
pool = envpool.make("Counting_wrap", env_type="gym", num_envs=2, backend="inline")
print(pool.reset()[0].shape)
pool.close()
"""
IS_MIXIN = """
from envpool.python.envpool import EnvPoolMixin
pools = [pool] + [envpool_wrap.make("Counting_wrap", t, backend="inline") for t in ("gymnasium", "dm")]
print(all(isinstance(pool, EnvPoolMixin) for pool in pools))
for pool in pools:
    pool.close()
"""
POOL = "pool = envpool_wrap.make('Counting_wrap', 'gym', backend='inline')"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import envpool, envpool_wrap.integrations.envpool" + MAKE, "(2, 3)"),
        ("import envpool_wrap.integrations.envpool, envpool" + MAKE, "(2, 3)"),
        ("import envpool, envpool_wrap\n" + POOL + IS_MIXIN, "True"),
        (f"import envpool_wrap\n{POOL}\nimport sys; assert 'envpool' not in sys.modules" + IS_MIXIN, "True"),
    ],
    ids=["envpool-first", "ours-first", "pool-after", "pool-before"],
)
def test_the_order_of_imports_decides(code: str, said: str, envpool: ModuleType, task_id: Any) -> None:
    task_id(Counting)
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tests, timeout=100
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_importing_the_integration_twice_enters_envs_twice(envpool: ModuleType, task_id: Any) -> None:
    import importlib

    import envpool_wrap.integrations.envpool as integration

    task_id(Counting)
    before = envpool.list_all_envs()
    with warnings.catch_warnings():
        importlib.reload(integration)
    assert envpool.list_all_envs() == before
