"""Return, length and duration of each episode, in the words of Gymnasium's `RecordEpisodeStatistics`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def no_episodes(rows: int) -> dict[str, NDArray[Any]]:
    """What `EpisodeStats.add` would say of so many rows if no episode ended in any."""
    return {"r": np.zeros(rows), "l": np.zeros(rows, int), "t": np.zeros(rows)}


class EpisodeStats:
    """Adds up the rows of batches, whichever envs they are of and in whatever order they come.

    A row that has taken no step is a reset: an episode begins with it, and its reward is not counted. A row
    that is terminated or truncated ends an episode; in same-step mode the next one has begun with it. The row
    of an env that failed ends its episode, and is no step of it.
    """

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, int)
        self._starts = np.full(num_envs, time.perf_counter())

    def add(
        self,
        env_id: NDArray[np.int32],
        reward: NDArray[Any],
        ended: NDArray[np.bool_],
        elapsed_step: NDArray[np.int32],
        failed: Sequence[int] = (),
    ) -> dict[str, NDArray[Any]] | None:
        """Count one batch.

        Args:
            env_id, reward, ended, elapsed_step: one value per row; `ended`: terminated or truncated.
            failed: the rows of envs that failed.

        Returns:
            `r` (float64, the sum of rewards), `l` (int64, steps) and `t` (float64, seconds), each zero in
            rows where no episode ended; None when none did.
        """
        begins = elapsed_step == 0
        steps = ~begins
        steps[list(failed)] = False
        self._returns[env_id[steps]] += reward[steps]
        self._lengths[env_id[steps]] += 1
        now = time.perf_counter()
        stats = None
        if ended.any():
            stats = {
                "r": np.where(ended, self._returns[env_id], 0.0),
                "l": np.where(ended, self._lengths[env_id], 0),
                "t": np.where(ended, np.round(now - self._starts[env_id], 6), 0.0),
            }
        anew = env_id[begins | ended]
        self._returns[anew], self._lengths[anew], self._starts[anew] = 0.0, 0, now
        return stats
