"""Seeding envs whose `reset` takes no seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envpool_protocol.seeding import seed_env


def test_seed_method_comes_first() -> None:
    given: list[int] = []
    task = SimpleNamespace(random=np.random.RandomState(0))
    before = task.random.get_state()[1].copy()
    seed_env(SimpleNamespace(seed=given.append, task=task), 2**40)
    assert given == [2**40] and np.array_equal(task.random.get_state()[1], before)


@pytest.mark.parametrize("place", ["task.random", "random_state"])
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_legacy_generator_starts_as_a_new_one_of_that_seed(place: str, seed: int) -> None:
    generator = np.random.RandomState(3)
    generator.normal(size=5)
    env = (
        SimpleNamespace(task=SimpleNamespace(random=generator))
        if place == "task.random"
        else SimpleNamespace(random_state=generator)
    )
    seed_env(env, seed)
    assert np.array_equal(generator.normal(size=9), np.random.RandomState(seed).normal(size=9))


def test_new_generator_starts_as_a_new_one_of_that_seed() -> None:
    generator = np.random.Generator(np.random.Philox(3))
    generator.normal(size=5)
    seed_env(SimpleNamespace(random_state=generator), 2**62)
    fresh = np.random.Generator(np.random.Philox(2**62))
    assert np.array_equal(generator.normal(size=9), fresh.normal(size=9))


def test_seeds_beyond_32_bits_differ_in_all_their_bits() -> None:
    drawn = set()
    for seed in (5, 5 + 2**32, 5 + 2**62):
        generator = np.random.RandomState()
        seed_env(SimpleNamespace(random_state=generator), seed)
        drawn.add(float(generator.normal()))
    assert len(drawn) == 3


@pytest.mark.parametrize("env", [SimpleNamespace(), SimpleNamespace(task="walk", seed=3)], ids=repr)
def test_env_without_anything_to_seed_is_left_alone(env: Any) -> None:
    seed_env(env, 3)
