"""Batched simulators as torchrl envs, in torch. Needs the extras `torchrl` and `batched`: `make test-all`."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import pytest
from simulators import Nested, Points, torch_points

from envpool_protocol.errors import ActionError, ConfigError, PoolClosedError, SpecError
from envpool_wrap.integrations.batched import BatchedDMPool, BatchedGymnasiumPool, BatchedPool

pytestmark = pytest.mark.integration


@pytest.fixture
def kind() -> Any:
    """BatchedPoolEnv."""
    with warnings.catch_warnings():  # what torchrl says while it is imported is not ours
        warnings.simplefilter("ignore")
        pytest.importorskip("torchrl.collectors", exc_type=ImportError)
        from envpool_wrap.integrations.torchrl_batched import BatchedPoolEnv
    return BatchedPoolEnv


@pytest.fixture
def points(kind: Any) -> Any:
    """Three rows that end after 2, 3 and 4 steps."""
    return kind(BatchedPool(torch_points(), copy=True, seed=5))


def ones(tensordict: Any) -> Any:
    import torch

    return tensordict.set("action", torch.ones(3, 1))


@pytest.mark.parametrize("face", [BatchedPool, BatchedGymnasiumPool])
def test_specs_do_not_fit_the_data(kind: Any, face: Any) -> None:
    from torchrl.envs.utils import check_env_specs

    check_env_specs(kind(face(torch_points(), copy=True)), break_when_any_done="both")
    nested = kind(face(Nested(), copy=True, array="torch"))
    check_env_specs(nested, break_when_any_done="both")
    assert set(nested.rand_step(nested.reset())["next"].keys()) >= {"x", "n", "reward"}


def test_next_has_no_last_observation_and_the_root_no_first_one(points: Any) -> None:
    rollout = points.rollout(4, policy=ones, break_when_any_done=False)
    assert rollout["observation"].tolist() == [
        [[0, 0], [1, 1], [0, 0], [1, 1]],
        [[0, 0], [1, 1], [2, 2], [0, 0]],
        [[0, 0], [1, 1], [2, 2], [3, 3]],
    ]
    assert rollout["next", "observation"].tolist() == [
        [[1, 1], [2, 2], [1, 1], [2, 2]],
        [[1, 1], [2, 2], [3, 3], [1, 1]],
        [[1, 1], [2, 2], [3, 3], [4, 4]],
    ]
    ends = [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert rollout["next", "done"].squeeze(-1).int().tolist() == ends
    assert rollout["next", "reward"].squeeze(-1).tolist() == [[1, 2, 1, 2], [1, 2, 3, 1], [1, 2, 3, 4]]
    assert points.pool.venv.seeds == [5], "torchrl's resets of single rows reset the whole simulator"


def test_rows_that_wait_are_not_reset_by_the_mask(kind: Any) -> None:
    import torch

    env = kind(BatchedPool(Nested(), copy=True, array="torch"))
    go = torch.tensor([1, 1, 0, 1])

    def policy(tensordict: Any) -> Any:
        return tensordict.set("action", {"go": go, "push": torch.zeros(4, 2)})

    rollout = env.rollout(5, policy=policy, break_when_any_done=False)
    assert rollout["n"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 1], [0] * 5, [0, 1, 2, 0, 1]]
    assert rollout["next", "n"][0].tolist() == [1, 2, 3, 1, 2]


def test_seeds_reach_another_reset(points: Any) -> None:
    points.reset()
    points.set_seed(9)
    points.reset()
    points.reset()
    assert points.pool.venv.seeds[0] == 5 and points.pool.venv.seeds[2] is None
    assert points.pool.venv.seeds[1] is not None


def test_a_reset_that_is_refused_takes_the_seed_with_it(points: Any) -> None:
    points.set_seed(9)
    with pytest.raises(ActionError, match="expected a dict"):
        points.reset(options=[])
    points.reset()
    points.reset()
    assert points.pool.venv.seeds[0] is not None and points.pool.venv.seeds[1] is None


def test_closing_leaves_the_simulator_open(points: Any) -> None:
    points.reset()
    points.close()
    points.close()
    with pytest.raises(PoolClosedError):
        points.pool.reset()


def test_some_rows_alone_are_stepped_or_reset(points: Any) -> None:
    import torch

    root = ones(points.reset())
    some = torch.tensor([[True], [False], [True]])
    with pytest.raises(ActionError, match="a simulator steps its 3 at once"):
        points.step(root.copy().set("_step", some))
    points.reset(root.copy().set("_reset", torch.zeros(3, 1, dtype=torch.bool)))
    points.step(root)
    with pytest.raises(ActionError, match="rows whose episode has not ended"):
        points.reset(root.copy().set("_reset", some))


def test_an_episode_without_a_last_observation_is_learnt_from(kind: Any) -> None:
    class Silent(Points):
        def step(self, action: Any) -> Any:
            return (*super().step(action)[:4], {})

    env = kind(BatchedPool(Silent(torch_points().xp), copy=True))
    root = ones(env.step(ones(env.reset()))["next"])
    with pytest.raises(SpecError, match="an episode ended and info has no final_obs"):
        env.step(root)


class NextStep(Points):
    metadata: ClassVar = {"autoreset_mode": "next_step"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchedPool(torch_points()), "copy=False: torchrl keeps .* with copy=True"),
        (lambda: BatchedPool(Points(), copy=True, array="numpy"), "array='numpy': .*'native' or 'torch'"),
        (
            lambda: BatchedPool(NextStep(), copy=True),
            "autoreset_mode='next_step': .*'same_step' or 'disabled'",
        ),
        (lambda: BatchedDMPool(Points(), copy=True), "expected a BatchedPool with the gym or gymnasium API"),
        (lambda: "Points", "BatchedPoolEnv of 'Points': expected a BatchedPool"),
    ],
)
def test_a_pool_that_does_not_go_is_taken(kind: Any, make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(make())


def test_a_simulator_elsewhere_is_copied(kind: Any) -> None:
    with pytest.raises(ConfigError, match="device='meta', and the simulator's tensors are on cpu"):
        kind(BatchedPool(torch_points(), copy=True), device="meta").reset()
    with pytest.raises(ConfigError, match=r"of numpy: torchrl computes with torch's tensors.*array='torch'"):
        kind(BatchedPool(Points(), copy=True)).reset()
