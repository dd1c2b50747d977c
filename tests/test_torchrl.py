"""Stock torchrl over our pools. Needs torch, torchrl, envpool and old gym: `make test-all`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from envs import Counting, Pole, Telling

import envpool_wrap

pytestmark = pytest.mark.integration


@pytest.fixture
def wrapper() -> Any:
    with warnings.catch_warnings():  # what these libraries say while they are imported is not ours
        warnings.simplefilter("ignore")
        libs = pytest.importorskip("torchrl.envs.libs.envpool")
        pytest.importorskip("envpool")
        pytest.importorskip("gym")
    return libs.MultiThreadedEnvWrapper


def test_stock_wrapper_takes_a_pool_and_sees_its_numbers(wrapper: Any, make: Callable[..., Any]) -> None:
    import torch

    pool = make(Counting, "gym", num_envs=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = wrapper(pool)
        rollout = env.rollout(20, break_when_any_done=False)
    assert rollout.shape == (3, 20)
    # Env i ends after 2 + i steps, and then takes one step to reset.
    t = rollout["next", "observation"][..., 1]
    for i in range(3):
        cycle = torch.tensor([*range(1, 3 + i), 0], dtype=t.dtype)
        assert torch.equal(t[i], cycle.repeat(20)[:20]), i
    assert torch.equal(rollout["next", "terminated"].squeeze(-1)[0], t[0] == 2)


@pytest.mark.filterwarnings("ignore")  # of old gym and torchrl, which are stock here
def test_stock_wrapper_rolls_out_the_env_of_the_first_example(
    wrapper: Any, monkeypatch: pytest.MonkeyPatch, registry: None
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "examples"))
    envpool_wrap.register(importlib.import_module("my_env").MyEnv)
    env = wrapper(envpool_wrap.make("MyEnv_wrap", env_type="gym", num_envs=3))
    rollout = env.rollout(20)
    assert rollout.shape == (3, 20) and rollout["observation"].unique().numel() == 3 * 20 * 3
    effort = rollout["action"].abs().squeeze(-1)
    assert (rollout["next", "reward"].squeeze(-1) - (1 - effort)).abs().max() < 1e-6
    env.close()


@pytest.fixture
def threaded(wrapper: Any) -> Any:
    """`threaded(name, **config)`: stock MultiThreadedEnv, which asks EnvPool's registry."""
    from torchrl.envs.libs.envpool import MultiThreadedEnv

    import envpool_wrap.integrations.envpool  # noqa: F401

    made: list[Any] = []

    def make_env(name: str, **config: Any) -> Any:
        made.append(MultiThreadedEnv(num_workers=3, env_name=name, create_env_kwargs=config))
        return made[-1]

    yield make_env
    for env in made:
        env.close()


@pytest.mark.filterwarnings("ignore")  # of old gym and torchrl, which are stock here
@pytest.mark.parametrize("cls", [Counting, Pole, Telling])
def test_stock_env_cannot_roll_out(cls: type, threaded: Any, wrapper: Any, make: Any, task_id: Any) -> None:
    for env in (threaded(task_id(cls), backend="inline"), wrapper(make(cls, "gym", num_envs=3))):
        assert env.rollout(100).shape[0] == 3
        assert env.rollout(100, break_when_any_done=False).shape == (3, 100)
        assert env.observation_spec["observation"].shape == env.reset()["observation"].shape


@pytest.mark.filterwarnings("ignore")
def test_stock_env_has_other_values_than_the_stock_wrapper(
    threaded: Any, wrapper: Any, make: Any, task_id: Any
) -> None:
    import torch

    one = threaded(task_id(Pole), backend="process", num_threads=2, seed=7)
    two = wrapper(make(Pole, "gym", num_envs=3, seed=7))
    rollouts = []
    for env in (one, two):
        torch.manual_seed(0)
        rollouts.append(env.rollout(60, break_when_any_done=False))
    assert rollouts[0]["next", "done"].any()
    assert (rollouts[0] == rollouts[1]).all()


@pytest.mark.filterwarnings("ignore")
def test_a_seed_of_the_stock_env_is_lost(threaded: Any, task_id: Any) -> None:
    env, other = threaded(task_id(Pole), backend="inline"), threaded(task_id(Pole), backend="inline", seed=5)
    env.set_seed(5)
    assert env.reset()["observation"].equal(other.reset()["observation"])


def test_pools_are_instances_of_envpools_mixin_once_torchrl_is_there(
    wrapper: Any, make: Callable[..., Any]
) -> None:
    from envpool.python.envpool import EnvPoolMixin

    for env_type in ("gym", "gymnasium", "dm"):
        assert isinstance(make(Counting, env_type), EnvPoolMixin)
