"""Seed an env whose `reset` takes no seed: called by its module before a reset with a new seed.

Old gym has `env.seed(s)`. dm_env has no word for it: dm_control's suite keeps a generator in
`env.task.random`, its composer in `env.random_state`; they are put where a new generator of that seed would
start, which is where `task_kwargs={"random": s}` puts them. An env without any of these is not seeded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LEGACY_BITS = 32  # of a seed that RandomState takes as one number


def seed_env(env: Any, seed: int) -> None:
    """Seed `env` by its own `seed` method, else by the generator that it shows."""
    method = getattr(env, "seed", None)
    if callable(method):
        method(seed)
        return
    for owner, name in ((getattr(env, "task", None), "random"), (env, "random_state")):
        if _reseed(getattr(owner, name, None), seed):
            return


def _reseed(generator: Any, seed: int) -> bool:
    if isinstance(generator, np.random.RandomState):
        words = [seed & (2**_LEGACY_BITS - 1), seed >> _LEGACY_BITS]
        generator.seed(words if words[1] else words[0])
        return True
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        bits.state = type(bits)(seed).state
        return True
    return False
