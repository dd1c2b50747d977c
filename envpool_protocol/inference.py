"""The observation space of an old env that has none, from the first observation that it gives.

    bool                   Discrete(2)
    int, float             Box of shape (): int64, float64
    list of numbers        Box of its shape: float64, since a list does not say
    array, or what NumPy makes one of     Box of its shape and dtype
    dict, tuple            Dict, Tuple of these, in their order

A Box has no bounds but those of its dtype.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from envpool_protocol.errors import ProtocolError, SpecError
from envpool_protocol.seeding import seed_env
from envpool_protocol.space_kinds import extremes
from envpool_protocol.spec import DTYPES


def inferred_space(env: Any, takes_seed: bool) -> Any:
    """Seed the env with 0, reset it, and infer a gymnasium space.

    Args:
        env: with old gym's api.
        takes_seed: whether `reset` takes a seed.

    Raises:
        ProtocolError: `reset` raised.
        SpecError: no space can be inferred; it names the place.
    """
    try:
        if takes_seed:
            first = env.reset(seed=0)
        else:
            seed_env(env, 0)
            first = env.reset()
    except Exception as error:
        raise ProtocolError(
            f"{type(env).__qualname__} has no observation_space, and to infer one it was reset, which raised "
            f"{type(error).__name__}: {error}. Set observation_space in __init__"
        ) from error
    if isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], dict):  # (obs, info)
        first = first[0]
    return space_of(first, "obs")


def space_of(value: Any, name: str) -> Any:
    """The gymnasium space of values like this one; `name` is what an error calls it. Raises SpecError."""
    from gymnasium import spaces

    if isinstance(value, Mapping):
        members = [(key, space_of(member, f"{name}.{key}")) for key, member in value.items()]
        space = spaces.Dict(OrderedDict(members))
        space.sort_keys = False
        return space
    if isinstance(value, tuple):
        return spaces.Tuple([space_of(member, f"{name}.{index}") for index, member in enumerate(value)])
    if isinstance(value, bool):
        return spaces.Discrete(2)
    try:
        array = np.asarray(value, np.float64 if isinstance(value, list) else None)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.name not in DTYPES:
        raise SpecError(
            f"{name}: no observation_space, and none can be inferred from {value!r:.80}; expected numbers, "
            "arrays, or dicts and tuples of these. Set observation_space in __init__"
        )
    low, high = (np.full_like(array, bound) for bound in extremes(DTYPES[array.dtype.name]))
    return spaces.Box(low, high, array.shape, array.dtype.type)
