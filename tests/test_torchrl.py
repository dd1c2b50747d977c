"""Stock torchrl over our pools. Needs torch, torchrl, envpool and old gym: `make test-all`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from envs import Counting

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


def test_pools_are_instances_of_envpools_mixin_once_torchrl_is_there(
    wrapper: Any, make: Callable[..., Any]
) -> None:
    from envpool.python.envpool import EnvPoolMixin

    for env_type in ("gym", "gymnasium", "dm"):
        assert isinstance(make(Counting, env_type), EnvPoolMixin)
