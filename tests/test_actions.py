"""Random actions fit a loop's envs one by one, and a pool in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from plain_envs import ECHOED, Echo

from envpool_wrap.tuning.actions import BATCHES, batch, sampled


def test_there_is_a_sample_per_env_and_batch_always_the_same() -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    one, two = sampled(space, 3), sampled(space, 3)
    assert [len(samples) for samples in one] == [3] * BATCHES
    assert np.array_equal(one, two) and not np.array_equal(one[0], one[1])


def test_integers_are_what_a_pool_hands_out() -> None:
    assert {type(sample) for sample in sampled(spaces.Discrete(5), 4)[0]} == {int}
    nested = sampled(ECHOED, 1)[0][0]
    assert type(nested["arm"][1]["grip"]) is int and isinstance(nested["camera"], np.ndarray)


def test_a_pool_takes_the_batch_and_gives_its_envs_the_samples(pool_of: Callable[..., Any]) -> None:
    pool = pool_of(Echo, num_envs=3)
    pool.reset()
    samples = sampled(ECHOED, 3)[0]
    obs = pool.step(batch(samples))[0]["echo"]
    for env, sample in enumerate(samples):
        assert (
            obs["arm"][0][env] == sample["arm"][0] and obs["arm"][1]["grip"][env] == sample["arm"][1]["grip"]
        )
        assert np.array_equal(obs["camera"][env], sample["camera"])
        assert np.array_equal(obs["wheels"][env], sample["wheels"])


def test_text_is_a_leaf_too() -> None:
    assert batch(["ab", "c"]).tolist() == ["ab", "c"]
