"""The same class, compiled and interpreted: every number that a pool returns is the same, to the last bit.

Numba asks LLVM for no fast-math and no contraction, so each `*` and `+` is rounded by itself, as Python's
are; sine, cosine and the like are libm's in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import compiled_envs
import numpy as np
import pytest
from test_state import Noisy

import envpool_wrap
from envpool_protocol import CppWrapperGenerator
from envpool_protocol.errors import EnvError
from envpool_protocol.random import Random

pytest.importorskip("numba")

NUM_ENVS = 20


@pytest.fixture
def pools(home: Any) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """`pools(cls, **config)`: one whose hooks are compiled, and one that interprets them."""
    made: list[Any] = []

    def make_pools(cls: type, **config: Any) -> tuple[Any, Any]:
        task_id = CppWrapperGenerator.generate_envpool_wrap(cls, compiled=True).task_id
        config = {"num_envs": NUM_ENVS, "seed": 3, **config}
        for how in ({"compiled": True}, {"compiled": False, "backend": "inline"}):
            made.append(envpool_wrap.make(task_id, "gymnasium", **config, **how))
        return made[0], made[1]

    yield make_pools
    for pool in made:
        pool.close()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Random):
        return vars(one) == vars(other)
    return bool(np.array_equal(one, other)) and np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.slow
@pytest.mark.parametrize("cls", compiled_envs.ENVS, ids=lambda cls: cls.__name__)
def test_100_000_steps_are_equal(cls: Any, pools: Any) -> None:
    compiled, interpreted = pools(cls, max_episode_steps=300)
    compiled.action_space.seed(5)
    assert same(compiled.reset(), interpreted.reset())
    for step in range(100_000 // NUM_ENVS):
        actions = compiled.action_space.sample()
        assert same(compiled.step(actions), interpreted.step(actions)), step
    for field in cls.state_envpool:
        assert same(compiled.get_attr(field), interpreted.get_attr(field)), field


def test_settings_of_envs_reach_their_compiled_hooks(pools: Any) -> None:
    compiled, interpreted = pools(compiled_envs.Maze, env_kwargs={"slip": 0.9})
    assert same(compiled.reset(), interpreted.reset())
    for _ in range(50):
        actions = np.ones(NUM_ENVS, np.int64)
        assert same(compiled.step(actions), interpreted.step(actions))
    assert compiled.get_attr("slip") == (0.9,) * NUM_ENVS


class Seeded(Noisy):
    """A task of its own: `Noisy_wrap` is interpreted."""


def test_every_generator_of_compiled_envs_is_seeded_with_a_stream_of_its_own(pools: Any) -> None:
    compiled, interpreted = pools(Seeded)
    obs, _ = compiled.reset()
    expected = [[Random(3 + env, stream).uniform() for stream in range(3)] for env in range(NUM_ENVS)]
    assert obs.tolist() == expected == interpreted.reset()[0].tolist()
    again, _ = compiled.reset(seed=3)
    assert again.tolist() == expected


class Unseeded(Noisy):
    def _seed_envpool(self, seed: int) -> None:
        pass


def test_generators_that_nobody_seeds_are_those_of_seed_0(pools: Any) -> None:
    compiled, interpreted = pools(Unseeded)
    obs, _ = compiled.reset()
    assert obs.tolist() == [[Random().uniform()] * 3] * NUM_ENVS == interpreted.reset()[0].tolist()


class OutOfNothing(compiled_envs.Draws):
    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self.drawn[0] = self.random.choice(3 - self.t)


@pytest.mark.parametrize("compiled", [0, 1], ids=["compiled", "interpreted"])
def test_a_choice_from_nothing_is_the_envs_error(compiled: int, pools: Any) -> None:
    pool = pools(OutOfNothing)[compiled]
    pool.reset()
    for _ in range(2):
        pool.step(np.zeros(NUM_ENVS, np.int64))
    with pytest.raises(EnvError, match="needs low < high"):
        pool.step(np.zeros(NUM_ENVS, np.int64))
