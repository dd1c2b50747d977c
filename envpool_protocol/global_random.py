"""Tell the user, once, that envs on several threads draw from NumPy's one global generator."""

from __future__ import annotations

import pickle

import numpy as np

from envpool_protocol.notices import notice


class GlobalRandomWatch:
    """Compares the state of `np.random` before and after calls of envs; the engine says when."""

    def __init__(self) -> None:
        self._drew: set[int] = set()
        self._told = False

    def state(self) -> bytes | None:
        """The generator's state, or None when it is of no more interest."""
        return None if self._told else pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002

    def compare(self, env_id: int, before: bytes | None) -> None:
        """Warn when a call of this env changed the state, and one of another env did so before."""
        if before is None or self.state() in (None, before):
            return
        self._drew.add(env_id)
        if len(self._drew) < 2 or self._told:
            return
        self._told = True
        notice(
            f"envs {sorted(self._drew)} draw from NumPy's global generator (np.random), which all threads "
            "share: their numbers depend on the timing, and no seed repeats them. Give each env a generator "
            "of its own, such as `self.np_random = np.random.default_rng(seed)` in `_seed_envpool`, or use "
            "backend='process'"
        )
