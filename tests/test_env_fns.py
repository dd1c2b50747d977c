"""Pools made at once from functions without arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from by_hand import SEED, Hand, assert_plays, play, sampled
from envs import Counting
from gymnasium import spaces
from plain_envs import DMEcho, Echo

import envpool_wrap
from envpool_protocol import records
from envpool_protocol.errors import ConfigError, EnvError, ProtocolError, RegistrationError, SpecError
from envpool_wrap.faces.dm import DMPool
from envpool_wrap.faces.gymnasium import GymnasiumPool


def echoes(count: int) -> list[Callable[[], Any]]:
    return [lambda i=i: Echo(ends_after=2 + i) for i in range(count)]  # type: ignore[misc]


@pytest.mark.parametrize("compiled", [False, True])
def test_pool_steps_what_the_functions_return(compiled: bool, backend: str) -> None:
    actions = sampled(Echo().action_space, 3, 12)
    expected = play([Hand(function()) for function in echoes(3)], actions)
    with envpool_wrap.from_env_fns(echoes(3), compiled=compiled, backend=backend, seed=SEED) as pool:
        assert type(pool) is GymnasiumPool and pool.num_envs == 3
        assert ("prebuilt module" in repr(pool)) == (not compiled) and backend in repr(pool)
        assert_plays(pool, expected, actions)


def test_closures_reach_other_processes_each_with_what_it_holds() -> None:
    with envpool_wrap.from_env_fns(echoes(4), backend="process", num_threads=3) as pool:
        assert pool.get_attr("ends_after") == (2, 3, 4, 5)


def test_nothing_is_registered_or_recorded_and_a_compiled_module_is_found_again() -> None:
    envpool_wrap.from_env_fns(echoes(1), compiled=True, name="Found").close()
    modules = records.home() / "modules"
    (made,) = modules.glob("Found-*/*.so")
    time = made.stat().st_mtime_ns
    envpool_wrap.from_env_fns(echoes(2), compiled=True, name="Found").close()
    assert [(path, path.stat().st_mtime_ns) for path in modules.glob("Found-*/*.so")] == [(made, time)]
    assert "Found_wrap" not in envpool_wrap.list_all_envs()


def test_hooks_and_dm_envs_may_be_returned_and_any_face_asked_for() -> None:
    with envpool_wrap.from_env_fns([lambda: Counting(4)], env_type="gym", name="Four") as pool:
        assert pool.reset()[0].tolist() == [[4, 0, 0]] and repr(pool).startswith("GymPool(Four_wrap, ")
    with envpool_wrap.from_env_fns([DMEcho] * 2, env_type="dm") as dm_pool:
        assert type(dm_pool) is DMPool and dm_pool.reset().observation.obs["t"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "env_fns",
    [[], (), None, 3, "abc", lambda: Echo(), {"a": Echo}, iter([Echo])],
    ids=lambda env_fns: type(env_fns).__name__,
)
def test_what_is_no_list_of_functions_is_refused(env_fns: Any) -> None:
    with pytest.raises(RegistrationError, match="expected a list of functions without arguments"):
        envpool_wrap.from_env_fns(env_fns)


def test_envs_in_place_of_functions_are_refused() -> None:
    with pytest.raises(RegistrationError, match=r"env_fns\[1\] is .*; expected a function without arguments"):
        envpool_wrap.from_env_fns([Echo, Echo()])


def test_settings_that_do_not_fit_are_refused_before_anything_is_built() -> None:
    def must_not_be_called() -> Any:
        raise AssertionError

    fns = [must_not_be_called] * 2
    with pytest.raises(ConfigError, match=r"num_envs=3 for 2 env_fns; expected 2, or leave num_envs out"):
        envpool_wrap.from_env_fns(fns, num_envs=3)
    with pytest.raises(ConfigError, match="env_kwargs for 2 env_fns, which take no arguments"):
        envpool_wrap.from_env_fns(fns, env_kwargs={"a": 1})
    with pytest.raises(ConfigError, match="env_type='gymnasum'"):
        envpool_wrap.from_env_fns(fns, "gymnasum")
    with pytest.raises(ConfigError, match="unknown setting 'num_env'"):
        envpool_wrap.from_env_fns(fns, num_env=3)
    with pytest.raises(RegistrationError, match="name='a/b'"):
        envpool_wrap.from_env_fns(fns, name="a/b")


def test_function_that_needs_an_argument_or_makes_no_env_is_told_by_its_number() -> None:
    with pytest.raises(ProtocolError, match=r"env_fns\[0\]\(\) raised TypeError: .*'envid'"):
        envpool_wrap.from_env_fns([lambda envid: Echo()])
    with pytest.raises(ProtocolError, match=r"env_fns\[0\]\(\): got None of type NoneType"):
        envpool_wrap.from_env_fns([lambda: None])
    with pytest.raises(EnvError, match=r"env 1: __init__ raised ProtocolError: got None"):
        envpool_wrap.from_env_fns([Echo, lambda: None], backend="inline")


class Boxed(gymnasium.Env[Any, Any]):
    def __init__(self, high: float = 1.0) -> None:
        self.observation_space = spaces.Box(0.0, high, (2,), np.float64)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2), 0.0, False, False, {}


def test_spaces_that_differ_in_a_bound_only_are_refused_with_both(backend: str) -> None:
    fns = [Boxed, lambda: Boxed(2.0)]
    both = r"observation_space of env 1 is Box\(0.0, 2.0, .*env_fns_wrap has Box\(0.0, 1.0, \(2,\), float64\)"
    with pytest.raises(EnvError, match=both) as caught:
        envpool_wrap.from_env_fns(fns, backend=backend)
    assert isinstance(caught.value.__cause__, SpecError) and caught.value.env_id == 1


def test_envs_of_two_apis_are_refused() -> None:
    class Hooked(Counting):
        def __init__(self) -> None:
            box = Boxed()
            self.observation_space, self.action_space = box.observation_space, box.action_space

    with pytest.raises(
        EnvError, match=r"env 1 differs from env_fns_wrap: it has reward .*api hooks, not gym"
    ):
        envpool_wrap.from_env_fns([Boxed, Hooked], backend="inline")


def test_function_that_cannot_be_pickled_stays_here_unless_processes_are_asked_for() -> None:
    lock = threading.Lock()

    def locked() -> Any:
        with lock:
            return Boxed()

    with envpool_wrap.from_env_fns([locked] * 2) as pool:
        assert pool.config["backend"] in ("inline", "thread")
    with pytest.raises(TypeError, match="cannot pickle"):
        envpool_wrap.from_env_fns([locked] * 2, backend="process")


def test_functions_work_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with envpool_wrap.from_env_fns([Boxed] * 2, backend="inline") as pool:
        assert pool.reset()[0].shape == (2, 2)
