"""`from_elegantrl`: a batch of ElegantRL's kind as a VectorEnv. Needs the extra `elegantrl`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from simulators import lists

from envpool_protocol.errors import ActionError, ConfigError, ProtocolError

torch = pytest.importorskip("torch")

from elegantrl_batches import Batch, BatchOf3, BatchOf4  # noqa: E402

from envpool_wrap.integrations.elegantrl import from_elegantrl  # noqa: E402

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("cls", [Batch, BatchOf4, BatchOf3])
@pytest.mark.parametrize("info", [{}, None], ids=["info", "none"])
def test_a_batch_as_a_vector_env(cls: Any, info: Any) -> None:
    batch = cls(2)
    batch.info = info
    env = from_elegantrl(batch)
    assert isinstance(env, VectorEnv) and env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.single_observation_space == spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert env.single_action_space == spaces.Box(-1, 1, (1,), np.float32)
    assert env.observation_space.shape == (2, 2) and env.action_space.shape == (2, 1)
    state, told = env.reset()
    assert state.tolist() == [[0, 0], [0, 0]] and isinstance(told, dict)
    action = torch.tensor([[3.0], [-4.0]])  # not scaled
    assert env.step(action)[0].tolist() == [[1, 3], [1, -4]]
    state, reward, terminated, truncated, told = env.step(action)
    assert lists(state, reward) == [[[0, 3], [2, -4]], [20, 20]]
    assert lists(terminated, truncated) == [[True, False], [False, False]]
    assert terminated.dtype == truncated.dtype == torch.bool and told == {}
    env.close()
    env.close()
    assert batch.closed == 1 and "Batch" in repr(env)
    assert from_elegantrl(env) is env


@pytest.mark.parametrize("key", ["time_outs", "truncate"])
def test_ends_that_are_time_outs(key: str) -> None:
    batch = BatchOf4(3)
    batch.limits = torch.tensor([1, 1, 2])
    batch.info = {key: torch.tensor([1, 0, 1])}  # the last one's episode has not ended
    env = from_elegantrl(batch)
    env.reset()
    _, _, terminated, truncated, _ = env.step(torch.zeros(3, 1))
    assert lists(terminated, truncated) == [[False, True, False], [True, False, False]]


def test_seeds_and_options_of_a_batch() -> None:
    class Seeded(Batch):
        def seed(self, seed: int) -> None:
            self.given = seed

    class Modern(Batch):
        def reset(self, seed: Any = None, options: Any = None) -> Any:
            self.given = seed, options
            return super().reset()

    old, modern = Seeded(2), Modern(2)
    from_elegantrl(old).reset(seed=4)
    from_elegantrl(modern).reset(seed=5, options={"a": 1})
    assert old.given == 4 and modern.given == (5, {"a": 1})
    with pytest.raises(ActionError, match="Seeded: reset takes no `options`"):
        from_elegantrl(old).reset(options={"a": 1})


def test_batches_that_lack_something() -> None:
    for name in ("device", "env_num", "state_dim", "action_dim", "if_discrete"):
        batch = Batch(2)
        if name in vars(batch):
            delattr(batch, name)
        else:
            setattr(batch, name, None)
        with pytest.raises((ProtocolError, ConfigError), match=name):
            from_elegantrl(batch)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "step returned NoneType; expected a tuple of 3, 4 or 5"),
        ((1, 2), "step returned 2 values; expected a tuple of 3, 4 or 5"),
        (
            (torch.zeros(2, 3), torch.zeros(2), torch.zeros(2)),
            r"step returned state: \(2, 3\) on cpu; expected a tensor \(2, 2\) on cpu",
        ),
        ((np.zeros((2, 2)), torch.zeros(2), torch.zeros(2)), "step returned state: a ndarray"),
        ((torch.zeros(2, 2), torch.zeros(2, 1), torch.zeros(2)), r"step returned reward: \(2, 1\)"),
        (
            (torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, device="meta")),
            "step returned done: .* on meta",
        ),
    ],
)
def test_batches_that_answer_something_else(answer: Any, message: str) -> None:
    batch = Batch(2)
    batch.step = lambda action: answer  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match=message):
        from_elegantrl(batch).step(torch.zeros(2, 1))
