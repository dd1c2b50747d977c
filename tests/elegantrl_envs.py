"""Envs in ElegantRL's way, for the tests of that integration. Workers import this file: no torch here."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, ClassVar

import gymnasium
import numpy as np
from envs import Journal
from gymnasium import spaces


class Lengths:
    """Draws how long an episode is, 1 to 4 steps, from the seed; no spaces.

    The state, float64, is [7, step, length, episode]; the reward is the step plus ten times the action.
    """

    state_dim, action_dim, if_discrete = 4, 1, False

    def __init__(self, closes: Journal | None = None, device_id: int = 0) -> None:
        self.closes, self.device_id, self.episode = closes, device_id, -1
        self.random = np.random.RandomState()
        self.cumulative_returns = 0.0

    def reset(self, seed: int | None = None) -> Any:
        if seed is not None:
            self.random = np.random.RandomState(seed)
        self.t, self.episode, self.length = 0, self.episode + 1, self.random.randint(1, 5)
        return self._state(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        reward = self.t + 10 * action[0]
        self.cumulative_returns += reward
        return self._state(), reward, self.t >= self.length, False, {"t": self.t}

    def _state(self) -> Any:
        return np.array([7, self.t, self.length, self.episode], np.float64)

    def torch_is_imported(self) -> bool:
        return "torch" in sys.modules

    def close(self) -> None:
        if self.closes is not None:
            self.closes.add(self.device_id)


class OldLengths(Lengths):
    """The same with the old interface: a state from `reset`, four values from `step`, a `seed` method."""

    def seed(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()[0]

    def step(self, action: Any) -> Any:
        state, reward, terminal, _, info = super().step(action)
        return state, reward, terminal, info


class Trouble(Lengths):
    """Raises, or kills its process, when the action is 9 or more."""

    def __init__(self, dies: bool = False) -> None:
        super().__init__()
        self.dies = dies

    def step(self, action: Any) -> Any:
        if action[0] >= 9:
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a nine")
        return super().step(action)


class Film(gymnasium.Env[Any, Any]):
    """Images, and actions from 5 on; truncated after two steps."""

    observation_space = spaces.Box(0, 255, (4, 6, 1), np.uint8)
    action_space = spaces.Discrete(3, start=5)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return np.zeros((4, 6, 1), np.uint8), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.full((4, 6, 1), action, np.uint8), float(action), False, self.t == 2, {}
