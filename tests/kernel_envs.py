"""An env whose hooks compile, and whose every number can be foretold."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol

RAISE = 2


class Drift(EnvPoolProtocol):
    """Walks by its seed and actions; action RAISE raises, and `slow` makes each step take its time."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = spaces.Discrete(3)
    info_space = spaces.Dict({"place": spaces.Box(-np.inf, np.inf, (), np.float64)})
    state_envpool: ClassVar[dict[str, Any]] = {
        "id": np.int64,
        "seed": np.int64,
        "resets": np.int64,
        "t": np.int64,
        "x": np.float64,
        "ends_after": np.int64,
        "slow": np.int64,
        "drag": np.float64,
    }

    def __init__(self, envid: int, ends_after: int = 4, slow: int = 0, fail: bool = False) -> None:
        if fail:
            raise ValueError("no such env")
        self.id, self.ends_after, self.slow = envid, ends_after, slow
        self.seed = self.resets = self.t = 0
        self.x, self.drag = 0.0, 1.0

    def _seed_envpool(self, seed: int) -> None:
        self.seed = seed

    def _reset_envpool(self) -> None:
        self.t = 0
        self.resets += 1
        self.x = (self.seed * 48271 + self.resets) % 2147483647 * 1e-6

    def _step_envpool(self, action: Any) -> None:
        if action == RAISE:
            raise ValueError("action two")
        self.t += 1
        self.x = self.x * 0.75 * self.drag + action
        for _ in range(self.slow):
            self.x += 1e-12 / (1.0 + self.x * self.x)

    def _make_obs_envpool(self, out: Any) -> None:
        out[0] = self.seed
        out[1] = self.resets
        out[2] = self.t
        out[3] = self.x

    def _done_envpool(self) -> bool:
        return self.t >= self.ends_after + self.seed % 3

    def _truncated_envpool(self) -> bool:
        return self.x < -1e9

    def _reward_envpool(self) -> float:
        return self.x + self.id

    def _info_envpool(self) -> dict[str, float]:
        return {"place": self.x}

    def _render_envpool(self) -> Any:
        return np.full((2, 2, 3), self.t, np.uint8)

    def where(self, scale: float) -> float:
        """For `call`."""
        return self.x * scale
