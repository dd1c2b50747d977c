"""Methods of an env that change while its pool runs: what the next step calls."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envpool_wrap
from envpool_protocol import EnvPoolProtocol

STILL = np.zeros(2, np.int64)


class Paid(EnvPoolProtocol):
    """Its reward is what the tests change."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, envid: int) -> None:
        self.obs = np.zeros(1, np.float32)

    def _reset_envpool(self) -> None:
        pass

    def _step_envpool(self, action: int) -> None:
        if action == 1:
            self._reward_envpool = lambda: 7.0  # type: ignore[method-assign]

    def _make_obs_envpool(self) -> Any:
        return self.obs

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return 1.0

    def pay(self, reward: float) -> None:
        self._reward_envpool = functools.partial(float, reward)  # type: ignore[method-assign]

    def pay_as_before(self) -> None:
        del self._reward_envpool

    def join_the_rich(self) -> None:
        self.__class__ = Rich  # type: ignore[assignment]


class Rich(Paid):
    def _reward_envpool(self) -> float:
        return 1000.0


class Heir(Paid):
    """Its hooks are its base's."""


class Stepped(gymnasium.Env[Any, Any]):
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 1.0, False, False, {}


def paid_more(self: Any, action: Any) -> Any:
    return np.zeros(1, np.float32), 5.0, False, False, {}


@pytest.fixture
def paid(backend: str) -> Iterator[Any]:
    with envpool_wrap.from_env_fns([functools.partial(Heir, i) for i in range(2)], backend=backend) as pool:
        pool.reset()
        assert rewards(pool) == [1.0, 1.0]
        yield pool


def rewards(pool: Any, actions: Any = STILL) -> list[float]:
    _, reward, _, _, _ = pool.step(actions)
    found: list[float] = reward.tolist()
    return found


def test_what_is_assigned_to_an_env_between_steps_is_called_in_the_next(paid: Any) -> None:
    paid.call("pay", 3.0)
    assert rewards(paid) == [3.0, 3.0]
    paid.call("pay_as_before")
    assert rewards(paid) == [1.0, 1.0]
    paid.set_attr("_reward_envpool", functools.partial(float, 4))
    assert rewards(paid) == [4.0, 4.0]


def test_an_env_of_another_class_is_called_as_such_in_the_next_step(paid: Any) -> None:
    paid.call("join_the_rich")
    assert rewards(paid) == [1000.0, 1000.0]


def test_what_an_env_assigns_to_itself_in_a_step_is_called_from_its_next_reset_on(paid: Any) -> None:
    assert rewards(paid, np.array([0, 1])) == [1.0, 1.0]
    assert rewards(paid) == [1.0, 1.0]
    paid.reset()
    assert rewards(paid) == [1.0, 7.0]


@pytest.mark.parametrize("backend", ["inline", "thread"])  # another process has a class of its own
@pytest.mark.parametrize("changed", [Paid, Heir])
def test_a_class_that_changes_is_called_as_it_is_now(
    paid: Any, changed: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(changed, "_reward_envpool", lambda self: 2.0, raising=False)
        assert rewards(paid) == [2.0, 2.0]
    assert rewards(paid) == [1.0, 1.0]


@pytest.mark.parametrize("backend", ["inline", "thread"])
def test_the_step_of_a_gymnasium_env_may_change_too(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with envpool_wrap.from_env_fns([Stepped, Stepped], backend=backend) as pool:
        pool.reset()
        assert rewards(pool) == [1.0, 1.0]
        with monkeypatch.context() as patch:
            patch.setattr(Stepped, "step", paid_more)
            assert rewards(pool) == [5.0, 5.0]
        assert rewards(pool) == [1.0, 1.0]
        pool.set_attr("step", functools.partial(paid_more, None))
        assert rewards(pool) == [5.0, 5.0]


def test_a_method_that_is_gone_is_an_error_that_names_it(paid: Any) -> None:
    from envpool_protocol.errors import EnvError

    class Poor(EnvPoolProtocol):
        pass

    paid.set_attr("__class__", Poor)
    with pytest.raises(EnvError, match="_step_envpool") as caught:
        paid.step(STILL)
    assert isinstance(caught.value.__cause__, AttributeError | NotImplementedError)
