"""What an env is sent is what it gets, and what it returns is what comes out, for every space on every
backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from echo import (
    BOXES,
    COUNTS,
    DEEP,
    MISSION,
    NESTED,
    Echo,
    assert_same_value,
    batched,
    leaves,
    row_of,
    samples,
)
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st

import envpool_wrap
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_protocol.spaces import space_spec
from envpool_wrap.config import PoolConfig
from envpool_wrap.faces.gym import GymPool
from envpool_wrap.nested import flattener

FIXED = [BOXES, COUNTS, DEEP, MISSION]


GIVEN = {"array": np.ndarray, "discrete": int, "text": str}


def check_echo(pool: Any, space: Any, seed: int) -> None:
    """Two steps of samples come back, and each env was handed what its space says."""
    rows, spec = len(pool), space_spec(space, "action")
    first = pool.reset()[0]
    for row in range(rows):
        assert_same_value(row_of(first, row), samples(space, row, 1)[0])
    for step in range(2):
        values = samples(space, seed + step, rows)
        obs = pool.step(batched(space, values))[0]
        for row, (value, action) in enumerate(zip(values, pool.get_attr("action"), strict=True)):
            assert_same_value(row_of(obs, row), value)
            assert_same_value(action, value)
            assert [type(leaf) for leaf in flattener(spec)(action)] == [
                GIVEN[leaf.kind] for leaf in spec.leaves
            ]


def prebuilt_pool(space: Any, backend: str, rows: int) -> Any:
    """A pool of echoing envs of any space, without compiling."""
    source = source_of(Echo, "Echo", {"space": space})
    description = source.describe()
    config = PoolConfig.of({"num_envs": rows, "backend": backend})
    return GymPool(source, description, prebuilt_module(description), config)


any_space = given(space=NESTED, rows=st.integers(1, 3), seed=st.integers(0, 2**31))


@pytest.mark.parametrize("backend", ["inline", "thread"])
@any_space
@settings(max_examples=200, deadline=None)
def test_some_space_is_not_echoed(backend: str, space: Any, rows: int, seed: int) -> None:
    with prebuilt_pool(space, backend, rows) as pool:
        check_echo(pool, space, seed)


@any_space
@settings(max_examples=12, deadline=None)  # processes take their time to start
def test_some_space_is_not_echoed_from_another_process(space: Any, rows: int, seed: int) -> None:
    with prebuilt_pool(space, "process", rows) as pool:
        check_echo(pool, space, seed)


@pytest.mark.parametrize("space", FIXED, ids=["boxes", "counts", "deep", "mission"])
def test_a_value_is_changed_on_its_way(echo_task: Any, backend: str, space: Any) -> None:
    with envpool_wrap.make(echo_task(space), "gym", num_envs=3, backend=backend) as pool:
        for seed in range(0, 40, 2):
            check_echo(pool, space, seed)


@pytest.mark.parametrize("space", FIXED, ids=["boxes", "counts", "deep", "mission"])
def test_the_gymnasium_face_has_another_batch_than_sync_vector_env(echo_task: Any, space: Any) -> None:
    """Text is a tuple of str there, all else an array of the same shape and dtype."""
    with envpool_wrap.make(echo_task(space), "gymnasium", num_envs=3) as pool:
        pool.reset()
        assert pool.observation_space == batch_space(space, 3)
        for seed in range(20):
            sent = batched(space, samples(space, seed, 3))
            obs = pool.step(sent)[0]
            assert_same_value(obs, sent)
            for ours, theirs in zip(leaves(obs), leaves(sent), strict=True):
                assert type(ours) is type(theirs)
                assert np.shape(ours) == np.shape(theirs)
                assert np.asarray(ours).dtype == np.asarray(theirs).dtype or isinstance(ours, str)
            assert pool.observation_space.contains(obs)
