"""What can be known of a pool without building an env."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import envs
import gymnasium
import numpy as np
import pytest
from newcomer import GENERATE, MY_ENV, Newcomer

import envpool_wrap
from envpool_protocol import EnvManager
from envpool_protocol.errors import ConfigError, UnknownEnvError

HAS_GYM = importlib.util.find_spec("gym") is not None


def test_make_spec_builds_an_env(task_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = task_id(envs.Counting)
    built: list[Any] = []
    monkeypatch.setattr(envs.Counting, "__init__", lambda self, envid, ends_after=None: built.append(envid))
    spec = envpool_wrap.make_spec(name, num_envs=5)
    assert spec.config.num_envs == 5
    assert spec.gymnasium_action_space.shape == (1,)
    assert built == []


@pytest.mark.parametrize("cls", [envs.Counting, envs.Gated, envs.Nested])
def test_a_space_changes_on_its_way_through_the_record(task_id: Any, cls: Any) -> None:
    spec = envpool_wrap.make_spec(task_id(cls))
    env = cls(0)
    assert spec.gymnasium_observation_space == env.observation_space
    assert spec.gymnasium_action_space == env.action_space
    assert isinstance(spec.gymnasium_action_space, gymnasium.Space)


@pytest.mark.skipif(not HAS_GYM, reason="gym is not installed")
def test_torchrl_finds_no_gym_spaces(task_id: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gym

        spec = envpool_wrap.make_spec(task_id(envs.Nested))
        assert isinstance(spec.observation_space, gym.spaces.Dict)
        assert isinstance(spec.action_space["arm"][1]["on"], gym.spaces.MultiBinary)


def test_without_gym_there_are_no_spaces(task_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.pool_spec._has_gym", lambda: False)
    spec = envpool_wrap.make_spec(task_id(envs.Counting))
    assert isinstance(spec.observation_space, gymnasium.spaces.Box)
    assert isinstance(spec.action_space, gymnasium.spaces.Box)
    assert spec.described_with == "gymnasium"


def test_settings_get_lost_in_the_spec(make: Any) -> None:
    pool = make(envs.Counting, num_envs=3, batch_size=2, reward_threshold=1.5, seed=7)
    assert pool.spec.config.num_envs == 3
    assert pool.spec.config.batch_size == 2
    assert pool.spec.reward_threshold == 1.5
    assert "Counting" in repr(pool.spec)
    assert pool.config["seed"] == 7


def test_a_fresh_seed_cannot_be_read_off_the_config(make: Any) -> None:
    pool = make(envs.Faulty, num_envs=2, seed=None)
    pool.reset()
    assert pool.get_attr("seeds") == [[pool.config["seed"]], [pool.config["seed"] + 1]]


def test_bad_settings_make_a_spec(task_id: Any) -> None:
    with pytest.raises(ConfigError, match="num_envs=0"):
        envpool_wrap.make_spec(task_id(envs.Counting), num_envs=0)
    with pytest.raises(UnknownEnvError, match="Nope_wrap"):
        envpool_wrap.make_spec("Nope_wrap")


def test_two_pools_share_the_generator_of_a_space(make: Any) -> None:
    one, two = make(envs.Counting), make(envs.Counting)
    one.action_space.seed(3)
    two.action_space.seed(3)
    first = one.action_space.sample()
    one.action_space.sample()
    assert np.array_equal(two.action_space.sample(), first)


SPEC = "import envpool_wrap; print(*envpool_wrap.make_spec('MyEnv_wrap').gymnasium_observation_space.shape)"


def test_a_file_that_changed_has_its_old_spaces(user: Newcomer) -> None:
    user.write("my_env.py", "print('imported')", MY_ENV, GENERATE)
    user.run("my_env.py")
    assert user.run("-c", SPEC) == "3\n"
    user.write("my_env.py", "print('imported')", MY_ENV.replace("SIZE = 3", "SIZE = 4"), GENERATE)
    builds = user.builds
    assert (user.run("-c", SPEC), user.builds) == ("imported\n4\n", builds)


@pytest.mark.usefixtures("registry")
def test_a_class_that_was_never_generated_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path))
    EnvManager.register_env(envs.Counting, name="Fresh")
    assert envpool_wrap.make_spec("Fresh_wrap").gymnasium_observation_space.shape == (3,)
    assert list(tmp_path.iterdir()) == []
