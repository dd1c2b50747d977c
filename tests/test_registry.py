"""From a task id to a pool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import envs
import numpy as np
import pytest

import envpool_wrap
from envpool_protocol import CppWrapperGenerator
from envpool_protocol.errors import ConfigError, UnknownEnvError
from envpool_wrap.faces.dm import DMPool
from envpool_wrap.faces.gym import GymPool
from envpool_wrap.faces.gymnasium import GymnasiumPool

TESTS = Path(__file__).parent


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("env_type", "short", "face"),
    [
        ("gym", envpool_wrap.make_gym, GymPool),
        ("gymnasium", envpool_wrap.make_gymnasium, GymnasiumPool),
        ("dm", envpool_wrap.make_dm, DMPool),
    ],
)
def test_an_env_type_gives_another_face(task_id: Any, env_type: str, short: Any, face: Any) -> None:
    name = task_id(envs.Counting)
    for pool in (envpool_wrap.make(name, env_type, num_envs=2), short(name, num_envs=2)):
        with pool:
            assert type(pool) is face
            assert len(pool) == 2
    with envpool_wrap.make(task_id=name, env_type=env_type) as pool:
        assert type(pool) is face


@pytest.mark.parametrize(
    ("given", "message"),
    [("gymnasum", r"env_type='gymnasum'.*Nearest: 'gymnasium'"), (["gym"], r"env_type=\['gym'\]: expected")],
)
def test_an_unknown_env_type_is_taken(task_id: Any, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        envpool_wrap.make(task_id(envs.Counting), given)


def test_a_misspelt_task_id_is_not_corrected(task_id: Any) -> None:
    task_id(envs.Counting)
    with pytest.raises(UnknownEnvError, match=r"Couting_wrap.*Counting_wrap") as caught:
        envpool_wrap.make("Couting_wrap", "gym")
    assert isinstance(caught.value, KeyError)


def test_listing_imports_somebodys_code(task_id: Any) -> None:
    name = task_id(envs.Counting)
    assert name in envpool_wrap.list_all_envs()
    code = "import sys, envpool_wrap; print(envpool_wrap.list_all_envs()); print('envs' in sys.modules)"
    names, imported = python(code).splitlines()
    assert name in names
    assert imported == "False"


def test_importing_the_package_imports_a_framework_or_much_else() -> None:
    """Which is what takes time: after NumPy, a handful of modules, and none of anybody else's."""
    before = "import sys, numpy; before = set(sys.modules)"
    added = python(f"{before}; import envpool_wrap; print(*set(sys.modules) - before)").split()
    assert {name.partition(".")[0] for name in added} - set(sys.stdlib_module_names) == {"envpool_wrap"}
    assert len(added) < 12


def test_a_second_interpreter_cannot_make_the_pool(task_id: Any) -> None:
    code = f"""
import numpy as np, envpool_wrap
with envpool_wrap.make({task_id(envs.Counting)!r}, "gym", num_envs=2) as pool:
    pool.reset()
    print(pool.step(np.full((2, 1), 0.5, np.float32))[0].tolist())
"""
    assert python(code) == "[[0.0, 1.0, 0.5], [1.0, 1.0, 0.5]]"


@pytest.mark.usefixtures("registry")
def test_register_under_a_second_name_returns_the_first(task_id: Any) -> None:
    task_id(envs.Counting)
    second = envpool_wrap.register(envs.Counting, "CountingAgain", ends_after=3)
    assert second == "CountingAgain_wrap"
    assert envpool_wrap.register(envs.Counting) == "Counting_wrap"
    with envpool_wrap.make_gym(second) as pool:
        assert pool.get_attr("ends_after") == [3]
    with envpool_wrap.make_gym("Counting_wrap") as pool:
        assert pool.get_attr("ends_after") == [2]


@pytest.mark.usefixtures("registry")
def test_settings_of_make_lose_to_those_of_register() -> None:
    name = envpool_wrap.register(envs.Counting, "CountingAgain", ends_after=3)
    with envpool_wrap.make_gym(name, env_kwargs={"ends_after": 5}) as pool:
        assert pool.get_attr("ends_after") == [5]


def test_a_class_whose_spaces_changed_runs_on_the_old_module(
    make: Any, task_id: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for envs of one pool: the class itself, changed, is generated again (test_origins.py)."""
    from envpool_protocol.errors import EnvError, SpecError

    def grow(self: Any, envid: int, wide: bool = False) -> None:
        before(self, envid)
        if wide:
            self.observation_space = envs.spaces.Box(-1, 1, (4,), np.float32)

    name = task_id(envs.Counting)
    before = envs.Counting.__init__
    monkeypatch.setattr(envs.Counting, "__init__", grow)
    with pytest.raises(
        EnvError, match=r"observation_space of env 1 is Box\(-1.*Counting_wrap has Box\(-inf, inf, \(3,\)"
    ) as caught:
        envpool_wrap.make(name, "gym", num_envs=2, backend="inline", env_kwargs=[{}, {"wide": True}])
    assert isinstance(caught.value.__cause__, SpecError)
    assert caught.value.env_id == 1


def test_all_names_of_the_package_are_there() -> None:
    assert set(envpool_wrap.__all__) <= set(dir(envpool_wrap))
    for name in envpool_wrap.__all__:
        assert callable(getattr(envpool_wrap, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = envpool_wrap.nothing


def test_a_generated_module_is_loaded_once(task_id: Any) -> None:
    from envpool_wrap.registry import find

    name = task_id(envs.Counting)
    assert find(name).module is find(name).module
    assert CppWrapperGenerator.generate_envpool_wrap(envs.Counting).cached
