"""Random actions, made before anything is timed: one by one for a loop, in batches for a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BATCHES = 16  # that differ; then they come again


def sampled(space: Any, num_envs: int) -> list[list[Any]]:
    """Samples of a gymnasium space: `BATCHES` times one per env. Integers are ints, as in a pool."""
    space.seed(0)
    return [[_plain(space.sample()) for _ in range(num_envs)] for _ in range(BATCHES)]


def batch(samples: Sequence[Any]) -> Any:
    """The batch that holds these samples as its rows, nested as they are."""
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: batch([one[key] for one in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(batch(members) for members in zip(*samples, strict=True))
    return np.stack([np.asarray(one) for one in samples])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value
