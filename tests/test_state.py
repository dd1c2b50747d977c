"""Declared state, interpreted: arrays and records are there from the start, and each generator is seeded."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.compiled.state import random_fields
from envpool_protocol.errors import SpecError
from envpool_protocol.random import Random


class Arm:
    state_envpool = {"noise": Random, "reach": np.float64}

    def __init__(self) -> None:
        self.noise, self.reach = Random(), 1.0


class Noisy(EnvPoolProtocol):
    """Observes one draw of each of its generators; has no `__init__` and no `_seed_envpool`."""

    observation_space = spaces.Box(0, 1, (3,), np.float64)
    action_space = spaces.Discrete(2)
    state_envpool = {
        "random": Random,
        "seen": (np.float64, (3,)),
        "arm": Arm,
        "t": np.int64,
        "other": Random,
    }

    def _reset_envpool(self) -> None:
        self.t = 0
        self._draw()

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self._draw()

    def _draw(self) -> None:
        self.seen[0] = self.random.uniform()
        self.seen[1] = self.arm.noise.uniform()
        self.seen[2] = self.other.uniform()

    def _make_obs_envpool(self) -> Any:
        return self.seen

    def _done_envpool(self) -> bool:
        return self.t == 4

    def _reward_envpool(self) -> float:
        return 0.0


def test_arrays_and_records_are_there_and_are_each_envs_own() -> None:
    first, second = Noisy(0), Noisy(1)
    assert first.seen.dtype == np.float64 and first.seen.tolist() == [0, 0, 0]
    first.seen[:] = 1
    assert second.seen.tolist() == [0, 0, 0]
    assert first.random is first.random and first.random is not second.random
    assert isinstance(first.arm, Arm) and first.arm is not second.arm


def test_a_scalar_that_was_never_set_is_missed() -> None:
    with pytest.raises(AttributeError, match=r"Noisy\.t is declared, and was never set"):
        Noisy(0).t  # noqa: B018


def test_narrow_scalars_round_and_wrap_as_they_do_in_a_record() -> None:
    class Narrow(Noisy):
        state_envpool = {"mass": np.float32, "lives": np.uint8}

    env = Narrow(0)
    env.mass, env.lives = 0.1, 255
    assert (env.mass, env.lives) == (float(np.float32(0.1)), 255)
    assert type(env.mass) is float and type(env.lives) is int
    env.lives += 1
    assert env.lives == 0
    twin = pickle.loads(cloudpickle.dumps(env))
    assert (twin.mass, twin.lives) == (env.mass, env.lives)


@pytest.mark.parametrize("kind", [None, list, str, "number", (np.uint8,), (np.uint8, "x"), Noisy(0), dict])
def test_a_field_that_is_no_number_array_or_record_is_refused(kind: Any) -> None:
    with pytest.raises(SpecError, match=r"Bad\.state_envpool\['x'\].*expected"):
        type("Bad", (EnvPoolProtocol,), {"state_envpool": {"x": kind}})


def test_a_declaration_that_is_no_dict_is_refused() -> None:
    with pytest.raises(SpecError):
        type("Bad", (EnvPoolProtocol,), {"state_envpool": ["x"]})


def test_what_a_class_sets_itself_is_kept() -> None:
    class Own(Noisy):
        def __init__(self, envid: int, seen: float = 2.0) -> None:
            self.seen = np.full(3, seen)

    assert Own(0, seen=5.0).seen.tolist() == [5.0] * 3


def test_a_class_inherits_fields_and_adds_its_own() -> None:
    class Taller(Noisy):
        state_envpool = {"heights": (np.int8, (2,))}

    assert Taller(0).heights.shape == (2,) and Taller(0).seen.shape == (3,)


class Delegates:
    """Finds attributes where it will, as wrappers do."""

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            return "found"
        raise AttributeError(name)


class Inherits(Delegates, Noisy):
    state_envpool = {"heights": (np.int8, (2,))}


class Defines(Noisy):
    state_envpool = {"heights": (np.int8, (2,))}
    __getattr__ = Delegates.__getattr__


class Again(Defines):
    state_envpool = {"widths": (np.int8, (2,))}


@pytest.mark.parametrize("cls", [Inherits, Defines, Again])
def test_a_getattr_of_the_users_is_asked_for_what_is_not_declared(cls: Any) -> None:
    env = cls(0)
    assert env.inner == "found" and env.heights.shape == (2,) and env.seen.shape == (3,)
    with pytest.raises(AttributeError, match="nothing"):
        env.nothing  # noqa: B018


def test_a_record_may_have_slots() -> None:
    class Slots:
        __slots__ = ("reach", "turns")
        state_envpool = {"reach": np.float32, "turns": (np.int64, (2,))}

    class Holder(Noisy):
        state_envpool = {"slots": Slots}

    env = Holder(0)
    env.slots.turns[1], env.slots.reach = 3, 0.1
    assert env.slots.turns.tolist() == [0, 3] and env.slots.reach == float(np.float32(0.1))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_draws_on_from_the_same_place(copied: Any) -> None:
    env = Noisy(0)
    env._seed_envpool(3)
    env._reset_envpool()
    twin = copied(env)
    for _ in range(3):
        env._step_envpool(0)
        twin._step_envpool(0)
        assert np.array_equal(env.seen, twin.seen)
    twin._step_envpool(0)
    assert not np.array_equal(env.seen, twin.seen), "its generator is its own"


def test_generators_are_found_in_order_and_in_records() -> None:
    assert list(random_fields(Noisy)) == ["random", "arm.noise", "other"]
    assert list(random_fields(EnvPoolProtocol)) == []


def test_each_generator_is_seeded_with_numbers_of_its_own() -> None:
    env = Noisy(0)
    env._seed_envpool(9)
    env._reset_envpool()
    assert env.seen.tolist() == [Random(9, stream).uniform() for stream in range(3)]


def test_a_pool_seeds_each_env(make: Any, backend: str) -> None:
    pool = make(Noisy, num_envs=3, seed=[4, 5, 2**62], backend=backend)
    first = pool.reset()[0].copy()
    expected = [[Random(seed, stream).uniform() for stream in range(3)] for seed in (4, 5, 2**62)]
    assert first.tolist() == expected
    second = pool.reset()[0].copy()
    assert not np.array_equal(first, second), "the next episode is another one"
