"""How far the episode of each env is, by the rows that came, so that the loss of a worker can be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_NONE = -1


class Episodes:
    """Of all envs of a pool.

    Attributes:
        lost: envs that were idle in the middle of an episode when their worker died, and that nobody was told
            of yet: after how many steps it was, and what the worker died of.
    """

    def __init__(self, num_envs: int, autoreset_mode: str) -> None:
        self.lost: dict[int, tuple[int, Exception]] = {}
        self._elapsed = np.full(num_envs, _NONE)
        self._after_an_end = 0 if autoreset_mode == "same_step" else _NONE

    def note(self, env_id: Any, elapsed_step: Any, ended: Any, failures: Sequence[Any]) -> None:
        """Rows came. Whoever failed begins anew."""
        self._elapsed[env_id] = elapsed_step
        if ended.any():
            self._elapsed[env_id[ended]] = self._after_an_end
            self.end([failure[0] for failure in failures])

    def end(self, envs: Sequence[int]) -> None:
        """None is going on in these."""
        self._elapsed[envs] = _NONE

    def lose(self, envs: Sequence[int], death: Exception) -> None:
        """Their worker died."""
        for env in envs:
            if self._elapsed[env] != _NONE:
                self.lost[env] = int(self._elapsed[env]), death
        self.end(envs)

    def steps(self, envs: Sequence[int]) -> Any:
        """How many each has taken."""
        return np.maximum(self._elapsed[envs], 0)

    def over(self, envs: Iterable[int]) -> list[int]:
        """Those that have none, because it ended or none began."""
        return [env for env in envs if self._elapsed[env] == _NONE and env not in self.lost]
