"""Envs for the tests of rlstructures' faces. Workers import this file: torch only where it is needed."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

BESIDE = ["reward", "done", "truncated", "initial_state", "last_action"]  # the env's own keys
LENGTHS = [3, 1, 2, 4]


class Counter:
    """Old gym's: obs [t, seed], reward 10 seed + t, ends after `length` steps, or those of its env_info."""

    def __init__(self, length: int) -> None:
        self.action_space = spaces.Discrete(3)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.length, self.resets = length, 0
        self.seeds: list[int] = []
        self.actions: list[list[int]] = []
        self.given: list[Any] = []

    def seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def reset(self, env_info: Any = None) -> Any:
        self.t, self.given = 0, [*self.given, env_info]
        self.actions.append([])
        self.length = (env_info or {}).get("length", self.length)
        return [0, self.seeds[-1]]

    def step(self, action: Any) -> Any:
        assert type(action) is int
        self.t += 1
        self.actions[-1].append(action)
        return [self.t, self.seeds[-1]], 10 * self.seeds[-1] + self.t, self.t >= self.length, {"not": "shown"}


class Walk:
    """Old gym's, without an observation space: a Dict of two floats. Ends beyond 1, reward x."""

    action_space = spaces.Discrete(2)

    def seed(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)

    def reset(self) -> Any:
        self.x, self.identifier = self.rng.rand() * 2.0 - 1.0, self.rng.rand()
        return {"x": self.x, "identifier": self.identifier}

    def step(self, action: int) -> Any:
        self.x += 0.3 if action else -0.3
        return {"x": self.x, "identifier": self.identifier}, self.x, abs(self.x) > 1, {}


class Modern(gymnasium.Env[Any, Any]):
    """Gymnasium's: echoes its action in every kind of leaf, ends or is cut after `length` steps."""

    def __init__(self, length: int = 2, cut: bool = False, action_space: Any = None) -> None:
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
                "arm": spaces.Dict({"joints": spaces.Box(-1, 1, (2, 2), np.float64)}),
                "goal": spaces.Tuple([spaces.Discrete(100), spaces.Box(-1, 1, (), np.float32)]),
                "mask": spaces.MultiBinary(3),
            }
        )
        self.action_space = spaces.Box(-1, 1, (2, 2), np.float32) if action_space is None else action_space
        self.length, self.cut, self.t = length, cut, 0
        self.options: list[Any] = []

    def obs(self) -> Any:
        image = np.full((4, 5, 3), self.t, np.uint8)
        goal = (self.t, np.float32(0.5))
        mask = np.array([1, 0, 1], np.int8)
        return {"image": image, "arm": {"joints": self.last}, "goal": goal, "mask": mask}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t, self.last = 0, np.zeros((2, 2))
        self.options.append(options)
        return self.obs(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        if self.action_space.shape == (2, 2):
            self.last = np.asarray(action, np.float64)
        over = self.t >= self.length
        return self.obs(), 0.5, over and not self.cut, over and self.cut, {}


def step(env: Any, actions: Any) -> Any:
    """Step the running envs, by a DictTensor as a policy returns it."""
    import torch

    from envpool_wrap.integrations.rlstructures import DictTensor

    return env.step(DictTensor({"action": torch.tensor(actions)}))


def counters(lengths: Any = LENGTHS) -> Any:
    """Functions that make Counters."""
    return [partial(Counter, length) for length in lengths]
